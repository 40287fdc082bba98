//! The same seed gives the same bits: on any number of threads, and after an interruption.
#![allow(clippy::unwrap_used, missing_docs)]

mod training;

use candle_core::Device;
use serde_json::{Map, Value as Json, json};
use simclr_core::config::{Config, DataConfig};
use simclr_data_tools::synth::Size;
use simclr_tests::{assert_close, device};
use std::path::Path;
use training::{extend, finished, pretrain};

const STEPS: u64 = 6;

fn experiment() -> Config {
    let training = json!({
        "length": {"steps": STEPS}, "warmup": {"steps": 2}, "batch": 24, "learning_rate": 1.0, "weight_decay": 1e-4,
        "checkpoint_every": {"steps": 2}, "eval_every": {"steps": 4},
    });
    serde_json::from_value(json!({
        "name": "determinism", "seed": 3, "data": {"dataset": "textures", "image_size": 16, "limit": 50},
        "model": {"depth": 18, "width": 0.25, "proj_layers": 2, "proj_dim": 16},
        "pretrain": {"training": training}, "finetune": {"training": training}, "supervised": {"training": training},
    }))
    .unwrap()
}

/// How the same step is taken with less memory.
#[derive(Clone, Copy, Default)]
struct Memory {
    recompute: bool,
    chunk: Option<usize>,
}

/// The same experiment with less memory.
fn with(memory: Memory) -> Config {
    let mut config = experiment();
    config.pretrain.training.recompute = memory.recompute;
    config.pretrain.training.chunk = memory.chunk;
    config
}

/// The final weights, and every logged line without what depends on the clock.
fn traces(out: &Path) -> (Vec<u8>, Vec<Map<String, Json>>) {
    let lines = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Map<String, Json> = serde_json::from_str(line).unwrap();
        line.remove("images_per_s");
        line
    });
    (std::fs::read(out.join("checkpoint/model.safetensors")).unwrap(), lines.collect())
}

/// A run on so many threads, stopped and resumed after each of `stops`.
fn traced(out: &Path, config: &Config, threads: usize, stops: &[u64]) -> (Vec<u8>, Vec<Map<String, Json>>) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        stops.iter().for_each(|stop| pretrain(out, config, Some(*stop), &device()));
        pretrain(out, config, None, &device());
    });
    traces(out)
}

#[test]
fn bits_do_not_depend_on_threads_or_interruptions() {
    let dir = tempfile::tempdir().unwrap();
    let on = |threads: usize, name: &str, stops: &[u64]| traced(&dir.path().join(name), &experiment(), threads, stops);
    let one = on(1, "one", &[]);
    assert_eq!(one.1.iter().filter(|l| l.contains_key("loss")).count() as u64, STEPS);
    assert_eq!(one.1.iter().filter(|l| l.contains_key("test_top1")).count(), 2, "after step 4 and at the end");
    for (what, other) in [
        ("two threads", on(2, "two", &[])),
        ("five threads", on(5, "five", &[])),
        ("stopped after a saved state, between two, and before the first", on(2, "stopped", &[1, 2, 5])),
    ] {
        assert_eq!(one.1, other.1, "{what}: logged figures");
        assert!(one.0 == other.0, "{what}: weights");
    }
}

