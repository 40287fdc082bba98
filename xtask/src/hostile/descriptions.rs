//! `config.json` beside a checkpoint: each key of a wrong type, out of its range, or of another network.

use super::case::{Damage, Expect, refused, write};
use crate::layout::CONFIG;
use anyhow::{Context, Result};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::Arc;

/// Keys of the description, with values that none of them may have, JSON texts.
const KEYS: &[(&str, &[&str])] = &[
    ("depth", &["19", "0", "-18", "1e300", "\"18\"", "null", "[]", "true", "18446744073709551615", "34", "50", "18.5"]),
    ("width", &["0", "-1", "1e300", "1e5", "\"1\"", "null", "[]", "0.5", "1e-300", "1000000000000"]),
    ("classes", &["3", "-1", "1e18", "1000000000000000000", "\"4\"", "4.5", "null", "[]", "18446744073709551615"]),
    ("image_size", &["0", "-1", "1000000000", "1e300", "\"16\"", "18446744073709551615", "[]"]),
    ("in_channels", &["0", "3", "17", "1000000000", "-1", "\"1\"", "null", "1e300"]),
    ("proj_dim", &["0", "5", "-1", "1000000000000", "1e300", "\"4\"", "null", "18446744073709551615"]),
    ("proj_layers", &["17", "1000000000", "-1", "\"3\"", "null", "1e300", "18446744073709551615"]),
    ("proj_selector", &["99", "-2", "-9223372036854775808", "\"1\"", "1.5", "[]", "9223372036854775807"]),
    ("se_ratio", &["-1", "1e300", "\"0\"", "null", "[]"]),
    ("sk_ratio", &["-1", "1e300", "\"0\"", "null", "[]"]),
    ("stem", &["\"none\"", "5", "null", "[]", "\"\""]),
    ("class_names", &["5", "{}", "[1, 2, 3, 4]", "[\"a\"]", "\"abcd\""]),
];

/// What is done to the file.
pub fn damages() -> Vec<(String, Expect, Damage)> {
    let mut found: Vec<(String, Expect, Damage)> = Vec::new();
    for (key, values) in KEYS {
        for value in *values {
            // Another network's key may show in the tensors first.
            let other = matches!((*key, *value), ("depth", "34" | "50") | ("width", "0.5") | ("in_channels", "3"))
                || matches!((*key, *value), ("classes", "3") | ("proj_dim", "5"));
            let parts: &[&str] = if other { &["checkpoint"] } else { &[CONFIG, key] };
            found.push((format!("{key}={value}"), refused(parts), with(key, Some(value))));
        }
    }
    for key in ["depth", "width", "classes"] {
        // A width that is not there is 1: what shows is that tensors are of another shape.
        let parts: &[&str] = if key == "width" { &["checkpoint", "conv1.weight"] } else { &[CONFIG, key] };
        found.push((format!("no-{key}"), refused(parts), with(key, None)));
    }
    let deep = format!("{{\"depth\": {}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let wide = format!("{{\"depth\": 18{}}}", ", \"x\": 1".repeat(3_000_000));
    for (name, text) in [
        ("empty", Vec::new()),
        ("a-list", b"[]".to_vec()),
        ("null", b"null".to_vec()),
        ("text", b"\"depth\"".to_vec()),
        ("number", b"5".to_vec()),
        ("an-empty-table", b"{}".to_vec()),
        ("cut", b"{\"depth\": 18, \"wid".to_vec()),
        ("not-utf8", b"{\"depth\": \xff}".to_vec()),
        ("nulls", vec![0; 300]),
        ("NaN", b"{\"depth\": NaN}".to_vec()),
        ("of-10000-levels", deep.into_bytes()),
        ("of-24-MB", wide.into_bytes()),
        ("of-60-MB-of-spaces", vec![b' '; 60 << 20]),
        ("escape-codes", b"{\"depth\": \"\\u001b[31m\\u0007\"}".to_vec()),
        ("a-long-text", format!("{{\"depth\": \"{}\"}}", "x".repeat(1 << 20)).into_bytes()),
        ("a-long-key", format!("{{\"{}\": 1}}", "x".repeat(1 << 20)).into_bytes()),
    ] {
        let text = Arc::new(text);
        let damage: Damage = Arc::new(move |dir: &Path| write(&dir.join(CONFIG), text.as_slice()));
        found.push((format!("{CONFIG}-{name}"), refused(&[CONFIG]), damage));
    }
    found
}

/// Sets or removes a key; a value is text, so that it may be one that no JSON library would write.
fn with(key: &'static str, value: Option<&'static str>) -> Damage {
    Arc::new(move |dir| -> Result<()> {
        let path = dir.join(CONFIG);
        let mut table: Json = serde_json::from_slice(&std::fs::read(&path)?)?;
        let table = table.as_object_mut().context("a table")?;
        table.remove(key);
        if value.is_some() {
            table.insert(key.into(), json!("THE VALUE"));
        }
        let text = Json::Object(table.clone()).to_string();
        write(&path, text.replace("\"THE VALUE\"", value.unwrap_or_default()))
    })
}
