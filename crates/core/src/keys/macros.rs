//! How tables and words of an experiment file are declared: once, with all that is known of them.

/// Declares a table of an experiment file: a struct whose fields are keys.
///
/// Each key is `pub name: type = default, in RANGE, from "source";`, its meaning above it; one without a default has to stand
/// in the file. What follows from it: the struct, its check ([`Settings`](crate::keys::Settings)) and its place in the
/// reference. In a struct `with defaults` the defaults are those of [`Default`]; elsewhere serde's attributes repeat them, and a
/// test holds the two together. `also name` calls a method `fn name(&self, at: &str) -> Result<()>` after the ranges, for what
/// keys must be to one another.
#[macro_export]
macro_rules! table {
    (
        $(#[doc = $doc:literal])*
        #[derive($($derive:path),* $(,)?)]
        $(#[serde($($outer:tt)*)])*
        $visibility:vis struct $table:ident with defaults {
            $(
                $(#[doc = $meaning:literal])*
                $(#[serde($($serde:tt)*)])*
                $vis:vis $key:ident: $type:ty = $default:expr $(, in $range:expr)? $(, from $source:literal)?;
            )*
        }
        $(also $also:ident)?
    ) => {
        $crate::table! {
            $(#[doc = $doc])*
            #[derive($($derive),*)]
            $(#[serde($($outer)*)])*
            #[serde(default)]
            $visibility struct $table {
                $(
                    $(#[doc = $meaning])*
                    $(#[serde($($serde)*)])*
                    $vis $key: $type = $default $(, in $range)? $(, from $source)?;
                )*
            }
            $(also $also)?
        }

        impl Default for $table {
            fn default() -> Self {
                Self { $($key: $default,)* }
            }
        }
    };
    (
        $(#[doc = $doc:literal])*
        #[derive($($derive:path),* $(,)?)]
        $(#[serde($($outer:tt)*)])*
        $visibility:vis struct $table:ident {
            $(
                $(#[doc = $meaning:literal])*
                $(#[serde($($serde:tt)*)])*
                $vis:vis $key:ident: $type:ty $(= $default:expr)? $(, in $range:expr)? $(, from $source:literal)?;
            )*
        }
        $(also $also:ident)?
    ) => {
        $(#[doc = $doc])*
        #[derive($($derive),*)]
        $(#[serde($($outer)*)])*
        $visibility struct $table {
            $(
                $(#[doc = $meaning])*
                $(#[serde($($serde)*)])*
                $vis $key: $type,
            )*
        }

        impl $crate::keys::Settings for $table {
            fn table() -> &'static $crate::keys::Table {
                static TABLE: $crate::keys::Table = $crate::keys::Table {
                    meaning: &[$($doc),*],
                    keys: &[$($crate::keys::Key {
                        name: stringify!($key),
                        kind: <$type as $crate::keys::Value>::kind,
                        range: $crate::table!(@range $($range)?),
                        default: $crate::table!(@default $type $(, $default)?),
                        meaning: &[$($meaning),*],
                        source: concat!($($source)?),
                    }),*],
                };
                &TABLE
            }

            fn check(&self, at: &str) -> anyhow::Result<()> {
                let _ = at;
                $($crate::keys::Value::check(
                    &self.$key,
                    &$crate::keys::path(at, stringify!($key)),
                    &$crate::table!(@range $($range)?),
                )?;)*
                $(self.$also(at)?;)?
                Ok(())
            }
        }

        impl $crate::keys::Value for $table {
            fn kind() -> $crate::keys::Kind {
                $crate::keys::Kind::Table(<Self as $crate::keys::Settings>::table())
            }

            fn check(&self, key: &str, _: &$crate::keys::Range) -> anyhow::Result<()> {
                $crate::keys::Settings::check(self, key)
            }

            fn shown(&self) -> String {
                String::new()
            }
        }
    };
    (@range) => { $crate::keys::Range::Any };
    (@range $range:expr) => { $range };
    (@default $type:ty) => { None };
    (@default $type:ty, $default:expr) => {
        Some(|| {
            let value: $type = $default;
            $crate::keys::Value::shown(&value)
        })
    };
}

/// Declares the words that a key may have: an enum, each variant with its word and its meaning.
#[macro_export]
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        #[derive($($derive:path),* $(,)?)]
        $visibility:vis enum $words:ident {
            $(
                $(#[doc = $meaning:literal])*
                $(#[default $($default:tt)?])?
                $variant:ident = $word:literal,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive($($derive),*)]
        $visibility enum $words {
            $(
                $(#[doc = $meaning])*
                $(#[default $($default)?])?
                #[serde(rename = $word)]
                $variant,
            )*
        }

        impl $crate::keys::Value for $words {
            fn kind() -> $crate::keys::Kind {
                $crate::keys::Kind::Words(&[$($crate::keys::Word { word: $word, meaning: &[$($meaning),*] }),*])
            }

            fn shown(&self) -> String {
                match self {
                    $(Self::$variant => concat!("\"", $word, "\"").into(),)*
                }
            }
        }
    };
}
