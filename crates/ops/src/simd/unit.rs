//! Which vector unit this process computes with, and kernels run on it.

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use super::avx2;
#[cfg(target_arch = "x86_64")]
use super::avx512;
#[cfg(target_arch = "aarch64")]
use super::neon;
use super::portable::Plain;
use super::vector::{Kernel, Wide};
use std::sync::OnceLock;

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
}

/// The environment variable that forces a unit.
pub const FORCE: &str = "SIMCLR_SIMD";

/// The unit that a user asks for by name, or without a name the widest that is here.
pub(super) fn choose(name: Option<&str>) -> Result<Unit, String> {
    let here = || Unit::ALL.into_iter().filter(|unit| unit.is_here());
    let names = || here().map(Unit::name).collect::<Vec<_>>().join(", ");
    match name {
        None | Some("") => Ok(here().next().unwrap_or(Unit::Portable)),
        Some(name) => match Unit::ALL.into_iter().find(|unit| unit.name() == name) {
            Some(unit) if unit.is_here() => Ok(unit),
            Some(_) => Err(format!("{FORCE}={name}: this processor has {}; name one of these, or unset it", names())),
            None => Err(format!("{FORCE}={name}: no such vector unit; this processor has {}", names())),
        },
    }
}

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
    CHOICE.get_or_init(|| choose(std::env::var(FORCE).ok().as_deref()))
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

/// Runs a kernel on a unit, which is here: [`choose`] gives no other, and tests ask [`Unit::is_here`] first.
#[inline]
pub(super) fn on<K: Kernel>(unit: Unit, kernel: K) -> K::Output {
    match unit {
        // SAFETY: `choose` hands out units that are here, and tests ask first.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx512 => unsafe { avx512::Avx512::enter(kernel) },
        // SAFETY: the unit is here, as for `Avx512`.
        #[cfg(target_arch = "x86_64")]
        Unit::Avx2 => unsafe { avx2::Avx2::enter(kernel) },
        // SAFETY: the unit is here, as for `Avx512`.
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
