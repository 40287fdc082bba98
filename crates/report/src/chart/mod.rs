//! Charts as inline SVG, coloured by the page's style sheet.
#![allow(clippy::disallowed_methods, reason = "what is drawn may differ by a hair from machine to machine")]

mod axis;
pub mod mark;
pub mod scatter;

use crate::html::escape;
use axis::Axis;
use std::fmt::Write;

/// Width and height of a chart, and what its axes take, in SVG units.
const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 310.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 14.0;
/// Below the axis: its ticks with one line of labels, and its name. More lines make the chart higher.
const BOTTOM: f64 = 56.0;
const LINE: f64 = 17.0;
/// A letter of a label, about: on a phone, where letters are larger beside the chart.
const LETTER: f64 = 9.0;
/// How far apart points of different lines stand that have one name on the x axis.
const APART: f64 = 13.0;

/// How an axis turns numbers into places and words.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Evenly, with round ticks.
    Linear,
    /// Evenly, with round ticks; labels are percentages.
    Percent,
    /// Evenly; the values themselves are the ticks.
    Values,
    /// A tenfold is as wide everywhere; the values themselves are the ticks.
    Log,
    /// The same; labels are percentages.
    LogPercent,
    /// The same; labels are counts.
    LogCount,
    /// Value `i` has the name at `i`: points of different lines stand side by side, and no line connects them.
    Names(Vec<String>),
}

impl Scale {
    fn is_log(&self) -> bool {
        matches!(self, Self::Log | Self::LogPercent | Self::LogCount)
    }
}

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
        let names = self.names();
        let mut out = format!("<figure><figcaption>{}</figcaption>\n", escape(self.title));
        self.svg(&mut out, &names);
        if names.len() > 1 {
            let bare = self.series.iter().all(|s| s.shown != Points::Marked);
            out += "<ul class=\"legend\">";
            for (i, name) in names.iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(out, "<li>{}{}</li>", mark::key(i, !bare, self.connects()), escape(name));
            }
            out += "</ul>";
        }
        out + "</figure>\n"
    }

    /// Whether a line through the points says something.
    fn connects(&self) -> bool {
        !matches!(self.x, Scale::Names(_))
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for series in &self.series {
            if !names.contains(&series.name.as_str()) {
                names.push(&series.name);
            }
        }
        names
    }

    fn svg(&self, out: &mut String, names: &[&str]) {
        let (x, y) = (self.x_axis(), self.y_axis());
        let px = |v: f64| LEFT + x.share(v) * (WIDTH - LEFT - RIGHT);
        let py = |v: f64| HEIGHT - BOTTOM - y.share(v) * (HEIGHT - TOP - BOTTOM);
        // Of names, each has its room; of numbers, those that would run into the one before are left out.
        let room = (WIDTH - LEFT - RIGHT) / x.ticks.len().max(1) as f64;
        let labels: Vec<Vec<String>> = x.ticks.iter().map(|t| self.lines_of(&x.label(*t), room)).collect();
        let lines = labels.iter().map(Vec::len).max().unwrap_or(1);
        let height = HEIGHT + LINE * lines.saturating_sub(1) as f64;
        let _ =
            writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">", escape(self.title));
        for &tick in &y.ticks {
            let (at, label) = (py(tick), y.label(tick));
            let zero = if tick == 0.0 && y.low < 0.0 { "axis" } else { "grid" };
            let _ = write!(out, "<path class=\"{zero}\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
            let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" class=\"y\">{label}</text>", LEFT - 8.0, at + 5.0);
        }
        let foot = HEIGHT - BOTTOM;
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {foot}H{}\"/>", WIDTH - RIGHT);
        let mut free = f64::NEG_INFINITY;
        for (&tick, lines) in x.ticks.iter().zip(&labels) {
            let at = px(tick);
            let _ = writeln!(out, "<path class=\"axis\" d=\"M{at:.1} {foot}v5\"/>");
            let half = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0) as f64 * LETTER / 2.0;
            if self.connects() && at - half < free {
                continue;
            }
            free = at + half + LETTER;
            for (i, line) in lines.iter().enumerate() {
                let down = foot + 20.0 + LINE * i as f64;
                let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{down}\" class=\"x\">{}</text>", escape(line));
            }
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{}\" class=\"x\">{}</text>", height - 8.0, escape(self.x_label));
        for series in &self.series {
            let number = names.iter().position(|n| *n == series.name).unwrap_or(0);
            let aside = if self.connects() { 0.0 } else { beside(number, names.len(), room) };
            self.line(out, series, number, (&y, &|a| px(a) + aside, &py));
        }
        *out += "</svg>";
    }

    /// One line with its marks. `x` and `y` give places in the chart.
    fn line(
        &self,
        out: &mut String,
        series: &Series,
        number: usize,
        (axis, x, y): (&Axis, &dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
    ) {
        let _ = write!(out, "<g class=\"{}\">", mark::class(number));
        if self.connects() {
            let places: Vec<_> = series.points.iter().map(|&(a, b)| format!("{:.1} {:.1}", x(a), y(b))).collect();
            let thin = if series.shown == Points::Bare { " thin" } else { "" };
            let _ = write!(out, "<path class=\"line{thin}\" d=\"M{}\"/>", places.join("L"));
        }
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

    /// A label in lines that its room holds, as far as its words allow; numbers are one line.
    fn lines_of(&self, label: &str, room: f64) -> Vec<String> {
        if self.connects() {
            return vec![label.into()];
        }
        let most = (room / LETTER) as usize;
        let mut lines: Vec<String> = Vec::new();
        for word in label.split(' ') {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= most => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.into()),
            }
        }
        lines
    }

    fn x_axis(&self) -> Axis {
        let xs: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
        Axis::over(&self.x, &xs)
    }

    fn y_axis(&self) -> Axis {
        let mut ys = Vec::new();
        for s in &self.series {
            for (i, &(_, y)) in s.points.iter().enumerate() {
                let d = s.deviations.get(i).copied().flatten().unwrap_or(0.0);
                ys.extend([y - d, y + d]);
            }
        }
        Axis::over(&self.y, &ys)
    }
}

