//! Options of `reproduce --dry-run`, which tells what an experiment would take on GPUs.

/// Whether to tell what a run takes, in its place.
#[derive(clap::Args, Clone, Default)]
pub struct Forecast {
    /// Run nothing: tell the jobs, and what each takes on GPUs in time, memory, disk and traffic
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: training images, where the dataset is not here to be counted (ImageNet has 1281167)
    #[arg(long, value_name = "N", requires = "dry_run")]
    train_images: Option<usize>,
    /// With --dry-run: numbers of GPUs [default: 1,8,32]
    #[arg(long, value_name = "N,N", requires = "dry_run")]
    gpus: Option<String>,
}

impl Forecast {
    /// What the command that tells is told of it.
    pub fn arguments(&self) -> Vec<String> {
        let images = self.train_images.map(|images| ["--images".to_string(), images.to_string()]);
        let gpus = self.gpus.clone().map(|gpus| ["--gpus".to_string(), gpus]);
        images.into_iter().chain(gpus).flatten().collect()
    }
}
