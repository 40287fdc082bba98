//! The hub's API, as far as publishing and downloading a model need it.

use super::store::{Blob, Commit, Repo, State, find_large};
use super::{READER, STORE_TOKEN, WRITER};
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use base64::Engine;
use serde_json::{Value as Json, json};
use simclr_core::disk;
use std::sync::{Arc, Mutex, MutexGuard};

/// What the names of datasets among the repositories begin with.
pub const DATASETS: &str = "datasets/";

type Shared = Arc<Mutex<State>>;

/// An answer that is none: status, the hub's code, message.
type Refusal = (u16, &'static str, String);

pub async fn serve(listener: tokio::net::TcpListener, state: Shared) {
    let app = axum::Router::new().fallback(move |request: Request| answer(state.clone(), request));
    let _ = axum::serve(listener, app).await;
}

fn locked(state: &Shared) -> MutexGuard<'_, State> {
    state.lock().expect("the state")
}

async fn answer(state: Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let segments: Vec<String> = parts.uri.path().split('/').skip(1).map(decode).collect();
    let fault = {
        let mut state = locked(&state);
        state.requests.push(format!("{} {}", parts.method, parts.uri.path()));
        state.fault(parts.uri.path())
    };
    if let Some(status) = fault {
        return refuse((status, "", "made to fail".into()));
    }
    let Ok(body) = to_bytes(body, 1 << 30).await else { return refuse((400, "", "the body broke off".into())) };
    let path: Vec<&str> = segments.iter().map(String::as_str).collect();
    route(&state, &parts.method, &path, &parts.headers, &body).await.unwrap_or_else(refuse)
}

fn refuse((status, code, message): Refusal) -> Response {
    let body = json!({"error": message}).to_string();
    let response = Response::builder().status(status).header("X-Error-Code", code).header("X-Error-Message", message);
    response.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).expect("a response")
}

fn ok(value: &Json) -> Response {
    let response = Response::builder().header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(value.to_string())).expect("a response")
}

