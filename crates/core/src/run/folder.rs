//! A run folder: what was asked for, what was measured on the way, what came out ([`layout`](super::layout) names its
//! files). Nothing in it is ever overwritten by another run.

use super::extend::{self, Extend, Finished};
use super::finished;
use super::layout::{BEST, CHECKPOINT, EXPERIMENT, MANIFEST, METRICS, MODEL, RESULT, before_extend};
use super::lock::Lock;
use super::manifest::{Same, same};
use super::metrics::Metrics;
use super::states;
use super::tensorboard::EventWriter;
use super::together::{self, Found};
use crate::config::Config;
use crate::disk;
use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value as Json, json};
use simclr_ops::Group;
use std::path::{Path, PathBuf};

/// Raised when a change of the code changes numbers: runs of different revisions do not continue each other.
pub const NUMERICS: u32 = 6;

/// What a run is.
pub struct RunOptions<'a> {
    /// The folder.
    pub out: &'a Path,
    /// `pretrain`, `finetune`, ...
    pub stage: &'a str,
    /// The whole experiment, resolved.
    pub config: &'a Config,
    /// The part of it that decides this stage's result: what tells this run from others.
    pub identity: Json,
    /// Names and SHA-256 of the files that it starts from.
    pub inputs: Vec<(String, String)>,
    /// Whatever else decides the result, such as the label fraction.
    pub extra: Map<String, Json>,
    /// Go on with an unfinished run.
    pub resume: bool,
    /// Train a finished run further, to the length that the experiment has now.
    pub extend: Option<Extend<'a>>,
    /// The ranks that make it: the one that leads opens the folder for all.
    pub group: &'a Group,
}

/// What was found at [`RunOptions::out`].
pub enum Opened {
    /// The same run, complete: its result.
    Done(Json),
    /// Nothing: the run begins.
    Fresh(Run),
    /// The same run, unfinished or longer than it was: it goes on.
    Resume(Run),
}

impl Opened {
    /// What the ranks are told of it.
    fn found(&self) -> Found {
        match self {
            Self::Done(result) => Found { done: Some(result.clone()), resumed: false, extended_at: None },
            Self::Fresh(run) | Self::Resume(run) => {
                Found { done: None, resumed: run.resumed, extended_at: run.extended_at }
            }
        }
    }
}

/// A run that is being made. Its folder is locked against other processes. One that ends before its first measurement,
/// for a mistake in what it was given, leaves no trace: the corrected command finds the folder free.
///
/// Of several ranks one leads, and writes; the others know the folder, and what they log or finish goes nowhere.
pub struct Run {
    dir: PathBuf,
    stage: String,
    resumed: bool,
    extended_at: Option<u64>,
    written: Option<Written>,
}

/// The files of a run that is being made.
struct Written {
    begun: bool,
    metrics: Metrics,
    events: EventWriter,
    lock: Lock,
}

impl Run {
    /// Opens or begins the run in `options.out`, on all ranks. One that is finished and shorter than the experiment says goes on where
    /// `extend` asks for it: what it was is kept in `before-extend-STEP`.
    ///
    /// # Errors
    /// When the folder holds another run (the message names what differs), an unfinished one and `resume` is not
    /// asked for, files that are no run, a run that another process works on, or none that could be extended; when ranks were
    /// given different experiments, inputs or programs.
    pub fn open(options: RunOptions<'_>) -> Result<Opened> {
        let manifest = manifest(&options)?;
        if options.group.is_alone() {
            return Self::open_folder(&options, manifest);
        }
        together::check(options.group, &manifest)?;
        let opened = options.group.leads().then(|| Self::open_folder(&options, manifest)).transpose();
        let found =
            opened.as_ref().map(|opened| opened.as_ref().map(Opened::found)).map_err(|error| anyhow!("{error:#}"));
        let Found { done, resumed, extended_at } = together::tell(options.group, found.transpose())?;
        if let Some(opened) = opened? {
            return Ok(opened);
        }
        if let Some(result) = done {
            return Ok(Opened::Done(result));
        }
        ensure!(
            options.out.join(MANIFEST).is_file(),
            "{}: the rank that leads has opened this run, and {:?} does not see it; all ranks need the same folder, on a disk that \
             they share",
            options.out.display(),
            options.group
        );
        let (dir, stage) = (options.out.into(), options.stage.into());
        let run = Self { dir, stage, resumed, extended_at, written: None };
        Ok(if resumed { Opened::Resume(run) } else { Opened::Fresh(run) })
    }

