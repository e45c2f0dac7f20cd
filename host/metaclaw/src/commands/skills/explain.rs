use std::collections::HashMap;
use std::path::Path;
use std::time::SystemTime;

use agents::{learned_from, settled, template_sizes};
use clap::Args;
use config::{AgentConfig, Paths};
use domain::{AgentId, Hook, RetrievalMode};
use serde_json::{Value, json};
use skills::{Candidate, Embedder, Question, Verdict, embed_now};
use store::{Archive, SkillUse};

use super::{OfAgent, learned};
use crate::cli::HostArgs;
use crate::embedder::{self, Found};
use crate::output;

/// So many of those that were not chosen are shown; all are in the JSON.
const SHOWN: usize = 12;
/// The built-in policy looks at so many more skills than it may choose, since some may not fit into the tokens.
const SPARE: usize = 2;
const MAX_SKILLS: usize = 64;

/// `metaclaw skills explain`
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// What a user says
    text: String,
    #[command(flatten)]
    of: OfAgent,
    /// Say as well what this session of the running host has in its prompt, and would have after this
    #[arg(long, value_name = "SESSION")]
    session: Option<String>,
    #[command(flatten)]
    host: HostArgs,
}

/// How skills are found here and now.
struct How {
    mode: RetrievalMode,
    embedder: Option<&'static str>,
    /// The score that the best must reach, where meaning counts.
    threshold: Option<f32>,
    /// Why meaning does not count although the mode wants it.
    lacks: Option<String>,
    /// Why what came of skills does not count.
    unknown: Option<String>,
}

/// What a session has in its prompt, and what it would have.
struct Stays {
    before: Vec<String>,
    after: Vec<String>,
}

/// `metaclaw skills explain`: needs no running host, but for `--session`, and changes nothing. What came of skills is read from the
/// store, which has all that the running host knows of it.
pub(super) fn run(args: &ExplainArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let config = &super::super::load(paths, super::super::lenient())?.config;
    let (agent, text) = (&args.of.id(), args.text.as_str());
    let settings = config.agent(agent);
    let library = super::open(&config.skills_dir)?.library(agent);
    let mode = settings.skills.retrieval;
    let mut how = How { mode, embedder: None, threshold: None, lacks: None, unknown: None };
    let (mut vector, mut model) = (None, None);
    if mode.embeds() {
        match embedder::find(config) {
            Found::Embedder(embedder, kind) => {
                let embedder: &dyn Embedder = &*embedder;
                embed_now(&library, embedder, Some(embedder::vectors_file(&config.home, embedder)));
                (vector, model) = (embedder.embed(text).ok(), Some(embedder.model()));
                (how.embedder, how.threshold) = (Some(kind.as_str()), Some(embedder.threshold()));
            }
            Found::Nothing => {
                how.lacks = Some("no embedder is installed: `metaclaw models fetch minilm`".to_owned());
            }
            Found::Unusable(why) => how.lacks = Some(why),
        }
    }
    let uses = uses(&config.home, agent).unwrap_or_else(|error| {
        how.unknown = Some(format!("{error:#}"));
        Vec::new()
    });
    let learned = learned_from(uses.clone(), &library, model);
    let sizes = template_sizes(&settings.skills);
    let most = match mode {
        RetrievalMode::Template => sizes.most().min(MAX_SKILLS),
        _ => settings.skills.top_k as usize,
    };
    let question = Question { text, vector: vector.as_deref(), mode, sizes, learned: Some(&learned) };
    let candidates = library.explain(&question, (most + SPARE).min(MAX_SKILLS));
    let judged = judge(&settings, candidates, most);
    let stays = match &args.session {
        Some(session) => {
            let before = there(args, session, paths)?;
            let chosen: Vec<String> =
                judged.iter().filter(|(_, chosen, _)| *chosen).map(|(c, ..)| c.skill.name.to_string()).collect();
            let decides = mode != RetrievalMode::Template && !has_own(&settings);
            let after = if decides { settled(&library, &question, &before, &chosen, &settings.skills) } else { chosen };
            Some(Stays { before, after })
        }
        None => None,
    };
    let uses: HashMap<&str, &SkillUse> = uses.iter().map(|sums| (sums.skill.as_str(), sums)).collect();
    if json {
        let shown: Vec<Value> =
            judged.iter().map(|(candidate, chosen, why)| described(candidate, *chosen, why, &uses)).collect();
        output::json(&json!({
            "agent": agent.as_str(),
            "text": text,
            "retrieval_mode": mode.as_str(),
            "embedder": how.embedder,
            "threshold": how.threshold,
            "lacks": how.lacks,
            "unknown": how.unknown,
            "injects": settings.skills.enabled,
            "own_policy": has_own(&settings),
            "session": stays.map(|stays| json!({"before": stays.before, "after": stays.after})),
            "skills": shown,
        }));
    } else {
        show(agent, &settings, &how, &judged);
        if let Some(Stays { before, after }) = stays {
            let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            output::line(format_args!("the session's prompt has {}, and would have {}", list(&before), list(&after)));
        }
    }
    Ok(())
}

