//! The instructions: AMX tiles, AVX512-BF16 dot products, and what lines numbers up for them.

use super::block::{Block, SIDE};
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
    // SAFETY: `open_tiles` has run on this thread, so AMX is there; no tile holds anything that is still wanted.
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
    // SAFETY: `SIDE` rows of `left` and of `sum`, and the pairs of all turns of `right`, lie in their slices, as
    // `Ready::multiply` has asserted; tiles of 16 rows by 64 bytes are shaped on this thread. Only `sum` is written.
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
        // SAFETY: AVX512-BF16 is there. Rows `first..first + ROWS` of `left` and of `sum`, and the pairs of all turns of `right`,
        // lie in their slices, as `Ready::multiply` has asserted.
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
                            let two = std::mem::transmute::<__m512i, __m512bh>(two);
                            let column = std::mem::transmute::<__m512i, __m512bh>(column);
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
        // SAFETY: AVX512-BW is there; lanes past the end of `from`, and with it of what `to` holds at least, are masked.
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
pub unsafe fn transpose(from: &[bf16], step: usize, (rows, columns): (usize, usize), out: &mut [bf16], width: usize) {
    let mask = lanes(columns);
    for half in 0..2 {
        let mut block = [_mm512_setzero_si512(); 16];
        for (i, row) in block.iter_mut().enumerate().take(rows.saturating_sub(16 * half)) {
            // SAFETY: a row that is there; lanes past its columns are not read.
            *row = unsafe { _mm512_maskz_loadu_epi16(mask, from.as_ptr().add((16 * half + i) * step).cast()) };
        }
        let block = turned(block);
        for (pair, column) in block.into_iter().enumerate() {
            let (even, odd) = (_mm512_cvtepi32_epi16(column), _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(column)));
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
    // SAFETY: AVX512-BW is there; lanes past the ends of `a`, `b` and `out`, which is twice as long, are masked.
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
