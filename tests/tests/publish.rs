//! Publishing to a hub on loopback and loading from it, as users do: other processes, by command lines.
#![allow(clippy::unwrap_used, missing_docs)]

mod desk;
mod hub;
mod shell;

use desk::Desk;
use hub::{Hub, READER, STORE_TOKEN, WRITER};
use shell::{Shell, done, refused};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FILES: [&str; 5] = ["model.safetensors", "config.json", "README.md", "simclr_resnet.py", "config.toml"];

/// Not a test: what [`Shell::run`] starts.
#[test]
fn child() {
    shell::child();
}

/// A hub, and a desk with the run `run` on it.
fn start() -> (Hub, Desk, PathBuf) {
    let (hub, desk) = (Hub::start(), Desk::new());
    desk.pretrain("run", &[]).unwrap();
    let run = desk.path("run");
    (hub, desk, run)
}

/// Five pictures in two folders, and one damaged file.
fn pictures(dir: &Path) -> PathBuf {
    let dir = dir.join("pictures");
    for i in 0..5_u32 {
        let folder = dir.join(format!("class {}", i % 2));
        std::fs::create_dir_all(&folder).unwrap();
        let color = |x: u32, y: u32| image::Rgb([(40 * i) as u8, (9 * x) as u8, (7 * y + i) as u8]);
        image::RgbImage::from_fn(20 + i, 24, color).save(folder.join(format!("{i}.png"))).unwrap();
    }
    std::fs::write(dir.join("class 1/broken.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    dir
}

/// Every file below `dir`.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => drop(found.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    found
}

#[test]
fn one_commit_and_none_for_the_same_bytes() {
    let (hub, desk, run) = start();
    let shell = Shell::new(&hub, Some(WRITER));
    // A dry run sends nothing and writes what would be sent.
    let dry = desk.path("dry");
    let text = done(shell.publish(&run, &["--repo", "me/net", "--dry-run", "--out", dry.to_str().unwrap()]));
    assert_eq!(hub.requests(""), 0, "{text}");
    assert!(FILES.iter().all(|file| text.contains(file)), "{text}");

    done(shell.publish(&run, &["--repo", "me/net", "--private"]));
    assert_eq!(hub.commits("me/net", "main"), 2, "everything is one commit");
    assert!(hub.is_private("me/net"));
    for file in FILES {
        assert_eq!(hub.file("me/net", "main", file).unwrap(), std::fs::read(dry.join(file)).unwrap(), "{file}");
    }
    let weights = std::fs::read(run.join("checkpoint/model.safetensors")).unwrap();
    assert_eq!(hub.file("me/net", "main", "model.safetensors").unwrap(), weights);
    assert!(hub.requests("xet-write-token") > 0, "large files go into the store of chunks");
    let experiment = String::from_utf8(hub.file("me/net", "main", "config.toml").unwrap()).unwrap();
    assert!(experiment.contains("[pretrain.training]"), "{experiment}");

    // The same again is no commit, and sends no byte.
    let before = hub.requests("POST");
    let text = done(shell.publish(&run, &["--repo", "me/net"]));
    assert!(text.contains("nothing changed"), "{text}");
    assert_eq!((hub.commits("me/net", "main"), hub.requests("POST")), (2, before));
    // Another licence changes the card alone; a branch is made.
    let text = done(shell.publish(&run, &["--repo", "me/net", "--license", "cc0-1.0", "--revision", "next"]));
    assert!(text.contains("1 files in one commit") && text.contains("hf://me/net@next"), "{text}");
    assert_eq!((hub.commits("me/net", "main"), hub.commits("me/net", "next")), (2, 3));
    let card = String::from_utf8(hub.file("me/net", "next", "README.md").unwrap()).unwrap();
    assert!(card.starts_with("---\nlicense: cc0-1.0\n"), "{card}");
}

#[test]
fn folders_of_the_author_are_not_published() {
    let (hub, desk, run) = start();
    let config = run.join("config.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[data]\n", "[data]\ndir = \"/home/somebody/secret\"\n")).unwrap();
    let dry = desk.path("dry");
    let shell = Shell::new(&hub, None);
    done(shell.publish(&run, &["--repo", "me/net", "--dry-run", "--out", dry.to_str().unwrap()]));
    for (path, bytes) in files(&dry) {
        assert!(!String::from_utf8_lossy(&bytes).contains("somebody"), "{}", path.display());
    }
}

