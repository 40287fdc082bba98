//! Every operation at shapes of real networks: `cargo bench -p simclr-ops`, under two minutes.
//!
//! Elements a second are floating-point operations a second where an operation multiplies matrices; elsewhere the
//! throughput is of the maps that must at least be read and written. A matrix product of 1024^3 in the same run is the
//! peak that the convolutions are held against in the table at the end.
//!
//! `N` images, `S` their side, `C` input and `O` output channels, `K` the side of a kernel.
#![allow(missing_docs, clippy::print_stdout)]

use candle_core::{Device, Result, Tensor};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, SamplingMode, Throughput};
use simclr_ops::{
    Fused, PoolPadding, Statistics, Tape, Value, avg_pool2d, batch_norm, conv2d, cross_entropy, global_avg_pool,
    linear, max_pool2d, nt_xent, stream_select,
};
use std::cell::Cell;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: simclr_alloc::Recycling = simclr_alloc::Recycling::new();

const SAMPLES: usize = 10;
const WARM_UP: Duration = Duration::from_millis(100);
const MEASURE: Duration = Duration::from_millis(400);

/// Side of the matrices whose product is the peak.
const PEAK: usize = 1024;

/// Where in which network, N, S, C, O, K, stride.
const CONVOLUTIONS: [(&str, [usize; 6]); 10] = [
    ("resnet18-x0.25 layer1", [256, 32, 16, 16, 3, 1]),
    ("cifar stem", [128, 32, 3, 64, 3, 1]),
    ("layer1 3x3", [64, 32, 64, 64, 3, 1]),
    ("layer1 1x1", [64, 32, 64, 256, 1, 1]),
    ("layer2 3x3 stride 2", [64, 32, 64, 128, 3, 2]),
    ("layer2 3x3", [64, 16, 128, 128, 3, 1]),
    ("layer3 3x3", [64, 8, 256, 256, 3, 1]),
    ("layer4 3x3", [64, 4, 512, 512, 3, 1]),
    ("imagenet stem", [8, 224, 3, 64, 7, 2]),
    ("imagenet layer1 3x3", [16, 56, 64, 64, 3, 1]),
];

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> Group<'a> {
    let mut group = criterion.benchmark_group(name);
    // Each takes milliseconds: as many iterations in every sample.
    group.sampling_mode(SamplingMode::Flat).sample_size(SAMPLES).warm_up_time(WARM_UP).measurement_time(MEASURE);
    group
}

/// Measures `work` on what `prepare` makes each time, outside the clock; seconds of the fastest, none when filtered out.
fn measure<S, T>(
    group: &mut Group<'_>,
    name: &str,
    throughput: Throughput,
    prepare: impl Fn() -> Result<S>,
    work: impl Fn(S) -> Result<T>,
) -> Option<f64> {
    let best = Cell::new(f64::INFINITY);
    group.throughput(throughput);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| {
            let mut total = Duration::ZERO;
            for _ in 0..iterations {
                let prepared = prepare().expect("shapes of the benchmark fit");
                let clock = Instant::now();
                let result = work(prepared).expect("shapes of the benchmark fit");
                let elapsed = clock.elapsed();
                drop(std::hint::black_box(result));
                best.set(best.get().min(elapsed.as_secs_f64()));
                total += elapsed;
            }
            total
        });
    });
    best.get().is_finite().then_some(best.get())
}

/// Measures the backward pass alone from what `forward` computes.
fn measure_back(
    group: &mut Group<'_>,
    name: &str,
    throughput: Throughput,
    forward: impl Fn(&Tape) -> Result<Value>,
) -> Option<f64> {
    let prepare = || {
        let tape = Tape::new();
        let y = forward(&tape)?;
        // An own tensor: operations write over gradients that nobody else holds.
        let dy = y.tensor().ones_like()?.copy()?;
        Ok((tape, y, dy))
    };
    measure(group, name, throughput, prepare, |(tape, y, dy)| tape.backward_over([(&y, dy)]))
}

