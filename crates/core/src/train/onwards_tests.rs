//! Runs that stop early, keep their best network, or are trained further.
#![allow(clippy::unwrap_used)]

use super::tests::{Regression, go, go_on, metrics, opened, training};
use super::{Outcome, Stopped};
use crate::config::{Duration, OptimizerConfig, TrainingConfig};
use crate::disk;
use crate::run::{Best, Opened, layout};
use serde_json::{Value as Json, json};
use std::path::Path;

fn bytes(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join(layout::MODEL)).unwrap()
}

/// Trains with an evaluation after each of ten steps, whose accuracies these are.
fn graded(out: &Path, grades: &[f64], training: &TrainingConfig, stop_after: Option<u64>) -> Outcome {
    let mut task = Regression::new();
    task.grades = Some(grades.to_vec());
    go(&mut task, out, training, stop_after).unwrap()
}

fn every_step(patience: Option<u64>) -> TrainingConfig {
    let mut training = training(OptimizerConfig::sgd());
    (training.eval_every, training.patience) = (Some(Duration::Steps(1)), patience);
    training
}

#[test]
fn the_best_network_is_kept_beside_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (grades, training) = ([0.1, 0.2, 0.3, 0.1, 0.6, 0.6, 0.2, 0.4, 0.5, 0.3], every_step(None));
    let whole = graded(&at("whole"), &grades, &training, None);
    assert_eq!((whole.best, whole.stopped, whole.steps), (Some(Best { step: 5, top1: 0.6 }), None, 10));
    // The last is what it is without evaluations, and the best what a run of five steps of this schedule ends with.
    let mut alone = training.clone();
    alone.eval_every = None;
    go(&mut Regression::new(), &at("alone"), &alone, None).unwrap();
    assert!(bytes(&at("whole/checkpoint")) == bytes(&at("alone/checkpoint")));
    assert!(!at("alone").join(layout::BEST).exists(), "without eval_every there is nothing to choose from");
    assert!(bytes(&at("whole/best")) != bytes(&at("whole/checkpoint")));
    let facts = disk::read_json(&at("whole/best").join(layout::BEST_FACTS)).unwrap();
    assert_eq!(facts, json!({"step": 5, "top1": 0.6}));
    // States are those of 3, 6, 9 and 10: killed after 5, the best is younger than the state, twice.
    for (name, stops) in [("once", &[5][..]), ("often", &[1, 2, 5, 5, 7, 8])] {
        stops.iter().for_each(|stop| drop(graded(&at(name), &grades, &training, Some(*stop))));
        let outcome = graded(&at(name), &grades, &training, None);
        assert_eq!(outcome.best, whole.best, "{name}");
        assert!(bytes(&at(name).join("best")) == bytes(&at("whole/best")), "{name}");
        assert!(bytes(&at(name).join("checkpoint")) == bytes(&at("whole/checkpoint")), "{name}");
        assert_eq!(metrics(&at(name)), metrics(&at("whole")), "{name}");
    }
    // Killed after 5, and what follows is worse than the best of the saved state: that one is there.
    graded(&at("worse"), &grades, &training, Some(5));
    let worse = [0.1, 0.2, 0.3, 0.1, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2];
    assert_eq!(graded(&at("worse"), &worse, &training, None).best, Some(Best { step: 3, top1: 0.3 }));
    assert_eq!(disk::read_json(&at("worse/best").join(layout::BEST_FACTS)).unwrap()["step"], 3);
    let hidden = |name: &std::ffi::OsString| name.to_string_lossy().starts_with('.');
    let names = std::fs::read_dir(at("worse")).unwrap().map(|e| e.unwrap().file_name());
    assert_eq!(names.filter(hidden).count(), 0, "nothing is left of other networks");
}

