//! What went wrong with the hub, as one message that says what to do.

use super::name::RepoId;
use super::token::redact;
use crate::fit::short;
use hf_hub::HFError;
use reqwest::{StatusCode, Url};
use std::error::Error;

/// Turns an error of the hub's client into a message about `repo`.
pub fn explain(error: HFError, repo: &RepoId) -> anyhow::Error {
    let text = match &error {
        HFError::AuthRequired { context }
        | HFError::Forbidden { context }
        | HFError::Http { context }
        | HFError::Conflict { context } => {
            return explain_status(context.status, context.server_message.as_deref(), None, repo);
        }
        HFError::RateLimited { retry_after, context } => {
            let wait = retry_after.map(|wait| wait.as_secs());
            return explain_status(context.status, context.server_message.as_deref(), wait, repo);
        }
        HFError::RepoNotFound { .. } => "there is no such repository (or the token may not see it)".into(),
        HFError::RevisionNotFound { revision, .. } => format!("the repository has no revision {revision}"),
        HFError::Request { source, url } => {
            broken(source, url.as_deref().and_then(|url| url.split('/').nth(2)).unwrap_or("the hub"))
        }
        HFError::Xet { source, .. } => format!("the transfer of a large file broke ({})", innermost(source.as_ref())),
        other => other.to_string(),
    };
    anyhow::anyhow!("{repo}: {}", redact(&text))
}

/// What a status that is no success means, and what the hub said with it; `wait` is in seconds.
pub fn explain_status(status: StatusCode, message: Option<&str>, wait: Option<u64>, repo: &RepoId) -> anyhow::Error {
    let said = match message.map(str::trim) {
        Some(message) if !message.is_empty() => format!("{status}: {}", short(&redact(message))),
        _ => status.to_string(),
    };
    let text = match status.as_u16() {
        401 => format!(
            "the hub did not accept the token, or needs one ({said}); set HF_TOKEN or run `hf auth login`, and check the \
             name"
        ),
        403 => format!(
            "the token may not do this ({said}); use one with the permission (to publish: write access to {}), or ask \
             the owner",
            repo.owner
        ),
        429 => {
            let wait = wait.map_or("later".into(), |wait| format!("in {wait} s"));
            format!("the hub asks for patience ({said}); try again {wait}")
        }
        500.. => format!("the hub has trouble of its own ({said}), also when asked again; try later"),
        _ => format!("the hub refused ({said})"),
    };
    anyhow::anyhow!("{repo}: {}", redact(&text))
}

/// What broke on the way to `url`.
pub fn of_transport(error: &reqwest::Error, url: &Url, repo: &RepoId) -> anyhow::Error {
    let host = url.host_str().unwrap_or("the hub");
    let place = url.port().map_or(host.to_string(), |port| format!("{host}:{port}"));
    anyhow::anyhow!("{repo}: {}", redact(&broken(error, &place)))
}

fn broken(error: &reqwest::Error, place: &str) -> String {
    match error.is_connect() || error.is_timeout() {
        true => format!("cannot reach {place} ({}); is the network up?", innermost(error)),
        false => format!("the connection to {place} broke ({})", innermost(error)),
    }
}

/// The cause that the others wrap, which alone says something.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    short(&innermost.to_string())
}
