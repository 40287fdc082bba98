//! How far a long loop has come: a bar on a terminal, JSON lines for a program, little otherwise.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ProgressMode {
    /// A bar on a terminal, else as `plain`.
    #[default]
    Auto,
    /// A line at the start and one at the end, on stderr.
    Plain,
    /// JSON lines on stdout, two a second at most.
    Json,
    /// Nothing.
    Off,
}

const INTERVAL: Duration = Duration::from_millis(500);

enum View {
    Bar(ProgressBar),
    Plain,
    Json(Option<Instant>),
    Off,
}

/// The progress of one loop.
pub struct Progress {
    title: String,
    steps: u64,
    started: Instant,
    first: Option<u64>,
    view: View,
}

impl Progress {
    /// Starts to show a loop of `steps` steps.
    pub fn new(title: impl Into<String>, steps: u64, mode: ProgressMode) -> Self {
        let title = title.into();
        let view = match mode {
            ProgressMode::Auto if std::io::stderr().is_terminal() => View::Bar(bar(&title, steps)),
            ProgressMode::Auto | ProgressMode::Plain => {
                eprintln!("{title}: {steps} steps");
                View::Plain
            }
            ProgressMode::Json => View::Json(None),
            ProgressMode::Off => View::Off,
        };
        Self { title, steps, started: Instant::now(), first: None, view }
    }

    /// Shows that `step` steps are done. `images_per_s` is the present speed; what does not train has no loss. `note` is
    /// shown beside the loss.
    pub fn update(&mut self, step: u64, images_per_s: f64, loss: Option<f64>, note: Option<&str>) {
        let first = *self.first.get_or_insert(step.saturating_sub(1));
        match &mut self.view {
            View::Bar(bar) => {
                if bar.position() == 0 && first > 0 {
                    // A resumed run: the time that is left follows from this session's steps alone.
                    bar.set_position(first);
                    bar.reset_eta();
                }
                bar.set_position(step);
                let loss = loss.map(|loss| format!("  loss {loss:.4}")).unwrap_or_default();
                let note = note.map(|note| format!("  {note}")).unwrap_or_default();
                bar.set_message(format!("{images_per_s:.0} images/s{loss}{note}"));
            }
            View::Json(last) if step >= self.steps || last.is_none_or(|l| l.elapsed() >= INTERVAL) => {
                *last = Some(Instant::now());
                let done = step.saturating_sub(first).max(1) as f64;
                let eta = self.started.elapsed().as_secs_f64() / done * self.steps.saturating_sub(step) as f64;
                let line = self.json(step, images_per_s, eta, loss, note);
                // Nobody may be reading any more; training goes on all the same.
                super::output::mention(line);
            }
            View::Json(_) | View::Plain | View::Off => {}
        }
    }

    fn json(
        &self,
        step: u64,
        images_per_s: f64,
        eta_s: f64,
        loss: Option<f64>,
        note: Option<&str>,
    ) -> serde_json::Value {
        serde_json::json!({"progress": {
            "title": self.title, "step": step, "steps": self.steps,
            "images_per_s": images_per_s, "eta_s": eta_s, "loss": loss, "note": note,
        }})
    }

    /// Ends the display; `summary` is what came out, such as `top1 71.2 %`.
    pub fn finish(self, summary: &str) {
        let seconds = self.started.elapsed().as_secs_f64();
        let line = format!("{}: done in {seconds:.1} s  {summary}", self.title);
        match self.view {
            View::Bar(bar) => {
                bar.finish_and_clear();
                eprintln!("{line}");
            }
            View::Plain => eprintln!("{line}"),
            View::Json(_) | View::Off => {}
        }
    }
}

fn bar(title: &str, steps: u64) -> ProgressBar {
    let template = "{prefix} {wide_bar} {pos}/{len}  {msg}  {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr()).with_style(style);
    bar.set_prefix(title.to_string());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines() {
        let progress = Progress::new("pretrain", 10, ProgressMode::Off);
        let line = progress.json(3, 100.0, 7.0, Some(0.5), Some("accuracy 50.0 %")).to_string();
        let value: serde_json::Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!((value["progress"]["step"].as_u64(), value["progress"]["loss"].as_f64()), (Some(3), Some(0.5)));
        assert!(!line.contains('\n'));
    }
}
