//! Sixteen floats at a time on any processor, with the same bits on each: one AVX-512 register, two of AVX2, four of
//! NEON, or an array.
//!
//! Kernels are generic over [`Wide`] and run inside [`wide`], which compiles them once for each unit. Every operation
//! rounds as IEEE 754 says, multiply-adds are fused on every unit, and lanes are sixteen everywhere, so the unit changes
//! the speed of a kernel and nothing else.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use half::bf16;
use portable::Plain;
use std::sync::OnceLock;

/// Floats of a vector.
pub const LANES: usize = 16;

/// Sixteen f32 numbers.
pub trait Wide: Copy {
    /// Most rows of a block of sums that stay in registers, by its vectors of columns; zero where no such block pays.
    const ROWS: [usize; 5];

    /// Runs a kernel with the instructions of this unit.
    ///
    /// # Safety
    /// The processor has the unit.
    unsafe fn enter<K: Kernel>(kernel: K) -> K::Output;
    fn splat(value: f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load(at: *const f32) -> Self;
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store(self, at: *mut f32);
    /// The first `lanes` numbers, at most sixteen, and zeros.
    ///
    /// # Safety
    /// So many numbers can be read at `at`.
    #[inline(always)]
    unsafe fn load_part(at: *const f32, lanes: usize) -> Self {
        if lanes >= LANES {
            // SAFETY: all sixteen can be read.
            return unsafe { Self::load(at) };
        }
        let mut whole = [0.0; LANES];
        // SAFETY: `lanes` numbers can be read, and the array holds more.
        unsafe {
            std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), lanes);
            Self::load(whole.as_ptr())
        }
    }
    /// Writes the first `lanes` numbers, at most sixteen.
    ///
    /// # Safety
    /// So many numbers can be written at `at`.
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, lanes: usize) {
        if lanes >= LANES {
            // SAFETY: all sixteen can be written.
            return unsafe { self.store(at) };
        }
        let mut whole = [0.0; LANES];
        // SAFETY: the array holds sixteen numbers, of which `lanes` can be written.
        unsafe {
            self.store(whole.as_mut_ptr());
            std::ptr::copy_nonoverlapping(whole.as_ptr(), at, lanes);
        }
    }
    /// # Safety
    /// Sixteen numbers can be read at `at`.
    unsafe fn load_bf16(at: *const bf16) -> Self;
    /// Rounds to nearest, ties to even.
    ///
    /// # Safety
    /// Sixteen numbers can be written at `at`.
    unsafe fn store_bf16(self, at: *mut bf16);
    /// Asks for a line of the cache that will be read soon; a hint, for any address.
    #[inline(always)]
    fn prefetch(_at: *const f32) {}
    fn plus(self, other: Self) -> Self;
    fn minus(self, other: Self) -> Self;
    fn times(self, other: Self) -> Self;
    /// `self * factor + term`, rounded once.
    fn times_plus(self, factor: Self, term: Self) -> Self;
    /// The larger of the two; `self` where they are equal, or one of them is a NaN.
    fn at_least(self, other: Self) -> Self;
    /// `self` where `gate` is above zero, else zero.
    fn where_positive(self, gate: Self) -> Self;
    /// `self` where the two are equal, else zero.
    fn where_equal(self, a: Self, b: Self) -> Self;
}

/// A computation on vectors. `run` and what it calls must be `#[inline(always)]`.
pub trait Kernel {
    type Output;
    fn run<S: Wide>(self) -> Self::Output;
}

/// What computes: a vector unit, or scalar code that any processor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// One register of sixteen floats (x86-64).
    Avx512,
    /// Two registers of eight floats, with fused multiply-adds (x86-64).
    Avx2,
    /// Four registers of four floats (64-bit ARM).
    Neon,
    /// Arrays of sixteen floats. Where the compiler may not assume fused multiply-adds, each is a call of the C library.
    Portable,
}

impl Unit {
    /// All units, the widest first.
    pub const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// What `SIMCLR_SIMD`, logs and results call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Whether this processor has it.
    pub fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => avx512::is_here(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2::is_here(),
            // Every 64-bit ARM processor has NEON.
            Self::Neon => cfg!(target_arch = "aarch64"),
            Self::Portable => true,
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The unit that a user asks for by name, or without a name the widest that is here.
    fn choose(name: Option<&str>) -> Result<Self, String> {
        let here = || Self::ALL.into_iter().filter(|unit| unit.is_here());
        let names = || here().map(Self::name).collect::<Vec<_>>().join(", ");
        match name {
            None | Some("") => Ok(here().next().unwrap_or(Self::Portable)),
            Some(name) => match Self::ALL.into_iter().find(|unit| unit.name() == name) {
                Some(unit) if unit.is_here() => Ok(unit),
                Some(_) => {
                    Err(format!("{FORCE}={name}: this processor has {}; name one of these, or unset it", names()))
                }
                None => Err(format!("{FORCE}={name}: no such vector unit; this processor has {}", names())),
            },
        }
    }
}

/// The environment variable that forces a unit.
pub const FORCE: &str = "SIMCLR_SIMD";

/// The unit that all kernels of this process run on: the widest of this processor, or the one that the environment
/// variable `SIMCLR_SIMD` names.
///
/// # Errors
/// When the variable names a unit that is not here.
pub fn chosen_unit() -> Result<Unit, String> {
    choice().clone()
}

#[inline]
fn choice() -> &'static Result<Unit, String> {
    static CHOICE: OnceLock<Result<Unit, String>> = OnceLock::new();
    CHOICE.get_or_init(|| Unit::choose(std::env::var(FORCE).ok().as_deref()))
}

