//! Sums over windows against convolutions product by product.

use super::sums::{forward, input_gradient, weight_gradient};
use super::window::Source;
use crate::conv::geometry::Geometry;
use crate::norm::cpu as norm;

fn numbers(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 + seed * 11) % 101) as f32 / 50.0 - 1.0).collect()
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    let scale = want.iter().fold(1.0f32, |m, v| m.max(v.abs()));
    let worst = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(worst <= 1e-5 * scale, "{what}: off by {worst}, scale {scale}");
}

/// Calls `f(y, x, w)` with the places of the factors of each product of a convolution.
fn each_product(g: &Geometry, mut f: impl FnMut(usize, usize, usize)) {
    let Geometry { n, h, w, c, o, k, stride, before, oh, ow } = *g;
    let inside = |at: usize, tap: usize, size: usize| (at * stride + tap).checked_sub(before).filter(|p| *p < size);
    for (i, oy, ox) in (0..n * oh * ow).map(|p| (p / (oh * ow), p / ow % oh, p % ow)) {
        for (ky, kx) in (0..k * k).map(|t| (t / k, t % k)) {
            let (Some(y), Some(x)) = (inside(oy, ky, h), inside(ox, kx, w)) else { continue };
            for (oc, ic) in (0..o * c).map(|j| (j / c, j % c)) {
                let pixel = (i * oh + oy) * ow + ox;
                f(pixel * o + oc, ((i * h + y) * w + x) * c + ic, ((oc * k + ky) * k + kx) * c + ic);
            }
        }
    }
}

/// Output and both gradients, product by product in f64.
fn plainly(g: &Geometry, x: &[f32], weight: &[f32], dy: &[f32]) -> [Vec<f32>; 3] {
    let mut sums = [dy.len(), x.len(), weight.len()].map(|len| vec![0.0f64; len]);
    let wide = |v: f32| f64::from(v);
    each_product(g, |y, i, w| {
        sums[0][y] += wide(x[i]) * wide(weight[w]);
        sums[1][i] += wide(dy[y]) * wide(weight[w]);
        sums[2][w] += wide(dy[y]) * wide(x[i]);
    });
    sums.map(|sums| sums.iter().map(|v| *v as f32).collect())
}

#[test]
fn windows_give_what_single_products_give() {
    let cases = [
        (3, 9, 7, 5, 6, 3, 1, 1),
        (2, 8, 8, 4, 70, 3, 2, 1),
        (2, 6, 6, 130, 20, 1, 1, 0),
        (1, 11, 9, 3, 8, 7, 2, 3),
        // By tiles: odd sides, all paddings, many images, many weights, several tiles of sums.
        (3, 7, 9, 16, 32, 3, 1, 1),
        (2, 5, 6, 32, 16, 3, 1, 0),
        (2, 4, 5, 16, 48, 3, 1, 2),
        (9, 40, 34, 48, 16, 3, 1, 1),
        (2, 6, 6, 272, 288, 3, 1, 1),
        // Weights' gradients by taps: strides shorter and longer than the kernel.
        (5, 9, 11, 32, 48, 3, 2, 1),
        (2, 9, 10, 16, 32, 7, 2, 3),
        (3, 9, 9, 32, 16, 1, 2, 0),
        (2, 11, 8, 16, 16, 2, 3, 0),
        (3, 8, 8, 528, 512, 1, 1, 0),
        (2, 7, 7, 96, 352, 3, 2, 1),
    ];
    for (n, h, w, c, o, k, stride, before) in cases {
        let out = |size: usize| (size + 2 * before - k) / stride + 1;
        let g = Geometry { n, h, w, c, o, k, stride, before, oh: out(h), ow: out(w) };
        let (x, weight) = (numbers(n * h * w * c, 1), numbers(o * g.patch(), 2));
        let dy = numbers(g.pixels() * o, 3);
        let source = Source { map: &x[..], affine: None };
        let (y, parts) = forward(&g, source, &weight, true);
        let [want_y, want_dx, want_dw] = plainly(&g, &x, &weight, &dy);
        close(&format!("{g:?}"), &y, &want_y);
        let (of_parts, of_whole) = (norm::merged(&parts), norm::merged(&norm::parts(&y, o)));
        close(&format!("means of {g:?}"), &of_parts[0], &of_whole[0]);
        close(&format!("variances of {g:?}"), &of_parts[1], &of_whole[1]);
        let want = want_dx;
        close(&format!("dx of {g:?}"), &input_gradient(&g, &dy, &weight, None).unwrap_or_default(), &want);
        let mut sum = vec![0.5; x.len()];
        assert!(input_gradient(&g, &dy, &weight, Some(&mut sum)).is_none(), "the sum is what comes back");
        close(&format!("added dx of {g:?}"), &sum, &want.iter().map(|v| v + 0.5).collect::<Vec<_>>());
        close(&format!("dw of {g:?}"), &weight_gradient(&g, source, &dy), &want_dw);
    }
}