fn random(shape: impl Into<candle_core::Shape>) -> Tensor {
    Tensor::rand(-1f32, 1f32, shape, &Device::Cpu).expect("random numbers on the CPU")
}

/// An element that the tape finds a gradient for, or not.
fn value(tape: &Tape, tensor: &Tensor, wanted: bool) -> Value {
    if wanted { tape.leaf(tensor) } else { Value::constant(tensor.clone()) }
}

fn floats(maps: usize, tensor: &Tensor) -> Throughput {
    Throughput::BytesDecimal((maps * tensor.elem_count() * size_of::<f32>()) as u64)
}

/// Floating-point operations a second of a product, and of every convolution's three.
#[derive(Default)]
struct Report {
    peak: Option<f64>,
    rows: Vec<(&'static str, [Option<f64>; 3])>,
}

impl Report {
    fn print(&self) {
        let Some(peak) = self.peak else { return };
        println!("\nshare of the peak, {:.0} GFLOP/s in a product of {PEAK}^3", peak / 1e9);
        println!("{:24}{:>10}{:>10}{:>10}", "conv2d", "forward", "by input", "by weight");
        for (name, rates) in &self.rows {
            let cell = |rate: &Option<f64>| rate.map_or_else(String::new, |r| format!("{:.0} %", 100.0 * r / peak));
            let [forward, input, weight] = rates.each_ref().map(cell);
            println!("{name:24}{forward:>10}{input:>10}{weight:>10}");
        }
    }
}

fn peak(criterion: &mut Criterion, report: &mut Report) {
    let (a, b) = (random((PEAK, PEAK)), random((PEAK, PEAK)));
    let flops = 2 * PEAK.pow(3) as u64;
    let seconds =
        measure(&mut group(criterion, "gemm"), "1024^3", Throughput::Elements(flops), || Ok(()), |()| a.matmul(&b));
    report.peak = seconds.map(|s| flops as f64 / s);
}

fn convolutions(criterion: &mut Criterion, report: &mut Report) {
    let mut group = group(criterion, "conv2d");
    for (name, [n, s, c, o, k, stride]) in CONVOLUTIONS {
        let (x, w) = (random((n, s, s, c)), random((o, k, k, c)));
        let flops = (2 * n * s.div_ceil(stride).pow(2) * o * k * k * c) as u64;
        let run = |tape: &Tape, of_input: bool, of_weight: bool| {
            conv2d(tape, &value(tape, &x, of_input), &value(tape, &w, of_weight), stride)
        };
        let work = Throughput::Elements(flops);
        let prepare = || Ok(Tape::new());
        // As in training, where the moments for the batch norm that follows are taken on the way.
        let forward =
            measure(&mut group, &format!("{name}, forward"), work.clone(), prepare, |tape| run(&tape, false, true));
        let back = |group: &mut Group<'_>, what: &str, of_input: bool| {
            let name = format!("{name}, by {what}");
            measure_back(group, &name, work.clone(), |tape| run(tape, of_input, !of_input))
        };
        let seconds = [forward, back(&mut group, "input", true), back(&mut group, "weight", false)];
        report.rows.push((name, seconds.map(|s| s.map(|s| flops as f64 / s))));
    }
}

fn linears(criterion: &mut Criterion) {
    let mut group = group(criterion, "linear");
    let (x, w) = (random((512, 2048)), random((2048, 2048)));
    let work = || Throughput::Elements(2 * 512 * 2048 * 2048);
    let run = |tape: &Tape, of_input: bool, of_weight: bool| {
        linear(tape, &value(tape, &x, of_input), &value(tape, &w, of_weight), None)
    };
    measure(&mut group, "head, forward", work(), || Ok(Tape::new()), |tape| run(&tape, false, true));
    measure_back(&mut group, "head, by input", work(), |tape| run(tape, true, false));
    measure_back(&mut group, "head, by weight", work(), |tape| run(tape, false, true));
}

