//! From planes, which transforms work on, to the interleaved pixels that networks take.

use simclr_ops::simd::vectorized;

/// Pixels that change their layout at a time.
const GROUP: usize = 16;

/// Planes `[C, pixels]` to `[pixels, C]`, each number as `end` leaves it.
pub(super) fn interleave(planes: &[f32], c: usize, out: &mut [f32], end: impl Fn(f32) -> f32 + Copy) {
    let pixels = planes.len() / c;
    vectorized(
        #[inline(always)]
        || {
            if c == 3 {
                let (r, rest) = planes.split_at(pixels);
                let (g, b) = rest.split_at(pixels);
                interleave_colours(r, g, b, out, end);
            } else {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = end(planes[i % c * pixels + i / c]);
                }
            }
        },
    )
}

/// A whole group is a fixed shuffle of registers.
#[inline(always)]
fn interleave_colours(r: &[f32], g: &[f32], b: &[f32], out: &mut [f32], end: impl Fn(f32) -> f32 + Copy) {
    let (groups, rest) = out.as_chunks_mut::<{ 3 * GROUP }>();
    let (r, r_rest) = r.as_chunks::<GROUP>();
    let (g, g_rest) = g.as_chunks::<GROUP>();
    let (b, b_rest) = b.as_chunks::<GROUP>();
    for (((r, g), b), out) in r.iter().zip(g).zip(b).zip(groups) {
        let ended = [r.map(end), g.map(end), b.map(end)];
        *out = std::array::from_fn(|i| ended[i % 3][i / 3]);
    }
    for (((r, g), b), out) in r_rest.iter().zip(g_rest).zip(b_rest).zip(rest.as_chunks_mut::<3>().0) {
        *out = [end(*r), end(*g), end(*b)];
    }
}
