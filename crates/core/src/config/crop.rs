//! What of an image the evaluation view shows: the value of `eval.crop`.

use crate::fit::short;
use crate::keys::{Kind, Range, Value as Keyed};
use anyhow::Result as Checked;
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What of an image the evaluation view shows. Written as a share, as `"center"`, which is the default share, or as
/// `"whole"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Crop {
    /// The central square that keeps a share, in 0..=1 and not 0, of the shorter side; all of it where views have at most 32
    /// pixels a side.
    Center(f32),
    /// All of the image, squeezed to a square: its aspect is not kept.
    Whole,
}

/// The word for all of the image.
const WHOLE: &str = "whole";
/// The word for the default.
const CENTER: &str = "center";
const EXPECTED: &str = "a share of the shorter side, \"center\" or \"whole\"";

impl Default for Crop {
    fn default() -> Self {
        Self::Center(0.875)
    }
}

impl fmt::Display for Crop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Center(share) => share.fmt(f),
            Self::Whole => f.write_str(WHOLE),
        }
    }
}

impl FromStr for Crop {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let share = |share: f32| if share > 0.0 && share <= 1.0 { Some(Self::Center(share)) } else { None };
        match text {
            CENTER => Ok(Self::default()),
            WHOLE => Ok(Self::Whole),
            number => number.parse().ok().and_then(share).ok_or_else(|| format!("expected {EXPECTED}, in (0, 1]")),
        }
    }
}

impl Keyed for Crop {
    fn kind() -> Kind {
        Kind::Plain(EXPECTED)
    }

    fn check(&self, key: &str, range: &Range) -> Checked<()> {
        match self {
            Self::Center(share) => share.check(key, range),
            Self::Whole => Ok(()),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Center(share) => share.to_string(),
            Self::Whole => format!("\"{WHOLE}\""),
        }
    }
}

impl Serialize for Crop {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Center(share) => serializer.serialize_f32(*share),
            Self::Whole => serializer.serialize_str(WHOLE),
        }
    }
}

impl<'de> Deserialize<'de> for Crop {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = Crop;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(EXPECTED)
            }
            fn visit_f64<E: Error>(self, share: f64) -> Result<Crop, E> {
                Ok(Crop::Center(share as f32))
            }
            fn visit_i64<E: Error>(self, share: i64) -> Result<Crop, E> {
                Ok(Crop::Center(share as f32))
            }
            fn visit_u64<E: Error>(self, share: u64) -> Result<Crop, E> {
                Ok(Crop::Center(share as f32))
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Crop, E> {
                match word {
                    CENTER => Ok(Crop::default()),
                    WHOLE => Ok(Crop::Whole),
                    other => Err(E::custom(format_args!("\"{}\": expected {EXPECTED}", short(&other)))),
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn shares_and_words_are_read_and_written_back() {
        let read = |text: &str| serde_json::from_str::<Crop>(text);
        for (text, want, written) in [
            ("0.875", Crop::default(), "0.875"),
            ("\"center\"", Crop::default(), "0.875"),
            ("1", Crop::Center(1.0), "1.0"),
            ("\"whole\"", Crop::Whole, "\"whole\""),
        ] {
            let crop = read(text).unwrap();
            assert_eq!((crop, serde_json::to_string(&crop).unwrap().as_str()), (want, written), "{text}");
            assert_eq!(text.trim_matches('"').parse::<Crop>().unwrap(), want);
            assert_eq!(crop.to_string().parse::<Crop>().unwrap(), want);
        }
        let message = read("\"centre\"").unwrap_err().to_string();
        assert!(message.contains("\"centre\": expected a share") && message.contains("\"whole\""), "{message}");
        assert!(read("true").unwrap_err().to_string().contains("\"whole\""));
        assert!("1.5".parse::<Crop>().is_err() && "0".parse::<Crop>().is_err());
    }
}
