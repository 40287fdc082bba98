//! The range of an axis, its ticks, and their words.
#![allow(clippy::disallowed_methods, reason = "what is drawn may differ by a hair from machine to machine")]

use simclr_core::readable::{count, percent};

/// How an axis turns numbers into places and words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly, with round ticks.
    Linear,
    /// Evenly, with round ticks; labels are percentages.
    Percent,
    /// Evenly; the values themselves are the ticks.
    Values,
    /// A tenfold is as wide everywhere; the values themselves are the ticks.
    Log,
    /// The same; labels are percentages.
    LogPercent,
    /// The same; labels are counts.
    LogCount,
}

impl Scale {
    fn is_log(self) -> bool {
        matches!(self, Self::Log | Self::LogPercent | Self::LogCount)
    }
}

/// A range of numbers with its ticks.
pub struct Axis {
    scale: Scale,
    /// Its ends.
    pub low: f64,
    high: f64,
    step: f64,
    /// Where it is marked.
    pub ticks: Vec<f64>,
}

impl Axis {
    /// One that holds `values`, as far as they are numbers.
    pub fn over(scale: Scale, values: &[f64]) -> Self {
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let (mut low, mut high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let of = |low, high, step, ticks| Self { scale, low, high, step, ticks };
        // A few known amounts: each is a tick.
        let mut ticks = values.to_vec();
        ticks.sort_by(f64::total_cmp);
        ticks.dedup();
        if scale.is_log() {
            let room = (high / low).powf(0.06).max(1.1);
            return of(low / room, high * room, 0.0, ticks);
        }
        if high - low < 1e-9 {
            let pad = if low == 0.0 { 1.0 } else { 0.1 * low.abs() };
            (low, high) = (low - pad, high + pad);
        }
        if scale == Scale::Values {
            let room = 0.06 * (high - low);
            return of(low - room, high + room, 0.0, ticks);
        }
        let step = round_step((high - low) / 5.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks: Vec<f64> = (first as i64..=last as i64).map(|i| i as f64 * step).collect();
        of(first * step, last * step, step, ticks)
    }

    /// Where `v` lies between the ends, 0 to 1.
    pub fn share(&self, v: f64) -> f64 {
        let place = if self.scale.is_log() {
            (v.max(f64::MIN_POSITIVE) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (v - self.low) / (self.high - self.low)
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 1.0 }
    }

    /// A tick's label.
    pub fn label(&self, v: f64) -> String {
        match self.scale {
            Scale::Linear => format!("{v:.*}", decimals(self.step)),
            Scale::Percent => format!("{:.*} %", decimals(100.0 * self.step), 100.0 * v),
            _ => self.value(v),
        }
    }

    /// A point's value.
    pub fn value(&self, v: f64) -> String {
        match self.scale {
            Scale::Linear if v.fract() == 0.0 => format!("{v}"),
            Scale::Linear => format!("{v:.4}"),
            Scale::Percent => format!("{:.2} %", 100.0 * v),
            Scale::LogPercent => percent(v),
            Scale::LogCount => count(v.round() as u64),
            Scale::Values | Scale::Log => format!("{v}"),
        }
    }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(about: f64) -> f64 {
    let power = 10f64.powf(about.log10().floor());
    let lead = about / power;
    power
        * if lead <= 1.0 {
            1.0
        } else if lead <= 2.0 {
            2.0
        } else if lead <= 5.0 {
            5.0
        } else {
            10.0
        }
}

/// Digits after the point that tell ticks apart.
fn decimals(step: f64) -> usize {
    (-(step + step * 1e-9).log10().floor()).clamp(0.0, 8.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_data() {
        let axis = Axis::over(Scale::Percent, &[0.123, 0.587]);
        assert_eq!((axis.ticks.first().copied(), axis.ticks.len()), (Some(0.1), 6));
        assert_eq!(axis.label(0.6000000000000001), "60 %");
        assert!(axis.low <= 0.123 && axis.high >= 0.587);
        assert!((Axis::over(Scale::Linear, &[2.0, 2.0]).share(2.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::over(Scale::Linear, &[]).ticks.len(), 6);
    }

    #[test]
    fn a_tenfold_is_as_wide_everywhere() {
        let axis = Axis::over(Scale::LogPercent, &[0.01, 0.1, 1.0, 0.1]);
        let (a, b, c) = (axis.share(0.01), axis.share(0.1), axis.share(1.0));
        assert!((b - a - (c - b)).abs() < 1e-12 && a > 0.0 && c < 1.0);
        assert_eq!(axis.ticks.iter().map(|t| axis.label(*t)).collect::<Vec<_>>(), ["1 %", "10 %", "100 %"]);
        assert!(Axis::over(Scale::Log, &[0.5]).share(0.5) > 0.4, "one value alone has its place");
    }

    #[test]
    fn values_are_their_own_ticks() {
        let axis = Axis::over(Scale::Values, &[4.0, 0.0, 1.0, 1.0]);
        assert_eq!(axis.ticks, [0.0, 1.0, 4.0]);
        assert!(axis.share(0.0) > 0.0 && axis.share(4.0) < 1.0, "room for half a mark");
    }
}
