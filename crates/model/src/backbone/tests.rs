//! A backbone of ordinary candle layers in a file of its own: all that it needs of this crate, and what the rest of the
//! crate does with it.
#![allow(clippy::unwrap_used)]

use super::{Backbone, KEY};
use crate::{Builder, Mode, ModelSpec, Pass, SimClr};
use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;
use simclr_core::bounds;
use simclr_core::config::{ModelConfig, Named};
use simclr_core::keys::Range;
use simclr_core::params::{Kind, Match, Param, ParamId, Part};
use simclr_core::table;
use simclr_core::testing::assert_close;
use simclr_ops::{Tape, Value, global_avg_pool, nt_xent, tensor};

/// A convolution over patches, then a layer on each: two closures of candle ops.
pub struct Patches {
    side: usize,
    width: usize,
    embed: ParamId,
    mix: ParamId,
}

table! {
    /// A convolution over patches, then a layer on each.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct PatchesSettings {
        /// Side of a patch.
        pub side: usize, in Range::of(&bounds::IMAGE_SIZE);
        /// Channels.
        pub width: usize, in Range::closed(1.0, 4096.0);
    }
}

impl Patches {
    pub fn new(b: &mut Builder<'_>, spec: &ModelSpec) -> Result<Self> {
        let PatchesSettings { side, width } = spec.model.backbone.settings(KEY)?;
        let embed = b.under("embed").conv("weight", width, side, spec.in_channels)?;
        let mut group = b.part(Part::Group(1));
        let mix = group.under("mix").tensor("weight", Kind::Linear, &[width, width], |rng| 0.3 * rng.normal())?;
        Ok(Self { side, width, embed, mix })
    }
}

impl Backbone for Patches {
    fn features(&self) -> usize {
        self.width
    }

    fn groups(&self) -> usize {
        1
    }

    fn forward(&self, pass: &Pass<'_>, images: &Value, see: &mut dyn FnMut(&Value)) -> Result<Value> {
        let (side, width) = (self.side, self.width);
        let map = pass.tape.candle(&[images, &pass.param(self.embed)], |inputs| {
            let channels_first = |t: &Tensor| t.permute((0, 3, 1, 2))?.contiguous();
            let [x, w] = [channels_first(&inputs[0])?, channels_first(&inputs[1])?];
            x.conv2d(&w, 0, side, 1, 1)?.permute((0, 2, 3, 1))?.contiguous()?.tanh()
        })?;
        see(&map);
        let map = pass.tape.candle(&[&map, &pass.param(self.mix)], |inputs| {
            let rows = inputs[0].reshape(((), width))?;
            rows.matmul(&inputs[1].t()?)?.gelu()?.reshape(inputs[0].shape())
        })?;
        see(&map);
        Ok(global_avg_pool(pass.tape, &map)?)
    }
}

const SIDE: usize = 8;
const IMAGES: usize = 3;

fn named(settings: &str) -> Named {
    toml::from_str::<std::collections::BTreeMap<String, Named>>(&format!("k = {settings}")).unwrap()["k"].clone()
}

fn network(classes: usize) -> SimClr {
    let config = ModelConfig::of(named("{ name = \"patches\", side = 4, width = 6 }"));
    let config = ModelConfig { proj_layers: 2, proj_dim: 5, ..config };
    SimClr::new(&ModelSpec::new(&config, 3, SIDE, classes, 1), 4).unwrap()
}

fn images(count: usize) -> Value {
    let data = (0..count * SIDE * SIDE * 3).map(|i| (i * i % 251) as f32 / 251.0).collect();
    Value::constant(Tensor::from_vec(data, (count, SIDE, SIDE, 3), &Device::Cpu).unwrap())
}

