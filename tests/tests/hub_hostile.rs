//! A hub that lies, floods and stalls, met as users meet it: each ends in one message, soon, with few bytes taken and nothing
//! left that a later run would believe.
#![allow(clippy::unwrap_used, missing_docs)]

mod hub;
mod shell;

use hub::Hub;
use hub::hostile::{Answer, Hostile};
use shell::{Shell, refused};
use simclr_core::disk;
use std::io::{Result, Write};
use std::path::Path;
use std::time::{Duration, Instant};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Most bytes that a server may be made to send.
const FEW: u64 = 64 << 20;

/// Not a test: what [`Shell::run`] starts.
#[test]
fn child() {
    shell::child();
}

/// The beginning of an answer, as a hub gives it for a file of these bytes.
fn head(status: &str, bytes: &[u8], more: &str) -> String {
    let hash = disk::git_blob(bytes);
    format!("HTTP/1.1 {status}\r\nX-Repo-Commit: {COMMIT}\r\nETag: \"{hash}\"\r\nConnection: close\r\n{more}\r\n")
}

fn file(to: &mut Answer, bytes: &[u8]) -> Result<()> {
    to.write_all(head("200 OK", bytes, &format!("Content-Length: {}\r\n", bytes.len())).as_bytes())?;
    to.write_all(bytes)
}

fn plain(to: &mut Answer, status: &str, body: &[u8]) -> Result<()> {
    write!(to, "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len())?;
    to.write_all(body)
}

/// More than anybody wants.
fn endless(to: &mut Answer) -> Result<()> {
    let piece = [b' '; 1 << 16];
    while to.sent() < 4 << 30 {
        to.write_all(&piece)?;
    }
    Ok(())
}

/// Asks this server for a network, and expects one message with these parts.
#[track_caller]
fn network(server: &Hostile, shell: &Shell<'_>, parts: &[&str]) {
    let pictures = shell.home.path().join("pictures");
    std::fs::create_dir_all(&pictures).unwrap();
    std::fs::write(pictures.join("a.png"), "").unwrap();
    let begun = Instant::now();
    let (ran, _) = shell.embed("hf://me/net", &pictures);
    let text = ran.1.clone();
    refused(ran, parts);
    assert!(text.len() < 2000 && !text.contains('\u{1b}'), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}: {text}", begun.elapsed());
    assert!(server.sent() < FEW, "{} bytes: {text}", server.sent());
}

fn with<'a>(hub: &'a Hub, server: &Hostile) -> Shell<'a> {
    let shell = Shell::new(hub, Some(hub::READER)).with("HF_HUB_DOWNLOAD_TIMEOUT", "1");
    shell.with("HF_ENDPOINT", &server.address)
}

/// The cache holds no file of the repository that a run would take.
#[track_caller]
fn nothing_is_kept(shell: &Shell<'_>) {
    let names = |dir: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(dir).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let repo = shell.hub_home().join("hub/models--me--net");
    for folder in ["blobs", "snapshots", "refs"] {
        assert_eq!(names(&repo.join(folder)), [""; 0], "{folder}");
    }
    assert!(names(shell.home.path()).iter().all(|name| ["hf", "pictures"].contains(&name.as_str())));
}