/// How far from its name's place line `number` of `count` has its points.
fn beside(number: usize, count: usize, room: f64) -> f64 {
    let apart = APART.min(0.8 * room / count.max(1) as f64);
    apart * (number as f64 - (count - 1) as f64 / 2.0)
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
    fn what_has_a_name_stands_side_by_side_and_is_not_connected() {
        let names = Scale::Names(vec!["labels only".into(), "labels and distillation on labeled images".into()]);
        let series = vec![line("1 %", vec![(0.0, 1.0), (1.0, 2.0)]), line("10 %", vec![(0.0, 1.0)])];
        let html = Chart { title: "T", x_label: "x", x: names, y: Scale::Linear, series }.html();
        assert!(!html.contains("class=\"line\" d=\"M1") && html.matches("class=\"bar\"").count() == 3);
        assert!(html.contains(">labels and distillation</text>"), "{html}");
        let of_bar = |i: usize| html.split("class=\"bar\" d=\"M").nth(i).and_then(|s| s.split(' ').next());
        assert!(of_bar(1) != of_bar(3), "two points of one name hide one another");
    }

    #[test]
    fn labels_of_numbers_do_not_run_into_one_another() {
        let points = [1000.0, 1010.0, 1020.0, 900_000.0].map(|x| (x, 1.0)).to_vec();
        let series = vec![line("a", points)];
        let html = Chart { title: "T", x_label: "x", x: Scale::LogCount, y: Scale::Linear, series }.html();
        assert!(html.contains(">1000</text>") && !html.contains(">1010</text>") && html.contains(">900 k</text>"));
    }
}
