//! Sections on the held-out pictures: which classes are mistaken for which, figures of each, how sure the network may be.

use crate::chart::{Chart, Scale, Series};
use crate::html::escape;
use crate::review::{HeldOut, OfClass, Review};
use std::fmt::Write;

/// Classes of the largest table of confusions; beyond, the pairs that are mistaken most often are listed.
const TABLE: usize = 30;
/// Such pairs.
const PAIRS: usize = 20;
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
        if review.classes.len() <= TABLE {
            "Each row holds the pictures of one class, each column what they were taken for."
        } else {
            "The pairs of classes that are mistaken most often:"
        }
    );
    out += &if review.classes.len() <= TABLE { table(review, held) } else { pairs(review, held) };
    out += "</section>\n";
    out + &of_classes(review, held) + &reliability(held)
}

fn table(review: &Review, held: &HeldOut) -> String {
    let n = review.classes.len();
    let mut counts = vec![0; n * n];
    for &(class, guess, count) in &held.confusion {
        if let Some(cell) = counts.get_mut(class as usize * n + guess as usize) {
            *cell = count;
        }
    }
    let mut out = String::from("<div class=\"scroll\"><table class=\"confusion\"><thead><tr><th></th>");
    review.classes.iter().for_each(|class| {
        let _ = write!(out, "<th class=\"up\"><span>{}</span></th>", escape(class));
    });
    out += "</tr></thead>\n<tbody>\n";
    for (class, row) in review.classes.iter().zip(counts.chunks(n)) {
        let all = row.iter().sum::<usize>().max(1) as f64;
        let _ = write!(out, "<tr><th>{}</th>", escape(class));
        let own = review.classes.iter().position(|other| std::ptr::eq(other, class));
        for (guess, count) in row.iter().enumerate() {
            let share = *count as f64 / all;
            let kind = if Some(guess) == own { "right" } else { "wrong" };
            let strong = if share > 0.55 { " strong" } else { "" };
            let text = if *count > 0 { count.to_string() } else { String::new() };
            let tip = format!("{} taken for {}: {count}, {:.1} %", class, review.classes[guess], 100.0 * share);
            let _ = write!(
                out,
                "<td class=\"{kind}{strong}\" style=\"--share:{:.0}%\" title=\"{}\">{text}</td>",
                100.0 * share,
                escape(&tip)
            );
        }
        out += "</tr>\n";
    }
    out + "</tbody></table></div>\n"
}

fn pairs(review: &Review, held: &HeldOut) -> String {
    let of = held.of_classes(review.classes.len());
    let mut wrong: Vec<_> = held.confusion.iter().filter(|(class, guess, _)| class != guess).collect();
    wrong.sort_by_key(|(class, guess, count)| (std::cmp::Reverse(*count), *class, *guess));
    let mut out = String::from(
        "<div class=\"scroll\"><table class=\"results\"><thead><tr><th>Class</th><th>taken for</th><th>Pictures</th>\
         <th>of its own</th></tr></thead>\n<tbody>\n",
    );
    for (class, guess, count) in wrong.into_iter().take(PAIRS) {
        let all = of.get(*class as usize).map_or(1, |of| of.pictures.max(1));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{count}</td><td>{:.1} %</td></tr>",
            escape(review.class(*class)),
            escape(review.class(*guess)),
            100.0 * *count as f64 / all as f64
        );
    }
    out + "</tbody></table></div>\n"
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
    let line = |name: &str, points: Vec<(f64, f64)>, dots: bool| Series {
        name: name.into(),
        points,
        deviations: vec![],
        dots,
    };
    let points = of.bins.iter().filter(|(count, ..)| *count > 0).map(|(_, sure, right)| (*sure, *right)).collect();
    let chart = Chart {
        title: "How often the network is right when it is so sure",
        x_label: "probability of the predicted class",
        x: Scale::Percent,
        y: Scale::Percent,
        series: vec![line("as it should be", vec![(0.0, 0.0), (1.0, 1.0)], false), line("this network", points, true)],
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
