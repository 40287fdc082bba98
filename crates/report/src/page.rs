//! The page of the report: headline, table, charts, pictures, configuration.

use crate::chart::{Chart, Points, Scale, Series};
use crate::curves::Curves;
use crate::html::{document, escape};
use crate::pictures::Pictures;
use crate::results::{ResultRow, Results};
use anyhow::Result;
use simclr_core::config::{Config, LabelAmount};
use simclr_core::readable::{count, duration};
use simclr_core::stages::{DISTILL, FINETUNE, SUPERVISED, TOOL};
use simclr_core::train::health::Concern;
use std::fmt::Write;

/// Most warnings of one training that are shown.
const CONCERNS: usize = 5;

/// What the page shows.
pub struct Page<'a> {
    /// The experiment.
    pub config: &'a Config,
    /// Its results.
    pub results: &'a Results,
    /// Learning curves by stage.
    pub curves: Vec<Curves>,
    /// Views and neighbours.
    pub pictures: Pictures,
    /// Sections of what a review found; empty where there was none.
    pub review: String,
}

impl Page<'_> {
    /// The whole file.
    ///
    /// # Errors
    /// When the configuration cannot be written as TOML.
    pub fn html(&self) -> Result<String> {
        let name = escape(&self.config.name);
        let parts = [
            self.header(&name),
            self.concerns(),
            self.table(),
            self.by_labels(),
            self.review.clone(),
            self.learning(),
            self.pictures.html(),
            self.footer()?,
        ];
        Ok(document(&format!("{} · SimCLRv2", self.config.name), &parts.concat()))
    }

    fn header(&self, name: &str) -> String {
        let r = self.results;
        let mut out = format!("<header><h1>{name}</h1>\n<p class=\"lead\">{}</p>\n", headline(&r.rows));
        let data = &self.config.data;
        let _ = writeln!(
            out,
            "<p class=\"facts\">{}, {} px · {} · device {} · seed {} · {} of training and \
             evaluation</p>",
            escape(simclr_data::source::title(&data.dataset, data.hub.as_deref())),
            data.image_size,
            escape(&self.config.model.title()),
            escape(&r.device),
            r.seed,
            duration(r.seconds)
        );
        if !r.missing.is_empty() {
            let _ = writeln!(
                out,
                "<p class=\"note\">The run is not complete. Not finished: {}.</p>",
                escape(&r.missing.join(", "))
            );
        }
        out + "</header>\n"
    }

    /// What was wrong with a training; nothing where all went well.
    fn concerns(&self) -> String {
        let mut out = String::new();
        for curves in &self.curves {
            for Concern { steps: (from, to), text } in curves.concerns.iter().take(CONCERNS) {
                let title = escape(&curves.title);
                let _ = writeln!(
                    out,
                    "<p class=\"note warning\"><strong>{title}</strong>, steps {from} to {to}: {}.</p>",
                    escape(text)
                );
            }
        }
        out
    }

    fn table(&self) -> String {
        let mut out = String::from(
            "<section><h2>Results</h2>\n<div class=\"scroll\"><table class=\"results\">\n<thead><tr><th>Method</th>\
             <th>Top-1</th><th>Top-5</th><th>Parameters</th><th>Time</th></tr></thead>\n<tbody>\n",
        );
        let mut group = String::new();
        for row in &self.results.rows {
            let title = group_title(row);
            if title != group {
                let _ = writeln!(out, "<tr class=\"group\"><th colspan=\"5\">{title}</th></tr>");
                group = title;
            }
            let rivals = self.results.rows.iter().filter(|r| group_title(r) == group);
            let best = rivals.map(|r| r.top1).fold(0.0, f64::max);
            let class = if row.top1 >= best { " class=\"best\"" } else { "" };
            let spread = match row.top1_std {
                Some(d) => format!(" <small>± {:.2} (n = {})</small>", 100.0 * d, row.n),
                None => String::new(),
            };
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td{class}>{:.2} %{spread}</td><td>{:.2} %</td><td>{}</td><td>{}</td></tr>",
                escape(&row.method.title()),
                100.0 * row.top1,
                100.0 * row.top5,
                count(row.params),
                duration(row.seconds)
            );
        }
        out += "</tbody></table></div>\n";
        if self.results.rows.iter().any(|r| r.n > 1) {
            out += "<p class=\"facts\">Mean ± sample standard deviation over label subsets; time of one run.</p>\n";
        }
        out + "</section>\n"
    }

    /// A chart over shares of the labels, and one over labels a class, as far as there are rows of either.
    fn by_labels(&self) -> String {
        let share = |amount: LabelAmount| if let LabelAmount::Share(share) = amount { Some(share) } else { None };
        let count = |amount| if let LabelAmount::PerClass(count) = amount { Some(count as f64) } else { None };
        let charts = [
            self.accuracy_by("share of the training labels", Scale::LogPercent, share),
            self.accuracy_by("labels of each class", Scale::LogCount, count),
        ]
        .concat();
        if charts.is_empty() {
            return charts;
        }
        format!("<section><h2>Accuracy by labels</h2>\n{charts}</section>\n")
    }

    /// A chart of the rows whose amount of labels `place` has a place for; empty where there is none.
    fn accuracy_by(&self, x_label: &str, x: Scale, place: impl Fn(LabelAmount) -> Option<f64>) -> String {
        let mut series: Vec<Series> = Vec::new();
        for row in self.results.rows.iter().filter(|r| !r.is_of_others()) {
            let Some(place) = place(row.labels) else { continue };
            let name = row.method.title();
            let at = series.iter().position(|s| s.name == name).unwrap_or_else(|| {
                series.push(Series { name, points: vec![], deviations: vec![], shown: Points::Marked });
                series.len() - 1
            });
            series[at].points.push((place, row.top1));
            series[at].deviations.push(row.top1_std);
        }
        if series.is_empty() {
            return String::new();
        }
        Chart { title: "Top-1 accuracy on the test images", x_label, x, y: Scale::Percent, series }.html()
    }

    fn learning(&self) -> String {
        if self.curves.is_empty() {
            return String::new();
        }
        let mut out = String::from("<section><h2>Learning curves</h2>\n<div class=\"charts\">\n");
        let lines = |what: &str, all: &[Vec<(f64, f64)>], shown: Points| -> Vec<Series> {
            let name = |i: usize| if all.len() > 1 { format!("subset {i}") } else { what.into() };
            let line = |(i, points): (usize, &Vec<(f64, f64)>)| Series {
                name: name(i),
                points: points.clone(),
                deviations: vec![],
                shown,
            };
            all.iter().enumerate().map(line).collect()
        };
        for c in &self.curves {
            for (what, y, points, shown) in [
                (c.names[0], Scale::Linear, &c.loss, Points::Told),
                (c.names[1], Scale::Percent, &c.accuracy, Points::Marked),
            ] {
                // A single measurement is in the table.
                if points.iter().any(|p| p.len() > 1) {
                    let title = format!("{}: {what}", c.title);
                    let series = lines(what, points, shown);
                    out += &Chart { title: &title, x_label: "step", x: Scale::Linear, y, series }.html();
                }
            }
        }
        out + "</div></section>\n"
    }

    fn footer(&self) -> Result<String> {
        Ok(format!(
            "<section><h2>Configuration</h2>\n<details><summary>Every value, defaults written out</summary>\n\
             <pre>{}</pre></details></section>\n\
             <footer>SimCLRv2 in Rust, {TOOL} {} on {} {}. Method: Chen et al., Big Self-Supervised Models are \
             Strong Semi-Supervised Learners, NeurIPS 2020.</footer>\n",
            escape(&self.config.to_toml()?),
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH
        ))
    }
}

