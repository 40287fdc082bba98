//! Line charts as inline SVG, coloured by the page's style sheet.
#![allow(clippy::disallowed_methods, reason = "what is drawn may differ by a hair from machine to machine")]

use crate::html::escape;
use simclr_core::readable::percent;
use std::fmt::Write;

/// Width and height of a chart, and what its axes take, in SVG units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 26.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 48.0;

/// Colours that the style sheet has; further lines start again.
const COLORS: usize = 8;

/// How an axis turns numbers into places and words.
#[derive(Clone, Copy, PartialEq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// A tenfold is as wide everywhere; labels are percentages.
    LogPercent,
    /// A tenfold is as wide everywhere; labels are whole numbers.
    LogCount,
    /// Evenly; labels are percentages.
    Percent,
}

impl Scale {
    fn is_log(self) -> bool {
        matches!(self, Self::LogPercent | Self::LogCount)
    }
}

/// One line.
pub struct Series {
    /// Its name in the legend; lines of the same name share a colour and one entry.
    pub name: String,
    /// Places, by growing x.
    pub points: Vec<(f64, f64)>,
    /// A deviation for each point, or nothing.
    pub deviations: Vec<Option<f64>>,
    /// Draw each point, not the line alone.
    pub dots: bool,
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
            out += "<ul class=\"legend\">";
            for (i, name) in names.iter().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(out, "<li class=\"c{}\"><i></i>{}</li>", i % COLORS, escape(name));
            }
            out += "</ul>";
        }
        out + "</figure>\n"
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
        let _ =
            writeln!(out, "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">", escape(self.title));
        for &tick in &y.ticks {
            let (at, label) = (py(tick), y.label(tick));
            let _ = write!(out, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{}\"/>", WIDTH - RIGHT);
            let _ = writeln!(out, "<text x=\"{}\" y=\"{:.1}\" class=\"y\">{label}</text>", LEFT - 8.0, at + 4.0);
        }
        let foot = HEIGHT - BOTTOM;
        let _ = writeln!(out, "<path class=\"axis\" d=\"M{LEFT} {foot}H{}\"/>", WIDTH - RIGHT);
        for &tick in &x.ticks {
            let (at, label) = (px(tick), x.label(tick));
            let _ = write!(out, "<path class=\"axis\" d=\"M{at:.1} {foot}v5\"/>");
            let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{}\" class=\"x\">{label}</text>", foot + 19.0);
        }
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        let _ =
            writeln!(out, "<text x=\"{middle}\" y=\"{}\" class=\"x\">{}</text>", HEIGHT - 8.0, escape(self.x_label));
        for series in &self.series {
            let color = names.iter().position(|n| *n == series.name).unwrap_or(0) % COLORS;
            let places: Vec<_> = series.points.iter().map(|&(a, b)| format!("{:.1} {:.1}", px(a), py(b))).collect();
            let _ = write!(out, "<g class=\"c{color}\"><path class=\"line\" d=\"M{}\"/>", places.join("L"));
            for (i, &(a, b)) in series.points.iter().enumerate() {
                let (cx, cy) = (px(a), py(b));
                let deviation = series.deviations.get(i).copied().flatten();
                if let Some(d) = deviation {
                    let _ = write!(out, "<path class=\"bar\" d=\"M{cx:.1} {:.1}V{:.1}\"/>", py(b - d), py(b + d));
                }
                let spread = deviation.map(|d| format!(" ± {}", y.value(d))).unwrap_or_default();
                let at = if self.x == Scale::Linear { format!("{} {}", self.x_label, x.value(a)) } else { x.value(a) };
                let tip = format!("{}, {at}: {}{spread}", series.name, y.value(b));
                let (class, r) = if series.dots { ("dot", 4.5) } else { ("dot quiet", 4.0) };
                let _ = write!(
                    out,
                    "<circle class=\"{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{r}\"><title>{}</title></circle>",
                    escape(&tip)
                );
            }
            *out += "</g>\n";
        }
        *out += "</svg>";
    }

    fn x_axis(&self) -> Axis {
        let xs: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
        Axis::over(self.x, &xs)
    }

    fn y_axis(&self) -> Axis {
        let mut ys = Vec::new();
        for s in &self.series {
            for (i, &(_, y)) in s.points.iter().enumerate() {
                let d = s.deviations.get(i).copied().flatten().unwrap_or(0.0);
                ys.extend([y - d, y + d]);
            }
        }
        Axis::over(self.y, &ys)
    }
}

