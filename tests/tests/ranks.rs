//! Ranks that share a batch train as one process does: the same losses and weights, and checkpoints that any number goes on with.
#![allow(clippy::unwrap_used)]

mod desk;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use desk::Desk;
use serde_json::{Map, Value as Json, json};
use simclr_core::cli::{CommonArgs, ProgressMode};
use simclr_core::config::{Config, OnlineHead};
use simclr_core::run::{Opened, Run, RunOptions, checkpoint};
use simclr_core::train::{Outcome, TrainOptions, train};
use simclr_estimate::{Links, Way};
use simclr_ops::Group;
use simclr_ops::collective::threads;
use simclr_stage::{Plan, Setup};
use simclr_tests::device;
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::scope;

/// Runs `work` on `size` threads, each of which is a rank; one that fails ends the others, and its own error comes first.
fn on_ranks<R: Send>(size: usize, work: impl Fn(&Group) -> Result<R> + Sync) -> Vec<Result<R>> {
    let work = &work;
    scope(|scope| {
        let rank = |collective| {
            scope.spawn(move || {
                let group = Group::of(collective);
                work(&group).inspect_err(|error| group.abort(&format!("{error:#}")))
            })
        };
        let ranks: Vec<_> = threads(size).into_iter().map(rank).collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    })
}

/// The device that is tested; of several GPUs, each rank has its own.
fn device_of(group: &Group) -> Device {
    #[cfg(feature = "nccl")]
    if group.size() > 1 && !device().is_cpu() && simclr_ops::gpus() >= group.size() {
        return simclr_ops::open_gpu(group.rank(), simclr_ops::Precision::Exact).unwrap();
    }
    let _ = group;
    device()
}

/// Pretrains in `out`, on from what is there, as one of the ranks; stops as if killed after `stop` steps.
fn pretrain(out: &Path, config: &Config, group: &Group, stop: Option<u64>) -> Result<Outcome> {
    let device = device_of(group);
    let group = &group.on(&device)?;
    let options = RunOptions {
        out,
        stage: "pretrain",
        config,
        identity: json!({"pretrain": config.pretrain}),
        inputs: vec![],
        extra: Map::new(),
        resume: true,
        extend: None,
        group,
    };
    let (Opened::Fresh(mut run) | Opened::Resume(mut run)) = Run::open(options)? else { bail!("done already") };
    let setup = Setup::open(config, &device, config.seed, |_| Ok(()))?.among(group)?;
    let mut plan: Plan<_> = simclr_pretrain::plan(config, setup, None)?;
    let (training, examples, title) = (&config.pretrain.training, plan.examples, "test".into());
    let options =
        TrainOptions { training, examples, prefetch: 2, progress: ProgressMode::Off, title, group, stop_after: stop };
    train(&mut plan, &options, &mut run)
}

fn pretrain_on(out: &Path, config: &Config, ranks: usize, stop: Option<u64>) {
    let done = on_ranks(ranks, |group| pretrain(out, config, group, stop));
    let losses: Vec<f64> = done.into_iter().map(|outcome| outcome.unwrap().last_loss.unwrap()).collect();
    assert!(losses.iter().all(|loss| *loss == losses[0]), "all ranks know the loss of the whole batch: {losses:?}");
}

/// A figure of each step, from the log.
fn figures(out: &Path, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines().filter_map(|line| serde_json::from_str::<Json>(line).unwrap()[name].as_f64()).collect()
}

fn assert_same(what: &str, found: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(found.len(), want.len(), "{what}");
    for (step, (found, want)) in found.iter().zip(want).enumerate() {
        assert!((found - want).abs() <= tolerance * want.abs(), "{what} of step {step}: {found} for {want}");
    }
}

fn weights(run: &Path) -> BTreeMap<String, Tensor> {
    checkpoint::load(run).unwrap().tensors
}

