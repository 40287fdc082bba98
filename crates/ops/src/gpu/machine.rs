//! What runs kernels: launches, their arguments, and the memory that they work in.

#![cfg_attr(not(feature = "cuda"), allow(dead_code, reason = "only a GPU and the emulator of tests read launches"))]

use candle_core::Result;
use std::marker::PhantomData;

/// What a GPU's memory asks of its numbers.
#[cfg(feature = "cuda")]
pub trait Stored: candle_core::cuda_backend::CudaDType + candle_core::cuda_backend::cudarc::driver::DeviceRepr {}
#[cfg(feature = "cuda")]
impl<T: candle_core::cuda_backend::CudaDType + candle_core::cuda_backend::cudarc::driver::DeviceRepr> Stored for T {}

/// The emulator's memory asks nothing.
#[cfg(not(feature = "cuda"))]
pub trait Stored {}
#[cfg(not(feature = "cuda"))]
impl<T> Stored for T {}

/// Numbers that stand in a machine's memory.
pub trait Number: candle_core::WithDType + Stored {
    /// What the name of a kernel for maps of this element ends in.
    const SUFFIX: &'static str;
    /// Elements that fill 16 bytes.
    const LANES: usize = 16 / size_of::<Self>();
}

impl Number for f32 {
    const SUFFIX: &'static str = "f32";
}
impl Number for half::bf16 {
    const SUFFIX: &'static str = "bf16";
}
impl Number for f64 {
    const SUFFIX: &'static str = "f64";
}
impl Number for i32 {
    const SUFFIX: &'static str = "i32";
}
impl Number for i64 {
    const SUFFIX: &'static str = "i64";
}
impl Number for u8 {
    const SUFFIX: &'static str = "u8";
}

/// Where numbers stand in a machine's memory. It keeps nothing alive: work is done in the order of launches, and memory
/// that is given back is used again by later launches only.
pub struct At<T>(pub u64, PhantomData<T>);

impl<T> At<T> {
    /// An address.
    pub fn new(address: u64) -> Self {
        Self(address, PhantomData)
    }

    /// No address, for what is optional.
    pub fn none() -> Self {
        Self::new(0)
    }

    /// Where the number stands that is `numbers` further on.
    pub fn plus(self, numbers: usize) -> Self {
        Self::new(self.0 + (numbers * size_of::<T>()) as u64)
    }
}

impl<T> Clone for At<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for At<T> {}

/// One argument of a kernel, of exactly the width that its source declares.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    /// A pointer.
    Address(u64),
    /// `int`.
    I32(i32),
    /// `unsigned int`.
    U32(u32),
    /// `long long`.
    I64(i64),
    /// `float`.
    F32(f32),
    /// `double`.
    F64(f64),
}

impl<T> From<At<T>> for Arg {
    fn from(at: At<T>) -> Self {
        Self::Address(at.0)
    }
}

macro_rules! arguments {
    ($($number:ty => $kind:ident),*) => {
        $(impl From<$number> for Arg {
            fn from(value: $number) -> Self {
                Self::$kind(value)
            }
        })*
    };
}
arguments!(i32 => I32, u32 => U32, i64 => I64, f32 => F32, f64 => F64);

impl From<bool> for Arg {
    fn from(value: bool) -> Self {
        Self::I32(value.into())
    }
}

/// The arguments of a launch; sizes are `long long`.
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::gpu::machine::Arg::from($value)),*] };
}
pub(crate) use args;

/// The compiled kernels of one folder's `kernel.cu`.
#[derive(Clone, Copy)]
pub struct Kernels {
    /// The module's name: its key for the process, which nobody else may have.
    pub module: &'static str,
    /// What the build script compiled; empty in builds without GPUs.
    pub ptx: &'static str,
}

/// The [`Kernels`] of a folder of this crate.
macro_rules! kernels {
    ($folder:literal) => {
        $crate::gpu::machine::Kernels {
            module: concat!("simclr_", $folder),
            #[cfg(feature = "cuda")]
            ptx: include_str!(concat!(env!("OUT_DIR"), "/", $folder, ".ptx")),
            #[cfg(not(feature = "cuda"))]
            ptx: "",
        }
    };
}
pub(crate) use kernels;

/// One launch of a kernel.
pub struct Launch {
    /// The module that holds it.
    pub kernels: Kernels,
    /// Its name.
    pub kernel: String,
    /// Blocks: along x and y.
    pub grid: [u32; 2],
    /// Threads of a block: along x and y.
    pub block: [u32; 2],
    /// In the kernel's order.
    pub args: Vec<Arg>,
}

