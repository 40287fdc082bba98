//! `simclr-pretrain`: step one of SimCLRv2.
#![forbid(unsafe_code)]

use clap::Parser;
use simclr_core::bounds;
use simclr_core::cli;
use simclr_core::cli::{CommonArgs, exit_with};
use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

/// Pretrain an encoder without labels (SimCLRv2, step one).
///
/// Two random views of each image, a ResNet, a projection head and the NT-Xent loss. A linear head on the features is
/// trained beside it and tells how good they are; it has no influence on them. The run folder ends with
/// checkpoint/model.safetensors, which simclr-finetune and simclr-eval take.
#[derive(Parser)]
#[command(version, after_long_help = simclr_core::config::keys_help("pretrain"), mut_arg("out", |out| out.required(false).required_unless_present("estimate").default_value_if("estimate", "true", ".")))]
struct Args {
    #[command(flatten)]
    common: CommonArgs,

    /// Begin with these weights instead of random ones: a run folder, a checkpoint folder, a model.safetensors or
    /// hf://OWNER/NAME[@REV]. The encoder must be of the experiment's shape; of the projection head is taken what fits
    #[arg(long, value_name = "CHECKPOINT", conflicts_with = "estimate")]
    from: Option<PathBuf>,

    /// Print what a step takes on a GPU, in time and memory, from first principles, and what fits; nothing is trained
    #[arg(long)]
    estimate: bool,

    /// With --estimate: images of an epoch, where the dataset is not here to be counted (ImageNet has 1281167)
    #[arg(long, value_name = "N", requires = "estimate", value_parser = cli::size(&bounds::IMAGES))]
    images: Option<usize>,

    /// With --estimate: how many GPUs share each batch, in machines of eight with NVLink, InfiniBand between them [default: 1 and 8]
    #[arg(long, value_name = "N", requires = "estimate", value_parser = cli::size(&bounds::COUNT))]
    gpus: Option<usize>,
}

fn main() -> ExitCode {
    let args = cli::parse::<Args>();
    if args.estimate {
        let config = args.common.prepare();
        return exit_with(config.and_then(|config| simclr_pretrain::print_estimate(&config, args.images, args.gpus)));
    }
    simclr_ranks::launch(&args.common, |common, config| {
        simclr_pretrain::run_from(&common, config, args.from.as_deref())
    })
}
