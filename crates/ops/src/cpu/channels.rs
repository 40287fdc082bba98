//! Loops over a row-major `[R, C]` matrix whose work depends on the channel.
//!
//! The matrix is read as one with `period` columns, a common multiple of `C` and the vector length, so that every channel
//! count runs through the same full vectors. Values of a channel are repeated to one period, which is long enough for
//! the loops over it to be worth their set-up.

/// Floats of one vector.
pub const LANES: usize = 16;
/// Floats that one task handles: with three inputs 192 KiB, inside L2.
const CHUNK: usize = 1 << 14;

/// Least length of a period.
const LEAST_PERIOD: usize = 256;

type Vector = [f32; LANES];

/// How a matrix with `channels` columns is cut.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub channels: usize,
    pub period: usize,
}

impl Columns {
    pub fn new(channels: usize) -> Self {
        let (mut a, mut b) = (channels, LANES);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        let common = channels / a * LANES;
        Self { channels, period: LEAST_PERIOD.div_ceil(common) * common }
    }

    /// One value a channel, repeated to a period.
    pub fn repeat(&self, values: &[f32]) -> Vec<f32> {
        (0..self.period).map(|i| values[i % self.channels]).collect()
    }

    /// Floats of a task: whole periods.
    pub fn chunk(&self) -> usize {
        CHUNK.div_ceil(self.period) * self.period
    }

    /// Sums over rows: `f(column, inputs)` gives the `M` summands of a vector of elements that starts at `column` of
    /// the period; the result holds `M` rows of `channels` sums. All inputs have one length, a multiple of `channels`.
    #[inline(always)]
    pub fn sums<const I: usize, const M: usize>(
        &self,
        inputs: [&[f32]; I],
        f: impl Fn(usize, [&Vector; I]) -> [Vector; M],
    ) -> [Vec<f32>; M] {
        let mut out = [(); M].map(|()| vec![0.0f32; self.channels]);
        let len = inputs[0].len();
        for column in (0..self.period).step_by(LANES) {
            let mut sums = [[0.0f32; LANES]; M];
            let mut start = column;
            while start + LANES <= len {
                let vectors = inputs.map(|s| vector(&s[start..]));
                add(&mut sums, &f(column, vectors), LANES);
                start += self.period;
            }
            if start < len {
                let padded = inputs.map(|s| {
                    let mut v = [0.0; LANES];
                    v[..len - start].copy_from_slice(&s[start..]);
                    v
                });
                add(&mut sums, &f(column, padded.each_ref()), len - start);
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                sums.iter().enumerate().for_each(|(lane, s)| out[(column + lane) % self.channels] += s);
            }
        }
        out
    }
}

#[inline(always)]
fn add<const M: usize>(sums: &mut [Vector; M], terms: &[Vector; M], lanes: usize) {
    for (sums, terms) in sums.iter_mut().zip(terms) {
        sums.iter_mut().zip(terms).take(lanes).for_each(|(s, t)| *s += t);
    }
}

/// The first vector of `values`, which hold at least one.
#[inline(always)]
pub fn vector(values: &[f32]) -> &Vector {
    match values.first_chunk() {
        Some(v) => v,
        None => unreachable!("the caller checked the length"),
    }
}

/// A vector computed lane by lane.
#[inline(always)]
pub fn lanes(f: impl Fn(usize) -> f32) -> Vector {
    // Not `array::from_fn`, which is not always inlined and then runs without vector instructions.
    let mut out = [0.0; LANES];
    for (lane, out) in out.iter_mut().enumerate() {
        *out = f(lane);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_any_channel_count() {
        for (c, rows) in [(1, 37), (3, 50), (8, 9), (16, 5), (24, 7), (48, 3), (100, 4)] {
            let x: Vec<f32> = (0..c * rows).map(|i| (i * 7 % 23) as f32).collect();
            let [sum, square] = Columns::new(c).sums([&x], |_, [x]| [*x, lanes(|l| x[l] * x[l])]);
            for j in 0..c {
                let column = || (0..rows).map(|r| x[r * c + j]);
                assert_eq!(sum[j], column().sum::<f32>(), "sum of channel {j} of {c}");
                assert_eq!(square[j], column().map(|v| v * v).sum::<f32>(), "square of channel {j} of {c}");
            }
        }
    }
}
