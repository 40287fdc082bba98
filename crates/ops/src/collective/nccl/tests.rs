//! Ranks on GPUs: what they tell one another, sums beside what is computed, ranks that end, and waits that are left out.
#![allow(clippy::unwrap_used)]

use super::super::{Collective, Group};
use super::{ID_BYTES, Nccl, nccl_id};
use crate::gpu::{Precision, open};
use crate::testing::faults::{Fault, LATE, fault};
use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::{DType, Device, Result, Tensor};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};

/// Runs `work` on `size` threads, each a rank on a GPU of its own; nothing where there are not as many.
pub fn on_gpus<R: Send>(size: usize, work: &(impl Fn(&Group, &Device) -> R + Sync)) -> Option<Vec<R>> {
    if CudaContext::device_count().unwrap() < i32::try_from(size).unwrap() {
        println!("{size} ranks need as many GPUs");
        return None;
    }
    // A GPU has one group at a time: a host that waits for all that its GPU does would wait for ranks of the other, too.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let id = nccl_id().unwrap();
    let rank = |rank| {
        let device = open(rank, Precision::Exact).unwrap();
        let group = Group::of(Nccl::new(&device, id, rank, size).unwrap());
        work(&group, &device)
    };
    scope(|scope| {
        let rank = &rank;
        let ranks: Vec<_> = (0..size).map(|r| scope.spawn(move || rank(r))).collect();
        Some(ranks.into_iter().map(|rank| rank.join().unwrap()).collect())
    })
}

