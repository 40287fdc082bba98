//! Ranks that are processes, started by `mpirun`: they train as one process does, end together, and go on in other numbers.
//! `cargo xtask mpi-check` builds the programs for it.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod desk;

use desk::Desk;
use serde_json::Value as Json;
use simclr_tests::skipped;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The processes of one test at a time: some are timed.
static MACHINE: Mutex<()> = Mutex::new(());

/// Programs with MPI, and an experiment.
struct Site {
    programs: PathBuf,
    open_mpi: bool,
    desk: Desk,
    _alone: MutexGuard<'static, ()>,
}

/// So gentle that a difference of one rounding does not grow.
const GENTLE: [&str; 4] = [
    "pretrain.temperature=1.0",
    "pretrain.training.learning_rate=0.002",
    "pretrain.training.length={ steps = 20 }",
    "pretrain.training.checkpoint_every={ steps = 5 }",
];

impl Site {
    fn find(test: &str) -> Option<Self> {
        let Some(programs) = std::env::var_os("SIMCLR_MPI_PROGRAMS").map(PathBuf::from) else {
            skipped(test, "SIMCLR_MPI_PROGRAMS names no programs with MPI; `cargo xtask mpi-check` builds them");
            return None;
        };
        let Ok(version) = Command::new("mpirun").arg("--version").output() else {
            skipped(test, "there is no mpirun");
            return None;
        };
        let open_mpi = String::from_utf8_lossy(&version.stdout).contains("Open MPI");
        let _alone = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { programs, open_mpi, desk: Desk::new(), _alone })
    }

    /// `program` as so many processes.
    fn ranks(&self, size: usize, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("mpirun");
        // More processes than cores, and as root in a container.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.args(self.open_mpi.then_some("--oversubscribe")).args(["-n", &size.to_string()]);
        command.arg(self.programs.join(program)).args(args);
        command.env("RUST_BACKTRACE", "0").stdin(Stdio::null());
        command
    }

    /// The options of a stage that writes into the folder `out` of the desk.
    fn options(&self, out: &str, set: &[&str]) -> Vec<String> {
        let [config, out] = ["experiment.toml", out].map(|name| self.desk.path(name).display().to_string());
        let set = set.iter().flat_map(|pair| ["--set".to_string(), pair.to_string()]);
        ["--config".into(), config, "--out".into(), out, "--resume".into()].into_iter().chain(set).collect()
    }

    fn pretrain(&self, size: usize, out: &str, set: &[&str]) -> Command {
        self.ranks(size, "simclr-pretrain", &self.options(out, set).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn exercise(&self, size: usize, what: &str) -> Output {
        let line: Vec<_> = self.options("nothing", &[]).into_iter().chain([what.into()]).collect();
        self.ranks(size, "examples/exercise", &line.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap()
    }

    fn figures(&self, out: &str, name: &str) -> Vec<f64> {
        let text = std::fs::read_to_string(self.desk.path(out).join("metrics.jsonl")).unwrap();
        text.lines().filter_map(|line| serde_json::from_str::<Json>(line).unwrap()[name].as_f64()).collect()
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn done(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    text(&output)
}

fn assert_same(what: &str, found: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (step, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance * want.abs(), "{what} of step {step}: {found} for {want}");
    }
}

#[test]
fn sums_gathers_and_messages_between_processes() {
    let Some(site) = Site::find("sums of processes") else { return };
    for size in [1, 2, 3, 4] {
        let output = site.exercise(size, "sums");
        assert!(output.status.success() && text(&output).contains(&format!("{size} ranks")), "{}", text(&output));
        assert!(text(&output).contains("done"), "{}", text(&output));
    }
}

#[test]
fn processes_train_as_one_does() {
    let Some(site) = Site::find("training on processes") else { return };
    for size in [1, 2, 4] {
        let said = done(&mut site.pretrain(size, &format!("processes-{size}"), &GENTLE));
        assert_eq!(said.matches("pretrain: 20 steps").count(), 1, "one rank shows progress: {said}");
        assert_eq!(said.matches("processor:").count(), 1, "one rank logs: {said}");
    }
    for size in [2, 4] {
        for name in ["loss", "total_loss", "grad_norm", "contrast_entropy"] {
            let [many, one] = [size, 1].map(|size| site.figures(&format!("processes-{size}"), name));
            assert_same(&format!("{name} of {size} processes"), &many, &one, 1e-5);
        }
    }
    // Ranks that are threads sum in the same order: the same bits.
    let mut threads = Command::new(site.programs.join("simclr-pretrain"));
    done(threads.args(site.options("threads-4", &GENTLE)).args(["--ranks", "4"]));
    assert_eq!(site.figures("threads-4", "loss"), site.figures("processes-4", "loss"));
    let file = |run: &str| std::fs::read(site.desk.path(run).join("checkpoint/model.safetensors")).unwrap();
    assert_eq!(file("threads-4"), file("processes-4"));
}

#[test]
fn every_stage_runs_on_processes() {
    let Some(site) = Site::find("stages on processes") else { return };
    let path = |name: &str| site.desk.path(name).display().to_string();
    let run = |size: usize, out: &str, program: &str, more: &[&str]| {
        let line: Vec<_> = site.options(out, &[]).into_iter().chain(more.iter().map(|a| a.to_string())).collect();
        done(&mut site.ranks(size, program, &line.iter().map(String::as_str).collect::<Vec<_>>()));
        let result = std::fs::read_to_string(site.desk.path(out).join("result.json")).unwrap();
        serde_json::from_str::<Json>(&result).unwrap()
    };
    let (pre, fine) = (path("pre"), path("fine-2"));
    assert_eq!(run(2, "pre", "simclr-pretrain", &[])["ranks"], 2);
    for size in [1, 2] {
        let name = |stage: &str| format!("{stage}-{size}");
        run(size, &name("fine"), "simclr-finetune", &["--from", &pre, "--labels", "0.5"]);
        let teacher = if size == 1 { path("fine-1") } else { fine.clone() };
        run(size, &name("small"), "simclr-distill", &["--teacher", &teacher, "--student", "small", "--labels", "0.5"]);
    }
    assert_same("fine-tuning", &site.figures("fine-2", "loss"), &site.figures("fine-1", "loss"), 1e-4);
    assert_same("distillation", &site.figures("small-2", "loss"), &site.figures("small-1", "loss"), 1e-4);
    let of = |size| run(size, &format!("eval-{size}"), "simclr-eval", &["--checkpoint", &fine]);
    assert_eq!((of(1)["top1"].clone(), of(1)["top5"].clone()), (of(3)["top1"].clone(), of(3)["top5"].clone()));
}

/// A process of a stage that writes into `out`, by what the system tells of all processes.
fn process_of(out: &Path) -> Option<String> {
    let out = out.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut numbers =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|n| n.parse::<u32>().is_ok());
    numbers.find(|number| {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        words[0].ends_with("simclr-pretrain") && words.iter().any(|word| *word == out)
    })
}

fn send(signal: &str, process: &str) {
    assert!(Command::new("kill").args([signal, process]).status().unwrap().success());
}

/// Starts a long run of 4 processes, and waits until it has done some steps.
fn begun(site: &Site, out: &str, set: &[&str]) -> Child {
    let mut command =
        site.pretrain(4, out, &[&GENTLE[..], &["pretrain.training.length={ steps = 400 }"], set].concat());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (log, waited) = (site.desk.path(out).join("metrics.jsonl"), Instant::now());
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < 8 {
        assert!(child.try_wait().unwrap().is_none() && waited.elapsed() < Duration::from_secs(120), "no steps");
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

/// Runs of 20 steps have another identity than those of 400 only in their length: `--extend` is not needed below that.
fn goes_on(site: &Site, out: &str) {
    let saved = site.figures(out, "step");
    let longer = format!("pretrain.training.length={{ steps = {} }}", 400);
    assert!(saved.len() < 400, "it ended before");
    let mut go_on = site.pretrain(2, out, &[&GENTLE[..], &[&longer]].concat()).stderr(Stdio::piped()).spawn().unwrap();
    let (log, waited) = (site.desk.path(out).join("metrics.jsonl"), Instant::now());
    while std::fs::read_to_string(&log).map_or(0, |text| text.lines().count()) < saved.len() + 8 {
        assert!(go_on.try_wait().unwrap().is_none() && waited.elapsed() < Duration::from_secs(120), "no steps");
        std::thread::sleep(Duration::from_millis(10));
    }
    send("-USR1", &go_on.id().to_string());
    assert_eq!(go_on.wait().unwrap().code(), Some(75));
    // Each step once, though what followed the last saved state was done again.
    let steps: Vec<_> = site.figures(out, "step");
    let mut unique = steps.clone();
    unique.dedup();
    assert!(steps.is_sorted() && unique.len() == steps.len(), "{steps:?}");
}

#[test]
fn a_rank_that_is_killed_ends_all_and_the_run_goes_on_with_fewer() {
    let Some(site) = Site::find("a killed process") else { return };
    let child = begun(&site, "killed", &[]);
    let out = site.desk.path("killed");
    send("-KILL", &process_of(&out).expect("a process of the run"));
    let killed = Instant::now();
    let output = child.wait_with_output().unwrap();
    let seconds = killed.elapsed().as_secs_f64();
    eprintln!("all have ended {seconds:.1} s after one was killed");
    assert!(!output.status.success() && seconds < 10.0, "{seconds} s: {}", text(&output));
    while process_of(&out).is_some() {
        assert!(killed.elapsed().as_secs() < 10, "a process works on");
        std::thread::sleep(Duration::from_millis(10));
    }
    goes_on(&site, "killed");
}

#[test]
fn a_signal_to_mpirun_saves_and_its_code_comes_out() {
    let Some(site) = Site::find("a signal to mpirun") else { return };
    let child = begun(&site, "stopped", &[]);
    send("-USR1", &child.id().to_string());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(75), "{}", text(&output));
    assert_eq!(text(&output).matches("stopped as asked").count(), 1, "{}", text(&output));
    goes_on(&site, "stopped");
}

#[test]
fn mistakes_are_told_once() {
    let Some(site) = Site::find("mistakes of processes") else { return };
    let told = |mut command: Command| {
        let begun = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(begun.elapsed().as_secs() < 30, "{:?}", begun.elapsed());
        let all = text(&output);
        let errors: Vec<_> = all.lines().filter(|line| line.starts_with("error: ")).map(String::from).collect();
        assert_eq!(errors.len(), 1, "{all}");
        errors[0].clone()
    };
    let key = told(site.pretrain(4, "mistake", &["pretrain.temprature=1"]));
    assert!(key.contains("pretrain.temprature") && !key.contains("rank"), "{key}");
    let mut ranks = site.pretrain(4, "mistake", &[]);
    ranks.args(["--ranks", "3"]);
    let ranks = told(ranks);
    assert!(ranks.contains("--ranks 3") && ranks.contains("4 processes"), "{ranks}");
    let few = told(site.pretrain(4, "mistake", &["pretrain.training.batch=3"]));
    assert!(few.contains("a batch of 3 images") && few.contains("4 ranks"), "{few}");
    assert!(!site.desk.path("mistake").exists(), "a mistake leaves no folder");
    let one = |what: &str| {
        let line: Vec<_> = site.options("nothing", &[]).into_iter().chain([what.into()]).collect();
        told(site.ranks(4, "examples/exercise", &line.iter().map(String::as_str).collect::<Vec<_>>()))
    };
    let (fails, panics) = (one("fail"), one("panic"));
    assert!(fails.contains("rank 1 of 4 on ") && fails.contains("no such picture"), "{fails}");
    assert!(panics.contains("rank 1 of 4 on ") && panics.contains("panicked"), "{panics}");
}