fn decode(segment: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => (bytes, rest) = ([bytes, vec![byte]].concat(), &tail[2..]),
            _ => (bytes, rest) = ([bytes, vec![first]].concat(), tail),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What the token of a request may do: nothing, read, write.
fn rights(headers: &HeaderMap) -> Result<u8, Refusal> {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match token {
        None => Ok(0),
        Some(token) if token == READER => Ok(1),
        Some(token) if token == WRITER => Ok(2),
        Some(_) => Err((401, "", "Invalid credentials in Authorization header".into())),
    }
}

fn may_write(headers: &HeaderMap, owner: &str) -> Result<(), Refusal> {
    match rights(headers)? {
        0 => Err((401, "", "Invalid username or password.".into())),
        2 if owner == "me" => Ok(()),
        // A hub that repeats what it was told would be a careless one; no log may be.
        _ => Err((403, "", format!("{:?} has no rights to write in {owner}", headers.get(header::AUTHORIZATION)))),
    }
}

async fn route(
    state: &Shared,
    method: &Method,
    path: &[&str],
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    let read_id = |id: String| -> Result<String, Refusal> {
        let rights = rights(headers)?;
        match locked(state).repos.get(&id) {
            Some(repo) if rights > 0 || !repo.private => Ok(id),
            _ if rights == 0 => Err((401, "RepoNotFound", "Invalid username or password.".into())),
            _ => Err((404, "RepoNotFound", "Repository not found".into())),
        }
    };
    let read = |owner: &str, name: &str| read_id(format!("{owner}/{name}"));
    let read_dataset = |owner: &str, name: &str| read_id(format!("{DATASETS}{owner}/{name}"));
    match (method.as_str(), path) {
        ("GET", ["api", "whoami-v2"]) => match rights(headers)? {
            0 => Err((401, "", "Invalid username or password.".into())),
            _ => Ok(ok(&json!({"type": "user", "name": "me", "orgs": []}))),
        },
        ("POST", ["api", "validate-yaml"]) => Ok(ok(&json!({"errors": [], "warnings": []}))),
        ("POST", ["api", "repos", "create"]) => create(state, headers, &parse(body)?),
        ("GET", ["api", "models", owner, name]) => Ok(ok(&info(state, &read(owner, name)?, "main")?)),
        ("GET", ["api", "models", owner, name, "revision", revision]) => {
            Ok(ok(&info(state, &read(owner, name)?, revision)?))
        }
        ("GET", ["api", "models", owner, name, "tree", revision]) => tree(state, &read(owner, name)?, revision),
        ("GET", ["api", "models", owner, name, kind, _]) if kind.starts_with("xet-") => {
            let id = read(owner, name)?;
            if *kind == "xet-write-token" {
                may_write(headers, owner)?;
            }
            Ok(store_token(&locked(state).large, &id))
        }
        ("POST", ["api", "models", owner, name, "branch", branch]) => {
            may_write(headers, owner)?;
            let id = read(owner, name)?;
            let mut state = locked(state);
            let repo = state.repos.get_mut(&id).expect("it was found");
            let main = repo.branches["main"].clone();
            repo.branches.entry((*branch).to_string()).or_insert(main);
            Ok(ok(&json!({})))
        }
        ("POST", ["api", "models", owner, name, "preupload", revision]) => {
            may_write(headers, owner)?;
            let id = read(owner, name)?;
            preupload(state, &id, revision, &parse(body)?)
        }
        ("POST", [owner, git, "info", "lfs", "objects", "batch"]) => {
            may_write(headers, owner)?;
            batch(state, &read(owner, git.trim_end_matches(".git"))?, &parse(body)?)
        }
        ("PUT", ["plain", sha256]) => {
            if disk::sha256(body) != *sha256 {
                return Err((400, "", "other bytes than those of the SHA-256".into()));
            }
            locked(state).plain.insert((*sha256).to_string(), body.to_vec());
            Ok(ok(&json!({})))
        }
        ("POST", ["api", "models", owner, name, "commit", branch]) => {
            may_write(headers, owner)?;
            let id = read(owner, name)?;
            commit(state, &id, branch, body).await
        }
        ("GET", ["api", "datasets", owner, name]) => Ok(ok(&info(state, &read_dataset(owner, name)?, "main")?)),
        ("GET", ["api", "datasets", owner, name, "revision", revision]) => {
            Ok(ok(&info(state, &read_dataset(owner, name)?, revision)?))
        }
        ("GET" | "HEAD", ["datasets", owner, name, "resolve", revision, file @ ..]) => {
            resolve(state, &read_dataset(owner, name)?, revision, &file.join("/"), method == Method::HEAD)
        }
        ("GET" | "HEAD", [owner, name, "resolve", revision, file @ ..]) => {
            resolve(state, &read(owner, name)?, revision, &file.join("/"), method == Method::HEAD)
        }
        ("GET" | "HEAD", ["cdn", "datasets", owner, name, revision, file @ ..]) => {
            sent(state, &format!("{DATASETS}{owner}/{name}"), revision, &file.join("/"), method == Method::HEAD)
        }
        ("GET" | "HEAD", ["cdn", owner, name, revision, file @ ..]) => {
            sent(state, &format!("{owner}/{name}"), revision, &file.join("/"), method == Method::HEAD)
        }
        _ => Err((404, "", "no such route".into())),
    }
}

/// The bytes of a large file, from the host that large files come from.
fn sent(state: &Shared, id: &str, revision: &str, file: &str, head: bool) -> Result<Response, Refusal> {
    let state = locked(state);
    let bytes = find(&state, id, revision)?.files[file].bytes.to_vec();
    let response = Response::builder().header("ETag", format!("\"{}\"", disk::sha256(&bytes)));
    let response = response.header(header::CONTENT_LENGTH, bytes.len());
    Ok(response.body(if head { Body::empty() } else { Body::from(bytes) }).expect("a response"))
}

fn parse(body: &[u8]) -> Result<Json, Refusal> {
    serde_json::from_slice(body).map_err(|error| (400, "", error.to_string()))
}

fn text<'a>(json: &'a Json, key: &str) -> &'a str {
    json[key].as_str().unwrap_or_default()
}

