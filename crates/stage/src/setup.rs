//! What a stage begins with: its images, opened, and where it computes.

use crate::classes::order_of;
use crate::device_batch::device_batches;
use crate::eval_set::EvalSet;
use crate::plan::Plan;
use anyhow::{Context, Result, bail, ensure};
use candle_core::{DType, Device};
use serde_json::json;
use simclr_core::config::{Config, Dtype, LabelAmount, ModelConfig, TrainingConfig, Upload};
use simclr_core::disk;
use simclr_core::rng::{Purpose, Rng};
use simclr_core::run::{Run, layout};
use simclr_data::source::found::HeldOut;
use simclr_data::{Dataset, LabelSubset, Loader, Pictures, ViewMaker};
use simclr_model::{ModelSpec, SimClr};
use simclr_ops::Group;
use std::sync::Arc;

/// The images of an experiment, and the device that a stage computes on.
pub struct Setup<'a> {
    /// The experiment.
    pub config: &'a Config,
    /// What networks, label subsets and orders of this run follow from.
    pub seed: u64,
    /// What may be learned from.
    pub train: Arc<Pictures>,
    /// Classes of the dataset.
    pub classes: usize,
    /// Their names; a label is an index into them.
    pub class_names: Vec<String>,
    /// Where to compute.
    pub device: &'a Device,
    /// The ranks that share each batch.
    group: Group,
    test: EvalSet,
    held_out: Option<HeldOut>,
    dtype: DType,
}

impl<'a> Setup<'a> {
    /// Opens the images; `check` says whether they are what the stage needs.
    ///
    /// # Errors
    /// When they are not, or files are missing or malformed.
    pub fn open(
        config: &'a Config,
        device: &'a Device,
        seed: u64,
        check: impl FnOnce(&Dataset) -> Result<()>,
    ) -> Result<Self> {
        let data = simclr_data::load(&config.data)?;
        check(&data)?;
        let (train, classes) = (Arc::new(data.train), data.classes.len());
        let test = EvalSet::new(config, Arc::new(data.test), &Group::default());
        let (class_names, held_out, dtype) = (data.classes, data.found.held_out, map_dtype(config, device));
        Ok(Self { config, seed, train, classes, class_names, device, group: Group::default(), test, held_out, dtype })
    }

    /// The same, of one of several ranks that share each batch.
    ///
    /// # Errors
    /// When ranks have found different images.
    pub fn among(self, group: &Group) -> Result<Self> {
        let own = format!("{} training images in {} classes", self.train.len(), self.classes);
        if let Some((first, rank, other)) = group.disagreement(&own)? {
            bail!("rank 0 has found {first}, rank {rank} {other}: all ranks need the same dataset (data.dir)")
        }
        Ok(Self { group: group.clone(), test: self.test.among(group), ..self })
    }

    /// Checks that ranks cut their parts of a batch into equal chunks: they normalise each together.
    ///
    /// # Errors
    /// When parts differ.
    pub fn check_chunk(&self, training: &TrainingConfig) -> Result<()> {
        let (ranks, batch) = (self.group.size(), training.batch);
        ensure!(
            training.chunk.is_none() || batch % ranks == 0,
            "a chunk for batches of {batch} images on {ranks} ranks: chunks of all ranks are normalised together, so each rank \
             needs as many images; take a batch that {ranks} divides, or leave chunk out"
        );
        Ok(())
    }

    /// Side of the views.
    pub fn size(&self) -> usize {
        self.config.data.image_size
    }

    /// A network for these images, whose classifier, if it has `classes`, stands on head layer `proj_selector`.
    pub fn spec(&self, model: &ModelConfig, classes: usize, proj_selector: i64) -> ModelSpec {
        ModelSpec::new(model, self.train.channels(), self.size(), classes, proj_selector).named(&self.class_names)
    }

    /// Keeps the names of the pictures that were held out in the run's folder, where there are any; a run that goes on must
    /// measure on those that it began with.
    ///
    /// # Errors
    /// When a resumed run began with others, or the file cannot be read or written.
    pub fn keep_held_out(&self, run: &Run) -> Result<()> {
        let Some(held_out) = &self.held_out else { return Ok(()) };
        let path = run.dir().join(layout::HELD_OUT);
        if run.is_resumed() && path.is_file() {
            let begun = disk::read_json(&path)?;
            ensure!(
                begun["pictures"] == json!(held_out.pictures),
                "{} began with other pictures held out than the dataset has now: pictures or labels were added or taken away. \
                 Choose another --out",
                run.dir().display()
            );
            return Ok(());
        }
        if run.leads() { held_out.save(&path) } else { Ok(()) }
    }

