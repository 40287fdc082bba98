//! The linear probe: a classifier trained on frozen features.

use anyhow::{Result, ensure};
use candle_core::{DType, Device, Tensor};
use serde_json::{Value as Json, json};
use simclr_core::config::{Duration, LinearConfig, OptimizerConfig, Scaling, TrainingConfig};
use simclr_core::params::{Kind, ParamStore, Part};
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::{Run, checkpoint, layout};
use simclr_core::train::{BatchFn, Loss, Task};
use simclr_model::Hits;
use simclr_ops::{Tape, Value, cross_entropy, linear};
use std::sync::Arc;

/// Features `[N, D]` with a label each.
pub struct Features {
    /// Row-major.
    pub rows: Vec<f32>,
    /// One class a row.
    pub labels: Vec<u32>,
}

/// Scales every column of `train` and of `test` to mean 0 and deviation 1 over `train`, so that one learning rate suits
/// every encoder. A linear classifier could do the same scaling itself: it can learn neither more nor less than before.
pub fn standardise(train: &mut Features, test: &mut Features) {
    let (n, dim) = (train.labels.len() as f64, train.rows.len() / train.labels.len().max(1));
    let (mut mean, mut square) = (vec![0.0f64; dim], vec![0.0f64; dim]);
    for row in train.rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f64::from(*v) / n);
    }
    for row in train.rows.chunks_exact(dim) {
        square.iter_mut().zip(row).zip(&mean).for_each(|((s, v), m)| *s += (f64::from(*v) - m).powi(2) / n);
    }
    for set in [train, test] {
        for row in set.rows.chunks_exact_mut(dim) {
            row.iter_mut().zip(&mean).zip(&square).for_each(|((v, m), s)| {
                *v = ((f64::from(*v) - m) / (s + 1e-8).sqrt()) as f32;
            });
        }
    }
}

/// A linear classifier as the training loop sees it.
pub struct Probe {
    store: ParamStore,
    train: Arc<Features>,
    test: Features,
    dim: usize,
    classes: usize,
    batch: usize,
    seed: u64,
}

/// Rows and labels of a step.
pub struct Rows {
    rows: Vec<f32>,
    labels: Vec<u32>,
}

/// How the probe trains: SGD with Nesterov momentum, without warm-up.
pub fn training(config: &LinearConfig) -> TrainingConfig {
    TrainingConfig {
        length: Duration::Epochs(config.epochs as f64),
        warmup: Duration::Steps(0),
        batch: config.batch,
        learning_rate: config.learning_rate,
        scaling: Scaling::Linear,
        optimizer: OptimizerConfig::sgd(),
        momentum: 0.9,
        weight_decay: config.weight_decay,
        exclude: Vec::new(),
        eval_every: None,
        patience: None,
        checkpoint_every: None,
        keep_states: 1,
        recompute: false,
        chunk: None,
    }
}

impl Probe {
    /// A classifier at zero, on `device`, for features to train on and features to test on.
    ///
    /// # Errors
    /// When there are no features.
    pub fn new(
        (train, test): (Features, Features),
        classes: usize,
        batch: usize,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        ensure!(!train.labels.is_empty(), "the linear probe needs features");
        let dim = train.rows.len() / train.labels.len();
        let mut store = ParamStore::new(device.clone());
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
        store.add("fc.weight", Kind::Classifier, Part::Classifier, zeros(&[classes, dim])?)?;
        store.add("fc.bias", Kind::Bias, Part::Classifier, zeros(&[classes])?)?;
        Ok(Self { store, train: Arc::new(train), test, dim, classes, batch, seed })
    }

    /// How many of the test features it classifies rightly.
    ///
    /// # Errors
    /// Never, for features of one width.
    pub fn hits(&self) -> Result<Hits> {
        let rows = Tensor::from_slice(&self.test.rows, (self.test.labels.len(), self.dim), self.store.device())?;
        let tape = Tape::inference();
        let logits = self.logits(&tape, &Value::constant(rows))?;
        let logits = logits.tensor().flatten_all()?.to_vec1::<f32>()?;
        Ok(Hits::of(&logits, self.classes, &self.test.labels))
    }

    fn logits(&self, tape: &Tape, rows: &Value) -> Result<Value> {
        let mut leaves = self.store.iter().map(|p| tape.leaf(&p.tensor));
        let (Some(weight), bias) = (leaves.next(), leaves.next()) else { unreachable!("declared in new") };
        Ok(linear(tape, rows, &weight, bias.as_ref())?)
    }
}

impl Task for Probe {
    type Batch = Rows;

    fn store(&self) -> &ParamStore {
        &self.store
    }

    fn batches(&self) -> BatchFn<Rows> {
        let (train, dim, batch, seed) = (self.train.clone(), self.dim, self.batch, self.seed);
        Arc::new(move |step| {
            let mut rng = Rng::stream(seed, Purpose::Labeled, &[u64::MAX, step]);
            let chosen: Vec<usize> = (0..batch).map(|_| rng.below(train.labels.len())).collect();
            let rows = chosen.iter().flat_map(|i| train.rows[i * dim..(i + 1) * dim].iter().copied()).collect();
            Ok(Rows { rows, labels: chosen.iter().map(|i| train.labels[*i]).collect() })
        })
    }

    fn loss(&mut self, tape: &Tape, batch: Rows) -> Result<Loss> {
        let rows = Tensor::from_vec(batch.rows, (batch.labels.len(), self.dim), self.store.device())?;
        let logits = self.logits(tape, &Value::constant(rows))?;
        Ok(Loss { value: cross_entropy(tape, &logits, &batch.labels)?, beside: None, metrics: Vec::new() })
    }

    fn evaluate(&mut self) -> Result<Vec<(&'static str, f64)>> {
        let accuracy = self.hits()?.accuracy();
        Ok(vec![("test_top1", accuracy.top1), ("test_top5", accuracy.top5)])
    }

    fn model_config(&self) -> Json {
        json!({"kind": "linear probe", "features": self.dim, "classes": self.classes})
    }

    /// Not as a checkpoint: its weights belong to the features that it was trained on, standardised.
    fn save(&self, run: &Run) -> Result<()> {
        let about = self.model_config().to_string();
        checkpoint::write_tensors(&run.dir().join(layout::PROBE), &self.store.save_map()?, ("probe", &about))
    }
}
