//! How the settings of an ablation stand: which are clearly behind the best one, and which is the cheapest that is not.

use crate::gather::{measure, paired};
use crate::outcome::{Cell, Measure, Outcome, Verdict};
use crate::statistics::{interval, mean, verdict};
use anyhow::{Context, Result};
use serde::Serialize;
use simclr_core::config::LabelAmount;

/// A setting beside the best one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// The cell.
    pub cell: String,
    /// Seeds that have finished.
    pub n: usize,
    /// Mean top-1 over these, in percent.
    pub top1: f64,
    /// Points that it lies behind the best, over the seeds that both have; 0 for the best itself.
    pub behind: f64,
    /// The 95 % interval of that; nothing for the best, or with fewer than two seeds.
    pub interval: Option<[f64; 2]>,
    /// Whether it is worse than the best beyond doubt: the interval lies above 0.
    pub is_behind: bool,
    /// Its work as the share of the first cell's.
    pub cost: f64,
}

/// The settings, the best first.
///
/// # Errors
/// When nothing has finished.
pub fn standing(outcome: &Outcome, method: &str, labels: LabelAmount) -> Result<Vec<Place>> {
    let of = |cell: &'_ Cell| measure(cell, method, labels).filter(|m| !m.top1.is_empty()).cloned();
    let mut known: Vec<(&Cell, Measure)> = outcome.cells.iter().filter_map(|cell| Some((cell, of(cell)?))).collect();
    known.sort_by(|(_, a), (_, b)| mean(&b.top1).total_cmp(&mean(&a.top1)));
    // One that was dropped after a lucky seed is not the best of those that went on.
    let most = known.iter().map(|(_, m)| m.top1.len()).max().unwrap_or(0);
    let best = known.iter().position(|(_, m)| m.top1.len() == most);
    let best = best.with_context(|| format!("nothing has finished that measures {method} on {labels}"))?;
    let first = known.remove(best);
    known.insert(0, first);
    let (best, best_measure) = (known[0].0.id.clone(), known[0].1.clone());
    let place = |(cell, own): &(&Cell, Measure)| {
        let differences = if cell.id == best { Vec::new() } else { paired(&[&best_measure], &[own]) };
        let interval = interval(&differences);
        Place {
            cell: cell.id.clone(),
            n: own.top1.len(),
            top1: 100.0 * mean(&own.top1),
            behind: if differences.is_empty() { 0.0 } else { mean(&differences) },
            interval,
            is_behind: verdict(interval) == Verdict::Confirmed,
            cost: cell.cost,
        }
    };
    Ok(known.iter().map(place).collect())
}

/// The cheapest setting that is not clearly behind the best; of equally cheap ones the better. One that got a single seed has
/// not shown that it is as good.
pub fn cheapest(places: &[Place]) -> Option<&Place> {
    let compared = places.iter().skip(1).filter(|place| place.interval.is_some() && !place.is_behind);
    places.first().into_iter().chain(compared).min_by(|a, b| a.cost.total_cmp(&b.cost))
}

/// What an ablation comes to, in sentences.
pub fn conclusions(places: &[Place], key: &str) -> Vec<String> {
    let Some(best) = places.first() else { return Vec::new() };
    let mut all = vec![format!("The best {key} is {}: {:.2} % over {} seeds.", best.cell, best.top1, best.n)];
    for place in &places[1..] {
        let (behind, cost) = (place.behind, place.cost / best.cost);
        let said = match place.interval {
            None => format!("{behind:.2} points behind on one seed, too few to tell"),
            Some([low, high]) => {
                let clear = if place.is_behind { "clearly" } else { "not clearly" };
                format!("{clear} behind: {behind:.2} points, [{low:.2}, {high:.2}], n = {}", place.n)
            }
        };
        all.push(format!("{} is {said}, at {cost:.2} of the cost of the best.", place.cell));
    }
    if let Some(place) = cheapest(places) {
        all.push(format!("The cheapest that is as good as the best, as far as these seeds can tell: {}.", place.cell));
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::outcome::Made;

    fn outcome(cells: &[(&str, f64, &[f64])]) -> Outcome {
        let text = String::new;
        let cell = |(id, cost, top1): &(&str, f64, &[f64])| {
            let measure = Measure {
                method: "finetuned".into(),
                labels: LabelAmount::Share(0.01),
                seeds: (0..top1.len() as u64).collect(),
                top1: top1.to_vec(),
                params: 1,
                seconds: 1.0,
                runs: vec![],
            };
            let (values, differs) = (std::collections::BTreeMap::new(), vec![]);
            Cell { id: (*id).into(), values, differs, cost: *cost, measures: vec![measure] }
        };
        let (commit, hardware, simd, date) = (text(), text(), text(), text());
        Outcome {
            study: text(),
            scale: text(),
            title: text(),
            question: text(),
            base: text(),
            dataset: text(),
            axes: vec![],
            made: Made { commit, numerics: 0, hardware, simd, date, seconds: 0.0, runs: 0, at_once: 1 },
            cells: cells.iter().map(cell).collect(),
            claims: vec![],
            conclusions: vec![],
            published: vec![],
            missing: vec![],
        }
    }

    fn places(cells: &[(&str, f64, &[f64])]) -> Vec<Place> {
        standing(&outcome(cells), "finetuned", LabelAmount::Share(0.01)).unwrap()
    }

    #[test]
    fn the_cheapest_of_the_good_is_found() {
        let places = places(&[
            ("slow", 2.0, &[0.80, 0.82, 0.81]),
            ("quick", 0.5, &[0.801, 0.815, 0.812]),
            ("bad", 0.1, &[0.50, 0.52, 0.51]),
        ]);
        let order: Vec<_> = places.iter().map(|place| place.cell.as_str()).collect();
        assert_eq!(order, ["slow", "quick", "bad"]);
        assert!(!places[1].is_behind && places[2].is_behind, "{places:?}");
        assert!((places[2].behind - 30.0).abs() < 1e-9, "{places:?}");
        assert_eq!(cheapest(&places).unwrap().cell, "quick");
    }

    #[test]
    fn a_lucky_seed_is_not_the_best_of_many() {
        let places = places(&[("steady", 1.0, &[0.7, 0.71, 0.7]), ("dropped", 1.0, &[0.72])]);
        assert_eq!(places[0].cell, "steady");
        assert_eq!((places[1].interval, places[1].is_behind), (None, false));
    }

    /// However cheap it is.
    #[test]
    fn one_seed_does_not_show_that_a_setting_is_as_good() {
        let places = places(&[("steady", 1.0, &[0.7, 0.71]), ("dropped", 0.5, &[0.2])]);
        assert_eq!(cheapest(&places).unwrap().cell, "steady");
        let said = conclusions(&places, "key");
        assert!(said[1].contains("dropped is 50.00 points behind on one seed, too few to tell, at 0.50"), "{said:?}");
        assert!(said[2].ends_with(": steady."), "{said:?}");
    }
}
