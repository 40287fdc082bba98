//! A server in the place of a hub that answers as each test pleases, and keeps a record of what it was told and made to send.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// A running server; its thread ends with the process.
pub struct Hostile {
    /// What `HF_ENDPOINT` must be.
    pub address: String,
    sent: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<(String, bool)>>>,
}

/// An answer that counts its bytes.
pub struct Answer {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
}

impl Answer {
    /// Bytes that were sent until now, all answers together.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

impl Write for Answer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.sent.fetch_add(written as u64, Ordering::SeqCst);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Hostile {
    /// Answers each request, of which it is told the path, by `answer`; the connection ends behind it.
    pub fn start(answer: impl Fn(&str, &mut Answer) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (sent, requests) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Vec::new())));
        let (all, told, answer) = (sent.clone(), requests.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (sent, requests, answer) = (all.clone(), told.clone(), answer.clone());
                std::thread::spawn(move || -> io::Result<()> {
                    let mut lines = BufReader::new(stream.try_clone()?).lines();
                    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
                    let path = line.split(' ').nth(1).unwrap_or_default().to_string();
                    let mut authorized = false;
                    for header in lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                        authorized |= header.to_lowercase().starts_with("authorization:");
                    }
                    requests.lock().expect("the record").push((path.clone(), authorized));
                    // Who was made to stop has nothing to say.
                    answer(&path, &mut Answer { stream, sent })
                });
            }
        });
        Self { address, sent, requests }
    }

    /// Bytes that were sent until now.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// How many requests have come, and how many of them with a token.
    pub fn requests(&self) -> (usize, usize) {
        let requests = self.requests.lock().expect("the record");
        (requests.len(), requests.iter().filter(|(_, authorized)| *authorized).count())
    }
}