/// Threads of a one-dimensional block, as in device.cuh.
pub const THREADS: u32 = 256;
/// Most blocks of a launch whose threads take several items each.
pub const MOST_BLOCKS: u32 = 1 << 12;
/// Most items of a launch. A thread adds the number of all threads to that of an item before it looks whether there is such
/// an item: the sum must not pass what 32 bits hold, where it would begin again at 0.
const MOST_ITEMS: u32 = 1 << 31;
const _: () = assert!(MOST_ITEMS.checked_add(MOST_BLOCKS * THREADS).is_some());

impl Launch {
    /// One thread an item, or several items.
    ///
    /// # Errors
    /// When there are none, or more than 32 bits count.
    pub fn items(kernels: Kernels, kernel: impl Into<String>, items: usize, args: Vec<Arg>) -> Result<Self> {
        let blocks = count(items)?.div_ceil(THREADS).min(MOST_BLOCKS);
        Self::new(kernels, kernel, [blocks, 1], [THREADS, 1], args)
    }

    /// One block a row.
    ///
    /// # Errors
    /// As [`Launch::items`].
    pub fn rows(kernels: Kernels, kernel: impl Into<String>, rows: usize, args: Vec<Arg>) -> Result<Self> {
        Self::new(kernels, kernel, [count(rows)?, 1], [THREADS, 1], args)
    }

    fn new(
        kernels: Kernels,
        kernel: impl Into<String>,
        grid: [u32; 2],
        block: [u32; 2],
        args: Vec<Arg>,
    ) -> Result<Self> {
        Ok(Self { kernels, kernel: kernel.into(), grid, block, args })
    }
}

/// A number of items as kernels count them.
///
/// # Errors
/// When there are none, or more than 2^31: kernels count in 32 bits, and add to a number before they compare it.
pub fn count(items: usize) -> Result<u32> {
    match u32::try_from(items) {
        Ok(items) if items > 0 && items <= MOST_ITEMS => Ok(items),
        _ => candle_core::bail!(
            "{items} items do not go through one launch, which takes 1 to {MOST_ITEMS}: set a smaller batch or a chunk"
        ),
    }
}

/// The name of a kernel for maps of `T`.
pub fn named<T: Number>(kernel: &str) -> String {
    format!("{kernel}_{}", T::SUFFIX)
}

/// How many packs of elements maps of `len` elements and rows of `c` are, and whether packs are wide: the addresses of
/// all maps that take part must allow it.
///
/// # Errors
/// As [`count`].
pub fn packs<T: Number>(len: usize, c: usize, maps: &[At<T>]) -> Result<(u32, bool)> {
    let wide = c.is_multiple_of(T::LANES) && maps.iter().all(|m| m.0.is_multiple_of(16));
    Ok((count(if wide { len / T::LANES } else { len })?, wide))
}

/// What runs kernels, one launch after the other.
pub trait Machine {
    /// Numbers in its memory.
    type Memory<T: Number>;

    /// Room for `len` numbers, with arbitrary contents.
    ///
    /// # Errors
    /// When memory is short.
    fn room<T: Number>(&self, len: usize) -> Result<Self::Memory<T>>;

    /// The numbers, in its memory.
    ///
    /// # Errors
    /// When memory is short.
    fn upload<T: Number>(&self, values: &[T]) -> Result<Self::Memory<T>>;

    /// Where they stand.
    fn at<T: Number>(&self, memory: &Self::Memory<T>) -> At<T>;

    /// Starts a kernel after those before.
    ///
    /// # Errors
    /// When there is no such kernel, or the machine refuses.
    fn launch(&self, launch: Launch) -> Result<()>;
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A thread that counts in 32 bits by steps of all threads comes to an end.
    #[test]
    fn items_that_a_counter_would_never_pass_are_refused() {
        for items in [1, 1 << 20, 1 << 31] {
            let last = u64::from(count(items).unwrap()) - 1 + u64::from(MOST_BLOCKS * THREADS);
            assert!(last <= u64::from(u32::MAX), "{items}");
        }
        for items in [0, (1 << 31) + 1, (1 << 32) - (1 << 20), (1 << 32) - 1, 1 << 32] {
            let error = count(items).unwrap_err().to_string();
            assert!(error.contains("chunk"), "{error}");
        }
    }
}
