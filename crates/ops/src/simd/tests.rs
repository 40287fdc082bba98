//! Every vector unit of this processor gives the same bits.
#![allow(unsafe_code)]

use super::unit::{Unit, choose, on};
use super::vector::{Kernel, LANES, Wide};
use half::bf16;

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
fn powers_of_two_are_exact() {
    struct Powers;
    impl Kernel for Powers {
        type Output = Vec<f32>;
        #[inline(always)]
        fn run<S: Wide>(self) -> Vec<f32> {
            let mut all = Vec::new();
            for first in (-126..=112).step_by(LANES).chain([112]) {
                let mut numbers = std::array::from_fn::<f32, LANES, _>(|i| (first + i as i32) as f32);
                // SAFETY: the array holds sixteen numbers.
                unsafe { S::load(numbers.as_ptr()).two_to().store(numbers.as_mut_ptr()) };
                all.extend(numbers);
            }
            all
        }
    }
    let firsts = (-126..=112).step_by(LANES).chain([112]);
    let want: Vec<f32> = firsts.flat_map(|first| (first..first + LANES as i32).map(|n| 2f32.powi(n))).collect();
    for unit in Unit::ALL.into_iter().filter(|u| u.is_here()) {
        assert_eq!(on(unit, Powers), want, "{}", unit.name());
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
    assert_eq!(choose(Some("portable")), Ok(Unit::Portable));
    assert!(choose(None).is_ok_and(Unit::is_here));
    let unknown = choose(Some("sse9"));
    assert!(unknown.as_ref().is_err_and(|e| e.contains("sse9") && e.contains("portable")), "{unknown:?}");
    if let Some(missing) = Unit::ALL.into_iter().find(|u| !u.is_here()) {
        let refused = choose(Some(missing.name()));
        assert!(refused.as_ref().is_err_and(|e| e.contains("this processor has")), "{refused:?}");
    }
}
