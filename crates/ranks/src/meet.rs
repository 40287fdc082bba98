//! One message from rank 0 to all others, by one TCP connection each: how ranks that only know an address get the id by which
//! NCCL finds them. Nothing else goes this way.

use crate::launcher::{Meeting, Place};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// How either side begins; the number is that of this protocol.
const GREETING: &[u8; 16] = b"simclr ranks 1\r\n";
/// What a rank answers when it has the message.
const THANKS: u8 = b'!';
/// How long either side waits for the next word of the other.
const WORD: Duration = Duration::from_secs(5);
/// Between two attempts.
const RETRY: Duration = Duration::from_millis(100);
/// Most bytes of a message, and of the job's name.
const MOST: usize = 4096;

/// Hands `message` from rank 0, where it is given, to all; gives it on each. `job` must be the same on all. Whoever else
/// comes to the port is sent away.
///
/// # Errors
/// When not all ranks have met within `patience`.
pub fn meet(place: &Place, at: &Meeting, job: &str, message: Option<&[u8]>, patience: Duration) -> Result<Vec<u8>> {
    let most = message.map_or(0, <[u8]>::len).max(job.len());
    ensure!(most <= MOST, "{most} bytes are too many to meet with, at most {MOST}");
    let deadline = Instant::now() + patience;
    match (place.rank, message) {
        (0, Some(message)) => receive(place.size, at, job, message, deadline, patience).map(|()| message.to_vec()),
        (0, None) => bail!("rank 0 has no message"),
        _ => call(place, at, job, deadline, patience),
    }
}

/// Rank 0: answers until all others have what they came for.
fn receive(size: usize, at: &Meeting, job: &str, message: &[u8], deadline: Instant, patience: Duration) -> Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, at.port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, at.port)))
        .with_context(|| format!("rank 0 cannot listen at port {} (MASTER_PORT)", at.port))?;
    listener.set_nonblocking(true).context("rank 0's port")?;
    let (here, come) = channel();
    let mut missing: BTreeSet<usize> = (1..size).collect();
    let answer: Arc<Answer> = Arc::new(Answer { size, job: job.into(), message: message.into() });
    let mut others = String::new();
    while !missing.is_empty() {
        while let Ok((stream, _)) = listener.accept() {
            // Each on a thread: one that says nothing holds up nobody.
            let (answer, here) = (answer.clone(), here.clone());
            let serve = move || answer.give(stream, &here);
            std::thread::Builder::new().name("meeting".into()).spawn(serve).context("starting a thread")?;
        }
        match come.recv_timeout(Duration::from_millis(10)) {
            Ok(Ok(rank)) => drop(missing.remove(&rank)),
            Ok(Err(other)) => others = format!("; {other}"),
            Err(_) if Instant::now() > deadline => {
                let names: Vec<_> = missing.iter().map(usize::to_string).collect();
                bail!(
                    "rank 0 waits at port {}: of {size} ranks, {} did not come within {:.0} s{others}",
                    at.port,
                    names.join(", "),
                    patience.as_secs_f64()
                )
            }
            Err(_) => {}
        }
    }
    Ok(())
}

/// What rank 0 says to those who come.
struct Answer {
    size: usize,
    job: String,
    message: Vec<u8>,
}

impl Answer {
    /// Serves one that came. Ranks are told of as `Ok`, and those of other runs in words; strangers not at all.
    fn give(&self, mut stream: TcpStream, here: &Sender<std::result::Result<usize, String>>) {
        let mut serve = || -> std::io::Result<()> {
            prepare(&stream)?;
            let mut greeting = [0; GREETING.len()];
            stream.read_exact(&mut greeting)?;
            if greeting != *GREETING {
                return Err(ErrorKind::InvalidData.into());
            }
            let (rank, size) = (number(&mut stream)?, number(&mut stream)?);
            let job = String::from_utf8_lossy(&text(&mut stream)?).into_owned();
            if (size, &job) != (self.size, &self.job) || !(1..size).contains(&rank) {
                let _ = here.send(Err(format!("rank {rank} of {size} came, of job \"{job}\": it is of another run")));
                return Ok(());
            }
            let length = u32::try_from(self.message.len()).unwrap_or(u32::MAX).to_le_bytes();
            stream.write_all(&[&GREETING[..], &length, &self.message].concat())?;
            let mut thanks = [0];
            stream.read_exact(&mut thanks)?;
            if thanks[0] == THANKS {
                // Nobody listens any more where time is up.
                let _ = here.send(Ok(rank));
            }
            Ok(())
        };
        // Else it is a stranger, or one that has hung up and will come again.
        let _ = serve();
    }
}

/// Every other rank: calls until rank 0 answers.
fn call(place: &Place, at: &Meeting, job: &str, deadline: Instant, patience: Duration) -> Result<Vec<u8>> {
    loop {
        match attempt(place, at, job) {
            Ok(message) => return Ok(message),
            Err(_) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(error) => {
                let (rank, size, seconds) = (place.rank, place.size, patience.as_secs_f64());
                bail!(
                    "rank {rank} of {size}: rank 0 does not answer at {}:{} within {seconds:.0} s ({error}); MASTER_ADDR and \
                     MASTER_PORT must name rank 0's machine and a port that is open between the machines",
                    at.host,
                    at.port
                )
            }
        }
    }
}