fn vector(values: &[f32], device: &Device) -> Tensor {
    Tensor::new(values, device).unwrap()
}
fn read(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn sums_gathers_and_messages() {
    for size in [1, 2, 3, 4] {
        on_gpus(size, &|group, gpu| {
            let (rank, n) = (group.rank() as f32, size as f32);
            let of_all = n * (n - 1.0) / 2.0;
            for device in [gpu, &Device::Cpu] {
                let own = vector(&[rank, 1.0], device);
                group.all_reduce(&own).unwrap();
                assert_eq!(read(&own), [of_all, n]);
                // Two on their way at once, and a third between them that is not.
                let (a, b, c) = (
                    vector(&[rank; 5], device),
                    vector(&[1.0], device),
                    vector(&[2.0], device).affine(2.0, 0.0).unwrap(),
                );
                let later = [group.all_reduce_later(&a).unwrap(), group.all_reduce_later(&b).unwrap()];
                group.all_reduce(&c).unwrap();
                for sum in later.into_iter().flatten() {
                    assert_eq!(sum.wait().unwrap(), 0.0);
                }
                assert_eq!((read(&a), read(&b), read(&c)), (vec![of_all; 5], vec![n], vec![4.0 * n]));
                let own = Tensor::new(&[[f64::from(rank)], [0.5]], device).unwrap();
                let all = group.all_gather(&own).unwrap();
                assert_eq!((all.dims(), all.dtype()), (&[size, 2, 1][..], DType::F64));
                assert!(all.device().same_device(device));
                let last = all.to_device(&Device::Cpu).unwrap().get(size - 1).unwrap().flatten_all().unwrap();
                assert_eq!(last.to_vec1::<f64>().unwrap(), [(size - 1) as f64, 0.5]);
                let root = vector(&[rank, rank], device);
                group.broadcast(&root, size - 1).unwrap();
                assert_eq!(read(&root), [n - 1.0; 2]);
            }
            let messages = group.exchange(&vec![7; group.rank()]).unwrap();
            assert_eq!(messages, (0..size).map(|rank| vec![7; rank]).collect::<Vec<_>>());
            group.barrier().unwrap();
        });
    }
}

/// More numbers than go at a time, and the same bits on all ranks.
#[test]
fn large_sums_are_the_same_on_all_ranks() {
    let found = on_gpus(3, &|group, gpu| {
        let own = vector(&vec![0.1 + group.rank() as f32 / 3.0; 700_001], gpu);
        let later = group.all_reduce_later(&own).unwrap();
        drop(later);
        let sums = read(&own);
        let mut gathered = group.all_gather(&own).unwrap();
        assert_eq!(read(&gathered.get(2).unwrap()), sums);
        gathered = group.all_gather(&gathered).unwrap();
        assert_eq!(gathered.dims(), [3, 3, 700_001]);
        sums
    });
    let Some(found) = found else { return };
    assert!(found[0].iter().all(|v| (v - 1.3).abs() < 1e-6) && found[0] == found[1] && found[0] == found[2]);
}

/// What a rank computes goes on while a sum is on its way; what it waited for is known later.
#[test]
fn a_sum_goes_on_beside_what_is_computed() {
    on_gpus(2, &|group, gpu| {
        let (gradient, map) = (vector(&[1.0; 4096], gpu), vector(&[2.0; 4096], gpu));
        let later = group.all_reduce_later(&gradient).unwrap().unwrap();
        let map = (map.affine(0.5, 0.0).unwrap() + 1.0).unwrap();
        later.wait().unwrap();
        let both = (&gradient + &map).unwrap();
        assert_eq!(read(&both), [4.0; 4096]);
        let traffic = group.traffic();
        assert!(traffic.bytes == 4 * 4096 && traffic.waited > 0.0 && traffic.waited < 60.0, "{traffic:?}");
    });
}

#[test]
fn rows_of_unequal_parts_come_in_order() {
    for (size, rows) in [(2, 5), (3, 7), (4, 8)] {
        let all: Vec<f32> = (0..3 * rows).map(|v| v as f32).collect();
        let counts: Vec<usize> = (0..size).map(|rank| super::super::part(rows, rank, size).len()).collect();
        let gathered = on_gpus(size, &|group, gpu| {
            let own = group.part(rows);
            let own = Tensor::from_slice(&all[3 * own.start..3 * own.end], (own.len(), 3), gpu).unwrap();
            read(&group.gather_rows(&own, &counts).unwrap())
        });
        assert!(gathered.into_iter().flatten().all(|g| g == all), "{size} ranks");
    }
}

/// Whether faults can be planted, and ranks end without a word.
fn emulated() -> bool {
    simclr_emulator::plant("").is_some()
}

#[test]
fn a_rank_that_ends_ends_the_others() {
    let begun = Instant::now();
    for how in ["aborts", "leaves"] {
        // NCCL between GPUs of one machine does not see that one leaves.
        if how == "leaves" && !emulated() {
            continue;
        }
        let told = on_gpus(3, &|group, gpu| {
            let sum = vector(&[1.0], gpu);
            if group.rank() == 2 {
                group.all_reduce(&sum).unwrap();
                if how == "aborts" {
                    group.abort("no picture");
                }
                return String::new();
            }
            // What is queued before it is known ends; what comes after is refused.
            let second = || group.all_reduce(&sum).and_then(|()| sum.to_vec1::<f32>());
            let found = group.all_reduce(&sum).and_then(|()| second()).and_then(|_| group.barrier());
            found.unwrap_err().to_string()
        });
        let Some(told) = told else { return };
        for told in &told[..2] {
            let expected = if how == "aborts" { "rank 2 of 3 has ended: no picture" } else { "cannot go on" };
            assert!(told.contains(expected), "{how}: {told}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
}

#[test]
fn what_is_no_group_is_said() {
    let id = [0; ID_BYTES];
    let message = |rank, device: &Device| Nccl::new(device, id, rank, 2).err().unwrap().to_string();
    assert!(message(0, &Device::Cpu).contains("this rank computes on the CPU"));
    let gpu = open(0, Precision::Exact).unwrap();
    assert!(message(2, &gpu).contains("counted from 0"));
    if emulated() {
        let id = nccl_id().unwrap();
        let told = scope(|scope| {
            let rank = |rank| Nccl::new(&open(0, Precision::Exact).unwrap(), id, rank, 2).err().unwrap().to_string();
            [0, 1].map(|r| scope.spawn(move || rank(r))).map(|rank| rank.join().unwrap())
        });
        assert!(told.iter().all(|t| t.contains("on GPU 0") && t.contains("invalid usage")), "{told:?}");
    }
}

/// The environment of a process that is a rank: its place, and the id.
const PROCESS: &str = "SIMCLR_TEST_NCCL";

/// Two processes: the first says what their sum is; the second is killed in its sleep, and the first fails.
#[test]
fn ranks_may_be_processes_and_die() {
    if let Ok(told) = std::env::var(PROCESS) {
        let (rank, id) = told.split_once(' ').unwrap();
        return is_a_process(rank.parse().unwrap(), id);
    }
    if !emulated() {
        return;
    }
    let id: String = nccl_id().unwrap().iter().map(|byte| format!("{byte:02x}")).collect();
    let process = |rank: usize| -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "collective::nccl::tests::ranks_may_be_processes_and_die", "--nocapture"])
            .env(PROCESS, format!("{rank} {id}"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (first, mut second) = (process(0), process(1));
    // It writes once it has the sum.
    let mut line = String::new();
    let mut lines = std::io::BufReader::new(second.stdout.take().unwrap());
    while !line.contains("sleeps") {
        line.clear();
        assert_ne!(std::io::BufRead::read_line(&mut lines, &mut line).unwrap(), 0, "the second process has ended");
    }
    second.kill().unwrap();
    let begun = Instant::now();
    let output = first.wait_with_output().unwrap();
    second.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("told: ") && said.contains("remote process exited"), "{said}");
}

fn is_a_process(rank: usize, id: &str) {
    let byte = |i: usize| u8::from_str_radix(&id[2 * i..2 * i + 2], 16).unwrap();
    // Another GPU each, though processes of an emulated GPU have nothing in common.
    let device = open(rank, Precision::Exact).unwrap();
    let group = Group::of(Nccl::new(&device, std::array::from_fn(byte), rank, 2).unwrap());
    let sum = vector(&[rank as f32 + 1.0; 300_000], &device);
    group.all_reduce(&sum).unwrap();
    assert_eq!(read(&sum), [3.0; 300_000]);
    if rank == 1 {
        println!("it sleeps");
        std::thread::sleep(Duration::from_secs(60));
    }
    println!("told: {}", group.exchange(b"are you there?").unwrap_err());
}

pub static FAULTS: [Fault; 4] = [
    fault("gradients are summed before they are worked out", "wait", is_begun, LATE),
    fault("the event of gradients is not recorded", "record", is_begun, LATE),
    fault("gradients are used before they are summed", "wait", is_used, LATE),
    fault("the event of a sum is not recorded", "record:2", is_begun, LATE),
];

/// A rank alone, whose sums run on the stream beside as those of several do.
fn alone() -> Result<(Nccl, Tensor)> {
    let device = open(0, Precision::Exact)?;
    let nccl = Nccl::new(&device, nccl_id()?, 0, 1)?;
    let gradient = Tensor::ones(64, DType::F32, &device)?.affine(2.0, 0.0)?;
    Ok((nccl, gradient))
}

fn is_begun(here: &dyn Fn()) -> Result<()> {
    let (nccl, gradient) = alone()?;
    here();
    nccl.all_reduce_later(&gradient)?.wait()?;
    assert_eq!(read(&gradient.affine(2.0, 0.0)?), [4.0; 64]);
    Ok(())
}

fn is_used(here: &dyn Fn()) -> Result<()> {
    let (nccl, gradient) = alone()?;
    let later = nccl.all_reduce_later(&gradient)?;
    here();
    later.wait()?;
    assert_eq!(read(&gradient.affine(2.0, 0.0)?), [4.0; 64]);
    Ok(())
}
