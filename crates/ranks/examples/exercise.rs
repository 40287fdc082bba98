//! What ranks tell one another, tried out: `mpirun -n 4 exercise --config configs/smoke.toml --out . sums`.
//!
//! `sums` checks each kind of call, `large` those of more bytes than an `i32` counts, `speed` measures, `wait` computes on rank 0
//! while the others wait, and `fail`, `fail-all`, `panic`, `hang` end rank 1 (or all) so in the middle of a sum.

use anyhow::{Result, bail, ensure};
use candle_core::{Device, Tensor};
use clap::{Parser, ValueEnum};
use simclr_core::cli::{CommonArgs, say, threads};
use simclr_ops::Group;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Tries the ranks out.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
    /// What to do
    what: What,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Sums,
    Large,
    Speed,
    Wait,
    Fail,
    FailAll,
    Panic,
    Hang,
}

fn main() -> ExitCode {
    let args = Args::parse();
    simclr_ranks::launch(&args.common, |common, _| exercise(&common.group, args.what))
}

fn exercise(group: &Group, what: What) -> Result<()> {
    if group.leads() {
        say(format!("{} ranks, process {}, {} threads", group.size(), std::process::id(), threads()));
    }
    match what {
        What::Sums => sums(group)?,
        What::Large => large(group)?,
        What::Speed => speed(group)?,
        What::Wait => wait(group)?,
        What::Fail | What::FailAll | What::Panic | What::Hang => {
            group.all_reduce(&vector(vec![1.0])?)?;
            match what {
                What::FailAll => bail!("no such picture"),
                What::Fail if group.rank() == 1 => bail!("no such picture"),
                What::Panic if group.rank() == 1 => std::panic::panic_any("as asked"),
                What::Hang if group.rank() == 1 => {
                    say(format!("rank 1 is process {}", std::process::id()));
                    std::thread::sleep(Duration::from_secs(60));
                }
                _ => group.all_reduce(&vector(vec![1.0])?)?,
            }
        }
    }
    if group.leads() {
        say("done");
    }
    Ok(())
}

fn vector(values: Vec<f32>) -> candle_core::Result<Tensor> {
    let len = values.len();
    Tensor::from_vec(values, len, &Device::Cpu)
}

/// Numbers whose sum depends on the order in which they are summed.
fn numbers(rank: usize, len: usize) -> Vec<f32> {
    let number = |i: usize| ((i * 2_654_435_761 + rank * 40_503) % 1_000_003) as f32 * 1.37e-3 - 500.0;
    (0..len).map(number).collect()
}

fn sums(group: &Group) -> Result<()> {
    let (rank, size) = (group.rank(), group.size());
    for len in [1, 3, 4096, 4097, 100_003, 5_000_001] {
        let mut expected = numbers(0, len);
        for other in 1..size {
            expected.iter_mut().zip(numbers(other, len)).for_each(|(sum, v)| *sum += v);
        }
        let (now, later, also) = (numbers(rank, len), numbers(rank, len), numbers(rank, len));
        let (now, later, also) = (vector(now)?, vector(later)?, vector(also)?);
        let begun = [group.all_reduce_later(&later)?, group.all_reduce_later(&also)?];
        group.all_reduce(&now)?;
        for sum in begun.into_iter().flatten() {
            sum.wait()?;
        }
        for (name, sum) in [("now", now), ("later", later), ("also later", also)] {
            let sum = sum.to_vec1::<f32>()?;
            let same = sum.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            ensure!(same, "a sum of {len}, {name}: not that in the order of ranks");
        }
    }
    for root in 0..size {
        let values = vector(numbers(rank, 1000))?;
        group.broadcast(&values, root)?;
        ensure!(values.to_vec1::<f32>()? == numbers(root, 1000), "a broadcast of rank {root}");
    }
    let message = |rank: usize| vec![rank as u8; (rank * 70_001) % 250_007];
    let all = group.exchange(&message(rank))?;
    ensure!(all.iter().enumerate().all(|(rank, got)| *got == message(rank)), "messages of several lengths");
    let rows = group.gather_rows(&vector(numbers(rank, rank + 1))?, &(1..=size).collect::<Vec<_>>())?;
    let expected: Vec<f32> = (0..size).flat_map(|rank| numbers(rank, rank + 1)).collect();
    ensure!(rows.to_vec1::<f32>()? == expected, "rows of unequal parts");
    Ok(())
}

/// More than 2 GiB of all ranks together.
fn large(group: &Group) -> Result<()> {
    let len = (1usize << 31) / group.size() + 12_345;
    let all = group.exchange(&vec![group.rank() as u8 + 1; len])?;
    let whole = all.iter().enumerate().all(|(rank, m)| m.len() == len && m.iter().all(|b| *b == rank as u8 + 1));
    ensure!(whole, "a message of {len} bytes of each rank");
    Ok(())
}

fn speed(group: &Group) -> Result<()> {
    for (len, times) in [(64, 300), (4096, 300), (100_000, 100), (2_000_000, 20), (25_000_000, 4)] {
        let values = vector(vec![0.0; len])?;
        group.all_reduce(&values)?;
        group.barrier()?;
        let begun = Instant::now();
        for _ in 0..times {
            group.all_reduce(&values)?;
        }
        if group.leads() {
            let each = begun.elapsed().as_secs_f64() / f64::from(times);
            say(format!("sum of {len}: {:.1} us, {:.2} GB/s", each * 1e6, 4.0 * len as f64 / each * 1e-9));
        }
    }
    Ok(())
}

/// What others' waiting costs the one that computes.
fn wait(group: &Group) -> Result<()> {
    group.barrier()?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(|| std::hint::black_box((0..400_000_000u64).fold(0, |a, b| std::hint::black_box(a ^ b))));
            }
        });
        begun.elapsed().as_secs_f64()
    };
    if group.leads() {
        let times: Vec<_> = (0..5).map(|_| format!("{:.3}", work())).collect();
        say(format!("{cores} threads beside {} ranks that wait: {} s", group.size() - 1, times.join(", ")));
    }
    group.barrier()?;
    Ok(())
}