/// The chosen unit.
///
/// # Panics
/// When the environment names a unit that is not here, which binaries find out when they start.
#[inline]
pub fn unit() -> Unit {
    match choice() {
        Ok(unit) => *unit,
        Err(problem) => panic!("{problem}"),
    }
}

/// Runs a kernel on the chosen unit.
#[inline]
pub fn wide<K: Kernel>(kernel: K) -> K::Output {
    on(unit(), kernel)
}

/// Runs a kernel on a unit that must be here.
#[inline]
fn on<K: Kernel>(unit: Unit, kernel: K) -> K::Output {
    match unit {
        // SAFETY: `choose` hands out units that are here, and tests ask first.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512 => unsafe { avx512::Avx512::enter(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => unsafe { avx2::Avx2::enter(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Unit::Neon => unsafe { neon::Neon::enter(kernel) },
        // SAFETY: every processor runs it.
        _ => unsafe { Plain::enter(kernel) },
    }
}

/// Runs `work` with the instructions of the chosen unit: plain loops inside are compiled once for each of them. `work` and
/// what it calls must be `#[inline(always)]` for that. The compiler keeps the order of sums and fuses nothing by itself,
/// so these loops too give the same bits on every unit.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    struct Work<F>(F);
    impl<R, F: FnOnce() -> R> Kernel for Work<F> {
        type Output = R;
        #[inline(always)]
        fn run<S: Wide>(self) -> R {
            (self.0)()
        }
    }
    wide(Work(work))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every operation gives for awkward numbers, as bits.
    struct Everything;

    impl Kernel for Everything {
        type Output = Vec<u32>;
        #[inline(always)]
        fn run<S: Wide>(self) -> Vec<u32> {
            let odd = [0.0, -0.0, 1.0, -1.5, f32::INFINITY, f32::NEG_INFINITY, 1e-40, 3.4e38, 0.1, 1.0 + f32::EPSILON];
            let mut bits = Vec::new();
            for shift in 0..odd.len() {
                let numbers = |k: usize| std::array::from_fn::<f32, LANES, _>(|i| odd[(i * k + shift) % odd.len()]);
                let [a, b, c] = [numbers(1), numbers(3), numbers(7)].map(|n| {
                    // SAFETY: the array holds sixteen numbers.
                    unsafe { S::load(n.as_ptr()) }
                });
                let results = [
                    a.plus(b),
                    a.minus(b),
                    a.times(b),
                    a.times_plus(b, c),
                    a.at_least(b),
                    a.where_positive(b),
                    a.where_equal(b, c),
                ];
                for result in results {
                    let (mut whole, mut part, mut half) = ([7.0f32; LANES], [7.0f32; LANES], [bf16::ONE; LANES]);
                    // SAFETY: the arrays hold sixteen numbers.
                    unsafe {
                        result.store(whole.as_mut_ptr());
                        S::load_part(whole.as_ptr(), 5).plus(result).store_part(part.as_mut_ptr(), 11);
                        result.store_bf16(half.as_mut_ptr());
                        S::load_bf16(half.as_ptr()).store(whole.as_mut_ptr());
                    }
                    // A NaN is a NaN: processors differ in its sign.
                    let plain = |v: f32| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() };
                    bits.extend(whole.into_iter().chain(part).map(plain));
                }
            }
            bits
        }
    }

    #[test]
    fn every_unit_gives_the_same_bits() {
        let want = on(Unit::Portable, Everything);
        for unit in Unit::ALL.into_iter().filter(|u| u.is_here()) {
            let got = on(unit, Everything);
            let differ = got.iter().zip(&want).position(|(g, w)| g != w);
            assert_eq!(differ, None, "{}: {:08x?}", unit.name(), differ.map(|i| (got[i], want[i])));
        }
    }

    #[test]
    fn multiply_adds_are_rounded_once() {
        struct Fused;
        impl Kernel for Fused {
            type Output = f32;
            #[inline(always)]
            fn run<S: Wide>(self) -> f32 {
                let x = S::splat(1.0 + f32::EPSILON);
                let mut out = [0.0; LANES];
                // SAFETY: the array holds sixteen numbers.
                unsafe { x.times_plus(x, S::splat(-1.0)).store(out.as_mut_ptr()) };
                out[0]
            }
        }
        for unit in Unit::ALL.into_iter().filter(|u| u.is_here()) {
            assert_eq!(on(unit, Fused), 2.0 * f32::EPSILON + f32::EPSILON * f32::EPSILON, "{}", unit.name());
        }
    }

    #[test]
    fn a_unit_is_chosen_by_name() {
        assert_eq!(Unit::choose(Some("portable")), Ok(Unit::Portable));
        assert!(Unit::choose(None).is_ok_and(Unit::is_here));
        let unknown = Unit::choose(Some("sse9"));
        assert!(unknown.as_ref().is_err_and(|e| e.contains("sse9") && e.contains("portable")), "{unknown:?}");
        if let Some(missing) = Unit::ALL.into_iter().find(|u| !u.is_here()) {
            let refused = Unit::choose(Some(missing.name()));
            assert!(refused.as_ref().is_err_and(|e| e.contains("this processor has")), "{refused:?}");
        }
    }
}
