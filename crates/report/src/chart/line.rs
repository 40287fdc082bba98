//! Lines over two axes, as inline SVG.
#![allow(clippy::disallowed_methods, reason = "what is drawn may differ by a hair from machine to machine")]

use super::axis::{Axis, Scale};
use super::mark;
use crate::html::escape;
use std::fmt::Write;

/// Width and height of a chart, and what its axes take, in SVG units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 310.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
/// Below the axis: its ticks and its name.
const BOTTOM: f64 = 56.0;
/// A letter of a label, about: on a phone, where letters are larger beside the chart.
const LETTER: f64 = 9.0;

/// From a value to its place on the chart.
pub(super) type Place<'a> = &'a dyn Fn(f64) -> f64;

/// What is drawn at the points of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Points {
    /// A mark, whose shape and colour are those of the line.
    Marked,
    /// Nothing, but its values are told where a pointer rests.
    Told,
    /// Nothing: many lines of many points.
    Bare,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// Its name in the legend; lines of the same name share a colour and one entry.
    pub name: String,
    /// Places, by growing x.
    pub points: Vec<(f64, f64)>,
    /// A deviation for each point, or nothing.
    pub deviations: Vec<Option<f64>>,
    /// What is drawn at them.
    pub shown: Points,
}

/// A chart with its title, axes and legend.
pub struct Chart<'a> {
    /// Above it.
    pub title: &'a str,
    /// Below the x axis.
    pub x_label: &'a str,
    /// The x axis.
    pub x: Scale,
    /// The y axis.
    pub y: Scale,
    /// The lines.
    pub series: Vec<Series>,
}

impl Chart<'_> {
    /// As a `<figure>`.
    pub fn html(&self) -> String {
        let mut out = format!("<figure><figcaption>{}</figcaption>\n", escape(self.title));
        self.svg(&mut out, &names(&self.series));
        out + &legend(&self.series, true) + "</figure>\n"
    }

    fn svg(&self, out: &mut String, names: &[&str]) {
        let (x, y) = (self.x_axis(), self.y_axis());
        let px = |v: f64| LEFT + x.share(v) * (WIDTH - LEFT - RIGHT);
        let py = |v: f64| HEIGHT - BOTTOM - y.share(v) * (HEIGHT - TOP - BOTTOM);
        let _ =
            writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(self.title));
        for &tick in &y.ticks {
            let (at, label) = (py(tick), y.label(tick));
            let zero = if tick == 0.0 && y.low < 0.0 { "axis" } else { "grid" };
            let _ = write!(out, "<path class=\"{zero}\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
            let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" class=\"y\">{label}</text>", LEFT - 8.0, at + 5.0);
        }
        let foot = HEIGHT - BOTTOM;
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {foot}H{}\"/>", WIDTH - RIGHT);
        let mut free = f64::NEG_INFINITY;
        for &tick in &x.ticks {
            let (at, label) = (px(tick), x.label(tick));
            let _ = writeln!(out, "<path class=\"axis\" d=\"M{at:.1} {foot}v5\"/>");
            // One that would run into the one before is left out.
            let half = label.chars().count() as f64 * LETTER / 2.0;
            if at - half >= free {
                free = at + half + LETTER;
                let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" class=\"x\">{label}</text>", foot + 22.0);
            }
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{}\" class=\"x\">{}</text>", HEIGHT - 8.0, escape(self.x_label));
        for series in &self.series {
            let number = names.iter().position(|n| *n == series.name).unwrap_or(0);
            self.line(out, series, number, (&y, &px, &py));
        }
        *out += "</svg>";
    }

    /// One line with its marks. `x` and `y` give places in the chart.
    fn line(&self, out: &mut String, series: &Series, number: usize, (axis, x, y): (&Axis, Place<'_>, Place<'_>)) {
        let _ = write!(out, "<g class=\"{}\">", mark::class(number));
        let places: Vec<_> = series.points.iter().map(|&(a, b)| format!("{:.1} {:.1}", x(a), y(b))).collect();
        let thin = if series.shown == Points::Bare { " thin" } else { "" };
        let _ = write!(out, "<path class=\"line{thin}\" d=\"M{}\"/>", places.join("L"));
        let points = if series.shown == Points::Bare { &[] } else { &series.points[..] };
        for (i, &(a, b)) in points.iter().enumerate() {
            let (cx, cy) = (x(a), y(b));
            let deviation = series.deviations.get(i).copied().flatten();
            if let Some(d) = deviation {
                let (up, down) = (y(b + d), y(b - d));
                let _ = write!(
                    out,
                    "<path class=\"bar\" d=\"M{cx:.1} {down:.1}V{up:.1}M{:.1} {up:.1}h6M{:.1} {down:.1}h6\"/>",
                    cx - 3.0,
                    cx - 3.0
                );
            }
            let spread = deviation.map(|d| format!(" ± {}", axis.value(d))).unwrap_or_default();
            let tip = format!("{}, {}: {}{spread}", series.name, self.at(a), axis.value(b));
            let (class, number) = if series.shown == Points::Marked { ("dot", number) } else { ("dot quiet", 0) };
            let _ = write!(
                out,
                "<path class=\"{class}\" d=\"{}\"><title>{}</title></path>",
                mark::shape(number, cx, cy),
                escape(&tip)
            );
        }
        *out += "</g>\n";
    }

    /// A place on the x axis in words.
    fn at(&self, x: f64) -> String {
        let value = self.x_axis().value(x);
        match self.x {
            Scale::Linear | Scale::Values | Scale::Log => format!("{} {value}", self.x_label),
            _ => value,
        }
    }

    fn x_axis(&self) -> Axis {
        let xs: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
        Axis::over(self.x, &xs)
    }

    fn y_axis(&self) -> Axis {
        Self::values(&self.y, &self.series)
    }

    /// The axis of values, which holds deviations, too.
    pub(super) fn values(scale: &Scale, series: &[Series]) -> Axis {
        let mut ys = Vec::new();
        for s in series {
            for (i, &(_, y)) in s.points.iter().enumerate() {
                let d = s.deviations.get(i).copied().flatten().unwrap_or(0.0);
                ys.extend([y - d, y + d]);
            }
        }
        Axis::over(*scale, &ys)
    }
}

