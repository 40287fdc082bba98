//! The interval of a mean by Student's t, and what follows of it.

use crate::outcome::Verdict;
pub use simclr_report::statistics::{deviation, mean};

/// The 97.5 % quantile of Student's t for 1 to 30 degrees of freedom: an interval of 95 % lies so many standard errors around a mean.
const QUANTILES: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448,
    2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484,
    2.0452, 2.0423,
];
/// The same quantile of the normal distribution.
const NORMAL: f64 = 1.959_964;

/// The 95 % interval of the mean; nothing for fewer than two values.
pub fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let half = quantile(values.len().checked_sub(1)?)? * deviation(values)? / (values.len() as f64).sqrt();
    let mean = mean(values);
    Some([mean - half, mean + half])
}

/// What follows of a difference that should be above 0 from its interval.
pub fn verdict(interval: Option<[f64; 2]>) -> Verdict {
    match interval {
        None => Verdict::Open,
        Some([low, _]) if low > 0.0 => Verdict::Confirmed,
        Some([_, high]) if high < 0.0 => Verdict::Opposite,
        Some(_) => Verdict::NotSeen,
    }
}

/// For so many degrees of freedom. Beyond the table, the first two terms of the expansion around the normal quantile (Abramowitz
/// and Stegun, 26.7.5), which are right to four digits there.
fn quantile(freedom: usize) -> Option<f64> {
    match freedom {
        0 => None,
        1..=30 => Some(QUANTILES[freedom - 1]),
        _ => {
            let (z, v) = (NORMAL, freedom as f64);
            let first = (z.powi(3) + z) / 4.0;
            let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
            Some(z + first / v + second / (v * v))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_interval_is_students() {
        // Mean 2, deviation 1, standard error 0.577, t of two degrees 4.303.
        let [low, high] = interval(&[1.0, 2.0, 3.0]).unwrap();
        assert!((low + 0.4841).abs() < 1e-3 && (high - 4.4841).abs() < 1e-3, "{low} {high}");
        assert_eq!(interval(&[1.0]), None);
        assert_eq!(interval(&[]), None);
        // From tables: 31 degrees 2.0395, 60 degrees 2.0003, 120 degrees 1.9799.
        for (freedom, known) in [(31, 2.0395), (60, 2.0003), (120, 1.9799)] {
            assert!((quantile(freedom).unwrap() - known).abs() < 1e-4, "{freedom}");
        }
    }

    #[test]
    fn a_verdict_is_the_side_of_zero() {
        let of = |values: &[f64]| verdict(interval(values));
        assert_eq!(of(&[1.0, 1.1, 0.9]), Verdict::Confirmed);
        assert_eq!(of(&[-1.0, -1.1, -0.9]), Verdict::Opposite);
        assert_eq!(of(&[1.0, -1.0, 0.5]), Verdict::NotSeen);
        assert_eq!(of(&[1.0]), Verdict::Open);
    }
}
