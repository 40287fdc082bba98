//! Loads a checkpoint from the hub or a folder and prints the features of a picture:
//! `cargo run -p simclr-eval --example embed -- hf://OWNER/NAME picture.jpg`

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use simclr_core::config::EvalConfig;
use simclr_core::rng::{Purpose, Rng};
use simclr_data::{ViewMaker, decode};
use simclr_stage::Checkpoint;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("usage: embed CHECKPOINT PICTURE");
    let model = Checkpoint::load(next()?.as_ref())?.model()?;
    let picture = decode::decode(&std::fs::read(next()?)?, model.spec.in_channels, &Default::default())?;
    let (side, channels) = (model.spec.image_size, model.spec.in_channels);
    let mut view = vec![0.0; side * side * channels];
    let unused = Rng::stream(0, Purpose::Test, &[]);
    ViewMaker::eval(&EvalConfig::default(), side).view(picture.view(), &unused, &mut view);
    let images = Tensor::from_vec(view, (1, side, side, channels), &Device::Cpu)?;
    simclr_core::cli::say(format_args!("{:?}", model.features(std::iter::once(Ok(images)), 0)?));
    Ok(())
}
