//! Requests to the hub and to where it leads: bounded in bytes, time and redirects, and the token goes to the hub alone.

use super::RepoId;
use super::client::{endpoint, reading_token};
use super::failure::{explain_status, of_transport};
use crate::fit::short;
use anyhow::{Context, Result, anyhow, bail, ensure};
use reqwest::blocking::{Client, Response};
use reqwest::header::{AUTHORIZATION, LOCATION};
use reqwest::{StatusCode, Url};
use std::io::Read;
use std::time::{Duration, Instant};

/// How often a request that met trouble is made again, and the pause before the first time; each pause is twice the one before.
const AGAIN: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);
/// Most redirects on the way to a file.
const REDIRECTS: usize = 10;
/// Most bytes of an error's page that are looked at.
const ERROR_PAGE: u64 = 64 << 10;
/// Least bytes a second that a transfer must bring.
const LEAST_SPEED: u64 = 1 << 10;
/// Seconds that the hub may say nothing, unless the environment's variable has a number; it is that of the hub's own tools.
const PATIENCE: u64 = 30;
const PATIENCE_VARIABLE: &str = "HF_HUB_DOWNLOAD_TIMEOUT";

/// What asks the hub.
pub struct Http {
    client: Client,
    endpoint: Url,
    token: Option<&'static str>,
    patience: Duration,
}

impl Http {
    /// For the hub that the environment names.
    ///
    /// # Errors
    /// When `HF_ENDPOINT` is no URL.
    pub fn new() -> Result<Self> {
        let endpoint = endpoint()?;
        let set = std::env::var(PATIENCE_VARIABLE).ok();
        let patience = match set.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            None => PATIENCE,
            Some(text) => {
                text.parse().ok().filter(|seconds| (1..=86_400).contains(seconds)).with_context(|| {
                    format!("{PATIENCE_VARIABLE} = \"{}\": expected seconds, 1 to 86400", short(&text))
                })?
            }
        };
        let patience = Duration::from_secs(patience);
        // Redirects are followed here, where the token can be left behind. The time is that of each answer and each read.
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(patience);
        let client = client.connect_timeout(patience).user_agent(concat!("simclr/", env!("CARGO_PKG_VERSION")));
        let client = client.build().context("starting the hub's client")?;
        Ok(Self { client, endpoint, token: reading_token(), patience })
    }

    /// An address of the hub; parts are encoded, so that none is another path.
    pub fn at<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(parts);
        }
        url
    }

    /// The first answer of an address, whatever its status; a redirect is one. What may pass is asked again.
    ///
    /// # Errors
    /// When nothing answers.
    pub fn ask(&self, url: &Url, id: &RepoId) -> Result<Response> {
        let mut tries = 0;
        loop {
            let mut request = self.client.get(url.clone());
            if let Some(token) = self.token.filter(|_| url.origin() == self.endpoint.origin()) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let answer = request.send();
            let passes = match &answer {
                Ok(answer) => may_pass(answer.status()),
                // Who said nothing once is given one more chance.
                Err(error) if error.is_timeout() => tries == 0,
                Err(error) => error.is_connect() || error.is_request(),
            };
            if !passes || tries == AGAIN {
                return answer.map_err(|error| of_transport(&error, url, id));
            }
            std::thread::sleep(PAUSE * 2u32.pow(tries));
            tries += 1;
        }
    }

    /// Whether there is something at an address.
    ///
    /// # Errors
    /// When the hub cannot be asked, or says neither.
    pub fn exists(&self, url: &Url, id: &RepoId) -> Result<bool> {
        let answer = self.ask(url, id)?;
        match answer.status() {
            status if status.is_success() || status.is_redirection() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => Err(refusal(answer, id)),
        }
    }

    /// A short answer, whole.
    ///
    /// # Errors
    /// When it is longer than `most`, or breaks off.
    pub fn short(&self, answer: Response, most: u64, id: &RepoId) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.copy(answer, most, id, |part| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Where a redirect leads.
    ///
    /// # Errors
    /// When it leads nowhere, or from https to where others listen.
    pub fn next(&self, answer: &Response, id: &RepoId) -> Result<Url> {
        let place = answer.headers().get(LOCATION).and_then(|place| place.to_str().ok());
        let place = place.with_context(|| format!("{id}: the hub redirects to nowhere"))?;
        let url = answer.url().join(place).ok().filter(|url| url.has_host());
        let url =
            url.with_context(|| format!("{id}: the hub redirects to \"{}\", which is no address", short(&place)))?;
        let safe = url.scheme() == "https" || (url.scheme() == "http" && answer.url().scheme() == "http");
        ensure!(safe, "{id}: the hub redirects to \"{}\", expected https", short(&url.as_str()));
        Ok(url)
    }

    /// The answer behind redirects, for which `answer` is the first one.
    ///
    /// # Errors
    /// When there are too many, or its status is no success.
    pub fn follow(&self, mut answer: Response, id: &RepoId) -> Result<Response> {
        for _ in 0..REDIRECTS {
            if !answer.status().is_redirection() {
                return if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer, id)) };
            }
            answer = self.ask(&self.next(&answer, id)?, id)?;
        }
        bail!("{id}: the hub redirects more than {REDIRECTS} times")
    }

    /// Hands the bytes of an answer over, piece by piece; gives how many there were.
    ///
    /// # Errors
    /// When there are more than `most`, they come too slowly or break off, or `take` fails.
    pub fn copy(
        &self,
        mut answer: Response,
        most: u64,
        id: &RepoId,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let place = answer.url().host_str().unwrap_or("the hub").to_string();
        let (mut buffer, mut done, mut since) = (vec![0; 1 << 18], 0u64, (Instant::now(), 0));
        loop {
            let read = answer.read(&mut buffer).map_err(|error| match timed_out(&error) {
                true => anyhow!("{id}: {place} sent nothing for {} s after {done} bytes", self.patience.as_secs()),
                false => anyhow!("{id}: the connection to {place} broke after {done} bytes"),
            })?;
            if read == 0 {
                return Ok(done);
            }
            done += read as u64;
            ensure!(done <= most, "{id}: {place} sends more than the {most} bytes that there may be");
            take(&buffer[..read])?;
            let (begun, before) = since;
            if begun.elapsed() >= self.patience {
                ensure!(
                    done - before >= LEAST_SPEED * self.patience.as_secs(),
                    "{id}: {place} sent {} bytes in {} s: too slow to wait for",
                    done - before,
                    begun.elapsed().as_secs()
                );
                since = (Instant::now(), done);
            }
        }
    }
}

fn timed_out(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    error.kind() == std::io::ErrorKind::TimedOut || inner.is_some_and(reqwest::Error::is_timeout)
}

/// Whether the same request may have another answer soon.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 429 | 500 | 502 | 503 | 504)
}

/// What an answer that is no success says.
pub fn refusal(answer: Response, id: &RepoId) -> anyhow::Error {
    let status = answer.status();
    let header = |name: &str| answer.headers().get(name).and_then(|text| text.to_str().ok()).map(String::from);
    let (message, wait) = (header("x-error-message"), header("retry-after"));
    let message = message.or_else(|| {
        let mut page = Vec::new();
        answer.take(ERROR_PAGE).read_to_end(&mut page).ok()?;
        let page: serde_json::Value = serde_json::from_slice(&page).ok()?;
        page["error"].as_str().map(String::from)
    });
    explain_status(status, message.as_deref(), wait.and_then(|wait| wait.trim().parse().ok()), id)
}
