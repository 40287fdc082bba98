//! The kernels on the processor, against the operations of the CPU: the emulator as a machine, and help for each op's tests.
//!
//! Every launch runs twice, with threads and blocks in different orders.
#![allow(clippy::unwrap_used, unsafe_code)]

use crate::gpu::machine::{Arg, At, Launch, Machine, Number};
use crate::simd::Element;
use crate::tape::{Tape, Value};
use crate::tensor::access::with_elements;
use crate::tensor::from_vec;
use candle_core::{Result, Shape, Tensor, bail};
use half::bf16;
use simclr_emulator::{Argument, Emulator, Guarded};
use std::cell::Cell;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::OnceLock;

/// The emulator of this crate's kernels.
pub struct Emulated(Emulator);

/// Numbers in its memory, between guards.
pub struct Memory<T>(Guarded, PhantomData<T>);

impl<T: Number> Memory<T> {
    /// The numbers, after the guards were checked.
    pub fn numbers(&self) -> Vec<T> {
        let bytes = self.0.bytes();
        // SAFETY: the bytes are aligned to 16 and live as long as `self`; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast::<T>(), bytes.len() / size_of::<T>()) }.to_vec()
    }
}

impl Emulated {
    /// Compiles the kernels where this process has not yet.
    pub fn get() -> &'static Self {
        static EMULATED: OnceLock<Emulated> = OnceLock::new();
        EMULATED.get_or_init(|| {
            let kernels = simclr_emulator::kernels(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
            Self(Emulator::compile(&kernels).unwrap())
        })
    }

    /// The emulator itself.
    pub fn emulator(&self) -> &Emulator {
        &self.0
    }
}

impl Machine for Emulated {
    type Memory<T: Number> = Memory<T>;

    fn room<T: Number>(&self, len: usize) -> Result<Memory<T>> {
        Ok(Memory(Guarded::room(len * size_of::<T>()), PhantomData))
    }

    fn upload<T: Number>(&self, values: &[T]) -> Result<Memory<T>> {
        // SAFETY: numbers are plain: all their bytes are initialised.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
        Ok(Memory(Guarded::of(bytes), PhantomData))
    }

    fn at<T: Number>(&self, memory: &Memory<T>) -> At<T> {
        At::new(memory.0.address())
    }

    fn launch(&self, launch: Launch) -> Result<()> {
        thread_local! {
            static SEED: Cell<u32> = const { Cell::new(1) };
        }
        // Each launch in an order of its own; the tests run all of them twice and compare bits.
        let seed = SEED.get().wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        SEED.set(seed);
        let argument = |arg: &Arg| {
            let (kind, bits) = match *arg {
                Arg::Address(v) => (b'a', v),
                Arg::I32(v) => (b'i', u64::from(v as u32)),
                Arg::U32(v) => (b'u', u64::from(v)),
                Arg::I64(v) => (b'l', v as u64),
                Arg::F32(v) => (b'f', u64::from(v.to_bits())),
                Arg::F64(v) => (b'd', v.to_bits()),
            };
            Argument { kind, bits }
        };
        let arguments: Vec<Argument> = launch.args.iter().map(argument).collect();
        let Launch { kernel, grid, block, .. } = &launch;
        let run = simclr_emulator::Launch { kernel, grid: *grid, block: *block, arguments: &arguments };
        // SAFETY: addresses are of `Memory` that the test holds while its launches run, on this thread alone; what a kernel
        // does beyond the sizes that it is told is what the guards are for.
        match unsafe { self.0.run(&run, seed) } {
            Ok(()) => Ok(()),
            Err(message) => bail!("{message}"),
        }
    }
}

/// Numbers that any shape makes differ, between -2 and 2; some are equal.
pub fn numbers<T: Element>(len: usize, seed: usize) -> Vec<T> {
    (0..len).map(|i| T::of_f32(((i * 7919 + seed * 104_729 + i * i * 31) % 4001) as f32 / 1000.0 - 2.0)).collect()
}

/// Whether two lists are equal to 1e-5 of the largest number, or for bf16 to two units of its last place.
#[track_caller]
pub fn assert_close<T: Element>(what: &str, found: &[T], want: &[T]) {
    assert_eq!(found.len(), want.len(), "{what}");
    let largest = want.iter().fold(1.0f32, |m, v| m.max(v.to_f32().abs()));
    let limit = largest * if T::DTYPE == candle_core::DType::BF16 { 1.0 / 128.0 } else { 1e-5 };
    for (i, (a, b)) in found.iter().zip(want).enumerate() {
        let (a, b) = (a.to_f32(), b.to_f32());
        assert!((a - b).abs() <= limit, "{what}: element {i} is {a}, not {b}");
    }
}

/// Runs a test for maps of both elements.
macro_rules! both {
    ($test:ident($($arg:expr),*)) => {{
        $test::<f32>($($arg),*);
        $test::<half::bf16>($($arg),*);
    }};
}
pub(crate) use both;

/// An element of maps, on the emulator too.
pub trait Map: Element + Number {}
impl Map for f32 {}
impl Map for bf16 {}

/// Numbers in the emulator's memory.
pub fn up<T: Number>(values: &[T]) -> Memory<T> {
    Emulated::get().upload(values).unwrap()
}

/// Room for `len` numbers there.
pub fn room<T: Number>(len: usize) -> Memory<T> {
    Emulated::get().room(len).unwrap()
}

/// Where they stand.
pub fn at<T: Number>(memory: &Memory<T>) -> At<T> {
    Emulated::get().at(memory)
}

/// What `work` gives, in whatever order threads and blocks run.
pub fn in_any_order<R: PartialEq>(work: impl Fn() -> R) -> R {
    let first = work();
    assert!(first == work(), "the order of threads decides the result");
    first
}

/// The numbers as a tensor on the CPU.
pub fn tensor<T: Map>(values: &[T], shape: impl Into<Shape>) -> Tensor {
    from_vec(values.to_vec(), shape).unwrap()
}

/// A tensor's numbers.
pub fn elements<T: Map>(tensor: &Tensor) -> Vec<T> {
    with_elements(tensor, |v: &[T]| Ok(v.to_vec())).unwrap()
}

/// What the CPU's operation gives, and its gradients with respect to `leaves` for the gradient `dy` of the output.
pub fn on_the_cpu(
    leaves: &[Tensor],
    dy: &Tensor,
    operation: impl FnOnce(&Tape, &[Value]) -> Result<Value>,
) -> (Tensor, Vec<Tensor>) {
    let tape = Tape::new();
    let values: Vec<Value> = leaves.iter().map(|leaf| tape.leaf(leaf)).collect();
    let out = operation(&tape, &values).unwrap();
    let (result, mut gradients) = (out.tensor().clone(), tape.backward_over([(&out, dy.copy().unwrap())]).unwrap());
    (result, leaves.iter().map(|leaf| gradients.remove(leaf).unwrap()).collect())
}
