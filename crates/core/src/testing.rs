//! Help for tests of every crate.

/// Fails unless every number of `got` lies within `tolerance * max |want|` of `want`.
///
/// # Panics
/// With the largest error and where it is; also when lengths differ or a number is not finite.
#[track_caller]
pub fn assert_close(name: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{name}: {} numbers, expected {}", got.len(), want.len());
    let scale = want.iter().fold(0.0f32, |m, w| m.max(w.abs())).max(f32::MIN_POSITIVE);
    let mut worst = (0.0f32, 0);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g.is_finite() && w.is_finite(), "{name}[{i}]: {g}, expected {w}");
        let error = (g - w).abs() / scale;
        if error > worst.0 {
            worst = (error, i);
        }
    }
    let (error, at) = worst;
    assert!(
        error <= tolerance,
        "{name}[{at}]: {}, expected {}; off by {error:.2e} of the largest ({scale:.3e}), allowed {tolerance:.0e}",
        got[at],
        want[at]
    );
}

#[cfg(test)]
mod tests {
    use super::assert_close;

    #[test]
    fn relative_to_the_largest() {
        assert_close("fine", &[100.0, 0.5], &[100.0, 0.0], 1e-2);
        assert_close("zeros", &[0.0], &[0.0], 0.0);
    }

    #[test]
    #[should_panic(expected = "far[1]")]
    fn names_the_place() {
        assert_close("far", &[1.0, 2.0], &[1.0, 2.1], 1e-3);
    }

    #[test]
    #[should_panic(expected = "nan[0]")]
    fn nan_is_never_close() {
        assert_close("nan", &[f32::NAN], &[1.0], 1.0);
    }
}
