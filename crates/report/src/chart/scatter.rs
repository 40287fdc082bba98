//! A map of points by class, as inline SVG: the axes mean nothing, who lies beside whom does.

use super::mark;
use crate::html::escape;
use std::fmt::Write;

/// Side of the map, in SVG units, and the room around the outermost points.
const SIDE: f64 = 420.0;
const EDGE: f64 = 14.0;
/// Classes that the legend names and colours tell apart; the points of further ones are grey.
const MOST: usize = 24;

/// Points in the plane, each of a class.
pub struct Scatter<'a> {
    /// Above it.
    pub title: &'a str,
    /// Where each point is.
    pub points: &'a [[f32; 2]],
    /// Its class.
    pub labels: &'a [u32],
    /// Names of the classes.
    pub classes: &'a [String],
}

impl Scatter<'_> {
    /// As a `<figure>`.
    pub fn html(&self) -> String {
        let title = escape(self.title);
        let mut out = format!(
            "<figure class=\"map\"><figcaption>{title}</figcaption>\n<svg viewBox=\"0 0 {SIDE} {SIDE}\" role=\"img\" \
             aria-label=\"{title}: {} points, each coloured by its class\">\n",
            self.points.len()
        );
        let places = self.places();
        let named = self.named();
        let mut rest = String::new();
        for (place, label) in places.iter().zip(self.labels) {
            if !named.contains(label) {
                rest += &dot(0, place[0], place[1]);
            }
        }
        if !rest.is_empty() {
            let _ = writeln!(out, "<path class=\"points c0\" d=\"{rest}\"/>");
        }
        for (number, class) in named.iter().enumerate() {
            let of = places.iter().zip(self.labels).filter(|(_, label)| *label == class);
            let mut marks = String::new();
            for (place, _) in of {
                marks += &dot(number, place[0], place[1]);
            }
            let _ = writeln!(
                out,
                "<path class=\"points {}\" d=\"{marks}\"><title>{}</title></path>",
                color(number),
                escape(self.name(*class))
            );
        }
        out += "</svg>\n<ul class=\"legend\">";
        for (number, class) in named.iter().enumerate() {
            let _ = write!(
                out,
                "<li><svg class=\"key {}\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path class=\"points\" \
                 d=\"{}\"/></svg>{}</li>",
                color(number),
                mark::shape(number / 10, 6.0, 6.0),
                escape(self.name(*class))
            );
        }
        if !rest.is_empty() {
            let _ = write!(
                out,
                "<li><svg class=\"key c0\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path class=\"points\" \
                 d=\"{}\"/></svg>other classes</li>",
                mark::shape(0, 6.0, 6.0)
            );
        }
        out + "</ul></figure>\n"
    }

    fn name(&self, class: u32) -> &str {
        self.classes.get(class as usize).map_or("?", String::as_str)
    }

    /// The classes that are told apart: all, or of very many those with the most points; in their order.
    fn named(&self) -> Vec<u32> {
        let mut classes = self.labels.to_vec();
        classes.sort_unstable();
        classes.dedup();
        if classes.len() > MOST {
            let points = |class: &u32| self.labels.iter().filter(|label| *label == class).count();
            classes.sort_by_key(|class| (std::cmp::Reverse(points(class)), *class));
            classes.truncate(MOST);
            classes.sort_unstable();
        }
        classes
    }

    /// The points in the square of the map, in proportion. One that is no number lies in its middle.
    fn places(&self) -> Vec<[f64; 2]> {
        let span = |axis: usize| {
            let values = self.points.iter().map(|p| f64::from(p[axis])).filter(|v| v.is_finite());
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
        };
        let spans = [span(0), span(1)];
        let scale = (SIDE - 2.0 * EDGE) / spans.iter().map(|(low, high)| high - low).fold(1e-12, f64::max);
        let place = |point: &[f32; 2]| {
            [0, 1].map(|axis| {
                let (low, high) = spans[axis];
                let from_middle = (f64::from(point[axis]) - (low + high) / 2.0) * scale;
                SIDE / 2.0 + if from_middle.is_finite() { from_middle } else { 0.0 }
            })
        };
        self.points.iter().map(place).collect()
    }
}

/// Ten colours of their own; further classes have another shape.
fn color(number: usize) -> String {
    format!("k{}", number % 10)
}

/// A small mark: a circle, a square or a triangle.
fn dot(number: usize, x: f64, y: f64) -> String {
    match number / 10 {
        0 => format!("M{:.1} {y:.1}a2.6 2.6 0 1 0 5.2 0a2.6 2.6 0 1 0 -5.2 0z", x - 2.6),
        1 => format!("M{:.1} {:.1}h4.6v4.6h-4.6z", x - 2.3, y - 2.3),
        _ => format!("M{x:.1} {:.1}l3.2 5.4h-6.4z", y - 3.4),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_lies_on_the_map_in_proportion() {
        let classes: Vec<String> = ["a<b", "c"].map(String::from).to_vec();
        let map = Scatter {
            title: "T",
            points: &[[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]],
            labels: &[0, 1, 1],
            classes: &classes,
        };
        assert_eq!(map.places(), [[14.0, 112.0], [406.0, 112.0], [210.0, 308.0]]);
        let html = map.html();
        assert!(html.contains("a&lt;b") && !html.contains("a<b"));
        assert_eq!(html.matches("<li").count(), 2);
    }

    #[test]
    fn of_very_many_classes_those_with_the_most_points_are_named() {
        let classes: Vec<String> = (0..100).map(|i| format!("class {i}")).collect();
        let labels: Vec<u32> = (0..100).chain([99, 98]).collect();
        let points = vec![[1.0, f32::NAN]; labels.len()];
        let map = Scatter { title: "T", points: &points, labels: &labels, classes: &classes };
        let named = map.named();
        assert!(named.len() == MOST && named.contains(&99) && named.contains(&98) && named.is_sorted());
        assert!(map.places().iter().all(|p| *p == [210.0, 210.0]));
        assert!(map.html().contains("other classes"));
    }
}
