//! Publishing a checkpoint on the Hugging Face hub: what is sent, the card that describes it, one commit.

#![forbid(unsafe_code)]

mod card;
mod describe;
mod facts;
mod folder;
mod place;
#[cfg(not(feature = "hub"))]
#[path = "no_upload.rs"]
mod upload;
#[cfg(feature = "hub")]
mod upload;

pub use describe::describe;
pub use place::{Outcome, Place};

use anyhow::{Context, Result, ensure};
use facts::Facts;
use simclr_core::cli::say;
use simclr_core::hub::RepoId;
use std::path::{Path, PathBuf};

/// Options of `simclr-eval publish`.
#[derive(Clone, Debug, clap::Args)]
pub struct PublishArgs {
    /// What to publish: a finished run, a checkpoint folder or a model.safetensors
    #[arg(value_name = "RUN_OR_CHECKPOINT")]
    pub source: PathBuf,

    /// The repository; it is made where there is none
    #[arg(long, value_name = "OWNER/NAME")]
    pub repo: String,

    /// Make a new repository private; one that exists stays as it is
    #[arg(long)]
    pub private: bool,

    /// Write what would be sent to a folder, print the list, send nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Where --dry-run writes [default: runs/publish/OWNER/NAME]
    #[arg(long, value_name = "DIR", requires = "dry_run")]
    pub out: Option<PathBuf>,

    /// The branch to commit to; it is made where there is none
    #[arg(long, value_name = "BRANCH", default_value = "main")]
    pub revision: String,

    /// The weights' licence, as the hub abbreviates it (mit, apache-2.0, cc-by-nc-4.0, other, ...)
    #[arg(long, value_name = "LICENSE", default_value = "mit")]
    pub license: String,
}

/// Publishes, or writes what would be published.
///
/// # Errors
/// When the source holds no checkpoint, a name is not valid, or the hub does not take it.
pub fn run(args: &PublishArgs) -> Result<()> {
    let repo: RepoId = args.repo.parse().context("--repo")?;
    let simple = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
    ensure!(simple(&args.revision), "--revision {:?}: expected the name of a branch", args.revision);
    ensure!(simple(&args.license), "--license {:?}: expected an abbreviation such as mit", args.license);
    let facts = Facts::read(&args.source)?;
    let files = folder::files(&facts, &repo, &args.license)?;
    if args.dry_run {
        let out = args.out.clone().unwrap_or_else(|| Path::new("runs/publish").join(&repo.owner).join(&repo.name));
        for file in &files {
            file.write(&out)?;
            say(format_args!("{:>12}  {}", file.size()?, file.path));
        }
        eprintln!("nothing was sent: {} holds what would be", out.display());
        return Ok(());
    }
    let place = Place { repo: &repo, branch: &args.revision, private: args.private };
    match upload::send(&place, &files)? {
        Outcome::Committed { url, files } => say(format_args!("{url}\n{files} files in one commit")),
        Outcome::Unchanged { url } => say(format_args!("{url}\nnothing changed: the hub has these files already")),
    }
    let at = if args.revision == "main" { String::new() } else { format!("@{}", args.revision.replace('/', "%2F")) };
    say(format_args!("every stage takes it as hf://{repo}{at}"));
    Ok(())
}