#[test]
fn patience_stops_a_run_wherever_it_was_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (grades, training) = ([0.1, 0.2, 0.4, 0.3, 0.4, 0.2, 0.9, 0.9, 0.9, 0.9], every_step(Some(3)));
    let whole = graded(&at("whole"), &grades, &training, None);
    let stopped = Some(Stopped { length: 10, patience: 3 });
    assert_eq!((whole.steps, whole.stopped, whole.best), (6, stopped, Some(Best { step: 3, top1: 0.4 })));
    for stop in 1..=6 {
        let out = at(&format!("stop {stop}"));
        graded(&out, &grades, &training, Some(stop));
        // The last of them was killed between its last state and its result.
        let outcome = graded(&out, &grades, &training, None);
        assert_eq!((outcome.steps, outcome.stopped, outcome.best), (6, stopped, whole.best), "{stop}");
        assert!(bytes(&out.join("checkpoint")) == bytes(&at("whole/checkpoint")), "{stop}");
        assert_eq!(metrics(&out), metrics(&at("whole")), "{stop}");
    }
    assert_eq!(graded(&at("all"), &grades, &every_step(Some(4)), None).stopped, None);
    let mut rising = grades;
    rising[9] = 0.0;
    assert_eq!(graded(&at("at the end"), &rising, &every_step(Some(3)), None).steps, 6);
    let late = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.6, 0.6, 0.6];
    assert_eq!(graded(&at("late"), &late, &every_step(Some(3)), None).stopped, None, "the length was reached");
}

fn finish(out: &Path, training: &TrainingConfig, outcome: &Outcome) {
    let Opened::Resume(run) = opened(out, training, false).unwrap() else { panic!("unfinished") };
    run.finish(&json!({"steps": outcome.steps, "examples": 60, "seconds": outcome.seconds})).unwrap();
}

/// A finished run of eight steps, and the table of the same run with another length.
fn eight(out: &Path) -> impl Fn(u64) -> TrainingConfig + use<> {
    let of = |steps: u64| {
        let mut training = training(OptimizerConfig::adam());
        training.length = Duration::Steps(steps);
        training
    };
    let outcome = go(&mut Regression::new(), out, &of(8), None).unwrap();
    finish(out, &of(8), &outcome);
    of
}

fn extend(out: &Path, training: &TrainingConfig, stop_after: Option<u64>) -> Outcome {
    let Opened::Resume(mut run) = opened(out, training, true).unwrap() else { panic!("a run that goes on") };
    go_on(&mut run, &mut Regression::new(), training, stop_after).unwrap()
}

fn refused(out: &Path, training: &TrainingConfig, extend: bool) -> String {
    format!("{:#}", opened(out, training, extend).err().expect("an error"))
}

#[test]
fn a_finished_run_is_trained_further() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let of = eight(&at("run"));
    let (before, lines) = (bytes(&at("run/checkpoint")), metrics(&at("run")));
    let outcome = extend(&at("run"), &of(16), None);
    assert_eq!(outcome.steps, 16);
    assert!(opened(&at("run"), &of(16), true).is_ok_and(|o| matches!(o, Opened::Resume(_))), "not finished yet");
    finish(&at("run"), &of(16), &outcome);
    // Nothing is lost: neither what was trained nor what was measured.
    let kept = at("run").join(layout::before_extend(8));
    assert!(bytes(&kept.join("checkpoint")) == before && bytes(&at("run/checkpoint")) != before);
    assert_eq!(disk::read_json(&kept.join(layout::RESULT)).unwrap()["steps"], 8);
    let after = metrics(&at("run"));
    assert_eq!(after[..lines.len()], lines);
    let steps: Vec<u64> = after.iter().filter(|l| l["loss"].is_f64()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, (1..=16).collect::<Vec<_>>(), "each step once");
    // The learning rate is that of a run of sixteen steps, from the ninth on.
    go(&mut Regression::new(), &at("straight"), &of(16), None).unwrap();
    let rates = |lines: &[Json]| lines.iter().filter_map(|l| l["lr"].as_f64()).skip(8).collect::<Vec<_>>();
    assert_eq!(rates(&after), rates(&metrics(&at("straight"))));
    let manifest = disk::read_json(&at("run").join(layout::MANIFEST)).unwrap();
    assert_eq!(manifest["extended"], json!([{"from_step": 8, "length": {"steps": 8}}]));
    assert_eq!(manifest["config"]["pretrain"]["training"]["length"], json!({"steps": 16}));
    // The same again is done; and it may go on once more.
    assert!(matches!(opened(&at("run"), &of(16), true).unwrap(), Opened::Done(_)));
    assert!(matches!(opened(&at("run"), &of(16), false).unwrap(), Opened::Done(_)));
    finish(&at("run"), &of(20), &extend(&at("run"), &of(20), None));
    let manifest = disk::read_json(&at("run").join(layout::MANIFEST)).unwrap();
    assert_eq!(manifest["extended"][1], json!({"from_step": 16, "length": {"steps": 16}}));
    assert!(kept.is_dir() && at("run").join(layout::before_extend(16)).is_dir());
}

