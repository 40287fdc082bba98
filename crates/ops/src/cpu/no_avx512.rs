//! Stands in for the AVX-512 kernels on other architectures, where nothing calls them.

use super::panels::Panel;
use super::window::{Run, Segment};

pub const MOST_WEIGHTS: [usize; 3] = [1; 3];

pub fn available() -> bool {
    false
}

pub fn products(_: &[f32], _: &[Run], _: (usize, usize), _: &[Segment], _: Panel<'_>, _: &mut [f32], _: bool) {
    unreachable!("AVX-512 is not available")
}

pub fn outer(_: &[f32], _: &[Run], _: usize, _: usize, _: (&[f32], usize, usize), _: (&mut [f32], usize), _: bool) {
    unreachable!("AVX-512 is not available")
}

pub fn line_up(_: &[f32], _: &[Run], _: usize, _: usize, _: &mut [f32], _: usize) {
    unreachable!("AVX-512 is not available")
}
