//! Products of bf16 blocks, 32 rows by 32 columns, summed in f32: AMX tiles, or AVX512-BF16 dot products.
//!
//! The left side is read along its rows, the right side as pairs: the two numbers of a step of the depth and the next
//! stand side by side for each column.

#![allow(unsafe_code)]

use half::bf16;
use std::sync::OnceLock;

/// Rows and columns of a block, and steps of the depth in one turn.
pub const SIDE: usize = 32;

/// What multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Tiles of 16 by 64 bytes (AMX-BF16).
    Tiles,
    /// Dot products of pairs (AVX512-BF16).
    Dots,
}

/// The best that this processor and system have.
pub fn unit() -> Option<Unit> {
    static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
    *UNIT.get_or_init(|| {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if x86::tiles_allowed() {
            return Some(Unit::Tiles);
        }
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx512bf16") && std::arch::is_x86_feature_detected!("avx512bw") {
            return Some(Unit::Dots);
        }
        None
    })
}

/// Where the right side's numbers stand: pairs of a step are `row` apart, those of the next [`SIDE`] steps `next` apart,
/// the second half of the columns `second` apart from the first.
#[derive(Clone, Copy, Debug)]
pub struct Pairs {
    pub row: usize,
    pub next: usize,
    pub second: usize,
}

/// A block's operands.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// [`SIDE`] rows, `step` apart.
    pub left: &'a [bf16],
    pub step: usize,
    pub right: &'a [bf16],
    pub pairs: Pairs,
    /// Depth over [`SIDE`].
    pub turns: usize,
}

/// The unit, ready to multiply on this thread until it is dropped.
pub struct Ready(Unit);

impl Ready {
    /// Loads the tiles' shapes, where tiles multiply.
    ///
    /// # Panics
    /// Where the processor has no unit.
    pub fn new() -> Self {
        let Some(unit) = unit() else { panic!("no unit multiplies bf16 on this processor") };
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if unit == Unit::Tiles {
            x86::open_tiles();
        }
        Self(unit)
    }

    /// `sum[row, column] (+)= sum over the depth of left * right`; rows of `sum` are `width` apart.
    ///
    /// # Panics
    /// When a slice is too short.
    pub fn multiply(&self, block: Block<'_>, sum: &mut [f32], width: usize, accumulate: bool) {
        let Block { left, step, right, pairs, turns } = block;
        let last = (turns.max(1) - 1) * pairs.next + (SIDE / 2 - 1) * pairs.row + pairs.second + SIDE;
        assert!(left.len() >= (SIDE - 1) * step + turns * SIDE, "multiply: the left side is too short");
        assert!(right.len() >= last, "multiply: the right side is too short");
        assert!(sum.len() >= (SIDE - 1) * width + SIDE, "multiply: no room for the sum");
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the assertions above keep all reads and writes inside their slices; `new` has found the unit, and has
        // loaded the shapes of the tiles on this thread, which `Ready` cannot leave.
        unsafe {
            match self.0 {
                #[cfg(target_os = "linux")]
                Unit::Tiles => x86::tiles(block, sum, width, accumulate),
                _ => x86::dots(block, sum, width, accumulate),
            }
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.0 == Unit::Tiles {
            x86::close_tiles();
        }
    }
}

/// Pairs of two rows: `out[2 j] = a[j]`, `out[2 j + 1] = b[j]`.
///
/// # Panics
/// When lengths differ.
pub fn interleave(a: &[bf16], b: &[bf16], out: &mut [bf16]) {
    assert!(a.len() == b.len() && out.len() == 2 * a.len(), "interleave: lengths differ");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: whoever comes here has found a unit, and with it AVX512-BW; the lengths fit.
    unsafe {
        x86::interleave(a, b, out);
    }
}

/// Copies `from` to the start of `to`: mostly few numbers, for which a call of `memcpy` takes longer than the copy.
///
/// # Panics
/// When `to` is shorter.
pub fn copy(from: &[bf16], to: &mut [bf16]) {
    assert!(from.len() <= to.len(), "copy: no room for {} numbers", from.len());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `interleave`.
    unsafe {
        x86::copy(from, to);
    }
}

/// `out[column, row] = from[row, column]` for a block of [`SIDE`] by [`SIDE`], of which `(rows, columns)` are there and
/// the others zero; rows of `from` are `step` apart, those of `out` `width`.
///
/// # Panics
/// When a slice is too short.
pub fn transpose(from: &[bf16], step: usize, (rows, columns): (usize, usize), out: &mut [bf16], width: usize) {
    assert!(rows <= SIDE && columns <= SIDE, "transpose: a block of {rows} by {columns}");
    assert!(rows == 0 || from.len() >= (rows - 1) * step + columns, "transpose: the block is not there");
    assert!(out.len() >= (SIDE - 1) * width + SIDE, "transpose: no room for the block");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `interleave`; the assertions keep all reads and writes inside their slices.
    unsafe {
        x86::transpose(from, step, (rows, columns), out, width);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Block, SIDE};
    use half::bf16;
    use std::arch::asm;
    use std::arch::x86_64::*;

    /// Whether the processor has AMX-BF16 and the system lets this process use it.
    #[cfg(target_os = "linux")]
    pub fn tiles_allowed() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        let wide = std::arch::is_x86_feature_detected!("avx512bw");
        let (bf16_bit, tile_bit) = (1 << 22, 1 << 24);
        let leaf = __cpuid_count(7, 0);
        let has = __cpuid(0).eax >= 7 && leaf.edx & bf16_bit != 0 && leaf.edx & tile_bit != 0;
        // SAFETY: the call asks for permission and changes nothing else; a refusal is an error code.
        wide && has && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
    }