fn find<'a>(state: &'a State, id: &str, revision: &str) -> Result<&'a Commit, Refusal> {
    let missing = || (404, "RevisionNotFound", format!("Invalid rev id: {revision}"));
    state.repos.get(id).and_then(|repo| repo.at(revision)).ok_or_else(missing)
}

fn create(state: &Shared, headers: &HeaderMap, body: &Json) -> Result<Response, Refusal> {
    let owner = body["organization"].as_str().unwrap_or("me");
    may_write(headers, owner)?;
    let id = format!("{owner}/{}", text(body, "name"));
    let mut state = locked(state);
    if state.repos.contains_key(&id) {
        return Err((409, "", "You already created this model repo".into()));
    }
    state.repos.insert(id.clone(), Repo::new(body["private"] == true || body["visibility"] == "private"));
    Ok(ok(&json!({"url": format!("{}/{id}", state.address), "name": id, "id": id})))
}

fn info(state: &Shared, id: &str, revision: &str) -> Result<Json, Refusal> {
    let state = locked(state);
    let commit = find(&state, id, revision)?;
    let files: Vec<Json> = commit.files.keys().map(|path| json!({"rfilename": path})).collect();
    Ok(json!({
        "_id": "0", "id": id, "modelId": id, "sha": commit.oid, "private": state.repos[id].private, "siblings": files,
        "tags": [], "downloads": 0, "likes": 0, "disabled": false, "gated": false,
    }))
}

fn tree(state: &Shared, id: &str, revision: &str) -> Result<Response, Refusal> {
    let state = locked(state);
    let entry = |(path, blob): (&String, &Blob)| {
        let mut entry = json!({"type": "file", "path": path, "oid": blob.oid(), "size": blob.bytes.len()});
        if let Some((sha256, hash)) = &blob.large {
            entry["lfs"] = json!({"oid": sha256, "size": blob.bytes.len(), "pointerSize": 130});
            entry["xetHash"] = json!(hash);
        }
        entry
    };
    Ok(ok(&find(&state, id, revision)?.files.iter().map(entry).collect()))
}

fn store_token(large: &str, id: &str) -> Response {
    let expires = 4_000_000_000_u64;
    let response = Response::builder().header("X-Xet-Cas-Url", large).header("X-Xet-Access-Token", STORE_TOKEN);
    let response = response.header("X-Xet-Token-Expiration", expires).header(header::CONTENT_TYPE, "application/json");
    let body = json!({"casUrl": large, "accessToken": STORE_TOKEN, "exp": expires, "repo": id});
    response.body(Body::from(body.to_string())).expect("a response")
}

fn preupload(state: &Shared, id: &str, revision: &str, body: &Json) -> Result<Response, Refusal> {
    let state = locked(state);
    let commit = find(&state, id, revision)?;
    let mode = |file: &Json| {
        let path = text(file, "path");
        let large = path.ends_with(".safetensors") || file["size"].as_u64() > Some(10 << 20);
        let oid = commit.files.get(path).map(Blob::oid);
        json!({"path": path, "uploadMode": if large { "lfs" } else { "regular" }, "shouldIgnore": false, "oid": oid})
    };
    let files: Vec<Json> = body["files"].as_array().into_iter().flatten().map(mode).collect();
    Ok(ok(&json!({"files": files, "commitOid": commit.oid})))
}