/// The largest difference of weights, relative to the largest weight of each tensor.
fn apart(a: &Path, b: &Path) -> f32 {
    let (a, b) = (weights(a), weights(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let one = |(a, b): (&Tensor, &Tensor)| {
        let (a, b) = (flat(a), flat(b));
        let largest = b.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
        a.iter().zip(&b).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / largest
    };
    a.values().zip(b.values()).map(one).fold(0.0, f32::max)
}

/// So gentle that a difference of one rounding does not grow: at higher rates a ReLU that tips over changes the sixth digit.
const STEPS: &[&str] =
    &["pretrain.training.length={ steps = 20 }", "pretrain.temperature=1.0", "pretrain.training.learning_rate=0.002"];

#[test]
fn any_number_of_ranks_trains_as_one() {
    let desk = Desk::new();
    // 18 images fall unequally to 4 ranks.
    for (what, set) in [
        ("lars", &["pretrain.training.batch=16"][..]),
        ("unequal parts", &["pretrain.training.batch=18", "pretrain.training.optimizer=\"sgd\""]),
        ("recomputed", &["pretrain.training.recompute=true", "pretrain.training.eval_every={ steps = 5 }"]),
        // 36 keys a step, which fill the queue in the third.
        ("memory", &["pretrain.training.batch=18", "pretrain.loss={ name = \"memory\", size = 80, decay = 0.9 }"]),
    ] {
        let config = desk.config(&[STEPS, set].concat()).unwrap();
        let at = |ranks: usize| desk.path(&format!("{what} {ranks}"));
        for ranks in [1, 2, 4] {
            pretrain_on(&at(ranks), &config, ranks, None);
        }
        for ranks in [2, 4] {
            for name in ["loss", "total_loss", "grad_norm", "contrast_entropy", "supervised_loss"] {
                let what = format!("{what} on {ranks} ranks: {name}");
                // Sums on a GPU are cut by shapes: what one rank finds of its part is rounded elsewhere than by one process.
                let tolerance = if device().is_cpu() || name == "loss" { 1e-5 } else { 5e-5 };
                let (found, want) = (figures(&at(ranks), name), figures(&at(1), name));
                let apart = |(found, want): (&f64, &f64)| ((found - want) / want).abs();
                println!("{what}: {:.1e} apart", found.iter().zip(&want).map(apart).fold(0.0, f64::max));
                assert_same(&what, &found, &want, tolerance);
            }
            for name in ["contrast_acc", "supervised_acc", "test_top1"] {
                assert_same(name, &figures(&at(ranks), name), &figures(&at(1), name), 1e-6);
            }
            let apart = apart(&at(ranks).join("checkpoint"), &at(1).join("checkpoint"));
            assert!(apart < 1e-4, "{what} on {ranks} ranks: weights differ by {apart}");
            assert_eq!(figures(&at(ranks), "comm_bytes").len(), 20);
            assert!(figures(&at(ranks), "comm_exposed_s").iter().all(|s| *s >= 0.0));
        }
        assert!(figures(&at(1), "comm_bytes").is_empty());
    }
}

/// The same in a few steps, which an emulated GPU takes in seconds.
#[test]
fn a_few_steps_of_ranks_are_those_of_one() {
    let desk = Desk::new();
    let few = ["pretrain.training.length={ steps = 3 }", "pretrain.training.batch=8", "data.limit=16"];
    let config = desk.config(&[STEPS, &few].concat()).unwrap();
    let at = |ranks: usize| desk.path(&format!("{ranks}"));
    for ranks in [1, 2] {
        pretrain_on(&at(ranks), &config, ranks, None);
    }
    for name in ["loss", "grad_norm"] {
        assert_same(name, &figures(&at(2), name), &figures(&at(1), name), 5e-5);
    }
}

#[test]
fn checkpoints_go_from_one_number_of_ranks_to_another() {
    let desk = Desk::new();
    let config = desk.config(&[STEPS, &["pretrain.training.checkpoint_every={ steps = 5 }"]].concat()).unwrap();
    let (whole, pieces) = (desk.path("whole"), desk.path("pieces"));
    pretrain_on(&whole, &config, 1, None);
    for (ranks, stop) in [(4, Some(6)), (1, Some(12)), (2, Some(17)), (4, None)] {
        pretrain_on(&pieces, &config, ranks, stop);
    }
    for name in ["loss", "lr"] {
        assert_same(name, &figures(&pieces, name), &figures(&whole, name), 1e-5);
    }
    assert_eq!(figures(&pieces, "step"), figures(&whole, "step"));
}

/// Each stage as its program runs it, on ranks that are threads.
fn stage(desk: &Desk, out: &str, ranks: usize, work: impl Fn(CommonArgs) -> Result<()> + Sync) -> Vec<Result<()>> {
    on_ranks(ranks, |group| work(CommonArgs { group: group.clone(), ..desk.args(out) }))
}

fn result(desk: &Desk, run: &str) -> Json {
    serde_json::from_str(&std::fs::read_to_string(desk.path(run).join("result.json")).unwrap()).unwrap()
}

#[test]
fn every_stage_runs_on_ranks() {
    let desk = Desk::new();
    let config = desk.config(&[]).unwrap();
    let labels = "0.5".parse().unwrap();
    for ranks in [1, 3] {
        let name = |stage: &str| format!("{stage}-{ranks}");
        let all_done = |done: Vec<Result<()>>| done.into_iter().for_each(|done| done.unwrap());
        let (pre, fine) = (name("pre"), name("fine"));
        all_done(stage(&desk, &pre, ranks, |args| simclr_pretrain::run(&args, &config)));
        for (out, from) in [(fine.clone(), pre.clone()), (name("scratch"), "scratch".into())] {
            let from = if from == "scratch" { from } else { desk.path(&from).display().to_string() };
            all_done(stage(&desk, &out, ranks, |common| {
                let args = simclr_finetune::FinetuneArgs { common, from: from.clone(), labels, subset: 0 };
                simclr_finetune::run(&args, &config)
            }));
        }
        for student in ["self", "small"] {
            all_done(stage(&desk, &name(student), ranks, |common| {
                let (teacher, student) = (desk.path(&fine), student.to_string());
                let args = simclr_distill::DistillArgs { common, teacher, student, labels, subset: 0 };
                simclr_distill::run(&args, &config)
            }));
        }
    }
    for run in ["pre", "fine", "scratch", "self", "small"] {
        let [one, three] = [1, 3].map(|ranks| figures(&desk.path(&format!("{run}-{ranks}")), "loss"));
        assert_same(run, &three, &one, 1e-4);
        let [one, three] = [1, 3].map(|ranks| result(&desk, &format!("{run}-{ranks}")));
        assert_eq!((one["steps"].as_u64(), one["params"].clone()), (three["steps"].as_u64(), three["params"].clone()));
        assert_eq!((one["ranks"].as_u64(), three["ranks"].as_u64()), (None, Some(3)), "{run}");
        // The classes of a whole test set, however it was shared out.
        if run != "pre" {
            assert_eq!(one["top5"], three["top5"], "{run}");
        }
    }
}

fn messages(done: Vec<Result<()>>) -> Vec<String> {
    done.into_iter().map(|done| format!("{:#}", done.unwrap_err())).collect()
}

#[test]
fn ranks_of_different_experiments_are_told_at_the_start() {
    let desk = Desk::new();
    let configs = [&[][..], &["pretrain.temperature=0.5"]].map(|set| desk.config(set).unwrap());
    let told = messages(stage(&desk, "run", 2, |args| simclr_pretrain::run(&args, &configs[args.group.rank()])));
    for told in told {
        assert!(
            told.contains("rank 1 was given another experiment than rank 0") && told.contains("temperature"),
            "{told}"
        );
    }
    assert!(!desk.path("run").exists());
    // Other images: as where a disk is not the same on all machines.
    let configs = [&[][..], &["data.limit=50"]].map(|set| desk.config(set).unwrap());
    let told = messages(stage(&desk, "run", 2, |args| {
        let setup = Setup::open(&configs[args.group.rank()], &Device::Cpu, 0, |_| Ok(()));
        setup?.among(&args.group).map(|_| ())
    }));
    assert!(told.iter().all(|t| t.contains("rank 1 50 training images") && t.contains("data.dir")), "{told:?}");
}

#[test]
fn mistakes_end_all_ranks() {
    let desk = Desk::new();
    let config = desk.config(&["pretrain.training.batch=3"]).unwrap();
    let told = messages(stage(&desk, "few", 4, |args| simclr_pretrain::run(&args, &config)));
    assert!(told.iter().all(|t| t.contains("a batch of 3 images") && t.contains("4 ranks")), "{told:?}");
    let config = desk.config(&["pretrain.training.batch=18", "pretrain.training.chunk=4"]).unwrap();
    let told = messages(stage(&desk, "chunk", 4, |args| simclr_pretrain::run(&args, &config)));
    assert!(told.iter().all(|t| t.contains("chunk") && t.contains("4 ranks")), "{told:?}");
    assert!(!desk.path("few").exists() && !desk.path("chunk").exists(), "a mistake leaves no folder");
    // A folder that holds another run: the first rank finds out, and all say so.
    let config = desk.config(&[]).unwrap();
    stage(&desk, "run", 2, |args| simclr_pretrain::run(&args, &config)).into_iter().for_each(|done| done.unwrap());
    stage(&desk, "run", 3, |args| simclr_pretrain::run(&args, &config)).into_iter().for_each(|done| done.unwrap());
    let other = desk.config(&["pretrain.temperature=0.7"]).unwrap();
    let told = messages(stage(&desk, "run", 2, |args| simclr_pretrain::run(&args, &other)));
    assert!(told.iter().all(|t| t.contains("holds another run")), "{told:?}");
}

/// A rank that fails in the middle of a step: the others end at once, and the run goes on from its last state.
#[test]
fn a_rank_that_dies_loses_nothing() {
    let desk = Desk::new();
    let config = desk.config(&[STEPS, &["pretrain.training.checkpoint_every={ steps = 5 }"]].concat()).unwrap();
    let (out, whole) = (desk.path("run"), desk.path("whole"));
    let begun = std::time::Instant::now();
    let done = on_ranks(3, |group| {
        // The last rank leaves after 7 steps, without a word, while the others go on with the next.
        let stop = (group.rank() == 2).then_some(7);
        let outcome = pretrain(&out, &config, group, stop)?;
        (outcome.steps == 20).then_some(()).context("left early")
    });
    for done in &done[..2] {
        let told = format!("{:#}", done.as_ref().unwrap_err());
        assert!(
            told.contains("rank 2 of 3 has ended") && told.contains("the last saved state is that of step 5"),
            "{told}"
        );
    }
    assert!(begun.elapsed().as_secs() < 60);
    pretrain_on(&out, &config, 2, None);
    pretrain_on(&whole, &config, 1, None);
    assert_same("loss", &figures(&out, "loss"), &figures(&whole, "loss"), 1e-5);
}

/// The bytes that a plan says are those that are told: of each norm, of projections, of gradients.
#[test]
fn ranks_tell_what_plans_say() {
    let desk = Desk::new();
    for (what, way, set) in [
        ("kept", Way::Kept, &[][..]),
        ("recomputed", Way::Recomputed, &["pretrain.training.recompute=true"]),
        ("chunks", Way::Chunks(4), &["pretrain.training.chunk=4"]),
        ("memory", Way::Kept, &["pretrain.loss={ name = \"memory\", size = 80 }"]),
    ] {
        let config = desk.config(set).unwrap();
        let out = desk.path(what);
        pretrain_on(&out, &config, 2, None);
        let classes = simclr_data::source::find(&config.data).unwrap().classes.unwrap();
        let of = simclr_pretrain::Pretraining::new(&config, (3, classes), 3).unwrap();
        let (outline, loss) = (of.outline().unwrap(), |images| of.loss(images));
        let (half, batch) = (config.pretrain.training.batch as f64 / 2.0, config.pretrain.training.batch as f64);
        let planned = of.work(&outline, &loss).exchanges(&Links::NVLINK_AND_NDR, way, (half, batch), 2);
        let bytes: f64 = planned.iter().map(|told| told.bytes).sum();
        for told in figures(&out, "comm_bytes") {
            // What is left are a few figures, and the moments of the features that the online head reads.
            let head = 8.0 * (1.0 + 2.0 * 32.0);
            let more = told - bytes - if config.pretrain.online_head == OnlineHead::Normalized { head } else { 0.0 };
            assert!(more.abs() <= 128.0, "{what}: {told} bytes in a step, {bytes} planned: {planned:#?}");
        }
    }
}

/// Evaluation by parts: the same figures, neighbours and probe, and one rank writes.
#[test]
fn ranks_evaluate_as_one_process() {
    let desk = Desk::new();
    desk.pretrain("pretrained", &[]).unwrap();
    desk.finetune("pretrained", (0.5, 0), "tuned", &[]).unwrap();
    let [experiment, pretrained, tuned] = ["experiment.toml", "pretrained", "tuned"].map(|name| desk.path(name));
    let measured = |name: &str, checkpoint: &Path, more: &[&str]| {
        let out = desk.path(name);
        let line =
            ["simclr-eval", "--config", experiment.to_str().unwrap(), "--out", out.to_str().unwrap(), "--checkpoint"];
        let line = [&line[..], &[checkpoint.to_str().unwrap(), "--progress", "off"], more].concat();
        simclr_eval::command::run(line.into_iter().map(Into::into).collect()).unwrap();
        let read = |file: &str| std::fs::read(out.join(file)).ok();
        let mut result: Json = serde_json::from_slice(&read("result.json").unwrap()).unwrap();
        result.as_object_mut().unwrap().remove("seconds");
        let mut files: Vec<_> = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        files.retain(|name| !name.to_string_lossy().contains("tfevents"));
        files.sort();
        (result, files, read("neighbours.json"), read("probe.safetensors"))
    };
    for (what, checkpoint, more) in [("features", &pretrained, &["--linear", "--knn"][..]), ("classifier", &tuned, &[])]
    {
        let alone = measured(&format!("{what} 1"), checkpoint, more);
        assert_eq!(alone.2.is_some(), what == "features");
        for ranks in ["2", "3", "4"] {
            let shared = measured(&format!("{what} {ranks}"), checkpoint, &[more, &["--ranks", ranks]].concat());
            assert_eq!(shared.0, alone.0, "{what} on {ranks} ranks");
            assert_eq!(shared.1, alone.1, "{what} on {ranks} ranks");
            assert!(shared.2 == alone.2 && shared.3 == alone.3, "{what} on {ranks} ranks: neighbours or the probe");
        }
    }
}