/// The contrastive loss, and the gradients of all weights that it reaches.
fn step(model: &SimClr, chunk: Option<usize>, trainable: &dyn Fn(&Param) -> bool) -> (f32, Vec<(String, Vec<f32>)>) {
    let tape = Tape::new();
    let pass = Pass::with_trainable(&tape, &model.store, Mode::Eval, trainable);
    let (_, hidden) = model.project(&pass, &images(2 * IMAGES), chunk).unwrap();
    let loss = nt_xent(&tape, &hidden, 0.5, true).unwrap().loss;
    drop((pass, hidden));
    let value = loss.tensor().to_scalar().unwrap();
    let found = tape.backward(&loss).unwrap();
    let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1().unwrap();
    let gradients = model.store.trainable().filter_map(|p| Some((p.name.clone(), numbers(found.get(&p.tensor)?))));
    (value, gradients.collect())
}

#[test]
fn its_gradients_are_those_of_the_loss() {
    let model = network(0);
    let (_, gradients) = step(&model, None, &|_| true);
    for name in ["embed.weight", "mix.weight"] {
        let (weight, gradient) =
            (&model.store.by_name(name).unwrap().tensor, &gradients.iter().find(|g| g.0 == name).unwrap().1);
        let largest = (0..gradient.len()).max_by(|a, b| gradient[*a].abs().total_cmp(&gradient[*b].abs())).unwrap();
        let moved = |by: f32| {
            tensor::update(weight, |w| w[largest] += by).unwrap();
            let loss = step(&model, None, &|_| true).0;
            tensor::update(weight, |w| w[largest] -= by).unwrap();
            loss
        };
        assert_close(name, &[(moved(0.01) - moved(-0.01)) / 0.02], &[gradient[largest]], 0.02);
    }
}

#[test]
fn chunks_and_freezing_know_nothing_of_it() {
    let model = network(0);
    let whole = step(&model, None, &|_| true);
    let chunked = step(&model, Some(2), &|_| true);
    for ((name, want), (_, got)) in whole.1.iter().zip(&chunked.1) {
        assert_close(name, got, want, 1e-5);
    }
    let (_, frozen) = step(&model, None, &|p| p.part.depth() != Some(0));
    assert!(!frozen.iter().any(|(name, _)| name == "embed.weight"), "the stem is frozen");
    assert!(frozen.iter().any(|(name, _)| name == "mix.weight"));
}

#[test]
fn checkpoints_describe_it() {
    let model = network(7);
    let json = model.spec.to_json();
    assert_eq!(json["backbone"], serde_json::json!({"name": "patches", "side": 4, "width": 6}));
    let again = SimClr::blank(&ModelSpec::from_json(&json, "config.json".as_ref()).unwrap()).unwrap();
    again.store.load_map(&model.store.save_map().unwrap(), Match::EXACT).unwrap();
    let logits = |model: &SimClr| model.predict(std::iter::once(Ok(images(2).tensor().clone()))).unwrap();
    assert_eq!(logits(&model), logits(&again));
    assert_eq!(logits(&model), logits(&model.twin().unwrap()));
}

#[test]
fn what_it_does_not_offer_is_left_out() {
    let model = network(0).with_map_dtype(DType::BF16);
    assert_eq!(model.map_dtype(), DType::F32);
    assert!(model.outline(SIDE).is_none());
}

#[test]
fn mistakes_are_named() {
    let message = |backbone: &str| {
        let spec = ModelSpec::new(&ModelConfig::of(named(backbone)), 3, SIDE, 0, 0);
        SimClr::blank(&spec).err().unwrap().to_string()
    };
    assert!(message("\"resnot\"").starts_with("model.backbone = \"resnot\": must be one of resnet, "));
    let unknown = message("{ name = \"patches\", side = 4, width = 6, depth = 3 }");
    assert!(unknown.contains("unknown key model.backbone.depth"), "{unknown}");
    let wide = message("{ name = \"patches\", side = 4, width = 1000000000 }");
    assert_eq!(wide, "model.backbone.width = 1000000000: must lie in 1 to 4096");
}
