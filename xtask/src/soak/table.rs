//! What was done to a run, as a table for the terminal: a line a job.

use super::flip::Flip;
use super::moments::At;
use crate::readable::duration;
use crate::reproduce::Job;

/// One time that the run was ended.
pub struct Row {
    /// Where it was.
    pub at: At,
    /// What was done to its newest state then.
    pub flipped: Option<Flip>,
}

/// Lays out how often each job was ended, at which steps, from which it had gone on, and what was half written.
pub fn render(rows: &[Row], jobs: &[Job], seconds: &[f64]) -> String {
    let mut out = format!("{:<36} {:>9} {:>6} {:>8}  steps\n", "job", "alone", "ended", "writing");
    for (number, alone) in seconds.iter().enumerate() {
        let name = jobs.get(number).map_or("report", |job| &job.id);
        let own: Vec<&Row> = rows.iter().filter(|row| row.at.number == number).collect();
        let writing = own.iter().filter(|row| row.at.writing.is_some()).count();
        let step = |row: &&Row| match (row.at.resumed, row.at.step) {
            (_, None) => "-".to_string(),
            (Some(from), Some(step)) if from < step => format!("{from}..{step}"),
            (_, Some(step)) => step.to_string(),
        };
        let steps: Vec<String> = own.iter().map(step).collect();
        out += &format!("{name:<36} {:>9} {:>6} {writing:>8}  {}\n", duration(*alone), own.len(), steps.join(" "));
    }
    out
}
