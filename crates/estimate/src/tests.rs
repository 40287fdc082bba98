//! What estimates must obey, and numbers by hand.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;
use simclr_core::config::Dtype;
use simclr_model::{ModelSpec, SimClr};

const LINKS: Links = Links::NVLINK_AND_NDR;

fn network(json: serde_json::Value, side: usize) -> SimClr {
    SimClr::blank(&ModelSpec::new(&serde_json::from_value(json).unwrap(), 3, side, 0, 0)).unwrap()
}

fn resnet_50() -> SimClr {
    network(json!({"depth": 50, "stem": "imagenet", "proj_layers": 3, "proj_dim": 128}), 224)
}

/// NT-Xent on projections of 128 numbers, two views.
fn contrast(images: f64) -> LossCost {
    let views = 2.0 * images;
    LossCost {
        operations: 768.0 * views * views,
        gathered: 512.0 * views,
        summed: 512.0 * views,
        ..LossCost::default()
    }
}

fn of<'a>(outline: &'a Outline<'a>, model: &SimClr, side: usize) -> Work<'a> {
    Work::of(outline, model, (side, 2.0), &contrast)
}

#[test]
fn costs_follow_sizes() {
    let model = resnet_50();
    let outline = model.outline(224).unwrap();
    let e = of(&outline, &model, 224);
    let mode = |dtype, recompute| Mode { dtype, recompute };
    let (f32, bf16) = (mode(Dtype::F32, false), mode(Dtype::Bf16, false));
    let time = |m, batch| seconds(&e.costs(&H100, m, (batch, batch), 0.0));
    assert!(time(bf16, 256.0) < time(f32, 256.0) && time(f32, 256.0) < time(mode(Dtype::F32, true), 256.0));
    // Three times the forward's 2 * 4.09 G operations a view are the least there is to do.
    let least = 3.0 * 2.0 * 4.08e9 * 512.0 / H100.tf32;
    assert!(time(f32, 256.0) > least && time(f32, 256.0) < 10.0 * least);
    let fits = |mode| e.fits(&H100, mode, None).unwrap();
    let (kept, half, again) = (fits(f32), fits(bf16), fits(mode(Dtype::F32, true)));
    assert!(kept < half && kept < again && half < 2 * kept + 50, "{kept} {half} {again}");
    let held = |n: usize| e.memory(&H100, f32, (n as f64, n as f64), None);
    assert!(held(kept) <= H100.memory && held(kept + 1) > H100.memory);
    assert!(e.fits(&H100, f32, Some((4096.0, 4096.0))).unwrap() < kept);
    let taught = Work { teacher: Some(&outline), ..of(&outline, &model, 224) };
    let more = seconds(&taught.costs(&H100, f32, (256.0, 256.0), 0.0)) - time(f32, 256.0);
    assert!(more > least / 6.5 && more < time(f32, 256.0) / 4.0, "a teacher sees one view, forward: {more}");
}

/// The steps that were measured on an H200, of a ResNet-50 in bf16 (docs/cuda.md): pixels of a side, images, images a second, and by how
/// much the plan may miss them. The first is what [`Gpu::reached`] is from, the last what [`Gpu::launch`]; the second is neither.
#[test]
fn measured_steps_are_met() {
    for (side, images, measured, apart) in
        [(224, 128, 3877.0, 0.03), (32, 256, 12217.0, 0.15), (64, 256, 27673.0, 0.05)]
    {
        let stem = if side == 32 { "cifar" } else { "imagenet" };
        let model = network(json!({"depth": 50, "stem": stem, "proj_layers": 3, "proj_dim": 128}), side);
        let outline = model.outline(side).unwrap();
        let step = of(&outline, &model, side).step((&H200, &LINKS), (Dtype::Bf16, false, true), images, 1).unwrap();
        let speed = images as f64 / step.seconds();
        println!("{side} px: {speed:.0} images/s planned, {measured} measured, {:.1} GB", step.memory / 1e9);
        assert!((speed / measured - 1.0).abs() < apart, "{side} pixels: {speed:.0} images/s");
        assert_eq!((step.way, step.waits, step.exposed, step.exchanges.len()), (Way::Kept, 0.0, 0.0, 0));
    }
}

