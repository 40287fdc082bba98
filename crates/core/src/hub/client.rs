//! The hub's client, as the environment wants it.

use super::token;
use anyhow::Result;
use hf_hub::{HFClient, HFClientSync, HFError};

/// A client for the hub that the environment names, with its token where there is one. `HF_HUB_DISABLE_IMPLICIT_TOKEN`
/// keeps it from reading with the token; writing cannot do without.
///
/// # Errors
/// When `HF_ENDPOINT` is no URL.
pub fn client(writes: bool) -> Result<HFClientSync> {
    let mut builder = HFClient::builder();
    let implicit = std::env::var("HF_HUB_DISABLE_IMPLICIT_TOKEN").map_or(true, |value| value.is_empty());
    if let Some(token) = token().filter(|_| writes || implicit) {
        builder = builder.token(token);
    }
    builder.build_sync().map_err(|error| match error {
        HFError::Url(why) => anyhow::anyhow!(
            "HF_ENDPOINT = {:?} is no URL ({why}); it must look like https://host",
            std::env::var("HF_ENDPOINT").unwrap_or_default()
        ),
        other => anyhow::Error::new(other).context("starting the hub's client"),
    })
}

/// Whether `HF_HUB_OFFLINE` asks for the cache alone; the words that count are those of the hub's Python library.
pub fn offline() -> bool {
    std::env::var("HF_HUB_OFFLINE").is_ok_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
}
