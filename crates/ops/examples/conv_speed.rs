//! Scratch: GFLOP/s of convolutions.
#![allow(missing_docs, clippy::unwrap_used)]
use candle_core::{DType, Device, Tensor};
use simclr_ops::*;
use std::time::Instant;
#[global_allocator]
static ALLOCATOR: alloc::Recycling = alloc::Recycling::new();
fn main() {
    let shapes = [
        (256usize, 32usize, 3usize, 64usize, 3usize, 1usize),
        (256, 32, 64, 64, 3, 1),
        (256, 16, 128, 128, 3, 1),
        (256, 8, 256, 256, 3, 1),
        (256, 4, 512, 512, 3, 1),
        (256, 32, 64, 128, 3, 2),
        (256, 16, 128, 256, 3, 2),
        (256, 8, 256, 512, 3, 2),
        (256, 32, 64, 128, 1, 2),
        (128, 32, 64, 256, 1, 1),
        (128, 32, 256, 64, 1, 1),
        (128, 16, 512, 128, 1, 1),
        (128, 8, 256, 1024, 1, 1),
        (128, 4, 2048, 512, 1, 1),
        (512, 32, 16, 16, 3, 1),
        (512, 16, 32, 32, 3, 1),
        (512, 8, 64, 64, 3, 1),
        (512, 4, 128, 128, 3, 1),
    ];
    let only: Option<usize> = std::env::args().nth(1).and_then(|a| a.parse().ok());
    for (i, (n, s, c, o, k, stride)) in shapes.into_iter().enumerate() {
        if only.is_some_and(|o| o != i) {
            continue;
        }
        let dt = if std::env::var("BF16").is_ok() { DType::BF16 } else { DType::F32 };
        let x = Tensor::ones((n, s, s, c), dt, &Device::Cpu).unwrap();
        let w = Tensor::ones((o, k, k, c), DType::F32, &Device::Cpu).unwrap();
        let os = s.div_ceil(stride);
        let dy = Tensor::ones((n, os, os, o), dt, &Device::Cpu).unwrap();
        let copy = (0..3).map(|_| { let t = Instant::now(); let c = dy.copy().unwrap(); let e = t.elapsed().as_secs_f64(); drop(c); e }).fold(f64::MAX, f64::min);
        let flops = 2.0 * (n * os * os * o * k * k * c) as f64;
        let mut out = String::new();
        for mode in if only.is_some() { 2..3 } else { 0..3 } {
            let mut best = f64::MAX;
            for _ in 0..if only.is_some() { 30 } else { 4 } {
                let tape = Tape::new();
                let xv = if mode == 1 { tape.leaf(&x) } else { Value::constant(x.clone()) };
                let wv = if mode == 2 { tape.leaf(&w) } else { Value::constant(w.clone()) };
                let t = Instant::now();
                let y = conv2d(&tape, &xv, &wv, stride, Padding::Fixed).unwrap();
                let f = t.elapsed().as_secs_f64();
                if mode == 0 {
                    best = best.min(f);
                    continue;
                }
                let t = Instant::now();
                tape.backward_from(&[(&y, dy.clone())]).unwrap();
                best = best.min(t.elapsed().as_secs_f64() - copy);
            }
            out += &format!(" {:>5.0} ({:.1} ms)", flops / best / 1e9, best * 1e3);
        }
        println!("{n} {s}x{s} {c}->{o} {k}/{stride}: fwd, dx, dw GFLOP/s {out}");
    }
}
