//! Upstreams that answer no turns, and are described by a few keys of `rl`: who writes skills, and who judges.

use std::collections::BTreeMap;

use domain::{AgentId, UpstreamLimits};

use crate::load::Reader;
use crate::providers::{self, Auth, Preset};
use crate::setting::unknown;
use crate::upstreams::{BaseUrl, DEFAULT, UpstreamConfig, UpstreamKind};
use crate::yaml::quote;

/// The keys that describe one.
pub(crate) struct Described {
    /// Its name. No user can give one with a dot.
    pub(crate) upstream: &'static str,
    pub(crate) base: &'static str,
    pub(crate) key: &'static str,
    pub(crate) provider: &'static str,
    /// What it is asked to do.
    pub(crate) task: &'static str,
}

impl Described {
    /// The agents that could need it.
    pub(crate) fn agents(&self, reader: &Reader<'_>) -> Vec<AgentId> {
        reader.settings.agents.keys().cloned().chain([AgentId::Default]).collect()
    }

    /// The upstream. As in MetaClaw, what the keys leave out is taken from `llm`; but for the key, which goes nowhere else than to
    /// its own address.
    pub(crate) fn build(
        &self,
        base: Option<String>,
        reader: &mut Reader<'_>,
        upstreams: &BTreeMap<String, UpstreamConfig>,
    ) -> Option<UpstreamConfig> {
        let usual = upstreams.get(DEFAULT).and_then(|usual| match &usual.kind {
            UpstreamKind::Http { base, provider, .. } => Some((base.clone(), *provider)),
            UpstreamKind::Embedded { .. } => None,
        });
        let named = reader.settings.mentions(self.provider).then(|| reader.text(self.provider)).flatten();
        let openai = Preset::by_name("openai");
        let its_own = openai.and_then(|openai| openai.address(None));
        let at_openai = base.as_deref().zip(its_own).is_some_and(|(base, own)| base.trim_end_matches('/') == &*own);
        let preset = match named.as_deref() {
            // What MetaClaw writes into every file says nothing.
            None | Some("openai") if at_openai => openai,
            None | Some("openai") if base.is_some() => Preset::by_name("custom"),
            None | Some("openai") => usual.as_ref().map(|(_, preset)| *preset).or_else(|| Preset::by_name("openai")),
            Some(name) => Preset::by_name(name),
        };
        let Some(provider) = preset else {
            let (message, remedy) =
                unknown(named.as_deref().unwrap_or_default(), "a provider", &providers::names().collect::<Vec<_>>());
            reader.report.error(self.provider, reader.place(self.provider), message, remedy);
            return None;
        };
        let address = match base {
            Some(text) => match text.parse::<BaseUrl>() {
                Ok(base) => Some(base),
                Err(message) => {
                    let remedy = "write it as https://host/v1";
                    reader.report.error(self.base, reader.place(self.base), message, remedy);
                    return None;
                }
            },
            None => usual
                .filter(|(_, preset)| preset.name == provider.name)
                .map(|(base, _)| base)
                .or_else(|| provider.address(None).and_then(|base| base.parse().ok())),
        };
        let Some(base) = address else {
            let message = format!("{} is asked to {}, and its address is not known", quote(provider.name), self.task);
            reader.report.error(self.base, None, message, "set it to https://host/v1");
            return None;
        };
        let api_key = reader.secret(self.key);
        if api_key.is_some() && base.is_open_road() {
            let message = format!("the key goes to {base} unencrypted");
            reader.report.warning(self.base, reader.place(self.base), message, "use https");
        }
        let reach = crate::reach::build(self.upstream, self.upstream, &base, reader);
        let auth = if api_key.is_some() { Auth::Key } else { Auth::None };
        let kind = UpstreamKind::Http { base, reach, api_key, auth, key_header: "authorization".to_owned(), provider };
        let (models, limits) = (Vec::new(), UpstreamLimits::default());
        Some(UpstreamConfig { name: self.upstream.to_owned(), kind, models, context_window: None, limits })
    }
}
