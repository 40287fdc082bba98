//! The hub's client, as the environment wants it.

use super::token;
use anyhow::{Context, Result};
use hf_hub::{HFClient, HFClientSync, HFError};
use reqwest::Url;

/// A client for the hub that the environment names, with its token where there is one. `HF_HUB_DISABLE_IMPLICIT_TOKEN`
/// keeps it from reading with the token; writing cannot do without.
///
/// # Errors
/// When `HF_ENDPOINT` is no URL.
pub fn client(writes: bool) -> Result<HFClientSync> {
    let mut builder = HFClient::builder();
    if let Some(token) = if writes { token() } else { reading_token() } {
        builder = builder.token(token);
    }
    builder.build_sync().map_err(cannot_start)
}

/// The token, unless `HF_HUB_DISABLE_IMPLICIT_TOKEN` keeps it from those who read.
pub(super) fn reading_token() -> Option<&'static str> {
    let implicit = std::env::var("HF_HUB_DISABLE_IMPLICIT_TOKEN").map_or(true, |value| value.is_empty());
    token().filter(|_| implicit)
}

/// Where the hub is.
///
/// # Errors
/// When `HF_ENDPOINT` is no URL.
pub(super) fn endpoint() -> Result<Url> {
    let client = HFClient::builder().build().map_err(cannot_start)?;
    let url = Url::parse(client.endpoint()).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    url.with_context(|| format!("HF_ENDPOINT = {:?}: it must look like https://host", client.endpoint()))
}

fn cannot_start(error: HFError) -> anyhow::Error {
    match error {
        HFError::Url(why) => anyhow::anyhow!(
            "HF_ENDPOINT = {:?} is no URL ({why}); it must look like https://host",
            std::env::var("HF_ENDPOINT").unwrap_or_default()
        ),
        other => anyhow::Error::new(other).context("starting the hub's client"),
    }
}

/// Whether `HF_HUB_OFFLINE` asks for the cache alone; the words that count are those of the hub's Python library.
pub fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
}