    fn open_folder(options: &RunOptions<'_>, manifest: Json) -> Result<Opened> {
        let (dir, path) = (options.out, options.out.join(MANIFEST));
        // A finished run is only read: no lock, and its folder need not be writable.
        if let Some(Held { same: Same::Run, result: Some(result), .. }) = held(options, &manifest, finished::whole)? {
            return Ok(Opened::Done(result));
        }
        if options.extend.is_some() && !path.exists() {
            bail!("--extend: {} holds no run to train further; leave --extend out to begin one", dir.display())
        }
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
        let lock = Lock::take(dir)?;
        // Again: another process may have changed it before it gave the lock back.
        let held = held(options, &manifest, |dir, stage| finished::read(dir, stage, options.resume))?;
        let resumed = held.is_some();
        let mut extended_at = None;
        match held {
            Some(Held { same: Same::Run, result: Some(result), .. }) => return Ok(Opened::Done(result)),
            Some(Held { same: Same::Run, .. }) if !options.resume => {
                bail!("{} holds an unfinished run: add --resume to go on, or choose another --out", dir.display())
            }
            Some(Held { same: Same::Run, result: None, left_over, manifest }) => {
                if left_over {
                    extend::clear(dir)?;
                }
                extended_at = extend::last(&manifest);
            }
            Some(Held { same: Same::ButLength(differences), result: Some(result), manifest: found, .. }) => {
                let Some(extend) = &options.extend else {
                    bail!(
                        "{} holds another run: {differences}. Add --extend to train it further from where it ended, or choose \
                         another --out",
                        dir.display()
                    )
                };
                let state = states::facts(dir)?;
                let run = Finished { dir, manifest: &found, result: &result, state: state.as_ref() };
                let longer = extend::prepare(&run, &manifest, extend)?;
                extended_at = extend::last(&longer);
                disk::write_json(&path, &longer)?;
                extend::clear(dir)?;
                let kept = dir.join(before_extend(extended_at.unwrap_or_default()));
                tracing::info!("what the run was is kept in {}", kept.display());
            }
            Some(Held { same: Same::ButLength(differences), result: None, .. }) => bail!(
                "{} holds another run, unfinished: {differences}. Finish it with its own length and --resume, after which \
                 --extend trains it further, or choose another --out",
                dir.display()
            ),
            None => {
                let ours = [METRICS, RESULT, EXPERIMENT, MODEL, CHECKPOINT, BEST].map(String::from);
                if let Some(name) = states::names(dir)?.into_iter().chain(ours).find(|name| dir.join(name).exists()) {
                    bail!("{} holds {name} but no {MANIFEST}: choose another --out", dir.display())
                }
                disk::write_json(&path, &manifest)?;
            }
        }
        if !dir.join(EXPERIMENT).exists() {
            disk::write(&dir.join(EXPERIMENT), options.config.to_toml()?.as_bytes())?;
        }
        let (metrics, events) = (Metrics::open(dir)?, EventWriter::create(dir)?);
        let written = Some(Written { begun: resumed, metrics, events, lock });
        let run = Self { dir: dir.into(), stage: options.stage.into(), resumed, extended_at, written };
        Ok(if resumed { Opened::Resume(run) } else { Opened::Fresh(run) })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it is this rank that writes into the folder.
    pub fn leads(&self) -> bool {
        self.written.is_some()
    }

    /// Where the checkpoint that is handed on belongs.
    pub fn checkpoint_dir(&self) -> PathBuf {
        self.dir.join(CHECKPOINT)
    }

    /// Whether the folder held this run already, unfinished or shorter.
    pub fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// The step after which it was finished, and from which it was trained further; of several the last.
    pub fn extended_at(&self) -> Option<u64> {
        self.extended_at
    }

    /// Appends measurements after `step` steps. A value that is not finite is written as null.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn log(&mut self, step: u64, values: &[(&str, f64)]) -> Result<()> {
        let Some(written) = &mut self.written else { return Ok(()) };
        written.begun = true;
        written.metrics.add(step, values)?;
        written.events.scalars(step, values)
    }

