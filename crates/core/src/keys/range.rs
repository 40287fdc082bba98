//! What values a key may have: one declaration, which the check and the reference both read.

use crate::bounds;
use crate::fit::short;
use anyhow::{Result, bail, ensure};
use std::fmt;
use std::ops::RangeInclusive;

/// The values that a key may have, besides what its type says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All that its type holds.
    Any,
    /// Numbers from the first to the second; which of the two is left out.
    Numbers(f64, f64, Without),
    /// So much training; whether it may be none.
    Length {
        /// Whether 0 steps are an answer.
        zero: bool,
    },
    /// What a folder may be called.
    Name,
}

/// Which end does not belong to a range of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Both belong to it.
    Neither,
    /// The first.
    First,
    /// The last.
    Last,
}

/// Most bytes of a name: that of a file has 255 at most, and this one gets endings.
const NAME: usize = 100;

impl Range {
    /// A share.
    pub const SHARE: Self = Self::closed(0.0, 1.0);
    /// A share that is not 0.
    pub const SOME_SHARE: Self = Self::above(0.0, 1.0);

    /// Both ends belong to it.
    pub const fn closed(first: f64, last: f64) -> Self {
        Self::Numbers(first, last, Without::Neither)
    }

    /// All but the first.
    pub const fn above(first: f64, last: f64) -> Self {
        Self::Numbers(first, last, Without::First)
    }

    /// All but the last.
    pub const fn below(first: f64, last: f64) -> Self {
        Self::Numbers(first, last, Without::Last)
    }

    /// As one of [`bounds`].
    pub const fn of(sizes: &RangeInclusive<usize>) -> Self {
        Self::closed(*sizes.start() as f64, *sizes.end() as f64)
    }

    /// Checks a number; `key` leads the message, and `shown` is the number as it was read.
    ///
    /// # Errors
    /// When it does not lie in the range; one that is not finite lies in none.
    pub fn check(&self, key: &str, value: f64, shown: &dyn fmt::Display) -> Result<()> {
        let Self::Numbers(first, last, without) = *self else { return Ok(()) };
        let inside = (first..=last).contains(&value)
            && match without {
                Without::Neither => true,
                Without::First => value != first,
                Without::Last => value != last,
            };
        ensure!(inside, "{key} = {}: must lie in {self}", short(shown));
        Ok(())
    }

    /// Checks a text; `key` leads the message.
    ///
    /// # Errors
    /// When it is to be a name and cannot be that of a folder.
    pub fn check_text(&self, key: &str, text: &str) -> Result<()> {
        if *self != Self::Name {
            return Ok(());
        }
        let shown = short(&format_args!("{text:?}"));
        if text.trim().is_empty() || text.len() > NAME || text.contains(['/', '\\']) || [".", ".."].contains(&text) {
            bail!("{key} = {shown}: must be {self}")
        }
        Ok(())
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Numbers(first, last, without) => {
                write!(f, "{} to {}", number(*first), number(*last))?;
                match without {
                    Without::Neither => Ok(()),
                    Without::First => write!(f, ", above {}", number(*first)),
                    Without::Last => write!(f, ", below {}", number(*last)),
                }
            }
            Self::Length { zero } => {
                let (steps, epochs) = (bounds::STEPS.end(), bounds::EPOCHS);
                let (least, above) = if *zero { (0, "") } else { (1, ", above 0") };
                write!(f, "steps or images {least} to {steps}, epochs 0 to {}{above}", number(epochs))
            }
            Self::Name => write!(f, "a name that a folder may have: 1 to {NAME} bytes, no slash, neither . nor .."),
        }
    }
}

/// A number as people write it: the digits that it takes to read it back, with an exponent where it is very large or small.
pub fn number(value: f64) -> String {
    let exact = format!("{value:?}");
    if exact.contains('e') { exact } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ends_belong_to_a_range_or_not() {
        for (range, inside, outside, text) in [
            (Range::SHARE, vec![0.0, 1.0], vec![-1e-9, 1.0 + 1e-9], "0 to 1"),
            (Range::SOME_SHARE, vec![1e-300, 1.0], vec![0.0], "0 to 1, above 0"),
            (Range::below(0.0, 1.0), vec![0.0, 0.999], vec![1.0, -0.1], "0 to 1, below 1"),
            (Range::of(&bounds::PROJECTION_LAYERS), vec![0.0, 16.0], vec![17.0], "0 to 16"),
        ] {
            assert_eq!(range.to_string(), text);
            inside.iter().for_each(|v| range.check("a.b", *v, v).unwrap());
            for value in outside.iter().chain(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300]) {
                let message = range.check("a.b", *value, &number(*value)).unwrap_err().to_string();
                assert!(
                    message.starts_with("a.b = ") && message.ends_with(&format!("must lie in {text}")),
                    "{message}"
                );
                assert!(message.len() < 70, "{message}");
            }
        }
    }

    #[test]
    fn names_are_those_of_folders() {
        for good in ["quickstart", "my pictures", "été", "a.b", "..."] {
            Range::Name.check_text("name", good).unwrap();
        }
        for wrong in ["", " ", ".", "..", "a/b", "/", "..\\x", &"x".repeat(10_000_000)] {
            let message = Range::Name.check_text("name", wrong).unwrap_err().to_string();
            assert!(message.starts_with("name = \"") && message.len() < 300, "{message}");
        }
    }
}