fn norms(criterion: &mut Criterion) {
    let mut group = group(criterion, "batch_norm");
    for (name, shape) in [("layer1", (64, 32, 32, 256)), ("layer3", (64, 8, 8, 1024))] {
        let (x, residual, affine) = (random(shape), random(shape), random(shape.3));
        for with_residual in [false, true] {
            let run = |tape: &Tape| {
                let (r, scale) = (tape.leaf(&residual), tape.leaf(&affine));
                let fused = Fused { residual: with_residual.then_some(&r), relu: true };
                let x = tape.leaf(&x);
                Ok(batch_norm(tape, &x, Some(&scale), Some(&scale), &Statistics::Batch, 1e-5, fused)?.0)
            };
            let name = format!("{name}, relu{}", if with_residual { ", residual" } else { "" });
            let (there, back) = if with_residual { (3, 5) } else { (2, 3) };
            measure(&mut group, &format!("{name}, forward"), floats(there, &x), || Ok(Tape::new()), |tape| run(&tape));
            measure_back(&mut group, &format!("{name}, back"), floats(back, &x), run);
        }
    }
}

/// Forward and back of an operation on maps of `shape`; `maps` of that size are read and written each way.
fn both_ways(
    group: &mut Group<'_>,
    name: &str,
    shape: (usize, usize, usize, usize),
    maps: usize,
    op: impl Fn(&Tape, &Value) -> Result<Value>,
) {
    let x = random(shape);
    let run = |tape: &Tape| op(tape, &tape.leaf(&x));
    measure(group, &format!("{name}, forward"), floats(maps, &x), || Ok(Tape::new()), |tape| run(&tape));
    measure_back(group, &format!("{name}, back"), floats(maps, &x), run);
}

fn pools(criterion: &mut Criterion) {
    let mut group = group(criterion, "pool");
    // Outputs of a quarter of the input and less are not counted.
    both_ways(&mut group, "max 3x3 stride 2", (16, 112, 112, 64), 1, |tape, x| {
        max_pool2d(tape, x, 3, 2, PoolPadding::Same)
    });
    both_ways(&mut group, "average 2x2 stride 2", (32, 32, 32, 256), 1, |tape, x| {
        avg_pool2d(tape, x, 2, 2, PoolPadding::ZerosAtEnd)
    });
    both_ways(&mut group, "global", (128, 4, 4, 2048), 1, global_avg_pool);
}

fn selective_kernels(criterion: &mut Criterion) {
    let mut group = group(criterion, "stream_select");
    let logits = random((32, 512));
    both_ways(&mut group, "layer3", (32, 8, 8, 512), 1, |tape, x| stream_select(tape, x, &tape.leaf(&logits)));
    let logits = random((32, 128));
    both_ways(&mut group, "layer1", (32, 32, 32, 128), 1, |tape, x| stream_select(tape, x, &tape.leaf(&logits)));
}

fn losses(criterion: &mut Criterion) {
    let mut group = group(criterion, "loss");
    let (hidden, logits) = (random((1024, 128)), random((512, 1000)));
    let labels: Vec<u32> = (0..512).map(|i| i * 7 % 1000).collect();
    let product = Throughput::Elements(2 * 1024 * 1024 * 128);
    let contrast = |tape: &Tape| Ok(nt_xent(tape, &tape.leaf(&hidden), 0.1, true)?.loss);
    measure(&mut group, "nt_xent of 512 images, forward", product.clone(), || Ok(Tape::new()), |tape| contrast(&tape));
    measure_back(&mut group, "nt_xent of 512 images, back", product, contrast);
    let classify = |tape: &Tape| cross_entropy(tape, &tape.leaf(&logits), &labels);
    measure(
        &mut group,
        "cross_entropy 512x1000, forward",
        floats(1, &logits),
        || Ok(Tape::new()),
        |tape| classify(&tape),
    );
    measure_back(&mut group, "cross_entropy 512x1000, back", floats(1, &logits), classify);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut report = Report::default();
    peak(&mut criterion, &mut report);
    convolutions(&mut criterion, &mut report);
    linears(&mut criterion);
    norms(&mut criterion);
    pools(&mut criterion);
    selective_kernels(&mut criterion);
    losses(&mut criterion);
    criterion.final_summary();
    report.print();
}
