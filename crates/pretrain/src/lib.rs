//! Step one: contrastive pretraining without labels.
