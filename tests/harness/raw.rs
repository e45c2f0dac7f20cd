use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// An upstream that is a bare socket: what it writes need not be HTTP, nor come to an end.
pub struct RawUpstream {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Stops when it is dropped.
    _server: JoinSet<()>,
}

/// What it does after a request, one after the other. After the last the connection is closed.
#[derive(Clone, Debug)]
pub enum Act {
    /// Writes.
    Send(Vec<u8>),
    /// Writes byte by byte, each in a packet of its own as far as that can be had.
    Trickle(Vec<u8>),
    /// Writes the same again and again until nobody takes it.
    Endless(Vec<u8>),
    /// Breaks the connection.
    Reset,
    /// Says nothing more, for ever.
    Hang,
    /// Takes the next request on the same connection.
    Next,
}

type Script = dyn Fn(&str) -> Vec<Act> + Send + Sync;

impl RawUpstream {
    /// Does after each request what `script` makes of its body.
    pub async fn scripted(script: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let (script, heard): (Arc<Script>, _) = (Arc::new(script), asked.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = socket.accept().await.unwrap();
                let (script, heard) = (script.clone(), heard.clone());
                // A peer that goes away is none of the script's business.
                connections.spawn(async move { drop(serve(stream, &*script, &heard).await) });
            }
        });
        RawUpstream { address, asked, _server: server }
    }

    /// Its base address.
    pub fn base(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The bodies of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: &Script, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut unread = Vec::new();
    'requests: while let Some(body) = request(&mut stream, &mut unread).await? {
        asked.lock().unwrap().push(body.clone());
        for act in script(&body) {
            match act {
                Act::Send(bytes) => stream.write_all(&bytes).await?,
                Act::Trickle(bytes) => {
                    for byte in bytes {
                        stream.write_all(&[byte]).await?;
                        tokio::task::yield_now().await;
                    }
                }
                Act::Endless(bytes) => loop {
                    stream.write_all(&bytes).await?;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                },
                Act::Reset => {
                    stream.set_zero_linger()?;
                    return Ok(());
                }
                Act::Hang => std::future::pending().await,
                Act::Next => continue 'requests,
            }
        }
        return stream.shutdown().await;
    }
    Ok(())
}

/// The body of the next request.
async fn request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&unread[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.trim().parse().unwrap());
            if unread.len() >= whole {
                let request: Vec<u8> = unread.drain(..whole).collect();
                return Ok(Some(String::from_utf8_lossy(&request[end + 4..]).into_owned()));
            }
        }
        if stream.read_buf(unread).await? == 0 {
            return Ok(None);
        }
    }
}