    /// Waits until the disk has all measurements: a state that follows claims none that a power cut could take.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        let Some(written) = &self.written else { return Ok(()) };
        written.metrics.sync()?;
        written.events.sync()
    }

    /// Drops the measurements past `step`: the run goes on from there and makes them again.
    ///
    /// # Errors
    /// When the files cannot be shortened.
    pub fn rewind(&mut self, step: u64) -> Result<()> {
        let Some(written) = &mut self.written else { return Ok(()) };
        written.metrics.rewind(step)?;
        written.events.restart(step)
    }

    /// Writes the result, which completes the run, with its stage and the checksums of the checkpoint.
    ///
    /// # Errors
    /// When there is one already, or it cannot be written.
    pub fn finish(mut self, result: &Json) -> Result<()> {
        let Some(written) = &mut self.written else { return Ok(()) };
        written.begun = true;
        finished::write(&self.dir, &self.stage, result)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let Some(Written { begun: false, events, lock, .. }) = self.written.take() else { return };
        // What `open` made and no more. Where that fails the folder holds an unfinished run, as after a crash.
        let made = [METRICS, EXPERIMENT, MANIFEST].map(|name| self.dir.join(name));
        for path in [events.path()].into_iter().chain(made.iter().map(PathBuf::as_path)) {
            let _ = std::fs::remove_file(path);
        }
        drop(lock);
        let _ = std::fs::remove_dir(&self.dir);
    }
}

/// The run that a folder holds.
struct Held {
    manifest: Json,
    same: Same,
    /// What it came to, where it is finished and its files are whole.
    result: Option<Json>,
    /// There is a result, of before it was extended.
    left_over: bool,
}

/// What [`RunOptions::out`] holds, its result as `finished` reads it; `None` where it holds no run.
fn held(
    options: &RunOptions<'_>,
    wanted: &Json,
    finished: impl FnOnce(&Path, &str) -> Result<Option<Json>>,
) -> Result<Option<Held>> {
    let (dir, path) = (options.out, options.out.join(MANIFEST));
    if !path.exists() {
        return Ok(None);
    }
    let manifest = disk::read_json(&path)?;
    let same = same(dir, &manifest, wanted)?;
    // Of one that was extended, and of which the old result is still there, the checkpoint may be gone already.
    let left_over = extend::last(&manifest).is_some()
        && disk::read_json(&dir.join(RESULT)).is_ok_and(|result| extend::is_left_over(&manifest, &result));
    let result = if left_over { None } else { finished(dir, options.stage)? };
    Ok(Some(Held { manifest, same, result, left_over }))
}

fn manifest(options: &RunOptions<'_>) -> Result<Json> {
    let inputs: Map<String, Json> = options.inputs.iter().map(|(name, hash)| (name.clone(), json!(hash))).collect();
    let mut identity = options.identity.clone();
    forget_memory(&mut identity);
    let mut manifest = json!({
        "stage": options.stage,
        "config_sha256": disk::sha256(identity.to_string().as_bytes()),
        "config": identity,
        "inputs": inputs,
        "numerics": NUMERICS,
        "version": env!("CARGO_PKG_VERSION"),
    });
    for (key, value) in &options.extra {
        manifest[key] = value.clone();
    }
    // Through text once, as the one on the disk went: numbers then compare equal.
    Ok(serde_json::from_str(&manifest.to_string())?)
}

