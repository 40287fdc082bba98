//! Colours and blur of views `[H, W, C]` as TensorFlow defines them, one number after the other in f64.

use super::ColorOp;

/// One operation on a view of `c` channels, not clipped.
pub fn colored(view: &[f32], c: usize, op: ColorOp) -> Vec<f32> {
    let wide = |v: &f32| f64::from(*v);
    match op {
        ColorOp::Brightness(factor) => view.iter().map(|v| v * factor).collect(),
        ColorOp::Contrast(factor) => {
            let pixels = (view.len() / c) as f64;
            let mean = |k: usize| view.iter().skip(k).step_by(c).map(wide).sum::<f64>() / pixels;
            let means: Vec<f64> = (0..c).map(mean).collect();
            let one = |(i, v): (usize, &f32)| (wide(v) - means[i % c]) * f64::from(factor) + means[i % c];
            view.iter().enumerate().map(|v| one(v) as f32).collect()
        }
        ColorOp::Saturation(factor) => each_pixel(view, |[h, s, v]| [h, (s * f64::from(factor)).clamp(0.0, 1.0), v]),
        ColorOp::Hue(delta) => each_pixel(view, |[h, s, v]| [(h + f64::from(delta)).rem_euclid(1.0), s, v]),
    }
}

/// Changes each pixel of three channels as hue, saturation and value, all of a full circle or of 1.
fn each_pixel(view: &[f32], f: impl Fn([f64; 3]) -> [f64; 3]) -> Vec<f32> {
    view.chunks_exact(3).flat_map(|p| rgb(f(hsv([p[0], p[1], p[2]].map(f64::from)))).map(|v| v as f32)).collect()
}

fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let (max, range) = (r.max(g).max(b), r.max(g).max(b) - r.min(g).min(b));
    if range == 0.0 {
        return [0.0, 0.0, max];
    }
    let sector = match max {
        max if max == r => (g - b) / range,
        max if max == g => (b - r) / range + 2.0,
        _ => (r - g) / range + 4.0,
    };
    [sector.rem_euclid(6.0) / 6.0, range / max, max]
}

fn rgb([h, s, v]: [f64; 3]) -> [f64; 3] {
    // How much of a channel is there, by its distance on the circle.
    let share = |centre: f64| {
        let away = (h * 6.0 - centre).rem_euclid(6.0);
        (2.0 - away.min(6.0 - away)).clamp(0.0, 1.0)
    };
    [0.0, 2.0, 4.0].map(|centre| v - v * s * (1.0 - share(centre)))
}

/// A Gaussian's weights from its middle outwards, of a kernel of `2 radius + 1`.
pub fn weights(radius: usize, sigma: f32) -> Vec<f32> {
    let weight = |distance: usize| libm::exp(-(distance as f64).powi(2) / (2.0 * f64::from(sigma).powi(2)));
    let sum = 1.0 + 2.0 * (1..=radius).map(weight).sum::<f64>();
    (0..=radius).map(|distance| (weight(distance) / sum) as f32).collect()
}

/// The view under a kernel of these weights along both sides, with zeros outside.
pub fn blurred(view: &[f32], (h, w, c): (usize, usize, usize), weights: &[f32]) -> Vec<f32> {
    let pass = |from: &[f64], step: usize, extent: usize| -> Vec<f64> {
        let sum = |i: usize| {
            let place = i / step % extent;
            (0..extent)
                .map(|other| (other.abs_diff(place), i + other * step - place * step))
                .fold(0.0, |sum, (away, at)| {
                    sum + from[at] * weights.get(away).map_or(0.0, |weight| f64::from(*weight))
                })
        };
        (0..from.len()).map(sum).collect()
    };
    let wide: Vec<f64> = view.iter().map(|v| f64::from(*v)).collect();
    pass(&pass(&wide, w * c, h), c, w).into_iter().map(|v| v as f32).collect()
}
