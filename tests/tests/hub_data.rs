//! Datasets of a hub on loopback, as users load them: other processes, by command lines.
#![allow(clippy::unwrap_used, missing_docs)]

mod hub;
mod shell;

use hub::Hub;
use shell::{Shell, done, refused};
use simclr_data::source::parquet::write::{Row, write_parquet};
use simclr_data_tools::synth::png;
use std::path::PathBuf;

const BRANCH: &str = "refs/convert/parquet";
const TRAIN: &str = "default/train/0000.parquet";
const TEST: &str = "default/test/0000.parquet";

/// Not a test: what [`Shell::run`] starts.
#[test]
fn child() {
    shell::child();
}

/// A parquet file of some pictures.
fn parquet(count: usize) -> Vec<u8> {
    let row = |i: usize| Row::of(png(&[20 * i as u8; 300], 10, 10, 3).unwrap(), i as i64 % 2);
    let file = tempfile::NamedTempFile::new().unwrap();
    write_parquet(file.path(), &(0..count).map(row).collect::<Vec<_>>(), 2, &[]).unwrap();
    std::fs::read(file.path()).unwrap()
}

fn start() -> Hub {
    let hub = Hub::start();
    hub.add_dataset("me/set", BRANCH, &[(TRAIN, parquet(6)), (TEST, parquet(4)), ("README.md", b"words".to_vec())]);
    hub
}

fn inspect(shell: &Shell<'_>, id: &str) -> (bool, String) {
    shell.inspect(id)
}

/// The blobs of the cache.
fn blobs(shell: &Shell<'_>) -> Vec<PathBuf> {
    let folder = shell.hub_home().join("hub/datasets--me--set/blobs");
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn holds_all(text: &str) {
    assert!(text.contains("6 images, 6 with a label") && text.contains("4 images, 4 with a label"), "{text}");
}

#[test]
fn a_dataset_is_downloaded_once_and_then_read_without_the_hub() {
    let hub = start();
    let shell = Shell::new(&hub, None);
    holds_all(&done(inspect(&shell, "me/set")));
    assert_eq!(hub.requests("README.md"), 0, "only what is parquet is fetched");
    let before = hub.requests("resolve");
    holds_all(&done(inspect(&shell, "me/set")));
    assert_eq!(hub.requests("resolve"), before, "once");
    let before = hub.requests("");
    let offline = shell.with("HF_HUB_OFFLINE", "1");
    holds_all(&done(inspect(&offline, "me/set")));
    refused(inspect(&offline, "me/other"), &["me/other", "HF_HUB_OFFLINE", "cache"]);
    assert_eq!(hub.requests(""), before, "offline means offline");
    // A file that is not there cannot be had offline; the whole list is known, so that it is missed.
    for blob in blobs(&offline) {
        std::fs::remove_file(blob).unwrap();
    }
    refused(inspect(&offline, "me/set"), &["me/set", "0000.parquet", "HF_HUB_OFFLINE", "cache"]);
}

#[test]
fn damaged_files_are_downloaded_again() {
    let hub = start();
    let shell = Shell::new(&hub, None);
    done(inspect(&shell, "me/set"));
    for blob in blobs(&shell) {
        let bytes = std::fs::read(&blob).unwrap();
        std::fs::write(&blob, &bytes[..bytes.len() - 1]).unwrap();
    }
    let offline = shell.with("HF_HUB_OFFLINE", "1");
    refused(inspect(&offline, "me/set"), &["is damaged", "HF_HUB_OFFLINE"]);
    holds_all(&done(inspect(&offline.with("HF_HUB_OFFLINE", "0"), "me/set")));
}

#[test]
fn what_the_hub_sends_is_held_against_its_hash() {
    let hub = start();
    hub.spoil("me/set", BRANCH, TRAIN);
    let shell = Shell::new(&hub, None);
    refused(inspect(&shell, "me/set"), &["me/set", "does not have the hash"]);
}

#[test]
fn each_mistake_is_one_message() {
    let hub = start();
    hub.add_dataset("me/raw", "main", &[("a.csv", b"a".to_vec())]);
    hub.add_dataset("me/empty", BRANCH, &[("README.md", b"words".to_vec())]);
    let shell = Shell::new(&hub, Some(hub::READER));
    refused(inspect(&shell, "set"), &["data.hub = \"set\"", "OWNER/NAME"]);
    refused(inspect(&shell, "me/none"), &["me/none", "no such repository"]);
    refused(inspect(&shell, "me/raw"), &["me/raw", "not converted this dataset to parquet"]);
    refused(inspect(&shell, "me/empty"), &["me/empty has no parquet file"]);
    hub.fail("/api/datasets/", 503, usize::MAX);
    refused(inspect(&shell, "me/set"), &["me/set", "trouble of its own", "503"]);
    hub.heal();
    let lost = Shell::new(&hub, None).with("HF_ENDPOINT", "http://127.0.0.1:9");
    refused(inspect(&lost, "me/set"), &["me/set", "cannot reach 127.0.0.1:9"]);
}
