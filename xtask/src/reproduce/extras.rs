//! Whether an experiment needs the Hugging Face hub or parquet files, which bring nearly as many crates as all the rest.

use std::path::Path;

/// Where a stage looks for Fashion-MNIST before it downloads it, and the file that it looks for, packed or not.
const FASHION: [&str; 2] = [
    "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz",
    "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte",
];

/// The key that needs them, for people; `set` are overrides, `key=value`.
pub fn reason(config: &toml::Table, set: &[String]) -> Option<String> {
    let installed = FASHION.iter().any(|file| Path::new(file).is_file());
    decide(config, set, installed)
}

fn decide(config: &toml::Table, set: &[String], installed: bool) -> Option<String> {
    let set: Vec<(&str, &str)> = set.iter().filter_map(|pair| pair.split_once('=')).collect();
    // A whole table at once: too seldom to be looked into.
    if set.iter().any(|(key, _)| key.trim() == "data") {
        return Some("--set data={...} is not looked into".into());
    }
    let data = |name: &str| {
        let key = format!("data.{name}");
        let given = set.iter().rev().find(|(k, _)| k.trim() == key).map(|(_, value)| *value);
        let value = given.or_else(|| config.get("data")?.get(name)?.as_str())?;
        Some(value.trim().trim_matches(['"', '\'']).to_string())
    };
    match data("dataset")?.as_str() {
        "parquet" => Some("data.dataset = \"parquet\"".into()),
        "fashion-mnist" if data("dir").is_none() && !installed => {
            Some("data.dataset = \"fashion-mnist\" without data.dir is a download".into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(data: &str, set: &[&str], installed: bool) -> Option<String> {
        let set: Vec<String> = set.iter().map(|pair| pair.to_string()).collect();
        decide(&format!("[data]\n{data}").parse().unwrap(), &set, installed)
    }

    #[test]
    fn parquet_and_downloads_need_them() {
        let fashion = "dataset = \"fashion-mnist\"";
        assert!(of("dataset = \"parquet\"", &[], true).unwrap().contains("data.dataset"));
        assert!(of(fashion, &[], false).unwrap().contains("download"));
        assert_eq!(of(fashion, &[], true), None);
        assert_eq!(of(fashion, &["data.dir=/there"], false), None);
        assert_eq!(of("dataset = \"textures\"", &[], false), None);
    }

    #[test]
    fn overrides_count() {
        let textures = "dataset = \"textures\"";
        assert!(of(textures, &["data.dataset=parquet", "data.hub=a/b"], true).is_some());
        assert!(of(textures, &["data.dataset=\"parquet\""], true).is_some());
        assert_eq!(of(textures, &["data.dataset=parquet", "data.dataset=tar"], true), None);
        assert!(of(textures, &["data={dataset=\"parquet\"}"], true).is_some());
    }
}
