//! The evaluations of a run: which was the best, and whether to wait for a better one.

use super::task::ACCURACY;
use crate::config::TrainingConfig;
use crate::run::Best;
use serde_json::{Value as Json, json};

/// What a run knows of its evaluations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Watch {
    patience: Option<u64>,
    best: Option<Best>,
    /// Evaluations since the best one.
    stale: u64,
}

impl Watch {
    /// Of a run without evaluations.
    pub fn new(training: &TrainingConfig) -> Self {
        Self { patience: training.patience, best: None, stale: 0 }
    }

    /// Takes note of an evaluation after `step` steps; gives it where it is better than all before.
    pub fn saw(&mut self, step: u64, metrics: &[(&'static str, f64)]) -> Option<Best> {
        let top1 = metrics.iter().find(|(name, _)| *name == ACCURACY)?.1;
        if self.best.is_none_or(|best| top1 > best.top1) && !top1.is_nan() {
            (self.best, self.stale) = (Some(Best { step, top1 }), 0);
            return self.best;
        }
        self.stale += 1;
        None
    }

    /// The best evaluation so far.
    pub fn best(&self) -> Option<Best> {
        self.best
    }

    /// Whether so many evaluations in a row were no better than the best that training stops.
    pub fn is_over(&self) -> bool {
        self.patience.is_some_and(|patience| self.stale >= patience)
    }

    /// Counts anew from here: the run was over, and goes on.
    pub fn begin_anew(&mut self) {
        self.stale = 0;
    }

    /// What the state of a run says of it: nothing where there was no evaluation.
    pub fn save(&self, state: &mut Json) {
        if let Some(best) = self.best {
            state["best"] = json!(best);
            state["stale"] = json!(self.stale);
        }
    }

    /// Takes over what a state says.
    ///
    /// # Errors
    /// When it says something else.
    pub fn restore(&mut self, state: &Json) -> anyhow::Result<()> {
        self.best = serde_json::from_value(state["best"].clone())?;
        self.stale = state["stale"].as_u64().unwrap_or(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_of_equals_is_the_best_and_patience_ends() {
        let mut training = crate::run::folder_tests::config().pretrain.training;
        training.patience = Some(2);
        let mut watch = Watch::new(&training);
        let saw =
            |watch: &mut Watch, step: u64, top1: f64| watch.saw(step, &[("other", 1.0), (ACCURACY, top1)]).is_some();
        assert!(watch.saw(1, &[("other", 0.5)]).is_none() && watch.best().is_none());
        assert!(!saw(&mut watch, 1, f64::NAN) && watch.best().is_none());
        assert!(saw(&mut watch, 2, 0.0) && saw(&mut watch, 3, 0.25));
        assert!(!saw(&mut watch, 4, 0.25) && !watch.is_over());
        let mut state = json!({});
        watch.save(&mut state);
        let mut other = Watch::new(&training);
        other.restore(&state).unwrap();
        assert_eq!(other, watch);
        assert!(!saw(&mut watch, 5, 0.1) && watch.is_over());
        assert_eq!(watch.best(), Some(Best { step: 3, top1: 0.25 }));
        watch.begin_anew();
        assert!(!watch.is_over());
        other.restore(&json!({"step": 3})).unwrap();
        assert_eq!(other, Watch::new(&training));
    }
}
