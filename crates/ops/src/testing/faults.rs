//! What the emulated GPU finds where work of several streams lacks a wait.
//!
//! Each fault is planted in a process of its own: the driver leaves out, or leads astray, one call at one place. What it
//! says of that on stderr is what the test looks for.
#![allow(clippy::unwrap_used)]

use crate::conv::conv2d;
use crate::tape::{Tape, Value};
use crate::tensor::{Figures, Uploader};
use candle_core::cuda_backend::cudarc::driver::sys;
use candle_core::{DType, Device, Result, Tensor};
use simclr_core::testing::device;
use std::process::{Command, Output};

/// Names the fault to a process that is to have it.
const PLANTED: &str = "SIMCLR_TEST_PLANTED";

/// Work that is right as it stands; where it says `here`, the next call of some kind is the one to be left out.
pub type Work = fn(here: &dyn Fn()) -> Result<()>;

pub struct Fault {
    what: &'static str,
    /// The call, as `emulator/cpp/queues.hpp` names them: the next of that kind, or the one after others.
    call: &'static str,
    work: Work,
    /// What the driver says.
    found: &'static str,
}

pub const LATE: &str = "and does not wait for it";
const TOUCHED: &str = "the host touches pinned memory while a copy of it is in flight";
const FREED: &str = "pinned memory is freed while a copy of it is in flight";

pub const fn fault(what: &'static str, call: &'static str, work: Work, found: &'static str) -> Fault {
    Fault { what, call, work, found }
}

static FAULTS: [Fault; 20] = [
    fault("who computes does not wait for an upload", "wait", arrives, LATE),
    fault("another stream waits for an upload", "wait elsewhere", arrives, LATE),
    fault("the event of an upload is not recorded", "record:2", is_sent, LATE),
    fault("the event of an upload is recorded before the copy", "early record:2", is_sent, LATE),
    fault("the event of an upload is recorded on another stream", "record elsewhere:2", is_sent, LATE),
    fault("an upload is copied before its memory is allocated", "copy elsewhere", is_sent, LATE),
    fault("a slot is filled while its last batch is read", "event", is_filled_again, TOUCHED),
    fault("a slot's event is not recorded", "record", is_sent_thrice, TOUCHED),
    fault("a slot's event is recorded before the copy", "early record", is_sent_thrice, TOUCHED),
    fault("a slot that grows is given back while it is read", "event", grows, FREED),
    fault("slots are given back while they are read", "event", ends, FREED),
    fault("figures are read before they are here", "event", is_read, TOUCHED),
    fault("the event of figures is recorded before the copy", "early record", is_asked, TOUCHED),
    fault("figures are copied before they are worked out", "copy elsewhere", is_asked, LATE),
    fault("figures that nobody reads are given back while they come", "event", is_given_up, FREED),
    fault("an upload that nobody takes is freed on another stream", "free elsewhere", is_not_taken, LATE),
    fault("a tensor is freed while it is read", "free elsewhere", is_dropped, LATE),
    fault("a kernel is launched on another stream", "launch elsewhere", computes, LATE),
    fault("products are not on the stream of what they multiply", "handle", multiplies, LATE),
    fault("convolutions are not on the stream of their maps", "handle", convolves, LATE),
];

/// All that are planted in this build.
fn faults() -> Vec<&'static Fault> {
    #[cfg(feature = "nccl")]
    let of_ranks = crate::collective::FAULTS.iter();
    #[cfg(not(feature = "nccl"))]
    let of_ranks = std::iter::empty();
    FAULTS.iter().chain(of_ranks).collect()
}

