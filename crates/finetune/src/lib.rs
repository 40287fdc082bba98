//! Step two: fine-tuning on few labels, and the supervised baseline.