#[test]
fn a_file_that_is_not_what_is_stated_is_not_kept() {
    let hub = Hub::start();
    type Case = (&'static str, fn(&mut Answer) -> Result<()>, &'static [&'static str]);
    let cases: [Case; 12] = [
        ("cut", |to| write!(to, "{}{{", head("200 OK", b"{}", "Content-Length: 100\r\n")), &["config.json", "broke"]),
        (
            "short",
            |to| write!(to, "{}{{", head("200 OK", b"{}", "X-Linked-Size: 2\r\nContent-Length: 1\r\n")),
            &["broke off after 1 of 2 bytes"],
        ),
        (
            "long",
            |to| write!(to, "{}{{}} and more", head("200 OK", b"{}", "X-Linked-Size: 2\r\nContent-Length: 11\r\n")),
            &["sends more than the 2 bytes"],
        ),
        (
            "other bytes",
            |to| write!(to, "{}[]", head("200 OK", b"{}", "Content-Length: 2\r\n")),
            &["the hash that it states"],
        ),
        (
            "a page",
            |to| write!(to, "{}<html>Please try again later</html>", head("200 OK", b"{}", "")),
            &["does not have the hash"],
        ),
        ("no hash", |to| plain(to, "200 OK", b"{}"), &["states no commit and no hash of config.json"]),
        (
            "a hash that is a path",
            |to| {
                let head = head("200 OK", b"{}", "X-Linked-ETag: \"../../../../../evil\"\r\nContent-Length: 2\r\n");
                write!(to, "{head}{{}}")
            },
            &["states no commit and no hash"],
        ),
        (
            "a commit that is a path",
            |to| {
                write!(to, "{}{{}}", head("200 OK", b"{}", "Content-Length: 2\r\n").replace(COMMIT, "../../../../evil"))
            },
            &["states no commit and no hash"],
        ),
        (
            "a gigabyte",
            |to| {
                to.write_all(head("200 OK", b"{}", "Content-Length: 1073741824\r\n").as_bytes())?;
                endless(to)
            },
            &["config.json has 1073741824 bytes, at most 16777216 are taken"],
        ),
        (
            "endless",
            |to| {
                to.write_all(head("200 OK", b"{}", "").as_bytes())?;
                endless(to)
            },
            &["sends more than the 16777216 bytes"],
        ),
        (
            "silent",
            |to| {
                to.write_all(head("200 OK", b"{}", "Content-Length: 2\r\n").as_bytes())?;
                std::thread::sleep(Duration::from_secs(30));
                Ok(())
            },
            &["sent nothing for 1 s after 0 bytes"],
        ),
        (
            "drop by drop",
            |to| {
                to.write_all(head("200 OK", b"{}", "Content-Length: 1000000\r\n").as_bytes())?;
                (0..300).try_for_each(|_| {
                    std::thread::sleep(Duration::from_millis(100));
                    to.write_all(b" ")
                })
            },
            &["too slow to wait for"],
        ),
    ];
    std::thread::scope(|scope| {
        for (name, answer, parts) in cases {
            let hub = &hub;
            scope.spawn(move || {
                let server = Hostile::start(move |_, to| answer(to));
                let shell = with(hub, &server);
                println!("{name}");
                network(&server, &shell, &[&["hf://me/net"], parts].concat());
                nothing_is_kept(&shell);
            });
        }
    });
}

#[test]
fn redirects_end_and_leave_the_token_behind() {
    let hub = Hub::start();
    // Files come from elsewhere, as the real hub's do.
    let elsewhere = Hostile::start(|_, to| plain(to, "200 OK", b"{}"));
    let place = elsewhere.address.clone();
    let server = Hostile::start(move |path, to| match path.ends_with("config.json") {
        true => {
            to.write_all(head("302 Found", b"{}", &format!("Location: {place}/x\r\nContent-Length: 0\r\n")).as_bytes())
        }
        false => plain(to, "404 Not Found", b""),
    });
    network(&server, &with(&hub, &server), &["hf://me/net"]);
    let ((asked, authorized), (all, with_token)) = (elsewhere.requests(), server.requests());
    assert_eq!((asked, authorized, all), (1, 0, with_token), "the token goes to the hub, and nowhere else");

    for (to, parts) in [
        ("/me/net/resolve/main/config.json", "redirects in a circle"),
        ("ftp://127.0.0.1/x", "redirects to \"ftp://127.0.0.1/x\", expected https"),
        ("http://", "which is no address"),
    ] {
        let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let server = Hostile::start(move |_, to| to.write_all(answer.as_bytes()));
        network(&server, &with(&hub, &server), &["me/net", parts]);
        assert!(server.requests().0 <= 20);
    }
    let answer = head("302 Found", b"{}", "Location: /again\r\nContent-Length: 0\r\n");
    let server = Hostile::start(move |_, to| to.write_all(answer.as_bytes()));
    let shell = with(&hub, &server);
    network(&server, &shell, &["me/net", "redirects more than 10 times"]);
    nothing_is_kept(&shell);
}

#[test]
fn trouble_that_does_not_pass_is_told() {
    let hub = Hub::start();
    std::thread::scope(|scope| {
        for (status, parts) in [
            ("500 Internal Server Error", ["trouble of its own", "500"]),
            ("429 Too Many Requests", ["asks for patience", "429"]),
            ("418 I am a teapot", ["refused", "418"]),
        ] {
            let hub = &hub;
            scope.spawn(move || {
                let server = Hostile::start(move |_, to| {
                    write!(to, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n\u{1b}[31m")?;
                    endless(to)
                });
                network(&server, &with(hub, &server), &[&["me/net"], &parts[..]].concat());
                assert!(server.requests().0 <= 5, "{}", server.requests().0);
            });
        }
    });
}

#[test]
fn whole_files_that_no_network_has_are_refused() {
    let hub = Hub::start();
    let deep = "[".repeat(10_000);
    let config = r#"{"depth":18,"width":0.0625,"proj_layers":2,"proj_dim":4,"in_channels":3,"image_size":8,"classes":0,"proj_selector":0}"#;
    let lying = [&(4u64 << 30).to_le_bytes()[..], b"{}"].concat();
    for (config, weights, parts) in [
        (deep.as_str(), lying.clone(), ["config.json is not valid JSON", "recursion limit"]),
        (config, lying, ["model.safetensors is damaged", "4294967296 bytes, and the file has 10"]),
        (config, [&2u64.to_le_bytes()[..], b"{}"].concat(), ["do not fit this network", "missing: conv1.weight"]),
    ] {
        let config = config.to_string();
        let server = Hostile::start(move |path, to| match path.ends_with("config.json") {
            true => file(to, config.as_bytes()),
            false => file(to, &weights),
        });
        network(&server, &with(&hub, &server), &parts);
    }
}

#[test]
fn lists_of_files_are_held_to_be_lists_of_files() {
    let hub = Hub::start();
    let list = |name: &str| serde_json::json!({"sha": COMMIT, "siblings": [{"rfilename": name}]}).to_string();
    let deep = format!("{{\"sha\":\"{COMMIT}\",\"x\":{}", "[".repeat(10_000));
    let lies = |name: &str| format!("lists a file called {name:?}");
    for (body, part) in [
        (list("../x.parquet"), lies("../x.parquet")),
        (list("/x.parquet"), lies("/x.parquet")),
        (list("a\\..\\x.parquet"), "lists a file called".into()),
        (list("a\u{1b}[31m.parquet"), "lists a file called".into()),
        (list("a/../../x.parquet"), lies("a/../../x.parquet")),
        (list("a.parquet").replace(COMMIT, "../../x"), "names the commit \"../../x\", which is none".into()),
        ("{".into(), "list of its files is damaged".into()),
        ("<html>".into(), "list of its files is damaged".into()),
        (deep, "list of its files is damaged".into()),
        (String::new(), "sends more than the 67108864 bytes".into()),
    ] {
        let server = Hostile::start(move |_, to| match body.is_empty() {
            true => {
                to.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                endless(to)
            }
            false => plain(to, "200 OK", body.as_bytes()),
        });
        let shell = with(&hub, &server);
        let ran = shell.inspect("me/set");
        assert!(ran.1.len() < 2000 && !ran.1.contains('\u{1b}'), "{}", ran.1);
        refused(ran, &["me/set", &part]);
        assert!(server.sent() < 2 * FEW, "{} bytes", server.sent());
        assert!(!shell.hub_home().join("hub/datasets--me--set").exists());
    }
}