/// Names of lines, each once.
pub(super) fn names(series: &[Series]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for series in series {
        if !names.contains(&series.name.as_str()) {
            names.push(&series.name);
        }
    }
    names
}

/// What each mark and colour stands for; nothing where there is one name.
pub(super) fn legend(series: &[Series], connected: bool) -> String {
    let names = names(series);
    if names.len() < 2 {
        return String::new();
    }
    let marked = series.iter().any(|s| s.shown == Points::Marked);
    // Writing to a string cannot fail.
    let entry = |(i, name): (usize, &&str)| format!("<li>{}{}</li>", mark::key(i, marked, connected), escape(name));
    format!("<ul class=\"legend\">{}</ul>", names.iter().enumerate().map(entry).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.into(), deviations: vec![Some(0.5); points.len()], points, shown: Points::Marked }
    }

    #[test]
    fn names_are_escaped_and_share_a_color() {
        let series = ["a<b", "other", "a<b"].map(|name| line(name, vec![(1.0, 1.0)])).to_vec();
        let html = Chart { title: "T", x_label: "x", x: Scale::Linear, y: Scale::Linear, series }.html();
        assert!(html.contains("a&lt;b") && !html.contains("a<b"));
        assert_eq!((html.matches("<g class=\"c1 \">").count(), html.matches("<li").count()), (2, 2));
    }

    #[test]
    fn labels_of_numbers_do_not_run_into_one_another() {
        let points = [1000.0, 1010.0, 1020.0, 900_000.0].map(|x| (x, 1.0)).to_vec();
        let series = vec![line("a", points)];
        let html = Chart { title: "T", x_label: "x", x: Scale::LogCount, y: Scale::Linear, series }.html();
        assert!(html.contains(">1000</text>") && !html.contains(">1010</text>") && html.contains(">900 k</text>"));
    }
}
