//! What pages say of made-up outcomes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::outcome::Outcome;
use crate::testing::{STUDIES, look, outcome};

fn page(outcome: &Outcome) -> String {
    html(outcome, Path::new("there is no pool"), &[]).unwrap()
}

#[test]
fn every_study_has_a_page_from_its_outcome_alone() {
    for study in STUDIES {
        let page = page(&outcome(study));
        assert!(page.contains("<figure>") && page.contains("</html>"), "{study}");
        assert!(page.contains("small pictures &lt;as well&gt;") && !page.contains("<as well>"), "{study}");
        assert!(page.contains("the runs are not on the machine that made this page"), "{study}");
        assert!(page.contains("No network was looked at"), "{study}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{study}");
    }
}

#[test]
fn verdicts_are_told_in_words_with_their_interval() {
    let page = page(&outcome("model-size"));
    for words in ["confirmed", "not seen at this scale", "opposite", "open"] {
        assert!(page.contains(&format!("</span> {words}</span>")), "{words}");
    }
    assert!(page.contains(
        "<b>+9.03 points</b>, 95 % interval +6.20 to +11.86, n = 3; the paper, on ImageNet: <b>+17.00 points</b>"
    ));
    assert!(
        page.contains("<b>−1.21 points</b>, 95 % interval −2.00 to −0.42")
            && page.contains("the paper gives no number")
    );
    assert!(page.contains("too few seeds have finished for an interval (n = 1)"));
}

#[test]
fn accuracies_stand_with_deviation_and_count() {
    let mut study = outcome("model-size");
    for (cell, base) in study.cells.iter_mut().zip([0.5, 0.6, 0.7]) {
        cell.measures[1].top1 = vec![base - 0.01, base, base + 0.01];
    }
    study.cells.truncate(3);
    let text = page(&study);
    assert!(text.contains("<td>50.00 <small>± 1.00</small></td>"), "{text}");
    assert!(text.contains("<td class=\"best\">70.00 <small>± 1.00</small></td>") && text.contains("3 seeds each"));
    study.cells[0].measures[1].top1.pop();
    let text = page(&study);
    assert!(
        text.contains("(n = 2)</small>") && text.contains("2 to 3 seeds each"),
        "where they differ each says its own"
    );
    study.cells[0].measures.remove(1);
    assert!(page(&study).contains("<td class=\"absent\">–</td>"));
}

#[test]
fn the_axis_suits_what_varies() {
    let size = page(&outcome("model-size"));
    assert!(size.contains(">parameters of the network</text>") && size.contains(">2.8 M</text>"));
    assert!(size.contains("Relative gain over the smallest network"));
    let head = page(&outcome("head"));
    assert!(
        head.contains(">Fine-tuned from</text>") && head.contains("</svg>layers 3</li>"),
        "the other axis has lines"
    );
    let temperature = page(&outcome("temperature"));
    assert!(temperature.contains(">Temperature</text>") && temperature.contains(">0.05</text>"));
    let objective = page(&outcome("distill-objective"));
    assert!(objective.contains(">labels and distillation, all images</text>"), "a row has room for a name");
    assert!(!objective.contains("Relative gain"));
    let labels = page(&outcome("labels"));
    assert!(labels.contains(">share of the training labels</text>") && labels.contains(">100 %</text>"));
}

#[test]
fn gains_are_relative_to_the_smallest_network_of_the_same_seed() {
    let mut study = outcome("model-size");
    for cell in &mut study.cells {
        let factor = if cell.measures[0].params == 180_000 { 1.0 } else { 1.25 };
        cell.measures[1].top1 = [0.4, 0.5, 0.6].map(|top1| top1 * factor).to_vec();
    }
    let page = page(&study);
    assert!(
        page.contains("<title>1 % of the labels, 2.8 M: 25.00 % ± 0.00 %</title>"),
        "seed by seed there is no deviation"
    );
    assert!(page.contains("<title>1 % of the labels, 180 k: 0.00 % ± 0.00 %</title>"));
}

#[test]
fn the_papers_tables_are_marked_as_the_papers() {
    let page = page(&outcome("labels"));
    let (_, after) = page.split_once("<span class=\"mark\">published</span>").unwrap();
    assert!(after.contains("on ImageNet: not measured here") && after.contains("<td>74.9</td>"));
}

#[test]
fn an_unfinished_study_says_so() {
    let mut study = outcome("memory");
    study.missing = (0..10).map(|i| format!("run {i}")).collect();
    let text = page(&study);
    assert!(text.contains("Not finished: run 0,") && text.contains("and 2 more") && !text.contains("run 9"));
    study.cells.iter_mut().for_each(|cell| cell.measures.clear());
    assert!(page(&study).contains("Nothing was measured yet"));
    study.cells.clear();
    page(&study);
}

#[test]
fn what_else_follows_is_said() {
    let mut study = outcome("memory");
    study.conclusions = vec!["take <this> one".into()];
    assert!(page(&study).contains("What else follows</h3>\n<ul>\n<li>take &lt;this&gt; one</li>"));
    study.claims.clear();
    assert!(page(&study).contains("<li>take &lt;this&gt; one</li>") && !page(&study).contains("What else"));
    study.conclusions.clear();
    assert!(page(&study).contains("no claim that this study could answer"));
}

#[test]
fn looks_are_shown() {
    let page = html(&outcome("labels"), Path::new("none"), &[look()]).unwrap();
    assert!(page.contains("1440 of 2000 test images, classified by its own classifier: 91.7 % are right"));
    assert!(page.contains("title=\"waves taken for checks: 12, 7.4 %\"") && page.contains("t-SNE, perplexity 30"));
    assert_eq!(page.matches("<tr><th scope=\"row\"><img").count(), 10);
}

#[test]
fn the_index_leads_to_every_page() {
    let all: Vec<Outcome> = STUDIES.iter().map(|study| outcome(study)).collect();
    let index = index(&all).unwrap();
    for study in &all {
        assert!(index.contains(&format!("<a href=\"{}\">{}</a>", file(study), study.title)), "{}", study.study);
    }
    assert!(index.contains("7 confirmed, 7 not seen at this scale, 7 opposite, 7 open"));
}

#[test]
fn the_method_is_a_column_where_each_cell_has_its_own() {
    let mut study = outcome("distill-student");
    for (i, cell) in study.cells.iter_mut().enumerate() {
        cell.values.insert("student".into(), format!("size_{i}"));
        cell.measures.retain(|m| (m.method == "finetuned") == (i == 0));
    }
    let text = page(&study);
    assert!(text.contains("<th scope=\"col\">Method</th><th scope=\"col\">1 % of the labels</th>"), "{text}");
    assert!(text.contains("<th scope=\"row\">size 0</th>") && text.contains("<td>Distilled: student</td>"));
    let row = text.split("<th scope=\"row\">size 0</th>").nth(1).and_then(|rest| rest.split("</tr>").next()).unwrap();
    assert!(row.contains("<td>Pretrained, fine-tuned</td>") && row.ends_with("<td class=\"absent\">–</td>"), "{row}");
}
