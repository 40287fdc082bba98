//! The hub's token: where it is found, and how it stays out of everything that is printed.

use crate::disk;
use std::path::PathBuf;
use std::sync::OnceLock;

/// What stands in its place.
const HIDDEN: &str = "[token]";

/// The token of the environment, `HF_TOKEN`, or of the file that `hf auth login` writes; found once.
pub fn token() -> Option<&'static str> {
    static TOKEN: OnceLock<Option<String>> = OnceLock::new();
    TOKEN.get_or_init(find).as_deref()
}

fn find() -> Option<String> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let from = |path: PathBuf| disk::read_small_text(&path, 1 << 16).ok();
    let found = set("HF_TOKEN")
        .or_else(|| from(set("HF_TOKEN_PATH")?.into()))
        .or_else(|| from(hf_hub::hf_home().join("token")))?;
    Some(found.trim().to_string()).filter(|token| !token.is_empty())
}

/// `text` with the token hidden. Every log line and error message of the binaries goes through this: what libraries
/// write of headers, and what a server echoes, is not in our hands.
pub fn redact(text: &str) -> String {
    match token() {
        Some(token) => text.replace(token, HIDDEN),
        None => text.to_string(),
    }
}
