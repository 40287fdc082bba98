//! Numbers and rows as the tables have them.

use crate::statistics::{deviation, mean};

/// A row of a table.
pub fn row<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let mut out = String::new();
    for cell in cells {
        let cell = cell.as_ref().replace('|', "\\|");
        out += &if cell.is_empty() { "| ".to_string() } else { format!("| {cell} ") };
    }
    out + "|\n"
}

/// The line below the heads: `left` columns of words, the rest of numbers.
pub fn rule(columns: usize, left: usize) -> String {
    let columns = (0..columns).map(|column| if column < left { "---" } else { "---:" });
    format!("|{}|\n", columns.collect::<Vec<_>>().join("|"))
}

/// A fraction in percent.
pub fn percent(fraction: f64) -> String {
    format!("{:.2}", 100.0 * fraction)
}

/// Mean and deviation in percent: `86.83 ± 0.41`.
pub fn spread(mean: f64, deviation: Option<f64>) -> String {
    percent(mean) + &deviation.map_or_else(String::new, |deviation| format!(" ± {}", percent(deviation)))
}

/// The same of these values.
pub fn of_values(values: &[f64]) -> String {
    spread(mean(values), deviation(values))
}

/// Parameters in millions.
pub fn millions(params: u64) -> String {
    format!("{:.2} M", params as f64 / 1e6)
}

/// `1 run`, `2 runs`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
