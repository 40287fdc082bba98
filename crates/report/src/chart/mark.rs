//! What tells lines of a chart apart: a colour, the shape of the marks, dashes. None of them carries meaning alone.

/// Colours that the style sheet has; further lines start again, with dashes.
const COLORS: usize = 8;

/// The classes of line `number`. The grey one comes last.
pub fn class(number: usize) -> String {
    let dashes = ["", "dashed", "dotted"][number / COLORS % 3];
    format!("c{} {dashes}", (number + 1) % COLORS)
}

/// The outline of a mark at a place.
pub fn shape(number: usize, x: f64, y: f64) -> String {
    match number % 4 {
        0 => format!("M{:.1} {y:.1}a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0z", x - 4.5),
        1 => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
        2 => format!("M{x:.1} {:.1}l5.2 9h-10.4z", y - 5.5),
        _ => format!("M{x:.1} {:.1}l5.5 5.5l-5.5 5.5l-5.5 -5.5z", y - 5.5),
    }
}

/// A line's entry in the legend, before its name.
pub fn key(number: usize, marked: bool, connected: bool) -> String {
    let mut out = format!("<svg class=\"key {}\" viewBox=\"0 0 28 12\" aria-hidden=\"true\">", class(number));
    if connected {
        out += "<path class=\"line\" d=\"M1 6H27\"/>";
    }
    if marked {
        out += &format!("<path class=\"dot\" d=\"{}\"/>", shape(number, 14.0, 6.0));
    }
    out + "</svg>"
}
