use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use super::FetchArgs;
use super::fetch::{Fetched, Progress};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the hub may be silent.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest listing of a repository that is read.
const MAX_LISTING: usize = 8 << 20;

/// What the hub says of a repository.
#[derive(Deserialize)]
struct Listing {
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// Downloads a GGUF file of a repository into `dir`.
pub(super) async fn download(
    args: &FetchArgs,
    repository: &str,
    dir: &Path,
    progress: &Progress,
) -> anyhow::Result<Fetched> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let parts: Vec<&str> = repository.split('/').collect();
    if parts.len() != 2 || parts.iter().any(|part| part.is_empty() || part.starts_with('.') || !part.chars().all(good))
    {
        bail!("{repository:?} is not a repository of the hub: write it as OWNER/NAME");
    }
    let endpoint = args.hf_endpoint.trim_end_matches('/');
    // A second install is refused, harmlessly: the first one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT).build()?;
    progress.working(format!("asking {endpoint} for {repository}"));
    let file = match &args.file {
        Some(file) => file.clone(),
        None => choose(&list(&client, endpoint, repository).await?, repository)?,
    };
    if !file.ends_with(".gguf") || file.split('/').any(|part| part.is_empty() || part.starts_with('.')) {
        bail!("{file:?} is not the name of a GGUF file in a repository");
    }
    let mut url = reqwest::Url::parse(endpoint).with_context(|| format!("{endpoint:?} is not an address"))?;
    url.path_segments_mut()
        .map_err(|()| anyhow::anyhow!("{endpoint:?} is not the address of a server"))?
        .pop_if_empty()
        .extend(parts.iter().copied().chain(["resolve", "main"]).chain(file.split('/')));
    let origin = url.to_string();
    let mut response = get(&client, &origin).await?;

    let path = dir.join("downloaded.gguf");
    let mut out = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let total = response.content_length();
    if let Some(total) = total {
        progress.counting("downloading the model", total);
    }
    let mut done = 0;
    let broke_off = || format!("the download of {origin} broke off; try again");
    while let Some(chunk) = response.chunk().await.with_context(broke_off)? {
        out.write_all(&chunk).with_context(|| format!("cannot write {}", path.display()))?;
        done += chunk.len() as u64;
        total.iter().for_each(|total| progress.at(done, *total));
    }
    if total.is_some_and(|total| total != done) {
        bail!(broke_off());
    }
    Ok(Fetched { path, origin, sha256: None })
}

async fn list(client: &Client, endpoint: &str, repository: &str) -> anyhow::Result<Vec<String>> {
    let url = format!("{endpoint}/api/models/{repository}");
    let mut response = get(client, &url).await?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.with_context(|| format!("cannot read {url}"))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_LISTING {
            bail!("the listing of {repository} is too long: name the file with --file");
        }
    }
    let listing: Listing =
        serde_json::from_slice(&body).with_context(|| format!("{url} is no listing of a repository"))?;
    Ok(listing.siblings.into_iter().map(|sibling| sibling.rfilename).collect())
}

async fn get(client: &Client, url: &str) -> anyhow::Result<Response> {
    let offline = || format!("cannot reach {url}; download the file elsewhere and give it with --from");
    let response = client.get(url).send().await.with_context(offline)?;
    match response.status() {
        StatusCode::NOT_FOUND => bail!("there is no {url}: check the repository and the file's name"),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            bail!("{url} is not open to everybody: download the file in a browser and give it with --from")
        }
        status if !status.is_success() => bail!("{url} answered {status}; try again later"),
        _ => Ok(response),
    }
}

/// The file to take when none was named.
fn choose(files: &[String], repository: &str) -> anyhow::Result<String> {
    let models: Vec<&String> = files.iter().filter(|file| file.ends_with(".gguf")).collect();
    let best: Vec<&&String> = models.iter().filter(|file| file.to_lowercase().contains("q8_0")).collect();
    match (models.as_slice(), best.as_slice()) {
        ([only], _) => Ok((*only).clone()),
        (_, [only]) => Ok((**only).clone()),
        ([], _) => bail!("{repository} has no GGUF file: look for a repository whose name ends in -GGUF"),
        (several, _) => {
            let names: Vec<&str> = several.iter().map(|name| name.as_str()).collect();
            bail!("{repository} has several GGUF files, choose one with --file: {}", names.join(", "))
        }
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
