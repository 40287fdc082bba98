//! Numbers as people read them: shares, times, counts, tables.

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

/// A table for the terminal: columns line up, the first to the left, the others to the right. Rows are equally long.
pub fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(row.as_ref().len(), 0);
        widths.iter_mut().zip(row.as_ref()).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
    }
    let line = |row: &R| {
        let mut cells = row.as_ref().iter().zip(&widths);
        let first = cells.next().map_or_else(String::new, |(cell, width)| format!("{cell:<width$}"));
        let line = cells.fold(first, |line, (cell, width)| format!("{line}  {cell:>width$}"));
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [["", "labels", "top-1"], ["läßt", "1 %", "50 %"], ["knn", "100 %", ""]];
        let rows = rows.map(|row| row.map(String::from));
        assert_eq!(columns(&rows), "      labels  top-1\nläßt     1 %   50 %\nknn    100 %\n");
        assert_eq!(columns::<Vec<String>>(&[]), "");
    }

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