/// A range of numbers with round ticks.
struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    step: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn over(scale: Scale, values: &[f64]) -> Self {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (mut low, mut high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        if scale.is_log() {
            // A few known amounts: each is a tick.
            let mut ticks = values.to_vec();
            ticks.sort_by(f64::total_cmp);
            ticks.dedup();
            return Self { scale, low: low / 1.3, high: high * 1.3, step: 0.0, ticks };
        }
        if high - low < 1e-9 {
            let pad = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - pad, high + pad);
        }
        let step = round_step((high - low) / 5.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (first as i64..=last as i64).map(|i| i as f64 * step).collect();
        Self { scale, low: first * step, high: last * step, step, ticks }
    }

    /// Where `v` lies between the ends, 0 to 1.
    fn share(&self, v: f64) -> f64 {
        let place = match self.scale {
            Scale::LogPercent | Scale::LogCount => {
                (v.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
            }
            _ => (v - self.low) / (self.high - self.low),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 1.0 }
    }

    /// A tick's label.
    fn label(&self, v: f64) -> String {
        match self.scale {
            Scale::Linear => format!("{v:.*}", decimals(self.step)),
            Scale::Percent => format!("{:.*} %", decimals(100.0 * self.step), 100.0 * v),
            Scale::LogPercent => percent(v),
            Scale::LogCount => format!("{v:.0}"),
        }
    }

    /// A point's value.
    fn value(&self, v: f64) -> String {
        match self.scale {
            Scale::Linear if v.fract() == 0.0 => format!("{v}"),
            Scale::Linear => format!("{v:.4}"),
            Scale::Percent => format!("{:.2} %", 100.0 * v),
            Scale::LogPercent => percent(v),
            Scale::LogCount => format!("{v:.0}"),
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    let lead = about / power;
    power
        * if lead <= 1.0 {
            1.0
        } else if lead <= 2.0 {
            2.0
        } else if lead <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// Digits after the point that tell ticks apart.
fn decimals(step: f64) -> usize {
    (-(step + step * 1e-9).log10().floor()).clamp(0.0, 8.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_data() {
        let axis = Axis::over(Scale::Percent, &[0.123, 0.587]);
        assert_eq!((axis.ticks.first().copied(), axis.ticks.len()), (Some(0.1), 6));
        assert_eq!(axis.label(0.6000000000000001), "60 %");
        assert!(axis.low <= 0.123 && axis.high >= 0.587);
        assert!((Axis::over(Scale::Linear, &[2.0, 2.0]).share(2.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::over(Scale::Linear, &[]).ticks.len(), 6);
    }

    #[test]
    fn a_tenfold_is_as_wide_everywhere() {
        let axis = Axis::over(Scale::LogPercent, &[0.01, 0.1, 1.0, 0.1]);
        let (a, b, c) = (axis.share(0.01), axis.share(0.1), axis.share(1.0));
        assert!((b - a - (c - b)).abs() < 1e-12 && a > 0.0 && c < 1.0);
        assert_eq!(axis.ticks.iter().map(|t| axis.label(*t)).collect::<Vec<_>>(), ["1 %", "10 %", "100 %"]);
    }

    #[test]
    fn names_are_escaped_and_share_a_color() {
        let line = |name: &str| Series { name: name.into(), points: vec![(1.0, 1.0)], deviations: vec![], dots: true };
        let series = vec![line("a<b"), line("other"), line("a<b")];
        let html = Chart { title: "T", x_label: "x", x: Scale::Linear, y: Scale::Linear, series }.html();
        assert!(html.contains("a&lt;b") && !html.contains("a<b"));
        assert_eq!((html.matches("<g class=\"c0\">").count(), html.matches("<li").count()), (2, 2));
    }
}