#[test]
fn an_extension_that_is_interrupted_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let of = eight(&at("whole"));
    extend(&at("whole"), &of(16), None);
    for stops in [&[9][..], &[10, 13], &[15, 16]] {
        let out = at(&format!("{stops:?}"));
        let _ = eight(&out);
        extend(&out, &of(16), Some(stops[0]));
        stops[1..].iter().for_each(|stop| drop(go(&mut Regression::new(), &out, &of(16), Some(*stop)).unwrap()));
        go(&mut Regression::new(), &out, &of(16), None).unwrap();
        assert!(bytes(&out.join("checkpoint")) == bytes(&at("whole/checkpoint")), "{stops:?}");
        assert_eq!(metrics(&out), metrics(&at("whole")), "{stops:?}");
    }
    // A crash between the new manifest and the removal of the old result: it is no result of the longer run.
    let (out, old) = (at("crash"), at("crash").join(layout::before_extend(8)));
    let _ = eight(&out);
    drop(opened(&out, &of(16), true).unwrap());
    std::fs::copy(old.join(layout::RESULT), out.join(layout::RESULT)).unwrap();
    std::fs::create_dir(out.join("checkpoint")).unwrap();
    go(&mut Regression::new(), &out, &of(16), None).unwrap();
    assert!(bytes(&out.join("checkpoint")) == bytes(&at("whole/checkpoint")));
    assert!(!out.join(layout::RESULT).exists());
    // And one before the new manifest: the copy is there, the run is still the short one.
    let out = at("early");
    let _ = eight(&out);
    drop(opened(&out, &of(16), true).unwrap());
    std::fs::create_dir(out.join(layout::CHECKPOINT)).unwrap();
    let checkpoint = [layout::MODEL, layout::CONFIG].map(|name| format!("{}/{name}", layout::CHECKPOINT));
    for name in checkpoint.iter().map(String::as_str).chain([layout::MANIFEST, layout::RESULT]) {
        std::fs::copy(out.join(layout::before_extend(8)).join(name), out.join(name)).unwrap();
    }
    extend(&out, &of(16), None);
    assert!(bytes(&out.join("checkpoint")) == bytes(&at("whole/checkpoint")));
}

