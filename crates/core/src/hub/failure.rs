//! What went wrong with the hub, as one message that says what to do.

use super::name::RepoId;
use super::token::redact;
use hf_hub::HFError;
use std::error::Error;
use std::fmt::Display;

/// Turns an error of the hub's client into a message about `repo`.
pub fn explain(error: HFError, repo: &RepoId) -> anyhow::Error {
    // The client does not export the type of `context`.
    let said = |status: &dyn Display, message: &Option<String>| match message.as_deref().map(str::trim) {
        Some(message) if !message.is_empty() => format!("{status}: {message}"),
        _ => status.to_string(),
    };
    let text = match &error {
        HFError::AuthRequired { context } => format!(
            "the hub did not accept the token, or needs one ({}); set HF_TOKEN or run `hf auth login`, and check the \
             name",
            said(&context.status, &context.server_message)
        ),
        HFError::Forbidden { context } => format!(
            "the token may not do this ({}); use one with the permission (to publish: write access to {}), or ask \
             the owner",
            said(&context.status, &context.server_message),
            repo.owner
        ),
        HFError::RepoNotFound { .. } => "there is no such repository (or the token may not see it)".into(),
        HFError::RevisionNotFound { revision, .. } => format!("the repository has no revision {revision}"),
        HFError::RateLimited { retry_after, context } => format!(
            "the hub asks for patience ({}); try again {}",
            said(&context.status, &context.server_message),
            retry_after.map_or("later".into(), |wait| format!("in {} s", wait.as_secs()))
        ),
        HFError::Http { context } | HFError::Conflict { context } if context.status.is_server_error() => {
            format!(
                "the hub has trouble of its own ({}), also when asked again; try later",
                said(&context.status, &context.server_message)
            )
        }
        HFError::Http { context } | HFError::Conflict { context } => {
            format!("the hub refused ({})", said(&context.status, &context.server_message))
        }
        HFError::Request { source, url } => {
            let place = url.as_deref().and_then(|url| url.split('/').nth(2)).unwrap_or("the hub");
            match source.is_connect() || source.is_timeout() {
                true => format!("cannot reach {place} ({}); is the network up?", innermost(source)),
                false => format!("the connection to {place} broke ({})", innermost(source)),
            }
        }
        HFError::Xet { source, .. } => format!("the transfer of a large file broke ({})", innermost(source.as_ref())),
        other => other.to_string(),
    };
    anyhow::anyhow!("{repo}: {}", redact(&text))
}

/// The cause that the others wrap, which alone says something.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