/// Recomputation, caches and states change no bit of the result: a run that ran out of memory or disk goes on with or without them.
fn forget_memory(tables: &mut Json) {
    for (name, table) in tables.as_object_mut().into_iter().flatten() {
        match table {
            Json::Object(training) if name == "training" => {
                ["recompute", "keep_states"].iter().for_each(|key| drop(training.remove(*key)))
            }
            Json::Object(data) if name == "data" => {
                ["cache", "parquet_cache"].iter().for_each(|key| drop(data.remove(*key)))
            }
            table => forget_memory(table),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    pub(crate) fn config() -> Config {
        toml::from_str(
            r#"
            name = "tiny"
            data = { dataset = "textures", image_size = 16 }
            model = { depth = 18, width = 0.125 }
            pretrain.training = { length = { steps = 10 }, batch = 8, learning_rate = 0.3 }
            finetune.training = { length = { steps = 10 }, batch = 8, learning_rate = 0.3 }
            supervised.training = { length = { steps = 10 }, batch = 8, learning_rate = 0.3 }
            "#,
        )
        .unwrap()
    }

    pub(crate) fn open(out: &Path, temperature: f64, resume: bool) -> Result<Opened> {
        let identity = json!({"pretrain": {"temperature": temperature}});
        let inputs = vec![("images".to_string(), "00ff".to_string())];
        let config = config();
        Run::open(RunOptions {
            out,
            stage: "pretrain",
            config: &config,
            identity,
            inputs,
            extra: Map::new(),
            resume,
            extend: None,
            group: &Group::default(),
        })
    }

    fn message(opened: Result<Opened>) -> String {
        format!("{:#}", opened.err().expect("an error"))
    }

    #[test]
    fn the_life_of_a_run() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/b");
        let Opened::Fresh(mut run) = open(&out, 0.1, false).unwrap() else { panic!("a fresh run") };
        assert!(message(open(&out, 0.1, true)).contains("another process"));
        for step in 1..=5 {
            run.log(step, &[("loss", 1.0 / step as f64), ("nan", f64::NAN)]).unwrap();
        }
        drop(run);
        std::fs::write(out.join(METRICS), std::fs::read_to_string(out.join(METRICS)).unwrap() + "{\"step\":6,\"lo")
            .unwrap();

        assert!(message(open(&out, 0.1, false)).contains("--resume"));
        let text = message(open(&out, 0.5, true));
        assert!(
            text.contains("config.pretrain.temperature is 0.1 there and 0.5 here") && text.contains("--out"),
            "{text}"
        );

        let Opened::Resume(mut run) = open(&out, 0.1, true).unwrap() else { panic!("a resumed run") };
        assert!(run.is_resumed());
        run.rewind(3).unwrap();
        run.log(4, &[("loss", 9.0)]).unwrap();
        let metrics = std::fs::read_to_string(out.join(METRICS)).unwrap();
        let steps: Vec<u64> =
            metrics.lines().map(|l| serde_json::from_str::<Json>(l).unwrap()["step"].as_u64().unwrap()).collect();
        assert_eq!(steps, [1, 2, 3, 4]);
        run.finish(&json!({"top1": 0.5})).unwrap();

        let Opened::Done(result) = open(&out, 0.1, false).unwrap() else { panic!("a finished run") };
        assert_eq!(result["top1"], 0.5);
        assert!(message(open(&out, 0.5, false)).contains("another run"));
        let resolved = std::fs::read_to_string(out.join(EXPERIMENT)).unwrap();
        assert!(resolved.contains("knn_temperature"), "defaults are written out: {resolved}");
    }

    #[test]
    fn a_result_that_does_not_hold_is_set_aside_under_the_lock_alone() {
        let dir = tempfile::tempdir().unwrap();
        let Opened::Fresh(run) = open(dir.path(), 0.1, false).unwrap() else { panic!("a fresh run") };
        run.finish(&json!({"top1": 0.5})).unwrap();
        std::fs::write(dir.path().join(RESULT), "{}").unwrap();
        let held = Lock::take(dir.path()).unwrap();
        assert!(message(open(dir.path(), 0.1, true)).contains("another process"));
        assert!(dir.path().join(RESULT).exists(), "it is the other process's to change");
        drop(held);
        assert!(matches!(open(dir.path(), 0.1, true).unwrap(), Opened::Resume(_)));
        assert!(!dir.path().join(RESULT).exists());
    }

    #[test]
    fn recomputation_and_caches_make_no_other_run() {
        let mut identity = json!({
            "pretrain": {"training": {"recompute": true, "keep_states": 9, "chunk": 8}, "recompute": 1},
            "data": {"cache": 5, "parquet_cache": 6, "limit": 7},
        });
        forget_memory(&mut identity);
        assert_eq!(identity, json!({"pretrain": {"training": {"chunk": 8}, "recompute": 1}, "data": {"limit": 7}}));
    }

    #[test]
    fn a_run_that_never_began_leaves_its_folder_free() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("run");
        drop(open(&out, 0.1, false).unwrap());
        assert!(!out.exists());
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("notes.txt"), "mine").unwrap();
        drop(open(&out, 0.1, false).unwrap());
        let Opened::Fresh(mut run) = open(&out, 0.5, false).unwrap() else { panic!("a fresh run") };
        let names: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 6, "notes, lock, manifest, experiment, metrics and one file of events: {names:?}");
        run.log(1, &[("loss", 1.0)]).unwrap();
        drop(run);
        // Once begun, it stays, even where a resumption adds nothing.
        drop(open(&out, 0.5, true).unwrap());
        assert!(matches!(open(&out, 0.5, true).unwrap(), Opened::Resume(_)));
    }

    #[test]
    fn files_of_others_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(METRICS), "mine").unwrap();
        assert!(message(open(dir.path(), 0.1, true)).contains("metrics.jsonl but no manifest.json"));
    }
}