#[test]
fn what_cannot_be_extended_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let none = refused(&dir.path().join("none"), &training(OptimizerConfig::sgd()), true);
    assert!(none.contains("holds no run") && !dir.path().join("none").exists(), "{none}");
    let of = eight(&out);
    let text = refused(&out, &of(16), false);
    assert!(text.contains("length.steps is 8 there and 16 here") && text.contains("--extend"), "{text}");
    for steps in [4, 7] {
        let text = refused(&out, &of(steps), true);
        assert!(text.contains(&format!("8 steps already, and the experiment's length comes to {steps}")), "{text}");
    }
    // The same steps in other words are no extension; images become one step more, as in the reference.
    let mut same = of(8);
    same.length = Duration::Images(7 * same.batch as u64);
    assert!(refused(&out, &same, true).contains("comes to 8"));
    let mut other = of(16);
    other.learning_rate *= 2.0;
    let text = refused(&out, &other, true);
    assert!(text.contains("learning_rate") && !text.contains("Add --extend"), "{text}");
    std::fs::remove_file(out.join(layout::state_after(8))).unwrap();
    let text = refused(&out, &of(16), true);
    assert!(text.contains("is that after step 6, and the run ended after step 8"), "{text}");
    std::fs::remove_file(out.join(layout::state_after(6))).unwrap();
    let text = refused(&out, &of(16), true);
    assert!(text.contains("state-8.safetensors is gone") && text.contains("--from"), "{text}");
    assert!(matches!(opened(&out, &of(8), false).unwrap(), Opened::Done(_)), "refusals change nothing");
    assert!(!out.join(layout::before_extend(8)).exists());
    let unfinished = dir.path().join("unfinished");
    go(&mut Regression::new(), &unfinished, &of(8), Some(4)).unwrap();
    let text = refused(&unfinished, &of(16), true);
    assert!(text.contains("unfinished") && text.contains("--resume"), "{text}");
}

/// A run that stopped early counts its patience anew when it is trained further.
#[test]
fn a_run_that_stopped_early_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let grades: Vec<f64> = [0.5, 0.1, 0.1, 0.1, 0.9].into_iter().chain([0.1; 15]).collect();
    let short = every_step(Some(2));
    let mut long = short.clone();
    long.length = Duration::Steps(20);
    let go = |out: &Path, stop: Option<u64>| {
        let outcome = graded(out, &grades, &short, None);
        assert_eq!((outcome.steps, outcome.stopped.is_some()), (3, true));
        finish(out, &short, &outcome);
        let mut task = Regression::new();
        task.grades = Some(grades.clone());
        let Opened::Resume(mut run) = opened(out, &long, true).unwrap() else { panic!("a run that goes on") };
        let outcome = go_on(&mut run, &mut task, &long, stop).unwrap();
        drop(run);
        if stop.is_some() { graded(out, &grades, &long, None) } else { outcome }
    };
    let whole = go(&dir.path().join("whole"), None);
    assert_eq!((whole.steps, whole.best.map(|b| b.step)), (7, Some(5)));
    for stop in [4, 5, 6, 7] {
        let out = dir.path().join(format!("{stop}"));
        let outcome = go(&out, Some(stop));
        assert_eq!((outcome.steps, outcome.best), (whole.steps, whole.best), "{stop}");
        assert!(bytes(&out.join("best")) == bytes(&dir.path().join("whole/best")), "{stop}");
        assert_eq!(metrics(&out), metrics(&dir.path().join("whole")), "{stop}");
    }
}

/// Steps with a loss in all files of events.
fn shown(out: &Path) -> Vec<u64> {
    let mut steps = Vec::new();
    for path in std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()) {
        if !path.file_name().unwrap().to_string_lossy().starts_with(layout::EVENTS) {
            continue;
        }
        let bytes = std::fs::read(path).unwrap();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let data = &rest[12..12 + length];
            // Behind the wall time: the step, one byte up to 127.
            if data.windows(10).any(|window| window == b"total_loss") {
                steps.push(u64::from(data[10]));
            }
            rest = &rest[16 + length..];
        }
    }
    steps.sort();
    steps
}

#[test]
fn tensorboard_shows_each_step_once() {
    let dir = tempfile::tempdir().unwrap();
    let (out, training) = (dir.path().join("run"), training(OptimizerConfig::sgd()));
    for stop in [Some(2), Some(5), Some(8), None] {
        go(&mut Regression::new(), &out, &training, stop).unwrap();
        assert_eq!(shown(&out), (1..=stop.unwrap_or(10)).collect::<Vec<_>>(), "{stop:?}");
    }
    let out = dir.path().join("extended");
    let of = eight(&out);
    extend(&out, &of(16), Some(13));
    go(&mut Regression::new(), &out, &of(16), None).unwrap();
    assert_eq!(shown(&out), (1..=16).collect::<Vec<_>>());
}