    /// Shapes of the eight tiles: 16 rows of 64 bytes.
    #[cfg(target_os = "linux")]
    pub fn open_tiles() {
        #[repr(align(64))]
        struct Shapes([u8; 64]);
        let mut shapes = Shapes([0; 64]);
        shapes.0[0] = 1;
        for tile in 0..8 {
            (shapes.0[16 + 2 * tile], shapes.0[48 + tile]) = (64, 16);
        }
        // SAFETY: `tiles_allowed` has found AMX; the memory has the layout that the instruction reads.
        unsafe { asm!("ldtilecfg [{0}]", in(reg) shapes.0.as_ptr(), options(nostack, readonly)) }
    }

    #[cfg(target_os = "linux")]
    pub fn close_tiles() {
        // SAFETY: as in `open_tiles`; no tile holds anything that is still wanted.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// Two by two tiles of sums.
    ///
    /// # Safety
    /// As `Ready::multiply` asserts, with the tiles' shapes loaded. No Rust code uses tiles, so none are saved.
    #[cfg(target_os = "linux")]
    pub unsafe fn tiles(block: Block<'_>, sum: &mut [f32], width: usize, accumulate: bool) {
        let Block { left, step, right, pairs, turns } = block;
        let (corner, below) = (sum.as_mut_ptr(), sum.as_mut_ptr().wrapping_add(SIDE / 2 * width));
        let stride = width * size_of::<f32>();
        // SAFETY: the caller's word.
        unsafe {
            if accumulate {
                asm!(
                    "tileloadd tmm0, [{a} + {s}]",
                    "tileloadd tmm1, [{a} + {s} + 64]",
                    "tileloadd tmm2, [{b} + {s}]",
                    "tileloadd tmm3, [{b} + {s} + 64]",
                    a = in(reg) corner, b = in(reg) below, s = in(reg) stride, options(nostack),
                );
            } else {
                asm!("tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", options(nostack));
            }
            if turns > 0 {
                let bytes = size_of::<bf16>();
                asm!(
                    "2:",
                    "tileloadd tmm4, [{l0} + {ls}]",
                    "tileloadd tmm6, [{r0} + {rs}]",
                    "tileloadd tmm7, [{r1} + {rs}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm5, [{l1} + {ls}]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {l0}, 64",
                    "add {l1}, 64",
                    "add {r0}, {next}",
                    "add {r1}, {next}",
                    "dec {n}",
                    "jnz 2b",
                    l0 = inout(reg) left.as_ptr() => _,
                    l1 = inout(reg) left.as_ptr().add(SIDE / 2 * step) => _,
                    r0 = inout(reg) right.as_ptr() => _,
                    r1 = inout(reg) right.as_ptr().add(pairs.second) => _,
                    n = inout(reg) turns => _,
                    ls = in(reg) step * bytes,
                    rs = in(reg) pairs.row * bytes,
                    next = in(reg) pairs.next * bytes,
                    options(nostack, readonly),
                );
            }
            asm!(
                "tilestored [{a} + {s}], tmm0",
                "tilestored [{a} + {s} + 64], tmm1",
                "tilestored [{b} + {s}], tmm2",
                "tilestored [{b} + {s} + 64], tmm3",
                a = in(reg) corner, b = in(reg) below, s = in(reg) stride, options(nostack),
            );
        }
    }

    /// # Safety
    /// As `Ready::multiply` asserts, with AVX512-BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn dots(block: Block<'_>, sum: &mut [f32], width: usize, accumulate: bool) {
        /// Rows whose sums stay in registers.
        const ROWS: usize = 8;
        let Block { left, step, right, pairs, turns } = block;
        for first in (0..SIDE).step_by(ROWS) {
            // SAFETY: the caller's word, for all pointers below.
            unsafe {
                let to = sum.as_mut_ptr().add(first * width);
                let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
                if accumulate {
                    for (r, sums) in sums.iter_mut().enumerate() {
                        *sums = [_mm512_loadu_ps(to.add(r * width)), _mm512_loadu_ps(to.add(r * width + 16))];
                    }
                }
                for turn in 0..turns {
                    for pair in 0..SIDE / 2 {
                        let at = right.as_ptr().add(turn * pairs.next + pair * pairs.row);
                        let columns = [at, at.add(pairs.second)].map(|at| _mm512_loadu_si512(at.cast()));
                        for (r, sums) in sums.iter_mut().enumerate() {
                            let two = left.as_ptr().add((first + r) * step + turn * SIDE + 2 * pair);
                            let two = _mm512_set1_epi32(two.cast::<i32>().read_unaligned());
                            for (sum, column) in sums.iter_mut().zip(columns) {
                                let (two, column): (__m512bh, __m512bh) =
                                    (std::mem::transmute(two), std::mem::transmute(column));
                                *sum = _mm512_dpbf16_ps(*sum, two, column);
                            }
                        }
                    }
                }
                for (r, [a, b]) in sums.into_iter().enumerate() {
                    _mm512_storeu_ps(to.add(r * width), a);
                    _mm512_storeu_ps(to.add(r * width + 16), b);
                }
            }
        }
    }