/// Large files go into the store of chunks where the client knows it, else by plain HTTP.
fn batch(state: &Shared, id: &str, body: &Json) -> Result<Response, Refusal> {
    let state = locked(state);
    let chunks = body["transfers"].as_array().is_some_and(|names| names.iter().any(|name| name == "xet"));
    let object = |object: &Json| {
        let mut answer = json!({"oid": object["oid"], "size": object["size"], "authenticated": true});
        let known = state.repos[id].branches.values().flatten().flat_map(|commit| commit.files.values());
        let held = known.into_iter().any(|blob| blob.large.as_ref().is_some_and(|(sha, _)| object["oid"] == *sha));
        if !chunks && !held {
            answer["actions"] = json!({"upload": {"href": format!("{}/plain/{}", state.address, text(object, "oid"))}});
        }
        answer
    };
    let objects: Vec<Json> = body["objects"].as_array().into_iter().flatten().map(object).collect();
    Ok(ok(&json!({"transfer": if chunks { "xet" } else { "basic" }, "objects": objects})))
}

async fn commit(state: &Shared, id: &str, branch: &str, body: &[u8]) -> Result<Response, Refusal> {
    let chunks = locked(state).chunks.clone();
    let mut files = find(&locked(state), id, branch)?.files.clone();
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let (line, value) = (parse(line)?, parse(line)?["value"].take());
        let path = text(&value, "path").to_string();
        match text(&line, "key") {
            "file" => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text(&value, "content"));
                files.insert(path, Blob::small(bytes.map_err(|error| (400, "", error.to_string()))?));
            }
            "lfsFile" => {
                let sha256 = text(&value, "oid").to_string();
                let plain = locked(state).plain.get(&sha256).cloned();
                let (bytes, hash) = match plain {
                    Some(bytes) => (bytes, None),
                    None => match find_large(&chunks, &sha256).await {
                        Some((bytes, hash)) => (bytes, Some(hash)),
                        None => return Err((400, "", format!("{path}: its bytes were not uploaded"))),
                    },
                };
                files.insert(path, Blob { bytes: bytes.into(), large: Some((sha256, hash)) });
            }
            "deletedFile" => drop(files.remove(&path)),
            _ => {}
        }
    }
    let mut state = locked(state);
    let address = state.address.clone();
    let oid = state.repos.get_mut(id).map(|repo| repo.commit(branch, files)).unwrap_or_default();
    let url = format!("{address}/{id}/commit/{oid}");
    Ok(ok(&json!({"success": true, "commitOid": oid, "commitUrl": url, "hookOutput": ""})))
}

fn resolve(state: &Shared, id: &str, revision: &str, file: &str, head: bool) -> Result<Response, Refusal> {
    let state = locked(state);
    let commit = find(&state, id, revision)?;
    let missing = || (404, "EntryNotFound", format!("{file} does not exist on \"{revision}\""));
    let Some(blob) = commit.files.get(file) else {
        let mut response = refuse(missing());
        response.headers_mut().insert("X-Repo-Commit", commit.oid.parse().expect("a header"));
        return Ok(response);
    };
    let response = Response::builder().header("X-Repo-Commit", &commit.oid).header("Accept-Ranges", "bytes");
    let response = match &blob.large {
        None => {
            let body = if head { Body::empty() } else { Body::from(blob.bytes.to_vec()) };
            let response = response.header("ETag", format!("\"{}\"", blob.oid()));
            response.header(header::CONTENT_LENGTH, blob.bytes.len()).body(body)
        }
        Some((sha256, hash)) => {
            let etag = format!("\"{sha256}\"");
            let mut response = response.status(302).header("ETag", &etag).header("X-Linked-Etag", &etag);
            response = response.header("X-Linked-Size", blob.bytes.len());
            // Another host, as the real one's: the client must take what it needs to know from this answer.
            let elsewhere = state.address.replace("127.0.0.1", "localhost");
            response = response.header("Location", format!("{elsewhere}/cdn/{id}/{}/{file}", commit.oid));
            if let Some(hash) = hash {
                let refresh = format!("{}/api/models/{id}/xet-read-token/{}", state.address, commit.oid);
                response = response.header("X-Xet-Hash", hash).header("X-Xet-Refresh-Route", &refresh);
                response = response.header("Link", format!("<{refresh}>; rel=\"xet-auth\""));
            }
            response.body(Body::empty())
        }
    };
    Ok(response.expect("a response"))
}
