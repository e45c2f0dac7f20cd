//! How this command speaks with a running host as its operator.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::output;
use crate::running::Running;

/// How long a host may take over what it only looks up.
const SHORT: Duration = Duration::from_secs(5);

/// The admin listener of a running host.
pub(crate) struct Admin {
    client: reqwest::Client,
    base: String,
    key: Option<String>,
}

impl Admin {
    /// None when the host has no admin listener, or one that wants a key and there is none.
    pub(crate) fn of(running: &Running, key: Option<&str>) -> anyhow::Result<Option<Admin>> {
        let client = reqwest::Client::builder().no_proxy();
        let Some(place) = &running.admin else { return Ok(None) };
        let (client, base, key) = match place.strip_prefix("unix:") {
            Some(path) => (client.unix_socket(path), "http://localhost".to_owned(), None),
            None => match key {
                Some(key) => (client, format!("http://{place}"), Some(key.to_owned())),
                None => return Ok(None),
            },
        };
        Ok(Some(Admin { client: client.build()?, base, key }))
    }

    /// How the host is: as its admin listener tells it, else only whether it is ready.
    pub(crate) async fn state_of(running: &Running, key: Option<&str>) -> anyhow::Result<Value> {
        match Admin::of(running, key)? {
            Some(admin) => admin.status().await,
            None => running.ready().await,
        }
    }

    /// `GET /admin/status`
    async fn status(&self) -> anyhow::Result<Value> {
        self.send(self.client.get(format!("{}/admin/status", self.base)), SHORT).await
    }

    /// `POST /admin/reload`
    pub(crate) async fn reload(&self, timeout: Duration) -> anyhow::Result<Value> {
        self.send(self.client.post(format!("{}/admin/reload", self.base)), timeout).await
    }

    /// `POST /admin/stop`
    pub(crate) async fn stop(&self) -> anyhow::Result<Value> {
        self.send(self.client.post(format!("{}/admin/stop", self.base)), SHORT).await
    }

    /// As [`of`](Admin::of), for what cannot be done without.
    pub(crate) fn must(running: &Running, key: Option<&str>) -> anyhow::Result<Admin> {
        Admin::of(running, key)?.context(
            "the host's admin listener is closed, or wants a key: see `admin.listen`, and give the key as METACLAW_ADMIN_KEY",
        )
    }

    /// `GET /admin/…`, each part of the path by itself.
    pub(crate) async fn look(&self, path: &[&str]) -> anyhow::Result<Value> {
        self.send(self.client.get(self.at(path)?), SHORT).await
    }

    /// `POST /admin/…`, each part of the path by itself.
    pub(crate) async fn order(&self, path: &[&str]) -> anyhow::Result<Value> {
        self.send(self.client.post(self.at(path)?), SHORT).await
    }

    /// As [`order`](Admin::order), with a query.
    pub(crate) async fn order_with(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Value> {
        let mut url = self.at(path)?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.send(self.client.post(url), SHORT).await
    }

    /// As [`order_with`](Admin::order_with), for what takes as long as `timeout`.
    pub(crate) async fn order_long(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        timeout: Duration,
    ) -> anyhow::Result<Value> {
        let mut url = self.at(path)?;
        url.query_pairs_mut().extend_pairs(query);
        self.send(self.client.post(url), timeout).await
    }

    fn at(&self, path: &[&str]) -> anyhow::Result<reqwest::Url> {
        let mut url = reqwest::Url::parse(&self.base)?;
        let mut parts = url.path_segments_mut().ok().context("the host's admin listener is at no address")?;
        parts.clear().push("admin").extend(path);
        drop(parts);
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder, timeout: Duration) -> anyhow::Result<Value> {
        let request = match &self.key {
            Some(key) => request.header("x-metaclaw-key", key),
            None => request,
        };
        let answer = request.timeout(timeout).send().await.context("the host's admin listener does not answer")?;
        let status = answer.status();
        let body: Value = serde_json::from_slice(&answer.bytes().await?).unwrap_or_default();
        if !status.is_success() {
            let reason = body["error"]["message"].as_str().unwrap_or("the host refused without a reason");
            bail!("{}", output::harmless(reason));
        }
        Ok(body)
    }
}