/// The skills that a session of the running host has in its prompt.
fn there(args: &ExplainArgs, session: &str, paths: &Paths) -> anyhow::Result<Vec<String>> {
    let agent = args.of.id();
    let path = ["agents", agent.as_str(), "sessions", session, "skills"];
    let there = super::super::runtime()?.block_on(learned::reach(&args.host, paths)?.look(&path))?;
    let names = there["skills"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(names.map(str::to_owned).collect())
}

/// What came of the agent's skills; nothing where no host has run yet.
fn uses(home: &Path, agent: &AgentId) -> anyhow::Result<Vec<SkillUse>> {
    let state = home.join("state");
    if !state.exists() {
        return Ok(Vec::new());
    }
    super::super::runtime()?.block_on(async {
        let archive = Archive::open(&state).await?;
        let uses = archive.skill_uses(agent).await;
        archive.close().await;
        Ok(uses?)
    })
}

/// What the built-in policy makes of the candidates: whether each goes into the prompt, and why.
fn judge(settings: &AgentConfig, candidates: Vec<Candidate>, most: usize) -> Vec<(Candidate, bool, String)> {
    let skills = &settings.skills;
    let mut left = skills.token_budget;
    let mut taken = 0;
    let judged = |candidate: Candidate| {
        let tokens = candidate.skill.tokens;
        let (chosen, why) = match candidate.verdict {
            Verdict::Chosen
                if skills.retrieval != RetrievalMode::Template && f64::from(candidate.score) < skills.min_score =>
            {
                (false, format!("its score is below skills.min_score, {}", skills.min_score))
            }
            Verdict::Chosen if taken == most => {
                (false, format!("{most} others come before it, and there is no more room"))
            }
            Verdict::Chosen if tokens > left => {
                (false, format!("it has {tokens} tokens, and skills.token_budget leaves {left}"))
            }
            Verdict::Chosen => {
                (taken, left) = (taken + 1, left - tokens);
                (true, "chosen".to_owned())
            }
            verdict => (false, reason(verdict)),
        };
        (candidate, chosen, why)
    };
    candidates.into_iter().map(judged).collect()
}

fn reason(verdict: Verdict) -> String {
    match verdict {
        Verdict::Chosen => "chosen".to_owned(),
        Verdict::Crowded => "others come before it, and there is no more room".to_owned(),
        Verdict::FarFromBest(least) => format!("too far from the best: its score is below {least:.2}"),
        Verdict::NothingFits(threshold) => format!("nothing fits: no skill's score reaches {threshold:.2}"),
        Verdict::LittleEvidence(needed) => format!("the words that it shares tell too little: below {needed:.2}"),
        Verdict::NothingAsked => "the text has no word that tells of a subject".to_owned(),
        Verdict::Harms => {
            "turns with it ended badly too often: it is not chosen until that fades, or its text changes".to_owned()
        }
        Verdict::OtherCategory => "it is of another category, or one too many of its own".to_owned(),
    }
}

fn has_own(settings: &AgentConfig) -> bool {
    settings.policy.hooks[Hook::Select].is_some()
}

fn described(candidate: &Candidate, chosen: bool, why: &str, uses: &HashMap<&str, &SkillUse>) -> Value {
    let uses = uses.get(candidate.skill.name.as_str()).map(|sums| {
        let left = sums.left(SystemTime::now());
        json!({
            "offered": sums.offered,
            "injected": sums.injected,
            "succeeded": sums.succeeded * left,
            "failed": sums.failed * left,
        })
    });
    json!({
        "name": candidate.skill.name.as_str(),
        "chosen": chosen,
        "score": candidate.score.is_finite().then_some(candidate.score),
        "cosine": candidate.cosine,
        "words": candidate.gain,
        "evidence": candidate.evidence,
        "use": candidate.learned,
        "harm": candidate.harm,
        "uses": uses,
        "tokens": candidate.skill.tokens,
        "why": why,
    })
}

fn show(agent: &AgentId, settings: &AgentConfig, how: &How, judged: &[(Candidate, bool, String)]) {
    let by = how.embedder.map(|name| format!(" with {name}")).unwrap_or_default();
    let chosen = judged.iter().filter(|(_, chosen, _)| *chosen).count();
    let mode = how.mode.as_str();
    output::line(format_args!("{agent}: {chosen} of {} skills, by retrieval_mode {mode}{by}", judged.len()));
    if let Some(lacks) = &how.lacks {
        output::line(format_args!("words alone decide: {lacks}"));
    }
    if let Some(unknown) = &how.unknown {
        output::line(format_args!("what came of its skills does not count here: {unknown}"));
    }
    if !settings.skills.enabled {
        output::line("its prompts get none: skills.enabled is false");
    }
    if has_own(settings) {
        output::line(
            "it has a policy of its own, which may choose otherwise: this is what its search finds, and the built-in would choose",
        );
    }
    let shown = &judged[..judged.len().min(chosen + SHOWN)];
    if !shown.is_empty() {
        let width = shown.iter().map(|(candidate, ..)| candidate.skill.name.as_str().len()).max().unwrap_or(0).max(5);
        output::line(format_args!("  {:width$}  score  cosine  words  use    harm   why", "skill"));
        for (candidate, chosen, why) in shown {
            let number = |value: Option<f32>| match value.filter(|value| value.is_finite()) {
                Some(value) => format!("{value:.2}"),
                None => "-".to_owned(),
            };
            let mark = if *chosen { "*" } else { " " };
            output::line(format_args!(
                "{mark} {:width$}  {:<5}  {:<6}  {:<5}  {:<5}  {:<5}  {why}",
                candidate.skill.name.as_str(),
                number(Some(candidate.score)),
                number(candidate.cosine),
                number(Some(candidate.gain)),
                number(candidate.learned),
                number(Some(candidate.harm).filter(|harm| *harm > 0.0)),
            ));
        }
    }
    if judged.len() > shown.len() {
        output::line(format_args!("  and {} more: see --json", judged.len() - shown.len()));
    }
}
