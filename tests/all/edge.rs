//! Requests that no client should send, byte by byte. What is served reaches the upstream once, in words of the host's own; what is
//! refused reaches nobody, and where it is not clear where a request ends, the connection ends with it.

mod requests;

use std::time::Duration;

use tests::{Home, Host, Upstream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use requests::{Outcome, Raw, all};

/// What came back on one connection: the status of each answer, and whether the host closed it.
struct Seen {
    statuses: Vec<u16>,
    closed: bool,
    text: String,
}

/// Sends these bytes, and reads until the host closes or a good request behind them has been answered: the last one says whether
/// the host still takes what comes next for a request.
async fn send(host: &Host, raw: &[u8]) -> Seen {
    let mut stream = TcpStream::connect(host.address()).await.unwrap();
    // A host that has refused already may have closed.
    let _ = stream.write_all(raw).await;
    let probe = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nX-Probe: 1\r\n\r\n", host.address());
    let _ = stream.write_all(probe.as_bytes()).await;
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    let closed = loop {
        match tokio::time::timeout(Duration::from_secs(10), stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => break true,
            Ok(Ok(length)) => bytes.extend_from_slice(&piece[..length]),
            Err(_) => {
                bytes.extend_from_slice(b"(and then nothing)");
                break false;
            }
        }
        if String::from_utf8_lossy(&bytes).contains("{\"ok\":true") {
            break false;
        }
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let heads =
        text.match_indices("HTTP/1.").filter(|(at, _)| *at == 0 || !text[..*at].ends_with(char::is_alphanumeric));
    let statuses = heads.filter_map(|(at, _)| text.get(at + 9..at + 12)?.parse().ok()).filter(|status| *status != 100);
    Seen { statuses: statuses.collect(), closed, text: text.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_its_decided_outcome() {
    let upstream = Upstream::echo().await;
    let home = Home::with(&upstream, "proxy: { max_body: 1MiB }\n");
    let host = home.start().await;
    let all = all(&host.address().to_string());
    assert!(all.len() >= 150, "{} requests", all.len());
    let mut wrong = Vec::new();
    for Raw { name, bytes, outcome } in &all {
        let before = upstream.seen().len();
        let seen = send(&host, bytes).await;
        let reached = upstream.seen().len() - before;
        let first = seen.statuses.first().copied();
        let good = match outcome {
            Outcome::Served => first == Some(200) && reached == 1 && !seen.closed,
            Outcome::ServedAndClosed => first == Some(200) && reached == 1 && seen.closed,
            Outcome::Answered(status) => first == Some(*status) && reached == 0,
            Outcome::Refused(status) => {
                first == Some(*status) && reached == 0 && seen.closed && seen.statuses.len() == 1
            }
            Outcome::Dropped => seen.statuses.is_empty() && reached == 0 && seen.closed,
        };
        if !good {
            let Seen { statuses, closed, text } = seen;
            wrong.push(format!(
                "{name}: wanted {outcome:?}; upstream {reached}, {statuses:?}, closed {closed}: {text:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
    // Whatever came, nothing of a client's head went up but what is meant to.
    for seen in upstream.seen() {
        let mut names: Vec<_> = seen.headers.keys().map(|name| name.as_str().to_owned()).collect();
        names.sort();
        let allowed =
            ["accept", "accept-encoding", "authorization", "content-length", "content-type", "host", "user-agent"];
        assert!(names.iter().all(|name| allowed.contains(&name.as_str())), "{names:?}");
    }
}
