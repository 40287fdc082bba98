//! A row for each of some names, its values along it: names of any length stay legible on a phone.

use super::axis::{Axis, Scale};
use super::line::{Chart, Place, Series, legend, names};
use super::mark;
use crate::html::escape;
use std::fmt::Write;

/// Width, the ends of a row, and what its parts take, in SVG units.
const WIDTH: f64 = 520.0;
const LEFT: f64 = 26.0;
const RIGHT: f64 = 36.0;
const TOP: f64 = 8.0;
const NAME: f64 = 24.0;
const VALUE: f64 = 17.0;
const FOOT: f64 = 34.0;

/// Values by name. Of each point of a line the first number is the place of its name, the second the value.
pub struct Rows<'a> {
    /// Above it.
    pub title: &'a str,
    /// The names, from above.
    pub names: &'a [String],
    /// How values are drawn.
    pub scale: Scale,
    /// The lines; nothing connects their points.
    pub series: Vec<Series>,
}

impl Rows<'_> {
    /// As a `<figure>`.
    pub fn html(&self) -> String {
        let title = escape(self.title);
        let lines = names(&self.series);
        let axis = Chart::values(&self.scale, &self.series);
        let x = |v: f64| LEFT + axis.share(v) * (WIDTH - LEFT - RIGHT);
        let of = |row: usize| {
            let points = self.series.iter().flat_map(|s| s.points.iter().zip(&s.deviations).map(move |p| (s, p)));
            points.filter(move |(_, (point, _))| point.0 == row as f64).collect::<Vec<_>>()
        };
        let (mut body, mut down) = (String::new(), TOP);
        for (row, name) in self.names.iter().enumerate() {
            let values = of(row);
            if values.is_empty() {
                continue;
            }
            let _ = writeln!(body, "<text class=\"name\" x=\"4\" y=\"{:.1}\">{}</text>", down + 16.0, escape(name));
            down += NAME;
            for (series, (&(_, value), deviation)) in values {
                let number = lines.iter().position(|line| *line == series.name).unwrap_or(0);
                let y = down + VALUE / 2.0;
                body += &point(series, number, (&axis, &x), (value, *deviation, y), name);
                down += VALUE;
            }
            down += 6.0;
        }
        let height = down + FOOT;
        let mut out = format!(
            "<figure><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        for &tick in &axis.ticks {
            let _ = writeln!(
                out,
                "<path class=\"grid\" d=\"M{0:.1} {TOP}V{down}\"/><text class=\"x\" x=\"{0:.1}\" y=\"{1}\">{2}</text>",
                x(tick),
                down + 20.0,
                axis.label(tick)
            );
        }
        out + &body + "</svg>" + &legend(&self.series, false) + "</figure>\n"
    }
}

fn point(
    series: &Series,
    number: usize,
    (axis, x): (&Axis, Place<'_>),
    (value, deviation, y): (f64, Option<f64>, f64),
    name: &str,
) -> String {
    let mut out = format!("<g class=\"{}\">", mark::class(number));
    if let Some(d) = deviation {
        let (from, to) = (x(value - d), x(value + d));
        let _ = write!(
            out,
            "<path class=\"bar\" d=\"M{from:.1} {y:.1}H{to:.1}M{from:.1} {0:.1}v6M{to:.1} {0:.1}v6\"/>",
            y - 3.0
        );
    }
    let spread = deviation.map(|d| format!(" ± {}", axis.value(d))).unwrap_or_default();
    let tip = format!("{}, {name}: {}{spread}", series.name, axis.value(value));
    let _ = writeln!(
        out,
        "<path class=\"dot\" d=\"{}\"><title>{}</title></path></g>",
        mark::shape(number, x(value), y),
        escape(&tip)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::line::Points;

    #[test]
    fn each_value_has_a_line_of_its_own_below_its_name() {
        let line = |name: &str, points: Vec<(f64, f64)>| Series {
            name: name.into(),
            deviations: vec![Some(0.01); points.len()],
            points,
            shown: Points::Marked,
        };
        let names = ["labels <only>", "nothing of this", "both"].map(String::from);
        let series = vec![line("1 %", vec![(0.0, 0.5), (2.0, 0.6)]), line("10 %", vec![(0.0, 0.5)])];
        let html = Rows { title: "T", names: &names, scale: Scale::Percent, series }.html();
        assert!(html.contains(">labels &lt;only&gt;</text>") && !html.contains("nothing of this"));
        assert_eq!(html.matches("class=\"bar\"").count(), 3);
        let high = |i: usize| html.split("class=\"bar\" d=\"M").nth(i).and_then(|s| s.split([' ', 'H']).nth(1));
        assert!(high(1).is_some() && high(1) != high(2), "two values of one name hide one another");
        assert!(html.contains("<title>10 %, labels &lt;only&gt;: 50.00 % ± 1.00 %</title>"));
    }
}
