//! How far an upload or download has come: a bar on a terminal, nothing elsewhere.

use hf_hub::progress::{ProgressEvent, ProgressHandler, UploadEvent};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// Shows the bytes of one transfer.
pub struct TransferBar(ProgressBar);

impl TransferBar {
    /// A bar called `title`; it appears with the first bytes.
    pub fn new(title: String) -> Self {
        let target = match std::io::stderr().is_terminal() {
            true => ProgressDrawTarget::stderr(),
            false => ProgressDrawTarget::hidden(),
        };
        let template = "{prefix} {wide_bar} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        bar.set_prefix(title);
        Self(bar)
    }

    pub(super) fn at(&self, done: u64, total: u64) {
        if total > 0 {
            self.0.set_length(total);
            self.0.set_position(done);
        }
    }
}

impl ProgressHandler for TransferBar {
    fn on_progress(&self, event: &ProgressEvent) {
        match event {
            ProgressEvent::Upload(UploadEvent::Progress { bytes_completed, total_bytes, .. }) => {
                self.at(*bytes_completed, *total_bytes);
            }
            ProgressEvent::Upload(UploadEvent::Complete) => self.0.finish_and_clear(),
            _ => {}
        }
    }
}

impl Drop for TransferBar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
