//! The network that a review is about: the best finished one of an experiment, on its largest set of labels.

use anyhow::{Context, Result};
use simclr_core::disk;
use simclr_core::run::layout;
use simclr_core::stages::{self, FINETUNE, SUPERVISED};
use simclr_data::LabelSubset;
use simclr_report::plan::Job;
use std::path::PathBuf;

/// A finished run.
pub struct Best {
    /// Its folder below the experiment's.
    pub id: String,
    /// What it is, for people.
    pub title: String,
    /// Its folder.
    pub dir: PathBuf,
    /// Training images whose label was used, ascending.
    pub labeled: Vec<u32>,
}

/// Of the fine-tuned network and its students on the largest set of labels that one has finished on, the one of the best
/// accuracy on held-out images; of equal ones, or where none was measured, the last of the plan. `None` where none has
/// finished.
///
/// # Errors
/// When a file of theirs is damaged.
pub fn best(jobs: &[Job]) -> Result<Option<Best>> {
    let mut best: Option<((usize, f64), Best)> = None;
    for job in jobs.iter().filter(|job| job.row.is_some() && job.stage.name != SUPERVISED) {
        let result = job.dir.join(layout::RESULT);
        if !result.is_file() {
            continue;
        }
        let top1 = disk::read_json(&result)?["top1"].as_f64().unwrap_or(-1.0);
        let labeled = labels_of(job)?;
        let worth = (labeled.len(), top1);
        if best.as_ref().is_none_or(|(other, _)| worth >= *other) {
            let (id, title, dir) = (job.id.clone(), job.title.clone(), job.dir.clone());
            best = Some((worth, Best { id, title, dir, labeled }));
        }
    }
    Ok(best.map(|(_, best)| best))
}

/// The images whose labels the job's label set holds. The fine-tuned network keeps the list for its students.
fn labels_of(job: &Job) -> Result<Vec<u32>> {
    let folder = stages::named(FINETUNE).map_or_else(String::new, |stage| stage.folder(None));
    let set = job.dir.parent().context("a run stands in the folder of its label set")?;
    let file = set.join(folder).join(layout::LABELS);
    let subset: LabelSubset = serde_json::from_value(disk::read_json(&file)?)
        .with_context(|| format!("{} is no list of labeled images", file.display()))?;
    Ok(subset.indices)
}