#[test]
fn sums_and_gathers_by_hand() {
    // 16 MB over 8 GPUs of a machine: 15 us, and 7/4 of it over 370 GB/s.
    assert!((LINKS.sum(16e6, 8) - (15e-6 + 28e6 / 370e9)).abs() < 1e-12);
    // Each of 8 gets 7 times 1 MB.
    assert!((LINKS.gather(1e6, 8) - (15e-6 + 7e6 / 370e9)).abs() < 1e-12);
    // Two machines: eight adapters of 40 GB/s are less than NVLink; four machines answer 12 us later.
    assert!((LINKS.sum(16e6, 16) - (47e-6 + 30e6 / 320e9)).abs() < 1e-12);
    assert!((LINKS.sum(0.0, 32) - 59e-6).abs() < 1e-12);
    assert_eq!((LINKS.sum(1e6, 1), LINKS.gather(1e6, 1)), (0.0, 0.0));
}

#[test]
fn bytes_by_hand() {
    // One layer of a head on 8 features: its weight [4, 8] and a norm without beta.
    let model = network(json!({"depth": 18, "width": 0.0625, "proj_layers": 1, "proj_dim": 4}), 16);
    let outline = model.outline(16).unwrap();
    let e = of(&outline, &model, 16);
    // ResNet-18 at 1/16: stem 4, blocks 4 4 4 4, 8 8 8 8, 16 x 4, 32 x 4 with three shortcuts 8, 16, 32; the head 4.
    let channels = 4.0 + 16.0 + 32.0 + 64.0 + 128.0 + 56.0 + 4.0;
    let all = e.exchanges(&LINKS, Way::Kept, (8.0, 16.0), 2);
    let bytes = |what: &str| all.iter().find(|e| e.what == what).unwrap().bytes;
    assert_eq!(bytes("moments of batch norm"), 8.0 * (21.0 + 2.0 * channels));
    assert_eq!(bytes("sums of batch norm"), 8.0 * channels);
    let gradients = model.store.trainable().map(|p| p.tensor.elem_count().next_multiple_of(64)).sum::<usize>();
    assert_eq!(bytes("gradients of weights"), 4.0 * gradients as f64);
    // Two views of 8 images, of 128 numbers in f32; and the gradient of those of all 16.
    assert_eq!((bytes("projections"), bytes("gradients of projections")), (8192.0, 16384.0));
    let sent = |what: &str| all.iter().find(|e| e.what == what).unwrap().sent;
    assert_eq!(sent("projections"), 8192.0, "to the one other");
    assert_eq!(sent("gradients of weights"), bytes("gradients of weights"), "of two, each sends all once");
}

#[test]
fn more_gpus_are_faster_and_never_free() {
    let model = resnet_50();
    let outline = model.outline(224).unwrap();
    let e = of(&outline, &model, 224);
    let step = |gpus| e.step((&H100, &LINKS), (Dtype::Bf16, false, true), 4096, gpus).unwrap();
    let steps: Vec<Step> = [1, 2, 4, 8, 16, 32, 64, 128, 256, 1024, 4096].map(step).into();
    for pair in steps.windows(2) {
        assert!(pair[1].memory <= pair[0].memory * 1.01 && pair[1].efficiency() <= pair[0].efficiency() + 1e-9);
        assert!(pair[1].sent() >= pair[0].sent());
    }
    for step in &steps {
        assert!(step.exposed >= 0.0 && step.waits >= 0.0 && step.seconds() >= step.compute, "{step:?}");
    }
    for pair in steps[..7].windows(2) {
        assert!(pair[1].seconds() < pair[0].seconds());
    }
    assert!(steps[1..].iter().all(|step| step.exposed > 0.0), "the last bucket has nothing to hide behind");
    // A link without end or delay leaves nothing to wait for.
    let fast = Link { bandwidth: f64::INFINITY, latency: 0.0 };
    let fast = Links { machine: 8, inside: fast, between: fast, doubling: 0.0 };
    let free = e.step((&H100, &fast), (Dtype::Bf16, false, true), 4096, 32).unwrap();
    assert!((free.efficiency() - 1.0).abs() < 1e-12, "{free:?}");
    assert_eq!(free.sent(), step(32).sent());
}

#[test]
fn what_fits_nowhere_has_no_step() {
    let model = resnet_50();
    let outline = model.outline(224).unwrap();
    let e = of(&outline, &model, 224);
    let small = Gpu { memory: 1e9, ..H100 };
    assert!(e.step((&small, &LINKS), (Dtype::F32, false, true), 64, 1).is_none());
    let way = |chunks| e.step((&H100, &LINKS), (Dtype::Bf16, false, chunks), 4096, 1).map(|step| step.way);
    assert!(matches!(way(true), Some(Way::Chunks(images)) if images > 400), "{:?}", way(true));
    assert_eq!(way(false), None, "a loss that needs the whole batch at once");
}