    /// Keeps the names of the classes in the run's folder; a run that goes on must have those that it began with.
    ///
    /// # Errors
    /// When a resumed run began with other classes, or the file cannot be read or written.
    pub fn keep_classes(&self, run: &Run) -> Result<()> {
        let path = run.dir().join(layout::CLASSES);
        if run.is_resumed() && path.is_file() {
            let begun: Vec<String> = serde_json::from_value(disk::read_json(&path)?)
                .with_context(|| format!("{} holds no list of names", path.display()))?;
            ensure!(
                begun == self.class_names,
                "{} began with other classes than the dataset has now: {}. Choose another --out",
                run.dir().display(),
                match order_of((begun.len(), &begun), &self.class_names) {
                    Ok(Some(_)) => "the same names in another order".to_string(),
                    // Numbers are no names to tell networks apart by, but a run's own must stay.
                    Ok(None) => {
                        let pair = begun.iter().zip(&self.class_names).find(|(a, b)| a != b);
                        pair.map_or_else(String::new, |(a, b)| format!("\"{b}\" stands where \"{a}\" stood"))
                    }
                    Err(error) => format!("it {error}"),
                }
            );
            return Ok(());
        }
        if run.leads() { disk::write_json(&path, &json!(self.class_names)) } else { Ok(()) }
    }

    /// The images whose labels may be used, for an amount of labels.
    ///
    /// # Errors
    /// When there are too few, or the list that the experiment names cannot be read.
    pub fn labels(&self, amount: LabelAmount) -> Result<LabelSubset> {
        LabelSubset::of(&self.train, self.classes, amount, self.seed, &self.config.data)
    }

    /// The network on the stage's device, its maps stored as the experiment says.
    ///
    /// # Errors
    /// When memory is short.
    pub fn place(&self, model: SimClr) -> Result<SimClr> {
        let model = model.on(self.device)?.with_map_dtype(self.dtype);
        if model.map_dtype() != self.dtype {
            let name = &model.spec.model.backbone.name;
            tracing::warn!("dtype bf16: the backbone \"{name}\" computes in f32");
        }
        Ok(model)
    }

    /// Single views of `samples`, as stages that learn from labels or a teacher see them: crops of at least `min_area`,
    /// colours jittered with `color_strength`.
    pub fn loader(
        &self,
        samples: Vec<u32>,
        (min_area, color_strength): (f32, f32),
        (batch, purpose): (usize, Purpose),
    ) -> Loader {
        let maker = ViewMaker::labeled(min_area, color_strength, self.config.augment.flip, self.size());
        Loader::new(self.train.clone(), samples, maker, (1, batch), (self.seed, purpose))
    }

    /// The plan that trains `model` on the batches of `loader`, of whose images `examples` make an epoch.
    ///
    /// # Errors
    /// When a GPU has no stream left.
    pub fn plan<L>(self, model: SimClr, loader: Loader, examples: usize, loss: L) -> Result<Plan<L>> {
        let loader = loader.part(self.group.rank(), self.group.size())?;
        let batches = device_batches(loader.as_bytes(self.config.data.upload == Upload::Bytes), &model)?;
        Ok(Plan { model, batches, examples, test: self.test, loss })
    }
}

/// How networks store their maps: as the experiment says, or as f32, with one message, on a processor that does not
/// multiply bf16.
pub fn map_dtype(config: &Config, device: &Device) -> DType {
    match (config.dtype, device.is_cuda() || simclr_ops::simd::multiplies_bf16().is_some()) {
        (Dtype::F32, _) => DType::F32,
        (Dtype::Bf16, true) => DType::BF16,
        (Dtype::Bf16, false) => {
            tracing::warn!("dtype bf16: this processor has neither AMX-BF16 nor AVX512-BF16; computing in f32");
            DType::F32
        }
    }
}

/// The seed of what is repeated over label subsets; subset 0 has the experiment's own.
pub fn subset_seed(seed: u64, subset: usize) -> u64 {
    match subset {
        0 => seed,
        _ => Rng::stream(seed, Purpose::LabelSubset, &[u64::MAX, subset as u64]).next_u64(),
    }
}
