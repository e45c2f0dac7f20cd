//! The requests, and what becomes of each.

/// One request, as bytes on a connection.
pub(super) struct Raw {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) outcome: Outcome,
}

#[derive(Debug)]
pub(super) enum Outcome {
    /// It is a turn, and the connection goes on.
    Served,
    /// It is a turn, and the connection ends: somebody else may see its end elsewhere.
    ServedAndClosed,
    /// It is none, and is answered with this status.
    Answered(u16),
    /// As `Answered`, and nothing behind it is looked at.
    Refused(u16),
    /// The connection ends without a word.
    Dropped,
}

use Outcome::{Answered, Dropped, Refused, Served, ServedAndClosed};

const BODY: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

fn raw(name: impl Into<String>, bytes: impl Into<Vec<u8>>, outcome: Outcome) -> Raw {
    Raw { name: name.into(), bytes: bytes.into(), outcome }
}

/// A turn with this in the place of its length.
fn framed(host: &str, framing: &str, body: &str) -> String {
    format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n{body}")
}

fn length() -> String {
    format!("Content-Length: {}\r\n", BODY.len())
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

pub(super) fn all(host: &str) -> Vec<Raw> {
    [lengths(host), codings(host), chunks(host), lines(host), headers(host), hosts(host), methods(host), bodies(host)]
        .into_iter()
        .flatten()
        .collect()
}

/// What a request says of its length.
fn lengths(host: &str) -> Vec<Raw> {
    let n = BODY.len();
    let mut all = vec![
        raw("a length", framed(host, &length(), BODY), Served),
        raw("the same length twice", framed(host, &length().repeat(2), BODY), Served),
        raw("two lengths", framed(host, &format!("{}Content-Length: {}\r\n", length(), n + 1), BODY), Refused(400)),
        raw(
            "two lengths, the smaller first",
            framed(host, &format!("Content-Length: 0\r\n{}", length()), BODY),
            Refused(400),
        ),
        raw("no length at all", framed(host, "", BODY), Answered(400)),
        raw("a length of nothing", framed(host, "Content-Length: 0\r\n", ""), Answered(400)),
        raw("a length with zeros before it", framed(host, &format!("Content-Length: 000{n}\r\n"), BODY), Served),
        raw("a request in the body", framed(host, "Content-Length: 5\r\n", "GET / HTTP/1.1\r\n\r\n"), Answered(400)),
    ];
    for bad in [
        format!("+{n}"),
        format!("-{n}"),
        format!("{n}, {n}"),
        format!("{n},{}", n + 1),
        format!("{n};x"),
        format!("{n} {n}"),
        format!("0x{n:x}"),
        format!("{n}.0"),
        format!("{n}e0"),
        format!("\"{n}\""),
        "18446744073709551616".to_owned(),
        "99999999999999999999999999999".to_owned(),
        "abc".to_owned(),
        String::new(),
        "٤٥".to_owned(),
        format!("{n}\u{b}"),
    ] {
        all.push(raw(
            format!("the length {bad:?}"),
            framed(host, &format!("Content-Length: {bad}\r\n"), BODY),
            Refused(400),
        ));
    }
    let huge = framed(host, "Content-Length: 9000000000000000000\r\n", "");
    all.push(raw("more than is taken", huge, Refused(413)));
    all
}

/// What it says of its transfer coding.
fn codings(host: &str) -> Vec<Raw> {
    let mut all = Vec::new();
    for good in ["chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"] {
        let framing = format!("Transfer-Encoding:{good}\r\n");
        all.push(raw(format!("the coding {good:?}"), framed(host, &framing, &chunked(BODY)), ServedAndClosed));
    }
    for bad in [
        "identity",
        "gzip",
        "chunked, gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "chunked\u{b}",
        "x\tchunked",
        "chunked identity",
        "",
    ] {
        let framing = format!("Transfer-Encoding: {bad}\r\n");
        all.push(raw(format!("the coding {bad:?}"), framed(host, &framing, &chunked(BODY)), Refused(400)));
        let both = format!("{framing}{}", length());
        all.push(raw(format!("the coding {bad:?} and a length"), framed(host, &both, BODY), Refused(400)));
    }
    let coding = "Transfer-Encoding: chunked\r\n";
    let smuggled = format!("{}GET /smuggled HTTP/1.1\r\nX: ", chunked(BODY));
    for (name, framing) in [
        ("a length, then a coding", format!("{}{coding}", length())),
        ("a coding, then a length", format!("{coding}{}", length())),
        ("a coding between two lengths", format!("{0}{coding}{0}", length())),
    ] {
        all.push(raw(name, framed(host, &framing, &smuggled), ServedAndClosed));
    }
    for (name, framing) in [
        ("two codings", format!("{coding}{coding}")),
        ("two codings, one of them good", format!("{coding}Transfer-Encoding: identity\r\n")),
        ("two codings, the good one last", format!("Transfer-Encoding: x\r\n{coding}")),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n".to_owned()),
        ("a coding with a blank before the colon", "Transfer-Encoding : chunked\r\n".to_owned()),
        ("a coding behind a vertical tab", "\u{b}Transfer-Encoding: chunked\r\n".to_owned()),
        ("a coding after a bare CR", format!("X: y\rTransfer-Encoding: chunked\r\n{}", length())),
    ] {
        all.push(raw(name, framed(host, &framing, &chunked(BODY)), Refused(400)));
    }
    let old = framed(host, coding, &chunked(BODY)).replace("HTTP/1.1", "HTTP/1.0");
    all.push(raw("a coding in HTTP/1.0", old, Refused(400)));
    all
}

/// Chunks.
fn chunks(host: &str) -> Vec<Raw> {
    let n = BODY.len();
    let mut all = Vec::new();
    let mut with = |name: &str, body: String, outcome: Outcome| {
        all.push(raw(name, framed(host, "Transfer-Encoding: chunked\r\n", &body), outcome));
    };
    let bytes: String = BODY.chars().map(|c| format!("1\r\n{c}\r\n")).collect();
    with("a chunk for each byte", format!("{bytes}0\r\n\r\n"), ServedAndClosed);
    with("a size in capitals with zeros before it", format!("000{n:X}\r\n{BODY}\r\n0\r\n\r\n"), ServedAndClosed);
    with("a chunk extension", format!("{n:x};name=value\r\n{BODY}\r\n0\r\n\r\n"), ServedAndClosed);
    with("trailers", format!("{n:x}\r\n{BODY}\r\n0\r\nX-Agent-Id: other\r\n\r\n"), ServedAndClosed);
    for (name, body) in [
        ("no size", format!("\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size with a sign", format!("+{n:x}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a negative size", format!("-{n:x}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size with 0x", format!("0x{n:x}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size that is no number", format!("xyz\r\n{BODY}\r\n0\r\n\r\n")),
        ("a size beyond 64 bits", format!("10000000000000000{n:x}\r\n{BODY}\r\n0\r\n\r\n")),
        ("a chunk shorter than its size", format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", n + 1)),
        ("a chunk longer than its size", format!("{:x}\r\n{BODY}\r\n0\r\n\r\n", n - 1)),
        ("no line end behind a chunk", format!("{n:x}\r\n{BODY}0\r\n\r\n")),
        ("a bare line feed behind a size", format!("{n:x}\n{BODY}\r\n0\r\n\r\n")),
        ("a bare line feed behind a chunk", format!("{n:x}\r\n{BODY}\n0\r\n\r\n")),
        ("a bare line feed in an extension", format!("{n:x};a\nb\r\n{BODY}\r\n0\r\n\r\n")),
        ("a very long extension", format!("{n:x};{}\r\n{BODY}\r\n0\r\n\r\n", "a".repeat(100_000))),
        ("very many trailers", format!("{n:x}\r\n{BODY}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000))),
    ] {
        with(name, body, Refused(400));
    }
    all
}

/// Request lines.
fn lines(host: &str) -> Vec<Raw> {
    let rest = format!("Host: {host}\r\n{}\r\n{BODY}", length());
    let mut all = vec![
        raw("an absolute target", format!("POST http://{host}/v1/chat/completions HTTP/1.1\r\n{rest}"), Served),
        raw("a query", format!("POST /v1/chat/completions?agent=x HTTP/1.1\r\n{rest}"), Served),
        raw("empty lines first", format!("\r\n\r\nPOST /v1/chat/completions HTTP/1.1\r\n{rest}"), Served),
        raw("a long target", format!("POST /{} HTTP/1.1\r\n{rest}", "a".repeat(20_000)), Refused(431)),
        raw("HTTP/2's first words", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Dropped),
        raw("TLS", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3], Refused(400)),
        raw("nothing but line ends and an end", "\r\n\r\n\0", Refused(400)),
    ];
    for path in [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat/completions/x",
        "/V1/chat/completions",
        "/v1/models/../chat/completions",
        "/v1/chat/%63ompletions",
        "/v1%2fchat/completions",
        "/v1/chat/completions%00",
        "/v1/chat/completions;a=b",
        "/v1\\chat\\completions",
        "/%2e%2e/v1/chat/completions",
    ] {
        all.push(raw(format!("the path {path}"), format!("POST {path} HTTP/1.1\r\n{rest}"), Answered(404)));
    }
    for line in [
        "POST  /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions  HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1 ",
        " POST /v1/chat/completions HTTP/1.1",
        "POST\t/v1/chat/completions\tHTTP/1.1",
        "POST /v1/chat/completions",
        "POST /v1/chat/completions HTTP/0.9",
        "POST /v1/chat/completions HTTP/1.2",
        "POST /v1/chat/completions HTTP/2.0",
        "POST /v1/chat/completions HTTP/1.1.1",
        "POST /v1/chat/completions http/1.1",
        "POST /v1/chat/completions HTTP/1",
        "POST /v1/chat/completions HTTPS/1.1",
        "POST /v1/chat/compl etions HTTP/1.1",
        "POST /v1/chat/\u{1}completions HTTP/1.1",
        "POST /v1/chat/\u{7f}completions HTTP/1.1",
        "PO\u{1}ST /v1/chat/completions HTTP/1.1",
        "PÖST /v1/chat/completions HTTP/1.1",
        "POST v1/chat/completions HTTP/1.1",
        " ",
        "POST",
    ] {
        all.push(raw(format!("the line {line:?}"), format!("{line}\r\n{rest}"), Refused(400)));
    }
    all
}

/// Header lines.
fn headers(host: &str) -> Vec<Raw> {
    let with = |line: &str| framed(host, &format!("{}{line}", length()), BODY);
    let mut all = vec![
        raw("many headers", with(&"X-A: b\r\n".repeat(90)), Served),
        raw("too many headers", with(&"X-A: b\r\n".repeat(101)), Refused(431)),
        raw("a long header", with(&format!("X-A: {}\r\n", "b".repeat(8_000))), Served),
        raw("headers that are too long", with(&format!("X-A: {}\r\n", "b".repeat(40_000))), Refused(431)),
        raw(
            "headers of a proxy",
            with("Connection: close, X-A\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\n"),
            ServedAndClosed,
        ),
        raw("an upgrade", with("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Served),
        raw(
            "an upgrade to HTTP/2",
            with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"),
            Served,
        ),
        raw("bytes beyond ASCII", with("X-A: Grüße\r\n"), Served),
        raw("two agents", with("X-Agent-Id: a\r\nX-Agent-Id: b\r\n"), Answered(400)),
        raw("one agent twice", with("X-Agent-Id: a\r\nX-Agent-Id: a\r\n"), Answered(400)),
        raw("two agents in one line", with("X-Agent-Id: a, b\r\n"), Answered(400)),
        raw(
            "headers of forwarding",
            with(
                "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\nX-Original-URL: /admin\r\nX-HTTP-Method-Override: DELETE\r\n",
            ),
            Served,
        ),
        raw("cookies", with("Cookie: a=b\r\n"), Served),
        raw("an expectation", with("Expect: 100-continue\r\n"), Served),
    ];
    for line in [
        "X-A : b",
        "X A: b",
        ": b",
        "X-A",
        "X-A\0: b",
        "X-A: b\0c",
        "X-A: b\rc",
        "X-Ä: b",
        "X-A: b\r\n continued",
        "X-A: b\r\n\tcontinued",
        "(X): b",
        "X-A: \u{7f}",
    ] {
        all.push(raw(format!("the header {line:?}"), with(&format!("{line}\r\n")), Refused(400)));
    }
    let folded = format!("POST /v1/chat/completions HTTP/1.1\r\n X: y\r\nHost: {host}\r\n{}\r\n{BODY}", length());
    all.push(raw("a first line that goes on", folded, Refused(400)));
    all
}

/// Without keys the host answers to its own names only, so that no web page reaches it by one of its own.
fn hosts(host: &str) -> Vec<Raw> {
    let with = |lines: &str| format!("POST /v1/chat/completions HTTP/1.1\r\n{lines}{}\r\n{BODY}", length());
    let port = host.rsplit(':').next().unwrap_or_default();
    let mut all = vec![
        raw("localhost", with(&format!("Host: localhost:{port}\r\n")), Served),
        raw("LOCALHOST", with(&format!("Host: LOCALHOST:{port}\r\n")), Served),
        raw("a web page", with(&format!("Host: {host}\r\nOrigin: https://evil.example\r\n")), Answered(403)),
        raw("a page of no origin", with(&format!("Host: {host}\r\nOrigin: null\r\n")), Answered(403)),
        raw(
            "a foreign absolute target",
            format!("POST http://evil.example/v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{}\r\n{BODY}", length()),
            Refused(400),
        ),
    ];
    for name in
        ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:80", "169.254.169.254"]
    {
        all.push(raw(format!("the host {name}"), with(&format!("Host: {name}\r\n")), Answered(403)));
    }
    for (name, lines) in [
        ("no host", String::new()),
        ("two hosts", format!("Host: {host}\r\nHost: evil.example\r\n")),
        ("a host with a user", "Host: user@localhost\r\n".to_owned()),
        ("an empty host", "Host: \r\n".to_owned()),
        ("a host that is none", "Host: a b\r\n".to_owned()),
    ] {
        all.push(raw(name, with(&lines), Refused(400)));
    }
    all
}

/// Methods.
fn methods(host: &str) -> Vec<Raw> {
    let mut all = Vec::new();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW", "post", "Post"] {
        let bytes = framed(host, &length(), BODY).replacen("POST", method, 1);
        all.push(raw(format!("the method {method}"), bytes, Answered(405)));
    }
    let connect = format!("CONNECT evil.example:443 HTTP/1.1\r\nHost: {host}\r\n\r\n");
    all.push(raw("a tunnel", connect, Refused(400)));
    let own = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    all.push(raw("a tunnel to the host itself", own, Answered(404)));
    all
}

/// Bodies.
fn bodies(host: &str) -> Vec<Raw> {
    let whole = |body: &[u8], more: &str| {
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n{more}Content-Length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let mut all = vec![
        raw(
            "a compressed body",
            whole(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3], "Content-Encoding: gzip\r\n"),
            Answered(400),
        ),
        raw("a body of another type", whole(BODY.as_bytes(), "Content-Type: text/plain\r\n"), Served),
        raw("a byte order mark", whole(&[b"\xef\xbb\xbf", BODY.as_bytes()].concat(), ""), Answered(400)),
        raw("no UTF-8", whole(b"{\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}", ""), Answered(400)),
        raw("UTF-16", whole(&BODY.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), ""), Answered(400)),
        raw("two documents", whole(format!("{BODY}{BODY}").as_bytes(), ""), Answered(400)),
        raw("blanks around it", whole(format!(" \r\n\t{BODY}\n").as_bytes(), ""), Served),
        raw("a NUL behind it", whole(format!("{BODY}\0").as_bytes(), ""), Answered(400)),
        raw("too deep", whole(format!("{}{}", "[".repeat(65), "]".repeat(65)).as_bytes(), ""), Answered(400)),
    ];
    let half = [framed(host, &length(), &BODY[..10]).into_bytes()].concat();
    all.push(raw("half a body, and then something else", half, Answered(400)));
    all
}