#[test]
fn what_was_published_loads_by_its_name() {
    let (hub, _desk, run) = start();
    done(Shell::new(&hub, Some(WRITER)).publish(&run, &["--repo", "me/net"]));
    let first = hub.head("me/net", "main");
    let user = Shell::new(&hub, None);
    let images = pictures(user.home.path());
    let (text, expected) = user.embed(run.to_str().unwrap(), &images);
    assert!(done(text).contains("broken.png"), "a damaged picture is named");
    let expected = expected.unwrap();
    for name in ["hf://me/net".to_string(), format!("hf://me/net@{first}/model.safetensors")] {
        let (text, features) = user.embed(&name, &images);
        done(text);
        assert!(features.unwrap() == expected, "{name}");
    }
    let tensors = safetensors::SafeTensors::deserialize(&expected).unwrap();
    assert_eq!(tensors.tensor("features").unwrap().shape(), [5, 32]);
    // From the cache, without a hub.
    hub.fail("/", 503, usize::MAX);
    let before = hub.requests("");
    let offline = user.with("HF_HUB_OFFLINE", "1");
    assert!(offline.embed("hf://me/net", &images).1.unwrap() == expected);
    assert_eq!(hub.requests(""), before, "offline means offline");
    refused(offline.embed("hf://me/other", &images).0, &["hf://me/other", "config.json", "HF_HUB_OFFLINE", "cache"]);
    // A blob that broke is downloaded again, and offline a message.
    let blobs = offline.hub_home().join("hub/models--me--net/blobs");
    for (path, bytes) in files(&blobs) {
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    }
    refused(offline.embed("hf://me/net", &images).0, &["is damaged", "HF_HUB_OFFLINE"]);
    hub.heal();
    let online = offline.with("HF_HUB_OFFLINE", "0");
    assert!(online.embed("hf://me/net", &images).1.unwrap() == expected);
}

#[test]
fn classes_of_pictures() {
    let (hub, _desk, run) = start();
    let shell = Shell::new(&hub, None);
    let images = pictures(shell.home.path());
    let out = shell.home.path().join("deep/classes.csv");
    let (run, out, images) = (run.to_str().unwrap(), out.to_str().unwrap(), images.to_str().unwrap());
    let line = ["classify", "--checkpoint", run, "--images", images, "--top", "2", "--out", out];
    done(shell.run(&line));
    let text = std::fs::read_to_string(out).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((rows.len(), rows[0].join(",").as_str()), (6, "file,class,probability,class_2,probability_2"));
    assert_eq!(rows[1][0], "class 0/0.png");
    for row in &rows[1..] {
        let (first, second): (f32, f32) = (row[2].parse().unwrap(), row[4].parse().unwrap());
        assert!(first >= second && second >= 0.0 && first + second <= 1.0 + 1e-6, "{row:?}");
    }
    let csv = shell.home.path().join("features.csv");
    let csv = csv.to_str().unwrap();
    done(shell.run(&["embed", "--checkpoint", run, "--images", images, "--layer", "-1", "--out", csv]));
    let text = std::fs::read_to_string(csv).unwrap();
    assert_eq!((text.lines().count(), text.lines().nth(5).unwrap().split(',').count()), (6, 1 + 8));
    refused(shell.run(&[&line[..], &["--strict"]].concat()), &["broken.png", "PNG"]);
    refused(shell.run(&["embed", "--checkpoint", run, "--images", images, "--out", "x.txt"]), &["x.txt", ".csv"]);
    refused(shell.run(&["embed", "--checkpoint", run, "--images", "nowhere", "--out", "x.csv"]), &["nowhere"]);
    refused(
        shell.run(&["embed", "--checkpoint", run, "--images", images, "--layer", "7", "--out", "x.csv"]),
        &["--layer", "7", "3 layers"],
    );
}

