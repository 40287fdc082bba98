//! `soak`: an experiment that is killed again and again must come to the bits of one that was left alone.
//!
//! The first run is undisturbed and tells how long each job takes. The second is started, killed at a moment drawn for one of
//! its jobs, started again, and so on; then every file of both is compared but for times and speeds.

mod compare;
mod events;
mod flip;
mod group;
mod moments;
mod table;

use crate::readable::duration;
use crate::reproduce::{self, Interrupted, Job};
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use group::Group;
pub use moments::Draws;
use moments::{Kill, Watch, draw};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use table::Row;

/// How often a run may be started without getting any further before that is called a failure.
const PATIENCE: usize = 3;

/// What ends the run before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Signal {
    /// SIGKILL to all of its processes: a crash.
    Kill,
    /// SIGTERM to the stage: it saves, and exits with 75.
    Term,
}

/// Arguments of `soak`.
#[derive(clap::Args)]
pub struct Args {
    /// The experiment
    #[arg(long, default_value = "configs/quickstart.toml")]
    config: PathBuf,
    /// Override a value: pretrain.training.batch=32
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// How often the run is ended before its time
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// By what
    #[arg(long, value_enum, default_value_t = Signal::Kill)]
    signal: Signal,
    /// So many times, flip a bit of the newest state before going on: the one before it must be used
    #[arg(long, value_name = "N", default_value_t = 0)]
    flip: usize,
    /// Where the moments come from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The folder for both runs; it stays
    #[arg(long, value_name = "DIR", default_value = "runs/soak")]
    out: PathBuf,
    /// A finished, undisturbed run of the same experiment [default: it is made, in OUT/undisturbed]
    #[arg(long, value_name = "DIR")]
    undisturbed: Option<PathBuf>,
    /// Threads of every stage [default: all]
    #[arg(long)]
    threads: Option<usize>,
}

impl Args {
    /// A short run for `ci`, held against the finished run in `undisturbed`.
    pub fn short(config: PathBuf, undisturbed: PathBuf, out: PathBuf, kills: usize) -> Self {
        let (signal, undisturbed) = (Signal::Kill, Some(undisturbed));
        Self { config, set: vec![], kills, signal, flip: 0, seed: 7, out, undisturbed, threads: None }
    }

    fn reproduce(&self, out: &Path) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe().context("where this program is")?);
        command.arg("reproduce").arg(workspace::find(&self.config)?).arg("--out").arg(out).args(["--device", "cpu"]);
        for pair in &self.set {
            command.arg("--set").arg(pair);
        }
        if let Some(threads) = self.threads {
            command.arg("--threads").arg(threads.to_string());
        }
        Ok(command)
    }
}

/// Runs the experiment undisturbed and disturbed, and compares.
///
/// # Errors
/// When a run fails, when it was ended fewer times than was asked for, and when anything of the two differs.
pub fn run(args: &Args) -> Result<()> {
    ensure!(cfg!(unix), "soak: signals are Unix's; run it on Linux or macOS");
    let disturbed = args.out.join("disturbed");
    ensure!(!disturbed.exists(), "{} is there already: choose another --out, or remove it", disturbed.display());
    std::fs::create_dir_all(&args.out).with_context(|| format!("creating {}", args.out.display()))?;
    let undisturbed = match &args.undisturbed {
        Some(folder) => folder.clone(),
        None => undisturbed(args)?,
    };
    let jobs = reproduce::jobs(&args.config, &args.set, &disturbed)?;
    let seconds = moments::seconds(&jobs, &disturbed, &undisturbed)?;
    let kills = draw(&jobs, &seconds, args.kills, args.seed);
    let rows = disturb(args, &disturbed, &jobs, &seconds, kills)?;
    let mut faults = compare::folders(&undisturbed, &disturbed)?;
    let flips = rows.iter().filter_map(|row| Some((row.at.job.as_str(), row.flipped.as_ref()?)));
    faults.extend(flip::unnoticed(flips, &disturbed)?);
    crate::output::put(table::render(&rows, &jobs, &seconds).as_bytes());
    faults.iter().take(40).for_each(|fault| say!("differs: {fault}"));
    let flips = rows.iter().filter(|row| row.flipped.is_some()).count();
    say!(
        "{} times ended before its time, {flips} states damaged; identical: {}",
        rows.len(),
        if faults.is_empty() { "yes" } else { "no" }
    );
    ensure!(
        faults.is_empty(),
        "{} differences between {} and {}",
        faults.len(),
        undisturbed.display(),
        disturbed.display()
    );
    ensure!(rows.len() >= args.kills, "the run was ended {} times, {} were asked for", rows.len(), args.kills);
    ensure!(
        flips >= args.flip,
        "{flips} states were damaged, {} were asked for: more --kills leave more choice",
        args.flip
    );
    Ok(())
}

