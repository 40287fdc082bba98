//! Sections on the held-out pictures: which classes are mistaken for which, figures of each, how sure the network may be.

use crate::chart::{Chart, Points, Scale, Series};
use crate::confusion;
use crate::html::escape;
use crate::review::{HeldOut, OfClass, Review};
use std::fmt::Write;

/// Classes whose figures are listed; beyond, those of the worst.
const LISTED: usize = 60;

/// The sections.
pub fn html(review: &Review, held: &HeldOut) -> String {
    let mut out = String::from("<section><h2>Mistakes</h2>\n");
    let _ = writeln!(
        out,
        "<p>{} held-out pictures through <b>{}</b>: {:.1} % are right. {}</p>",
        held.pictures,
        escape(&review.title),
        100.0 * held.top1,
        confusion::about(review.classes.len())
    );
    out += &confusion::html(&review.classes, &held.confusion);
    out += "</section>\n";
    out + &of_classes(review, held) + &reliability(held)
}

fn of_classes(review: &Review, held: &HeldOut) -> String {
    let mut rows: Vec<(usize, OfClass)> = held.of_classes(review.classes.len()).into_iter().enumerate().collect();
    let few = rows.len() <= LISTED;
    if !few {
        // A class without any picture tells nothing.
        rows.retain(|(_, of)| of.pictures > 0);
        rows.sort_by(|a, b| a.1.f1.unwrap_or(0.0).total_cmp(&b.1.f1.unwrap_or(0.0)));
        rows.truncate(LISTED);
    }
    let mut out = String::from("<section><h2>By class</h2>\n");
    if !few {
        let _ = writeln!(out, "<p>The {LISTED} of {} classes with the least F1.</p>", review.classes.len());
    }
    out += "<div class=\"scroll\"><table class=\"results\"><thead><tr><th>Class</th><th>Held out</th><th>Predicted</th>\
            <th>Precision</th><th>Recall</th><th>F1</th></tr></thead>\n<tbody>\n";
    let percent = |share: Option<f64>| share.map_or_else(|| "–".into(), |share| format!("{:.1} %", 100.0 * share));
    for (class, of) in rows {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(review.class(class as u32)),
            of.pictures,
            of.predicted,
            percent(of.precision),
            percent(of.recall),
            percent(of.f1)
        );
    }
    out + "</tbody></table></div></section>\n"
}

fn reliability(held: &HeldOut) -> String {
    let of = &held.reliability;
    let line = |name: &str, points: Vec<(f64, f64)>, shown: Points| Series {
        name: name.into(),
        points,
        deviations: vec![],
        shown,
    };
    let points = of.bins.iter().filter(|(count, ..)| *count > 0).map(|(_, sure, right)| (*sure, *right)).collect();
    let chart = Chart {
        title: "How often the network is right when it is so sure",
        x_label: "probability of the predicted class",
        x: Scale::Percent,
        y: Scale::Percent,
        series: vec![
            line("as it should be", vec![(0.0, 0.0), (1.0, 1.0)], Points::Told),
            line("this network", points, Points::Marked),
        ],
    };
    format!(
        "<section><h2>Calibration</h2>\n<p>Probabilities, here and of <code>classify</code>, are those of the network at a \
         temperature of {:.3}, fitted on the {} held-out pictures. The expected calibration error ({} bins, on the same \
         pictures) is {:.1} % with it and {:.1} % without.</p>\n<div class=\"one\">{}</div></section>\n",
        of.temperature,
        of.examples,
        of.bins.len(),
        100.0 * of.ece[1],
        100.0 * of.ece[0],
        chart.html()
    )
}