    /// The lanes of a vector of 32 that `count` numbers fill.
    fn lanes(count: usize) -> __mmask32 {
        if count >= SIDE { u32::MAX } else { (1 << count) - 1 }
    }

    /// # Safety
    /// AVX512-BW; `to` is at least as long as `from`.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn copy(from: &[bf16], to: &mut [bf16]) {
        for j in (0..from.len()).step_by(SIDE) {
            let mask = lanes(from.len() - j);
            // SAFETY: the caller's word; lanes past the end are neither read nor written.
            unsafe {
                let value = _mm512_maskz_loadu_epi16(mask, from.as_ptr().add(j).cast());
                _mm512_mask_storeu_epi16(to.as_mut_ptr().add(j).cast(), mask, value);
            }
        }
    }

    /// By pairs of columns: 16 by 16 blocks of 32 bits are transposed, and then the pairs taken apart.
    ///
    /// # Safety
    /// As `super::transpose` asserts, with AVX512-BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn transpose(
        from: &[bf16],
        step: usize,
        (rows, columns): (usize, usize),
        out: &mut [bf16],
        width: usize,
    ) {
        let mask = lanes(columns);
        for half in 0..2 {
            let mut block = [_mm512_setzero_si512(); 16];
            for (i, row) in block.iter_mut().enumerate().take(rows.saturating_sub(16 * half)) {
                // SAFETY: a row that is there; lanes past its columns are not read.
                *row = unsafe { _mm512_maskz_loadu_epi16(mask, from.as_ptr().add((16 * half + i) * step).cast()) };
            }
            let block = turned(block);
            for (pair, column) in block.into_iter().enumerate() {
                let (even, odd) =
                    (_mm512_cvtepi32_epi16(column), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(column)));
                // SAFETY: columns `2 pair` and the next, rows `16 half` and fifteen more, of the block in `out`.
                unsafe {
                    let to = out.as_mut_ptr().add(2 * pair * width + 16 * half);
                    _mm256_storeu_si256(to.cast(), even);
                    _mm256_storeu_si256(to.add(width).cast(), odd);
                }
            }
        }
    }

    /// The transpose of 16 by 16 numbers of 32 bits.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn turned(a: [__m512i; 16]) -> [__m512i; 16] {
        let mut b = a;
        for i in 0..8 {
            b[2 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[2 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
        }
        // Columns `j` of four rows stand together in `c[4 i + j]`, in each quarter those of another `j + 4 quarter`.
        let mut c = b;
        for i in 0..4 {
            c[4 * i] = _mm512_unpacklo_epi64(b[4 * i], b[4 * i + 2]);
            c[4 * i + 1] = _mm512_unpackhi_epi64(b[4 * i], b[4 * i + 2]);
            c[4 * i + 2] = _mm512_unpacklo_epi64(b[4 * i + 1], b[4 * i + 3]);
            c[4 * i + 3] = _mm512_unpackhi_epi64(b[4 * i + 1], b[4 * i + 3]);
        }
        let mut d = c;
        for j in 0..4 {
            let (low, high) = (
                [_mm512_shuffle_i32x4::<0x44>(c[j], c[4 + j]), _mm512_shuffle_i32x4::<0x44>(c[8 + j], c[12 + j])],
                [_mm512_shuffle_i32x4::<0xee>(c[j], c[4 + j]), _mm512_shuffle_i32x4::<0xee>(c[8 + j], c[12 + j])],
            );
            d[j] = _mm512_shuffle_i32x4::<0x88>(low[0], low[1]);
            d[4 + j] = _mm512_shuffle_i32x4::<0xdd>(low[0], low[1]);
            d[8 + j] = _mm512_shuffle_i32x4::<0x88>(high[0], high[1]);
            d[12 + j] = _mm512_shuffle_i32x4::<0xdd>(high[0], high[1]);
        }
        d
    }

    /// # Safety
    /// AVX512-BW; `a` and `b` are of one length, `out` is twice as long.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn interleave(a: &[bf16], b: &[bf16], out: &mut [bf16]) {
        let order = |first: i16| {
            let mut order = [0i16; SIDE];
            for (i, place) in order.iter_mut().enumerate() {
                *place = first + i as i16 / 2 + if i % 2 == 0 { 0 } else { SIDE as i16 };
            }
            order
        };
        let (low, high) = (order(0), order(SIDE as i16 / 2));
        // SAFETY: the caller's word.
        unsafe {
            let (low, high) = (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
            for j in (0..a.len()).step_by(SIDE) {
                let mask = lanes(a.len() - j);
                let x = _mm512_maskz_loadu_epi16(mask, a.as_ptr().add(j).cast());
                let y = _mm512_maskz_loadu_epi16(mask, b.as_ptr().add(j).cast());
                let (to, pairs) = (out.as_mut_ptr().add(2 * j), 2 * (a.len() - j));
                _mm512_mask_storeu_epi16(to.cast(), lanes(pairs), _mm512_permutex2var_epi16(x, low, y));
                let (to, rest) = (to.wrapping_add(SIDE), lanes(pairs.saturating_sub(SIDE)));
                _mm512_mask_storeu_epi16(to.cast(), rest, _mm512_permutex2var_epi16(x, high, y));
            }
        }
    }
}