/// Makes the run that is left alone, or finds it finished.
fn undisturbed(args: &Args) -> Result<PathBuf> {
    let folder = args.out.join("undisturbed");
    let start = Instant::now();
    let status = args.reproduce(&folder)?.stdout(Stdio::null()).status().context("starting reproduce")?;
    ensure!(status.success(), "the undisturbed run failed");
    say!("undisturbed: {} in {}", folder.display(), duration(start.elapsed().as_secs_f64()));
    Ok(folder)
}

/// Runs the experiment to its end in spite of all `kills`.
fn disturb(args: &Args, out: &Path, jobs: &[Job], seconds: &[f64], kills: Vec<Kill>) -> Result<Vec<Row>> {
    let mut bits = Draws::new(args.seed ^ 0x5eed);
    let mut waiting = kills.into_iter().peekable();
    let (mut rows, mut stuck) = (Vec::<Row>::new(), 0);
    let log = args.out.join("reproduce.log");
    loop {
        let mut watch = Watch::new(out, jobs);
        if let Some(kill) = waiting.peek_mut() {
            if kill.job < watch.job() {
                *kill = kill.moved(watch.job(), seconds, &mut bits);
            }
            watch.wait_for(kill.clone());
        }
        // What one start is asked to do goes to a log: what failed can be read there.
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let mut command = args.reproduce(out)?;
        command.stdin(Stdio::null()).stdout(file.try_clone().context("sharing the log")?).stderr(file);
        let mut group = Group::start(command)?;
        let ended = loop {
            if let Some(code) = group.ended()? {
                break Some(code);
            }
            if watch.due()? {
                break None;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        if let Some(code) = ended {
            ensure!(code == Some(0), "reproduce ended with {code:?} after {} kills; see {}", rows.len(), log.display());
            // The last moments came too late: a finished experiment makes its report again, and is killed before that ends.
            match waiting.peek_mut() {
                Some(kill) => *kill = kill.moved(jobs.len(), seconds, &mut bits),
                None => return Ok(rows),
            }
            stuck += 1;
            ensure!(stuck <= PATIENCE, "the moments of the last kills do not come: {}", log.display());
            continue;
        }
        let at = watch.at()?;
        match args.signal {
            Signal::Kill => group.kill()?,
            Signal::Term => match group.terminate()? {
                // Between two stages there is nobody to ask.
                None => group.kill()?,
                Some(code) if code == Some(i32::from(Interrupted::EXIT)) || code == Some(0) => {}
                // A stage that has not begun to train has nothing to save: the signal ends it as it ends any program.
                Some(Some(1)) if at.has_just_begun() => {}
                Some(code) => bail!("SIGTERM to {}: reproduce ended with {code:?}; see {}", at.job, log.display()),
            },
        }
        waiting.next();
        stuck = 0;
        let wanted = rows.iter().filter(|row| row.flipped.is_some()).count() < args.flip;
        let flipped = if wanted { flip::newest(&at.dir, &mut bits)? } else { None };
        say!("{:>3}: {at}{}", rows.len() + 1, flipped.as_ref().map_or(String::new(), |bit| format!(", then {bit}")));
        rows.push(Row { at, flipped });
    }
}
