//! Who judges answers, for rewards, gates, and skills that are tried out.

use std::collections::BTreeMap;

use domain::{AgentId, Mode};

use crate::agents::{self, Target};
use crate::described::Described;
use crate::learning::{LearningConfig, Verify};
use crate::load::Reader;
use crate::upstreams::{UpstreamConfig, UpstreamKind};

/// The upstream that `rl.prm_*` describes. No user can give this name: it has a dot.
pub(crate) const JUDGE: &str = "rl.prm";

const KEYS: Described = Described {
    upstream: JUDGE,
    base: "rl.prm_url",
    key: "rl.prm_api_key",
    provider: "rl.prm_provider",
    task: "judge",
};
const MODEL: &str = "rl.prm_model";
/// What MetaClaw writes into every file, and what by itself asks for nothing.
const WRITTEN_BASE: &str = "https://api.openai.com/v1";
const WRITTEN_MODEL: &str = "gpt-5.2";

/// Who judges an agent's answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JudgeConfig {
    /// Where the judge is; none: whoever answers the agent's turns.
    pub target: Option<Target>,
    /// How often it is asked about one answer, 1 to 15.
    pub votes: u32,
}

/// The upstream that `rl.prm_*` describes, when it says where to go or with which key, and somebody wants a judge.
pub(crate) fn upstream(
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
) -> Option<UpstreamConfig> {
    let ids = KEYS.agents(reader);
    let wanted = ids.iter().any(|id| {
        let word = reader.for_agent::<String>(id, "rl.judge");
        let verifies = reader.for_agent::<String>(id, "skills.verify").is_some_and(|word| word != "off");
        word.as_deref() == Some("auto") && (verifies || agents::mode(id, reader) != Mode::SkillsOnly)
    });
    let base = reader.settings.mentions(KEYS.base).then(|| reader.text(KEYS.base)).flatten();
    let elsewhere = base.as_deref().is_some_and(|base| base.trim_end_matches('/') != WRITTEN_BASE);
    if !wanted || !(elsewhere || reader.settings.mentions(KEYS.key)) {
        return None;
    }
    KEYS.build(base.or_else(|| Some(WRITTEN_BASE.to_owned())), reader, upstreams)
}

/// Who judges this agent's answers; none: nobody. `upstreams` has the one that `rl.prm_*` describes.
pub(crate) fn build(
    id: &AgentId,
    usual: Option<&Target>,
    reader: &mut Reader<'_>,
    upstreams: &BTreeMap<String, UpstreamConfig>,
    learning: &LearningConfig,
) -> Option<JudgeConfig> {
    let votes = reader.for_agent(id, "rl.prm_votes").unwrap_or(1);
    let written = reader.settings.inherited(id, MODEL).is_some();
    let model = reader.for_agent::<String>(id, MODEL).filter(|model| written && !model.is_empty());
    let said = model.clone().filter(|model| model != WRITTEN_MODEL);
    let target = match reader.for_agent::<String>(id, "rl.judge").as_deref() {
        Some("own") => Some(None),
        Some("auto") => match (upstreams.get(JUDGE), said, usual) {
            (Some(judge), _, usual) => {
                let at_openai = matches!(&judge.kind, UpstreamKind::Http { base, .. } if base.as_str() == WRITTEN_BASE);
                let usual = || usual.map(|usual| usual.model.clone()).unwrap_or_default();
                let model = model.unwrap_or_else(|| if at_openai { WRITTEN_MODEL.to_owned() } else { usual() });
                Some(Some(Target { upstream: JUDGE.to_owned(), model }))
            }
            (None, Some(model), Some(usual)) => Some(Some(Target { upstream: usual.upstream.clone(), model })),
            _ => None,
        },
        _ => None,
    };
    if target.is_none() && learning.enabled && learning.verify != Verify::Off {
        const VERIFY: &str = "skills.verify";
        let found = reader.settings.inherited(id, VERIFY).map(|(path, found)| (path, found.place));
        let (path, place) = found.map_or((VERIFY.to_owned(), None), |(path, place)| (path, Some(place)));
        let message = "skills cannot be tried out: nobody judges the answers";
        reader.report.error(
            &path,
            place,
            message,
            "set rl.judge to own, or rl.prm_url, rl.prm_model and rl.prm_api_key",
        );
    }
    target.map(|target| JudgeConfig { target, votes })
}