fn group_title(row: &ResultRow) -> String {
    if row.is_of_others() { "Pretrained encoder, frozen, all labels".into() } else { row.labels.words() }
}

/// What the run shows, in a sentence: the fewest labels, with and without pretraining, and the best student.
fn headline(rows: &[ResultRow]) -> String {
    let find = |stage: &str| rows.iter().find(|r| r.method.stage.name == stage);
    let Some(tuned) = find(FINETUNE) else {
        return "Three steps: pretrain without labels, fine-tune on a few, distil on all images.".into();
    };
    let mut out =
        format!("With {}, pretraining and fine-tuning reach <b>{:.1} %</b>", tuned.labels.words(), 100.0 * tuned.top1);
    if let Some(base) = find(SUPERVISED).filter(|b| b.labels == tuned.labels) {
        let _ = write!(out, "; the same network from scratch reaches {:.1} %", 100.0 * base.top1);
    }
    let students = rows.iter().filter(|r| r.labels == tuned.labels && r.method.stage.name == DISTILL);
    if let Some(best) = students.max_by(|a, b| a.top1.total_cmp(&b.top1)) {
        let _ = write!(out, ". Distilled on images without labels: {:.1} %", 100.0 * best.top1);
    }
    out + "."
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use simclr_core::stages::{self, Method};

    fn row(stage: &str, student: Option<&str>, labels: f64, top1: f64) -> ResultRow {
        ResultRow {
            method: Method::of(stages::named(stage).unwrap(), student).remove(0),
            labels: LabelAmount::Share(labels),
            top1,
            top5: 1.0,
            params: 1,
            seconds: 1.0,
            n: 1,
            top1_std: None,
            top1_each: vec![top1],
        }
    }

    #[test]
    fn the_headline_compares_equal_labels() {
        let rows = [
            row(SUPERVISED, None, 0.01, 0.25),
            row(FINETUNE, None, 0.01, 0.5),
            row(DISTILL, Some("self"), 0.01, 0.55),
            row(DISTILL, Some("self"), 0.1, 0.9),
        ];
        let expected = "With 1 % of the labels, pretraining and fine-tuning reach <b>50.0 %</b>; the same network from \
            scratch reaches 25.0 %. Distilled on images without labels: 55.0 %.";
        assert_eq!(headline(&rows), expected);
        assert!(!headline(&rows[1..2]).contains("scratch"));
    }
}
