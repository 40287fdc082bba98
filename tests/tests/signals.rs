//! A signal ends training between two steps, with its state saved. One test, for signals reach the whole process.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod desk;

use desk::Desk;
use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::low_level::raise;
use simclr_core::cli::CommonArgs;
use simclr_core::config::Config;
use simclr_core::train::Interrupted;
use simclr_ops::Group;
use simclr_ops::collective::threads;
use std::path::Path;
use std::thread::scope;
use std::time::{Duration, Instant};

fn lines(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// Trains on so many ranks, and sends `signal` to this process once another `after` steps are in the log.
fn interrupted(desk: &Desk, config: &Config, ranks: usize, signal: Option<(i32, usize)>) -> Vec<anyhow::Result<()>> {
    let run = &desk.path("run");
    let begun = lines(run);
    scope(|scope| {
        let rank = |collective| {
            let group = Group::of(collective);
            scope.spawn(move || {
                let args = CommonArgs { resume: begun > 0, group, ..desk.args("run") };
                simclr_pretrain::run(&args, config)
            })
        };
        let ranks: Vec<_> = threads(ranks).into_iter().map(rank).collect();
        if let Some((signal, after)) = signal {
            let waited = Instant::now();
            while lines(run) < begun + after {
                assert!(waited.elapsed() < Duration::from_secs(60), "no step in a minute");
                std::thread::sleep(Duration::from_millis(2));
            }
            raise(signal).unwrap();
        }
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

#[test]
fn a_signal_saves_and_the_same_command_goes_on() {
    let desk = Desk::new();
    let steps = 60;
    let config = desk.config(&[&format!("pretrain.training.length={{ steps = {steps} }}")]).unwrap();
    let mut last = 0;
    for (ranks, signal) in [(1, SIGTERM), (2, SIGINT), (3, SIGUSR1)] {
        for done in interrupted(&desk, &config, ranks, Some((signal, 3))) {
            let error = done.expect_err("an end before the last step");
            let Interrupted { step, of } = error.downcast_ref::<Interrupted>().unwrap();
            assert!((*of, *step > last) == (steps, true) && lines(&desk.path("run")) as u64 == *step, "{error}");
            last = if ranks > 1 { last } else { *step };
        }
        last = lines(&desk.path("run")) as u64;
        assert!(!desk.path("run").join("result.json").exists());
    }
    assert!(interrupted(&desk, &config, 2, None).into_iter().all(|done| done.is_ok()));
    let text = std::fs::read_to_string(desk.path("run").join("metrics.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let steps_of: Vec<u64> = text
        .lines()
        .map(step)
        .filter(|line| line["loss"].is_f64())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps_of, (1..=steps).collect::<Vec<_>>(), "each step once");
    assert!(desk.path("run").join("result.json").is_file());
}
