//! Numbers as people read them: shares, times, counts.

/// A percentage without needless digits: 0.01 gives `1 %`.
pub fn percent(fraction: f64) -> String {
    format!("{} %", (fraction * 1e6).round() / 1e4)
}

/// `1 h 2 min`, `3 min 4 s`, `5.6 s`.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `11.7 M`, `84 k`.
pub fn count(n: u64) -> String {
    match n {
        0..10_000 => n.to_string(),
        10_000..1_000_000 => format!("{:.0} k", n as f64 / 1e3),
        _ => format!("{:.1} M", n as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            (duration(59.4), duration(61.0), duration(7260.0)),
            ("59.4 s".into(), "1 min 1 s".into(), "2 h 1 min".into())
        );
        assert_eq!((count(11_689_512), count(84_210), count(999)), ("11.7 M".into(), "84 k".into(), "999".into()));
        assert_eq!((percent(0.01), percent(0.125), percent(1.0)), ("1 %".into(), "12.5 %".into(), "100 %".into()));
    }
}
