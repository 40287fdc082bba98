//! From planes, which transforms work on, to the interleaved pixels that networks take.

use simclr_ops::Pixel;
use simclr_ops::simd::vectorized;

/// Pixels that change their layout at a time.
const GROUP: usize = 16;

/// Planes `[C, pixels]` to `[pixels, C]`, each number as `end` leaves it.
pub(super) fn interleave<T: Pixel>(planes: &[f32], c: usize, out: &mut [T], end: impl Fn(f32) -> T + Copy) {
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
fn interleave_colours<T: Pixel>(r: &[f32], g: &[f32], b: &[f32], out: &mut [T], end: impl Fn(f32) -> T + Copy) {
    let (groups, rest) = out.as_chunks_mut::<{ 3 * GROUP }>();
    let (r, r_rest) = r.as_chunks::<GROUP>();
    let (g, g_rest) = g.as_chunks::<GROUP>();
    let (b, b_rest) = b.as_chunks::<GROUP>();
    for (((r, g), b), out) in r.iter().zip(g).zip(b).zip(groups) {
        let planes = [r, g, b];
        // Registers of floats are shuffled, whatever becomes of them then.
        let pixels: [f32; 3 * GROUP] = std::array::from_fn(|i| planes[i % 3][i / 3]);
        *out = pixels.map(end);
    }
    for (((r, g), b), out) in r_rest.iter().zip(g_rest).zip(b_rest).zip(rest.as_chunks_mut::<3>().0) {
        *out = [end(*r), end(*g), end(*b)];
    }
}
