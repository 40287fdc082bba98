//! Ten families of periodic pattern: the share of the second colour at a point of the plane.
//!
//! `u` and `v` count periods; `soft` is the width of an edge in periods (about a pixel, so that edges do not alias).
//! Every family fills the plane evenly, so that any crop shows what the class is about.

/// Names of the families, in the order of their labels.
pub const NAMES: [&str; 10] =
    ["stripes", "checkers", "dots", "rings", "grid", "waves", "bricks", "cells", "clouds", "weave"];

/// Side of the torus of random numbers that irregular patterns draw from.
const SIDE: usize = 16;

/// Random numbers in 0..1 on a torus, two a node.
pub struct Lattice(pub [[f32; 2]; SIDE * SIDE]);

impl Lattice {
    /// The numbers of a node; coordinates wrap around.
    #[inline(always)]
    fn at(&self, x: i32, y: i32) -> [f32; 2] {
        let wrap = |c: i32| c as usize % SIDE;
        self.0[wrap(y) * SIDE + wrap(x)]
    }
}

/// From 0 to 1 as `x` passes 0, over a distance of about `soft`.
#[inline(always)]
fn edge(x: f32, soft: f32) -> f32 {
    let t = (x / soft + 0.5).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A triangle wave of period 1: 0.5 at whole numbers, 0 halfway between.
#[inline(always)]
fn fold(x: f32) -> f32 {
    (x - x.floor() - 0.5).abs()
}

/// The share of the second colour, 0..=1, of a family (an index into [`NAMES`]) at a point.
#[inline(always)]
pub fn share(class: usize, u: f32, v: f32, soft: f32, lattice: &Lattice) -> f32 {
    match class {
        0 => edge(fold(u) - 0.25, soft),
        1 => checkers(u, v, soft),
        2 => edge(0.3 - radius(u, v), soft),
        3 => edge(0.1 - (radius(u, v) - 0.33).abs(), soft),
        4 => edge(0.13 - fold(u).min(fold(v)), soft),
        5 => edge(fold(u + 0.9 * fold(0.7 * v)) - 0.25, soft),
        6 => bricks(u, v, soft),
        7 => cells(u, v, soft, lattice),
        8 => clouds(u, v, soft, lattice),
        _ => weave(u, v, soft),
    }
}

/// Distance to the centre of a square cell.
#[inline(always)]
fn radius(u: f32, v: f32) -> f32 {
    let (x, y) = (u - u.floor() - 0.5, v - v.floor() - 0.5);
    (x * x + y * y).sqrt()
}

#[inline(always)]
fn checkers(u: f32, v: f32, soft: f32) -> f32 {
    let (a, b) = (edge(fold(u) - 0.25, soft), edge(fold(v) - 0.25, soft));
    a + b - 2.0 * a * b
}

/// Rows of long bricks, every second row shifted by half a brick, with mortar between.
#[inline(always)]
fn bricks(u: f32, v: f32, soft: f32) -> f32 {
    let row = (1.4 * v).floor();
    let across = fold(0.75 * u + 0.5 * (row - 2.0 * (0.5 * row).floor()));
    edge((0.5 - fold(1.4 * v)).min((0.5 - across) * 1.5) - 0.13, soft * 1.4)
}

/// Borders between the regions nearest to scattered points.
#[inline(always)]
fn cells(u: f32, v: f32, soft: f32, lattice: &Lattice) -> f32 {
    let (x0, y0) = (u.floor(), v.floor());
    let (mut first, mut second) = (9.0f32, 9.0f32);
    for dy in -1..=1 {
        for dx in -1..=1 {
            let [jx, jy] = lattice.at(x0 as i32 + dx, y0 as i32 + dy);
            let (x, y) = (x0 + dx as f32 + jx - u, y0 + dy as f32 + jy - v);
            let square = x * x + y * y;
            second = second.min(square.max(first));
            first = first.min(square);
        }
    }
    edge(second.sqrt() - first.sqrt() - 0.16, 1.5 * soft)
}

/// Smooth random blotches.
#[inline(always)]
fn clouds(u: f32, v: f32, soft: f32, lattice: &Lattice) -> f32 {
    let field = 0.65 * noise(1.1 * u, 1.1 * v, 0, lattice) + 0.35 * noise(2.3 * u, 2.3 * v, 1, lattice);
    edge(field - 0.5, 0.25 + 0.2 * soft)
}

/// Value noise: the numbers of the four nodes around, smoothly mixed.
#[inline(always)]
fn noise(u: f32, v: f32, which: usize, lattice: &Lattice) -> f32 {
    let (x, y) = (u.floor(), v.floor());
    let (a, b) = (edge(u - x - 0.5, 1.0), edge(v - y - 0.5, 1.0));
    let at = |dx, dy| lattice.at(x as i32 + dx, y as i32 + dy)[which];
    let row = |dy| at(0, dy) + a * (at(1, dy) - at(0, dy));
    row(0) + b * (row(1) - row(0))
}

/// Squares of narrow stripes, alternately lying and standing.
#[inline(always)]
fn weave(u: f32, v: f32, soft: f32) -> f32 {
    let (u, v) = (0.8 * u, 0.8 * v);
    let odd = u.floor() + v.floor();
    let along = if odd - 2.0 * (0.5 * odd).floor() < 0.5 { u } else { v };
    edge(fold(2.0 * along) - 0.25, 1.6 * soft)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_uses_both_colours_and_stays_in_range() {
        let lattice = Lattice(std::array::from_fn(|i| [(i * 37 % 256) as f32 / 256.0, (i * 91 % 256) as f32 / 256.0]));
        for (class, name) in NAMES.iter().enumerate() {
            let values: Vec<f32> = (0..6400)
                .map(|i| share(class, 3.0 + (i % 80) as f32 * 0.1, 3.0 + (i / 80) as f32 * 0.1, 0.15, &lattice))
                .collect();
            let mean = values.iter().sum::<f32>() / 6400.0;
            assert!(values.iter().all(|v| (0.0..=1.0).contains(v)), "{name}");
            assert!((0.2..0.8).contains(&mean), "{name} has mean {mean}");
        }
    }
}
