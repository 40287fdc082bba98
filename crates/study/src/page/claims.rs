//! The answers: each claim of the paper, what was found, and what follows from it.

use crate::outcome::{Claim, Outcome, Verdict};
use simclr_report::chart::mark;
use simclr_report::html::escape;
use std::fmt::Write;

/// Width of the drawing of an interval, and the room left at its ends.
const WIDTH: f64 = 480.0;
const EDGE: f64 = 12.0;

/// A verdict in words.
pub fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Confirmed => "confirmed",
        Verdict::NotSeen => "not seen at this scale",
        Verdict::Opposite => "opposite",
        Verdict::Open => "open",
    }
}

/// A verdict's class in the style sheet, and a sign, so that it is told by more than a colour.
fn look(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Confirmed => ("confirmed", "✓"),
        Verdict::NotSeen => ("not-seen", "○"),
        Verdict::Opposite => ("opposite", "✗"),
        Verdict::Open => ("open", "…"),
    }
}

fn badge(verdict: Verdict) -> String {
    let (class, sign) = look(verdict);
    format!("<span class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {}</span>", words(verdict))
}

/// The verdict and the difference on one line.
pub fn short(claim: &Claim) -> String {
    let (class, sign) = look(claim.verdict);
    let number = if holds(claim) { format!(": {}", points(claim.mean)) } else { String::new() };
    format!(
        "<span class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {}{number}</span>",
        words(claim.verdict)
    )
}

/// Whether there is a difference with an interval.
fn holds(claim: &Claim) -> bool {
    claim.verdict != Verdict::Open && [claim.mean, claim.interval[0], claim.interval[1]].iter().all(|v| v.is_finite())
}

/// A difference as people write it, with its sign.
fn points(value: f64) -> String {
    // A minus as wide as a plus.
    format!("{value:+.2}").replace('-', "−") + " points"
}

fn number(value: f64) -> String {
    format!("{value:+.2}").replace('-', "−")
}

/// All claims, and what else follows.
pub fn html(outcome: &Outcome) -> String {
    let conclusions: String = outcome.conclusions.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
    match (outcome.claims.is_empty(), conclusions.is_empty()) {
        (true, true) => "<p>There is no claim that this study could answer.</p>\n".into(),
        (_, true) => claims(outcome),
        (true, false) => format!("<ul>\n{conclusions}</ul>\n"),
        (false, false) => claims(outcome) + &format!("<h3>What else follows</h3>\n<ul>\n{conclusions}</ul>\n"),
    }
}

fn claims(outcome: &Outcome) -> String {
    let mut out = String::from(
        "<p>Differences are in points of top-1, hundredths of accuracy, seed by seed. A claim is confirmed where the whole 95 % \
         interval of the mean lies above 0, not seen where it holds 0, and the opposite is seen where it lies below.</p>\n\
         <ol class=\"claims\">\n",
    );
    for claim in &outcome.claims {
        let class = look(claim.verdict).0;
        let _ = writeln!(out, "<li class=\"{class}\">{}\n<p>{}</p>", badge(claim.verdict), escape(&claim.text));
        let mut line = escape(&claim.difference) + ": ";
        if holds(claim) {
            let [low, high] = claim.interval;
            let _ = write!(
                line,
                "<b>{}</b>, 95 % interval {} to {}, n = {}",
                points(claim.mean),
                number(low),
                number(high),
                claim.n
            );
        } else {
            let _ = write!(line, "too few seeds have finished for an interval (n = {})", claim.n);
        }
        line += &match claim.published {
            Some(value) => format!("; the paper, on ImageNet: <b>{}</b>", points(value)),
            None => "; the paper gives no number".into(),
        };
        let _ = writeln!(out, "<p class=\"difference\">{line}.</p>");
        if holds(claim) {
            out += &interval(claim);
        }
        out += "</li>\n";
    }
    out + "</ol>\n"
}

/// The interval against 0, and the paper's difference.
fn interval(claim: &Claim) -> String {
    let [low, high] = claim.interval;
    let all = [low, high, claim.mean, 0.0].into_iter().chain(claim.published);
    let (from, to) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let x = |v: f64| EDGE + (v - from) / (to - from).max(1e-9) * (WIDTH - 2.0 * EDGE);
    let tip = format!("{}, interval {} to {}", points(claim.mean), number(low), number(high));
    let mut out = format!(
        "<svg class=\"interval\" viewBox=\"0 0 {WIDTH} 42\" role=\"img\" aria-label=\"{}\">\
         <path class=\"grid\" d=\"M{EDGE} 13H{}\"/><path class=\"axis\" d=\"M{:.1} 2v22\"/>\
         <g class=\"here\"><path class=\"line\" d=\"M{:.1} 13H{:.1}M{:.1} 8v10M{:.1} 8v10\"/>\
         <path class=\"dot\" d=\"{}\"/></g>",
        escape(&tip),
        WIDTH - EDGE,
        x(0.0),
        x(low),
        x(high),
        x(low),
        x(high),
        mark::shape(0, x(claim.mean), 13.0)
    );
    let anchor = |v: f64| match x(v) {
        near if near < 60.0 => "start",
        far if far > WIDTH - 60.0 => "end",
        _ => "middle",
    };
    let text =
        |v: f64, text: &str| format!("<text x=\"{:.1}\" y=\"39\" text-anchor=\"{}\">{text}</text>", x(v), anchor(v));
    out += &text(0.0, "0");
    if let Some(value) = claim.published {
        let _ = write!(out, "<g class=\"paper\"><path class=\"dot\" d=\"{}\"/></g>", mark::shape(3, x(value), 13.0));
        // Where it would stand on the zero the words above say it.
        if (x(value) - x(0.0)).abs() > 70.0 {
            out += &text(value, "paper");
        }
    }
    out + "</svg>\n"
}
