//! A choice by name, with settings that belong to what is chosen.
//!
//! Who offers the choice knows the settings' type: this module knows the form in the experiment file alone.

use super::file::typed_at;
use crate::fit::short;
use crate::keys::{self, Kind, Settings};
use anyhow::{Error, Result, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// `"flip"`, or a table with the name and settings: `{ name = "flip", probability = 0.3 }`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Named {
    /// What is chosen.
    pub name: String,
    settings: Table,
}

impl Named {
    /// `name`, all settings at their defaults.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), settings: Table::new() }
    }

    /// Whether all settings are at their defaults.
    pub fn is_plain(&self, name: &str) -> bool {
        self.name == name && self.settings.is_empty()
    }

    /// The settings; `key` is where the choice stands in the experiment file. `T` should deny unknown fields.
    ///
    /// # Errors
    /// Names the dotted path of a key that is unknown (with the nearest valid one), missing or of a wrong type.
    pub fn settings<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        typed_at(key, self.settings.clone())
    }

    /// As [`Named::settings`], each value checked against the range of its key.
    ///
    /// # Errors
    /// As there, and when a value lies outside.
    pub fn checked<T: DeserializeOwned + Settings>(&self, key: &str) -> Result<T> {
        let settings: T = self.settings(key)?;
        settings.check(key)?;
        Ok(settings)
    }

    /// The error for a name that is none of `known`; `key` is where the choice stands in the experiment file.
    pub fn unknown(&self, key: &str, known: &[&str]) -> Error {
        anyhow!("{key} = \"{}\": must be one of {}", short(&self.name), known.join(", "))
    }
}

impl keys::Value for Named {
    fn kind() -> Kind {
        Kind::Plain("name, or table of a name and settings")
    }

    fn shown(&self) -> String {
        Value::from(self.clone()).to_string()
    }
}

impl TryFrom<Value> for Named {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(name) => Ok(Self { name, settings: Table::new() }),
            Value::Table(mut settings) => match settings.remove("name") {
                Some(Value::String(name)) => Ok(Self { name, settings }),
                _ => Err("a table here needs a name, such as { name = \"...\" }".into()),
            },
            other => Err(format!("expected a name or a table with a name, found a {}", other.type_str())),
        }
    }
}

impl From<Named> for Value {
    fn from(named: Named) -> Self {
        let Named { name, settings } = named;
        if settings.is_empty() {
            return Self::String(name);
        }
        let mut table = Table::from_iter([("name".to_string(), Self::String(name))]);
        table.extend(settings);
        Self::Table(table)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Turn {
        probability: f32,
    }

    impl Default for Turn {
        fn default() -> Self {
            Self { probability: 0.5 }
        }
    }

    #[derive(Serialize, Deserialize)]
    struct Holder {
        choices: Vec<Named>,
    }

    #[test]
    fn names_and_tables_are_read_and_written_as_they_came() {
        let text = "choices = [\"flip\", { name = \"turn\", probability = 0.25 }]\n";
        let holder: Holder = toml::from_str(text).unwrap();
        assert_eq!(toml::to_string(&holder).unwrap(), text);
        let [flip, turn] = &holder.choices[..] else { panic!("two choices") };
        assert!(flip.is_plain("flip") && !turn.is_plain("turn"));
        assert_eq!(flip.settings::<Turn>("k").unwrap().probability, 0.5);
        assert_eq!(turn.settings::<Turn>("k").unwrap().probability, 0.25);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, why) in [("choices = [3]", "found a integer"), ("choices = [{ probability = 1 }]", "needs a name")] {
            let message = toml::from_str::<Holder>(text).err().unwrap().to_string();
            assert!(message.contains(why), "{message}");
        }
        let holder: Holder = toml::from_str("choices = [{ name = \"flip\", probabilty = 0.25 }]").unwrap();
        let message = holder.choices[0].settings::<Turn>("augment.transforms").unwrap_err().to_string();
        assert_eq!(message, "unknown key augment.transforms.probabilty; did you mean probability?");
        let message = holder.choices[0].unknown("augment.transforms", &["turn", "crop"]).to_string();
        assert_eq!(message, "augment.transforms = \"flip\": must be one of turn, crop");
    }
}
