//! A wire between the clients and the store of large files that can be cut in the middle of an upload.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub struct Cut {
    pub address: String,
    /// Bytes that a connection may take before it is cut.
    budget: AtomicUsize,
}

impl Cut {
    pub async fn before(target: String) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let cut = Arc::new(Self { address, budget: AtomicUsize::new(usize::MAX) });
        let wire = cut.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(wire.clone().join(client, target.clone()));
            }
        });
        cut
    }

    pub fn after(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::SeqCst);
    }

    async fn join(self: Arc<Self>, client: TcpStream, target: String) {
        let Ok(server) = TcpStream::connect(&target).await else { return };
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let down = tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        let (mut buffer, mut taken) = (vec![0; 1 << 12], 0);
        loop {
            match from_client.read(&mut buffer).await {
                Ok(n) if n > 0 => {
                    taken += n;
                    if taken > self.budget.load(Ordering::SeqCst) || to_server.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
                _ => break,
            }
        }
        down.abort();
    }
}
