//! The optimisers, one file each, with the settings that are its own.
//!
//! To add one: a file beside [`lars`] with its `Settings`, a type that implements [`Optimizer`] and a function `new` from
//! both, and a line in the table below. Its arithmetic may be ordinary candle ops until `simclr_ops` has a kernel for it.

pub mod adam;
pub mod lars;
mod optimizer;
pub mod sgd;
mod slots;

pub use adam::Adam;
pub use lars::Lars;
pub use optimizer::{Optimizer, Shared};
pub use sgd::Sgd;

use crate::keys::{Choice, Kind, Range, Settings, Value};
use crate::params::ParamStore;
use anyhow::Result;
use serde::{Deserialize, Serialize};

macro_rules! optimizers {
    ($($(#[doc = $meaning:literal])* $kind:ident = $name:literal in $file:ident,)*) => {
        /// Which optimiser, with its own settings: `"lars"`, or a table such as `{ name = "adam", beta_2 = 0.98 }`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "name")]
        pub enum OptimizerConfig {
            $($(#[doc = $meaning])* #[serde(rename = $name)] $kind($file::Settings),)*
        }

        impl OptimizerConfig {
            /// Its name where all its settings are at their defaults.
            fn plain(&self) -> Option<&'static str> {
                match self {
                    $(Self::$kind(settings) => (*settings == $file::Settings::default()).then_some($name),)*
                }
            }

            /// All of them, with their settings.
            pub fn choices() -> Vec<Choice> {
                vec![$(Choice { name: $name, meaning: &[$($meaning),*], table: $file::Settings::table() }),*]
            }

            /// Checks the settings; `key` is where they stand in the experiment file.
            fn check_settings(&self, key: &str) -> Result<()> {
                match self {
                    $(Self::$kind(settings) => Settings::check(settings, key),)*
                }
            }

            /// The optimiser of `store`'s parameters, with its state at zero.
            ///
            /// # Errors
            /// When a state tensor cannot be made.
            pub fn build(&self, store: &ParamStore, shared: &Shared<'_>) -> Result<Box<dyn Optimizer>> {
                Ok(match self {
                    $(Self::$kind(settings) => Box::new($kind::new(store, shared, *settings)?),)*
                })
            }
        }
    };
}

optimizers! {
    /// Layer-wise adaptive rate scaling (You et al. 2017).
    Lars = "lars" in lars,
    /// SGD with Nesterov momentum.
    Sgd = "sgd" in sgd,
    /// Adam (Kingma and Ba 2015).
    Adam = "adam" in adam,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::lars()
    }
}

impl OptimizerConfig {
    /// LARS as the reference sets it.
    pub fn lars() -> Self {
        Self::Lars(lars::Settings::default())
    }

    /// SGD.
    pub fn sgd() -> Self {
        Self::Sgd(sgd::Settings::default())
    }

    /// Adam as Keras sets it.
    pub fn adam() -> Self {
        Self::Adam(adam::Settings::default())
    }
}

impl Value for OptimizerConfig {
    fn kind() -> Kind {
        Kind::Plain("name, or table of a name and settings")
    }

    fn check(&self, key: &str, _: &Range) -> Result<()> {
        self.check_settings(key)
    }

    fn shown(&self) -> String {
        self.plain().map_or_else(|| "{ name = ..., ... }".into(), |name| format!("\"{name}\""))
    }
}

/// An optimiser in a configuration: its name alone where its settings are at their defaults.
pub(crate) mod by_name {
    use super::OptimizerConfig;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use toml::{Table, Value};

    pub fn serialize<S: Serializer>(config: &OptimizerConfig, serializer: S) -> Result<S::Ok, S::Error> {
        match config.plain() {
            Some(name) => name.serialize(serializer),
            None => config.serialize(serializer),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OptimizerConfig, D::Error> {
        let value = match Value::deserialize(deserializer)? {
            name @ Value::String(_) => Value::Table(Table::from_iter([("name".to_string(), name)])),
            other => other,
        };
        value.try_into().map_err(|e: toml::de::Error| D::Error::custom(e.message()))
    }
}
