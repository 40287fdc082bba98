//! One commit on the hub with whatever differs from what it holds.

use crate::folder::{Content, Published};
use crate::place::{Outcome, Place};
use anyhow::{Result, anyhow, bail};
use hf_hub::repository::{CommitOperation, RepoTreeEntry, RepoTypeModel};
use hf_hub::{HFError, HFRepositorySync};
use simclr_core::disk;
use simclr_core::hub::{self, TransferBar, explain};

/// Sends `files` to the hub: only those that it lacks, all in one commit.
///
/// # Errors
/// When there is no token, or the hub does not take them: one message for each cause.
pub fn send(place: &Place<'_>, files: &[Published]) -> Result<Outcome> {
    if hub::offline() {
        bail!("HF_HUB_OFFLINE is set: unset it to publish")
    }
    if hub::token().is_none() {
        bail!("no token of the hub: set HF_TOKEN, or run `hf auth login`, to one with write access")
    }
    let client = hub::client(true)?;
    let Place { repo: id, branch, private } = *place;
    let failed = |error: HFError| {
        anyhow!(
            "{}. Nothing was committed, and the local files are as they were; to resume, run the same command again: \
             what the hub has already is not sent twice",
            explain(error, id)
        )
    };
    let repo = client.model(&id.owner, &id.name);
    if !repo.exists().send().map_err(failed)? {
        let name = id.to_string();
        let request = client.create_repository().repo_id(&name).repo_type(RepoTypeModel);
        request.private(private).exist_ok(true).send().map_err(failed)?;
        tracing::info!("made the repository {id}");
    }
    if branch != "main" && !repo.revision_exists().revision(branch).send().map_err(failed)? {
        repo.create_branch().branch(branch).send().map_err(failed)?;
        tracing::info!("made the branch {branch}");
    }
    let url = format!("{id} at {branch}");
    let there = repo.list_tree().revision(branch).recursive(true).send().map_err(failed)?;
    let mut changed = Vec::new();
    for file in files {
        if !holds(&there, file)? {
            changed.push(file);
        }
    }
    if changed.is_empty() {
        return Ok(Outcome::Unchanged { url });
    }
    let commit_url = commit(&repo, place, &changed).map_err(failed)?;
    Ok(Outcome::Committed { url: commit_url.unwrap_or(url), files: changed.len() })
}

fn commit(
    repo: &HFRepositorySync<RepoTypeModel>,
    place: &Place<'_>,
    files: &[&Published],
) -> Result<Option<String>, HFError> {
    let add = |file: &&Published| match &file.content {
        Content::Text(text) => CommitOperation::add_bytes(file.path, text.clone().into_bytes()),
        Content::File { path, .. } => CommitOperation::add_file(file.path, path),
    };
    let names: Vec<&str> = files.iter().map(|file| file.path).collect();
    let request = repo.create_commit().operations(files.iter().map(add).collect());
    let request = request.commit_message(format!("Publish {}", names.join(", "))).revision(place.branch);
    Ok(request.progress(TransferBar::new(place.repo.to_string())).send()?.commit_url)
}

/// Whether the repository holds these very bytes: by git's name of them, or of the pointer that stands for a large file.
fn holds(there: &[RepoTreeEntry], file: &Published) -> Result<bool> {
    let entry = there.iter().find_map(|entry| match entry {
        RepoTreeEntry::File { path, oid, lfs, .. } if path == file.path => Some((oid, lfs.is_some())),
        _ => None,
    });
    let Some((oid, large)) = entry else { return Ok(false) };
    let own = match &file.content {
        Content::Text(text) if large => pointer(&disk::sha256(text.as_bytes()), text.len() as u64),
        Content::Text(text) => text.clone().into_bytes(),
        Content::File { sha256, .. } if large => pointer(sha256, file.size()?),
        Content::File { path, .. } => disk::read(path)?,
    };
    Ok(disk::git_blob(&own) == *oid)
}

/// What git keeps in the place of a large file.
fn pointer(sha256: &str, size: u64) -> Vec<u8> {
    format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n").into_bytes()
}