fn uploader() -> Result<Uploader> {
    Uploader::new(&device(), DType::F32)
}
fn values(value: f32) -> Vec<f32> {
    vec![value; 64]
}
fn read(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

fn arrives(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    let sent = uploader.upload(values(1.0), &[64])?;
    here();
    let tensor = sent.tensor()?;
    assert_eq!(read(&(tensor * 2.0)?)?, values(2.0));
    Ok(())
}

fn is_sent(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    here();
    let sent = uploader.upload(values(1.0), &[64])?;
    assert_eq!(read(&(sent.tensor()? * 2.0)?)?, values(2.0));
    Ok(())
}

fn is_filled_again(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    let _sent = [uploader.upload(values(1.0), &[64])?, uploader.upload(values(2.0), &[64])?];
    here();
    uploader.upload(values(3.0), &[64]).map(|_| ())
}

fn is_sent_thrice(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    here();
    let _sent = [uploader.upload(values(1.0), &[64])?, uploader.upload(values(2.0), &[64])?];
    uploader.upload(values(3.0), &[64]).map(|_| ())
}

fn grows(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    let _sent = [uploader.upload(values(1.0), &[64])?, uploader.upload(values(2.0), &[64])?];
    here();
    uploader.upload(vec![3.0; 4096], &[4096]).map(|_| ())
}

fn ends(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    let sent = uploader.upload(values(1.0), &[64])?;
    here();
    drop(uploader);
    assert_eq!(read(&sent.tensor()?)?, values(1.0));
    Ok(())
}

fn figure() -> Result<Tensor> {
    Tensor::full(1.5f32, (), &device())?.affine(2.0, 0.0)
}

fn is_read(here: &dyn Fn()) -> Result<()> {
    let figures = Figures::of(&[&figure()?])?;
    here();
    assert_eq!(figures.read()?, [3.0]);
    Ok(())
}

fn is_asked(here: &dyn Fn()) -> Result<()> {
    let figure = figure()?;
    here();
    assert_eq!(Figures::of(&[&figure])?.read()?, [3.0]);
    Ok(())
}

fn is_given_up(here: &dyn Fn()) -> Result<()> {
    drop(Figures::of(&[&figure()?])?);
    // The thread, with the buffers that it keeps, ends after this.
    here();
    Ok(())
}

fn is_not_taken(here: &dyn Fn()) -> Result<()> {
    let uploader = uploader()?;
    let sent = uploader.upload(values(1.0), &[64])?;
    here();
    drop(sent);
    Ok(())
}

fn is_dropped(here: &dyn Fn()) -> Result<()> {
    let tensor = figure()?;
    let _doubled = tensor.affine(2.0, 0.0)?;
    here();
    drop(tensor);
    Ok(())
}

fn computes(here: &dyn Fn()) -> Result<()> {
    let (a, b) = (Tensor::ones(64, DType::F32, &device())?, Tensor::ones(64, DType::F32, &device())?);
    here();
    crate::tensor::add_assign(&a, &b)?;
    assert_eq!(read(&a)?, values(2.0));
    Ok(())
}

fn multiplies(here: &dyn Fn()) -> Result<()> {
    here();
    let device: Device = crate::gpu::open(0, crate::gpu::Precision::Exact)?;
    let ones = Tensor::ones((8, 8), DType::F32, &device)?;
    assert_eq!(read(&ones.matmul(&ones)?)?, vec![8.0; 64]);
    Ok(())
}

fn convolves(here: &dyn Fn()) -> Result<()> {
    let (tape, x) = (Tape::new(), Tensor::ones((1, 4, 4, 2), DType::F32, &device())?);
    let weight = Value::constant(Tensor::ones((2, 1, 1, 2), DType::F32, &device())?);
    here();
    let y = conv2d(&tape, &Value::constant(x), &weight, 1)?;
    assert_eq!(read(y.tensor())?, vec![2.0; 32]);
    Ok(())
}

/// Runs work on a thread of its own: with its end go all buffers that the thread keeps. Whether it did what it should.
fn on_a_thread(work: Work, call: &'static str) -> bool {
    let thread = std::thread::spawn(move || {
        let plant = || drop(simclr_emulator::plant(call));
        std::panic::catch_unwind(|| work(&plant)).is_ok_and(|done| done.is_ok())
    });
    thread.join().unwrap()
}

fn in_a_process(name: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "testing::faults::every_planted_fault_is_found", "--nocapture"])
        .env(PLANTED, name)
        .output()
        .unwrap()
}

#[test]
fn every_planted_fault_is_found() {
    if let Ok(planted) = std::env::var(PLANTED) {
        for fault in faults() {
            if planted.is_empty() {
                assert!(on_a_thread(fault.work, ""), "{}", fault.what);
            } else if planted == fault.what {
                // What the driver finds may be an error here, or wrong numbers.
                on_a_thread(fault.work, fault.call);
            }
        }
        let _ = device().synchronize();
        return;
    }
    if simclr_emulator::plant("").is_none() {
        // A GPU says nothing of faults; the work has to be right there, too.
        faults().iter().for_each(|fault| (fault.work)(&|| ()).unwrap());
        return;
    }
    let said = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        text.lines().filter(|line| line.starts_with("emulated GPU")).map(|line| format!("{line}\n")).collect::<String>()
    };
    let sound = in_a_process("");
    assert!(sound.status.success() && said(&sound).is_empty(), "without a fault: {}", said(&sound));
    for Fault { what, found, .. } in faults() {
        let output = in_a_process(what);
        println!("{what}: {}", said(&output).trim_end());
        assert!(said(&output).contains(found), "{what}: the driver says\n{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The tests of streams in a process whose environment is another.
fn streams_under(name: &str, value: &str) -> Output {
    Command::new(std::env::current_exe().unwrap()).arg("testing::streams").env(name, value).output().unwrap()
}

/// As on GPUs that have no memory pools.
#[test]
fn a_gpu_without_memory_pools_will_do() {
    let output = streams_under("SIMCLR_EMULATED_POOLS", "0");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Work of streams that do not wait for one another gives the same in whatever order it runs.
#[test]
fn streams_may_run_in_any_order() {
    for seed in ["1", "2", "3"] {
        let output = streams_under("SIMCLR_EMULATED_SEED", seed);
        assert!(output.status.success(), "seed {seed}: {}", String::from_utf8_lossy(&output.stdout));
    }
    let output = streams_under("SIMCLR_EMULATED_QUEUES", "immediate");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// What a stream captures runs when its graph is launched, and as often.
#[test]
fn a_graph_runs_what_was_captured() {
    let device = crate::gpu::open(0, crate::gpu::Precision::Exact).unwrap();
    let (sum, term) = (Tensor::zeros(64, DType::F32, &device).unwrap(), Tensor::ones(64, DType::F32, &device).unwrap());
    // The kernel is loaded before: no graph holds that.
    crate::tensor::add_assign(&sum, &term).unwrap();
    device.synchronize().unwrap();
    let Device::Cuda(cuda) = &device else { panic!("a GPU is expected") };
    let stream = cuda.cuda_stream();
    stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
    crate::tensor::add_assign(&sum, &term).unwrap();
    crate::tensor::add_assign(&sum, &term).unwrap();
    let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert_eq!(read(&sum).unwrap(), values(1.0));
    (0..3).for_each(|_| graph.launch().unwrap());
    assert_eq!(read(&sum).unwrap(), values(7.0));
}