#[test]
fn each_mistake_is_one_message() {
    let (hub, desk, run) = start();
    let before = files(&run);
    let writer = Shell::new(&hub, Some(WRITER));
    for (name, why) in [("net", "OWNER/NAME"), ("me/a b", "letters"), ("me/-x", "begin"), ("me/x.git", ".git")] {
        refused(writer.publish(&run, &["--repo", name]), &["--repo", name, why]);
    }
    refused(writer.publish(&run, &["--repo", "me/net", "--revision", "a b"]), &["--revision", "a b", "branch"]);
    refused(writer.publish(&run, &["--repo", "me/net", "--license", "a: b"]), &["--license", "mit"]);
    refused(writer.publish(&desk.path("none"), &["--repo", "me/net"]), &["none", "no such file or folder"]);
    refused(writer.publish(Path::new("hf://me/net"), &["--repo", "me/net"]), &["hf://me/net", "already"]);
    let resume = "run the same command again";
    let publish = |token: Option<&str>, repo: &str| Shell::new(&hub, token).publish(&run, &["--repo", repo]);
    refused(publish(None, "me/net"), &["no token", "HF_TOKEN", "hf auth login"]);
    refused(publish(Some("hf_wrong"), "me/net"), &["me/net", "did not accept the token", "401", resume]);
    refused(publish(Some(READER), "me/net"), &["me/net", "403", "write access to me", resume]);
    refused(publish(Some(WRITER), "others/net"), &["others/net", "403", "write access to others"]);
    let offline = Shell::new(&hub, Some(WRITER)).with("HF_HUB_OFFLINE", "1");
    refused(offline.publish(&run, &["--repo", "me/net"]), &["HF_HUB_OFFLINE"]);
    let lost = Shell::new(&hub, Some(WRITER)).with("HF_ENDPOINT", "http://127.0.0.1:9");
    refused(lost.publish(&run, &["--repo", "me/net"]), &["cannot reach 127.0.0.1:9", resume]);
    let nowhere = Shell::new(&hub, Some(WRITER)).with("HF_ENDPOINT", "hub");
    refused(nowhere.publish(&run, &["--repo", "me/net"]), &["HF_ENDPOINT = \"hub\""]);
    assert!(files(&run) == before, "a failed upload leaves the local files as they were");

    let images = pictures(writer.home.path());
    let user = Shell::new(&hub, Some(READER));
    done(publish(Some(WRITER), "me/net"));
    for (name, why) in [
        ("hf://me/none", "no such repository"),
        ("hf://me/net@none", "no revision none"),
        ("hf://me/net/none.safetensors", "no file none.safetensors at main"),
        ("hf://me", "hf://OWNER/NAME"),
    ] {
        refused(user.embed(name, &images).0, &[name, why]);
    }
}

#[test]
fn an_upload_that_fails_is_taken_up_again() {
    let (hub, _desk, run) = start();
    let before = files(&run);
    let shell = Shell::new(&hub, Some(WRITER));
    let publish = || shell.publish(&run, &["--repo", "me/net"]);
    // The weights have 200 000 bytes: they do not get through.
    hub.cut_uploads_after(20_000);
    refused(publish(), &["me/net", "broke", "Nothing was committed", "run the same command again"]);
    hub.heal();
    hub.fail("/commit/", 503, usize::MAX);
    refused(publish(), &["me/net", "trouble of its own", "503", "Nothing was committed", "run the same command again"]);
    assert_eq!(hub.commits("me/net", "main"), 1);
    assert!(files(&run) == before, "a failed upload leaves the local files as they were");
    hub.heal();
    // One answer that fails is asked again without a word, and the weights that arrived are not sent again.
    hub.fail("/preupload/", 500, 1);
    hub.cut_uploads_after(20_000);
    let text = done(publish());
    assert!(!text.contains("INFO"), "{text}");
    assert_eq!(hub.commits("me/net", "main"), 2);
    assert_eq!(
        hub.file("me/net", "main", "model.safetensors").unwrap(),
        before[&run.join("checkpoint/model.safetensors")]
    );
}

#[test]
fn no_secret_is_in_any_log() {
    let (hub, _desk, run) = start();
    let shell = Shell::new(&hub, Some(WRITER)).with("RUST_LOG", "trace");
    let images = pictures(shell.home.path());
    let mut logs = vec![done(shell.publish(&run, &["--repo", "me/net", "--private"]))];
    let (text, features) = shell.embed("hf://me/net", &images);
    assert!(features.is_some());
    logs.push(done(text));
    hub.fail("/tree/", 500, usize::MAX);
    logs.push(shell.publish(&run, &["--repo", "me/net"]).1);
    hub.heal();
    hub.cut_uploads_after(0);
    logs.push(shell.publish(&run, &["--repo", "me/new"]).1);
    // This refusal repeats the token.
    let reader = Shell::new(&hub, Some(READER)).with("RUST_LOG", "trace").publish(&run, &["--repo", "me/other"]);
    assert!(reader.1.contains("403"), "{}", reader.1);
    logs.push(reader.1);
    for log in logs {
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "the most verbose level: {log}");
        for secret in [WRITER, READER, STORE_TOKEN] {
            let lines: Vec<&str> = log.lines().filter(|line| line.contains(secret)).collect();
            assert!(lines.is_empty(), "{lines:#?}");
        }
    }
}