fn attempt(place: &Place, at: &Meeting, job: &str) -> std::io::Result<Vec<u8>> {
    let mut last = Error::new(ErrorKind::NotFound, "no address of that name");
    for address in (at.host.as_str(), at.port).to_socket_addrs()? {
        let connected = TcpStream::connect_timeout(&address, WORD);
        match connected.and_then(|stream| ask(stream, place, job)) {
            Ok(message) => return Ok(message),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn ask(mut stream: TcpStream, place: &Place, job: &str) -> std::io::Result<Vec<u8>> {
    prepare(&stream)?;
    let word = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let (rank, size, length) = (word(place.rank), word(place.size), word(job.len()));
    stream.write_all(&[&GREETING[..], &rank, &size, &length, job.as_bytes()].concat())?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting)?;
    if greeting != *GREETING {
        return Err(Error::new(ErrorKind::InvalidData, "another program listens there"));
    }
    let message = text(&mut stream)?;
    stream.write_all(&[THANKS])?;
    Ok(message)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WORD))?;
    stream.set_write_timeout(Some(WORD))
}

fn number(stream: &mut TcpStream) -> std::io::Result<usize> {
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes)?;
    usize::try_from(u32::from_le_bytes(bytes)).map_err(|_| ErrorKind::InvalidData.into())
}

fn text(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let length = number(stream)?;
    if length > MOST {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::launcher::Launcher;
    use std::thread::{scope, sleep};

    const LONG: Duration = Duration::from_secs(20);

    fn place(rank: usize, size: usize) -> Place {
        Place { launcher: Launcher::Torchrun, rank, size, local_rank: None, meeting: None }
    }

    /// A port that was free a moment ago.
    fn free() -> Meeting {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        Meeting { host: "localhost".into(), port }
    }

    #[test]
    fn all_get_the_message_whoever_comes_first() {
        let (at, id) = (&free(), [7u8; 128]);
        scope(|scope| {
            let others: Vec<_> =
                (1..4).map(|rank| scope.spawn(move || meet(&place(rank, 4), at, "job", None, LONG))).collect();
            sleep(Duration::from_millis(150));
            assert_eq!(meet(&place(0, 4), at, "job", Some(&id), LONG).unwrap(), id);
            others.into_iter().for_each(|rank| assert_eq!(rank.join().unwrap().unwrap(), id));
        });
    }

    #[test]
    fn strangers_are_sent_away_and_hold_up_nobody() {
        let (at, begun) = (&free(), Instant::now());
        scope(|scope| {
            let lead = scope.spawn(move || meet(&place(0, 2), at, "", Some(b"id"), LONG));
            let connect = || loop {
                match TcpStream::connect(("localhost", at.port)) {
                    Ok(stream) => break stream,
                    Err(_) => sleep(Duration::from_millis(5)),
                }
            };
            // One says nothing, one speaks another language, one hangs up, one is of another run, and one claims to be rank 0.
            let _silent = connect();
            let mut web = connect();
            web.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            drop(connect());
            assert!(attempt(&place(1, 8), at, "").is_err() && attempt(&place(1, 2), at, "other").is_err());
            assert!(attempt(&place(0, 2), at, "").is_err());
            let mut answer = Vec::new();
            let _ = web.read_to_end(&mut answer);
            assert!(!lead.is_finished() && answer.is_empty());
            assert_eq!(meet(&place(1, 2), at, "", None, LONG).unwrap(), b"id");
            assert_eq!(lead.join().unwrap().unwrap(), b"id");
        });
        assert!(begun.elapsed() < WORD, "{:?}", begun.elapsed());
    }

    #[test]
    fn who_does_not_come_is_named() {
        let (at, short) = (free(), Duration::from_millis(300));
        let told = |result: Result<Vec<u8>>| result.unwrap_err().to_string();
        let alone = told(meet(&place(0, 4), &at, "", Some(b"id"), short));
        assert!(alone.contains("1, 2, 3 did not come") && alone.contains(&at.port.to_string()), "{alone}");
        let nobody = told(meet(&place(3, 4), &at, "", None, short));
        assert!(nobody.contains("rank 3 of 4") && nobody.contains("MASTER_ADDR"), "{nobody}");
        // Two of a run of two think that they are four.
        let (at, other) = (&free(), &place(1, 2));
        scope(|scope| {
            let lead = scope.spawn(move || meet(&place(0, 4), at, "", Some(b"id"), Duration::from_secs(1)));
            let _ = meet(other, at, "", None, Duration::from_millis(500));
            let told = lead.join().unwrap().unwrap_err().to_string();
            assert!(told.contains("rank 1 of 2 came"), "{told}");
        });
        let taken = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
        let at = Meeting { host: "localhost".into(), port: taken.local_addr().unwrap().port() };
        let refused = format!("{:#}", meet(&place(0, 2), &at, "", Some(b"id"), short).unwrap_err());
        assert!(refused.contains("cannot listen") && refused.contains(&at.port.to_string()), "{refused}");
        // Another program that listens there and says nothing of ours.
        let silent = told(meet(&place(1, 2), &at, "", None, short));
        assert!(silent.contains("does not answer"), "{silent}");
    }
}
