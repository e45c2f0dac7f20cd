use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: FetchArgs,
}

/// A hub with one repository; `cut` ends the model's download before its announced length.
async fn hub(cut: bool) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/base/", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap();
            let head = String::from_utf8_lossy(&request[..read]).into_owned();
            let (status, body) = match head.split(' ').nth(1).unwrap() {
                "/base/api/models/some/repo" => {
                    ("200 OK", r#"{"siblings":[{"rfilename":"README.md"},{"rfilename":"a b.Q8_0.gguf"}]}"#)
                }
                "/base/some/repo/resolve/main/a%20b.Q8_0.gguf" => ("200 OK", "the weights"),
                "/base/some/repo/resolve/main/closed.gguf" => ("401 Unauthorized", ""),
                "/base/some/repo/resolve/main/broken.gguf" => ("503 Service Unavailable", ""),
                _ => ("404 Not Found", ""),
            };
            let sent = if cut && body == "the weights" { &body[..5] } else { body };
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(format!("{head}{sent}").as_bytes()).await.unwrap();
        }
    });
    (address, tasks)
}

async fn fetch(line: &[&str], endpoint: &str, dir: &Path) -> anyhow::Result<Fetched> {
    let line = Line::try_parse_from([&["fetch", "--hf-endpoint", endpoint], line].concat())?;
    let repository = line.args.hf.clone().unwrap();
    download(&line.args, &repository, dir, &Progress::new(true)).await
}

#[tokio::test]
async fn a_file_of_a_repository_is_downloaded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, _hub) = hub(false).await;
    for line in [&["--hf", "some/repo"][..], &["--hf", "some/repo", "--file", "a b.Q8_0.gguf"]] {
        let fetched = fetch(line, &endpoint, dir.path()).await.unwrap();
        assert_eq!(std::fs::read(fetched.path).unwrap(), b"the weights");
        assert_eq!(fetched.origin, format!("{endpoint}some/repo/resolve/main/a%20b.Q8_0.gguf"));
    }
}

#[tokio::test]
async fn failures_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (endpoint, _hub) = hub(true).await;
    let cases: &[(&[&str], &str)] = &[
        (&["--hf", "some/repo"], "broke off; try again"),
        (&["--hf", "some/other"], "there is no http"),
        (&["--hf", "some/repo", "--file", "closed.gguf"], "is not open to everybody"),
        (&["--hf", "some/repo", "--file", "broken.gguf"], "answered 503"),
        (&["--hf", "some/repo", "--file", "../x.gguf"], "is not the name of a GGUF file"),
        (&["--hf", "some/repo", "--file", "x.bin"], "is not the name of a GGUF file"),
        (&["--hf", "../etc"], "is not a repository of the hub"),
        (&["--hf", "a/b/c"], "is not a repository of the hub"),
    ];
    for (line, want) in cases {
        let error = fetch(line, &endpoint, dir.path()).await.err().map(|error| format!("{error:#}")).unwrap();
        assert!(error.contains(want), "{line:?}: {error}");
    }
    let error = fetch(&["--hf", "a/b"], "http://127.0.0.1:1", dir.path()).await.err().unwrap().to_string();
    assert!(error.contains("give it with --from"), "{error}");
}

#[test]
fn the_file_is_chosen_only_when_there_is_no_doubt() {
    let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases: &[(&[&str], Result<&str, &str>)] = &[
        (&["README.md", "m.Q4_K_M.gguf"], Ok("m.Q4_K_M.gguf")),
        (&["m.Q4_K_M.gguf", "m.Q8_0.gguf"], Ok("m.Q8_0.gguf")),
        (&["m.Q4_K_M.gguf", "m.Q5_K_M.gguf"], Err("choose one with --file: m.Q4_K_M.gguf, m.Q5_K_M.gguf")),
        (&["model.safetensors"], Err("has no GGUF file")),
    ];
    for (names, want) in cases {
        match (choose(&files(names), "a/b"), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, *want),
            (Err(error), Err(want)) => assert!(error.to_string().contains(want), "{error}"),
            (got, want) => panic!("{names:?} gave {got:?} instead of {want:?}"),
        }
    }
}