/// Six steps and then four more, by a schedule of ten: on any number of threads, and interrupted within the four.
#[test]
fn nor_where_a_finished_run_is_trained_further() {
    let dir = tempfile::tempdir().unwrap();
    let mut longer = experiment();
    longer.pretrain.training.length = serde_json::from_value(json!({"steps": STEPS + 4})).unwrap();
    let on = |threads: usize, name: &str, stops: &[u64]| {
        let out = dir.path().join(name);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            finished(&out, &experiment(), &device());
            extend(&out, &longer, stops.first().copied(), &device());
            for stop in stops.iter().skip(1).map(|stop| Some(*stop)).chain((!stops.is_empty()).then_some(None)) {
                pretrain(&out, &longer, stop, &device());
            }
        });
        let kept = std::fs::read(out.join("before-extend-6/checkpoint/model.safetensors")).unwrap();
        (traces(&out), kept)
    };
    let (one, kept) = on(1, "one", &[]);
    let losses: Vec<_> = one.1.iter().filter(|line| line.contains_key("loss")).collect();
    assert_eq!(losses.len() as u64, STEPS + 4, "each step once");
    let short = traced(&dir.path().join("short"), &experiment(), 1, &[]);
    assert!(kept == short.0, "what the shorter run came to is kept");
    assert_eq!(short.1[..], one.1[..short.1.len()], "and what it measured");
    for (what, stops) in [("the same again", &[][..]), ("stopped before a state", &[7]), ("twice", &[8, 9])] {
        let (other, _) = on(3, what, stops);
        assert_eq!(one.1, other.1, "{what}: logged figures");
        assert!(one.0 == other.0, "{what}: weights");
    }
}

/// The device that is tested, beside the CPU: the same random numbers, sums in another order.
#[test]
fn devices_agree() {
    let dir = tempfile::tempdir().unwrap();
    let losses = |name: &str, device: &Device| -> Vec<f32> {
        let out = dir.path().join(name);
        pretrain(&out, &experiment(), None, device);
        traces(&out).1.iter().filter_map(|line| Some(line.get("total_loss")?.as_f64()? as f32)).collect()
    };
    let cpu = losses("cpu", &Device::Cpu);
    assert_eq!(cpu.len() as u64, STEPS);
    assert_close("losses on the device", &losses("device", &device()), &cpu, 1e-3);
}

#[test]
fn neither_do_they_where_memory_is_short() {
    let dir = tempfile::tempdir().unwrap();
    let on = |name: &str, recompute: bool, chunk: Option<usize>, threads: usize, stops: &[u64]| {
        traced(&dir.path().join(name), &with(Memory { recompute, chunk }), threads, stops)
    };
    let same = |what: &str, a: &(Vec<u8>, Vec<Map<String, Json>>), b: &(Vec<u8>, Vec<Map<String, Json>>)| {
        assert_eq!(a.1, b.1, "{what}: logged figures");
        assert!(a.0 == b.0, "{what}: weights");
    };
    let ordinary = on("ordinary", false, None, 2, &[]);
    same("recomputed", &ordinary, &on("recomputed", true, None, 2, &[]));
    same("a chunk that holds the batch", &ordinary, &on("whole", false, Some(24), 2, &[]));
    // Three chunks: ten, ten and four images of 24.
    let chunked = on("chunked", false, Some(10), 1, &[]);
    assert_ne!(chunked.1, ordinary.1, "batch norm sees a chunk at a time");
    same("chunks on five threads, stopped twice", &chunked, &on("stopped", false, Some(10), 5, &[2, 5]));
    same("chunks that recompute", &chunked, &on("both", true, Some(10), 2, &[]));
}

/// Six steps of 24 images are two epochs and a half of 50: all stops but the last lie within an epoch.
#[test]
fn nor_where_images_come_from_shards() {
    let dir = tempfile::tempdir().unwrap();
    let size = Size { images: 50, classes: 5, pixels: (20, 26), shard: 12 };
    simclr_data_tools::synth::write(dir.path(), size, &|_| ()).unwrap();
    for form in ["tar", "parquet"] {
        let mut config = experiment();
        config.data = DataConfig { dir: Some(dir.path().join(form)), shuffle_buffer: 20, ..DataConfig::new(form, 16) };
        let on = |name: &str, threads, stops: &[u64]| {
            traced(&dir.path().join(format!("{form} {name}")), &config, threads, stops)
        };
        let whole = on("whole", 1, &[]);
        let stopped = on("stopped", 5, &[1, 3, 5]);
        assert_eq!(whole.1, stopped.1, "{form}: logged figures");
        assert!(whole.0 == stopped.0, "{form}: weights");
    }
}
