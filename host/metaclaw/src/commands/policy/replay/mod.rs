//! What a module would have decided on turns that a host has recorded.

mod compare;
mod recorded;
mod report;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use ::config::{AgentConfig, Config, ModuleRef, Paths};
use agents::{CatalogView, agent_files};
use anyhow::{Context, bail};
use clap::Args;
use domain::{AgentId, BreakerLimits, Hook, PerHook, PolicyGrants, PolicyLimits, SessionId, TurnKind, Verdict};
use policy::{
    AgentPolicy, AgentPolicyParts, FileSource, HookModules, Module, Rendering, RouteDecision, Selection, Target,
};
use registry::Modules;
use skills::{Library, SkillTree, TreeOptions};
use store::{Archive, StoredSample};

use self::compare::{Cause, Change, Decisions, Judgement, Then};
use self::recorded::{ReadOnly, Recorded};
use self::report::{Differing, Report};
use super::cases::{Kept, generous_limits};
use super::subject::{Subject, Workshop, agent, configured};
use crate::modules::{self, Sources};
use crate::output;

/// `metaclaw policy replay`
#[derive(Debug, Args)]
#[command(
    after_help = "Reads what the host has recorded, while it runs or not, and changes nothing. The skills, targets and mode are those of now; values
(`kv`) begin empty and go on from turn to turn. A decision that the module which was asked then would make otherwise today as
well is not laid to the new one: it is only counted, and listed with --all.

Examples:
  metaclaw policy replay policy.wasm --agent researcher
  metaclaw policy replay policy.wasm --agent researcher --since 2d --limit 5000 --json
  metaclaw policy replay policy.wasm --agent researcher --settings '{\"long\": 4000}'"
)]
pub(super) struct ReplayArgs {
    /// The module
    module: PathBuf,
    /// Whose turns
    #[arg(long, value_name = "AGENT", value_parser = agent)]
    agent: AgentId,
    /// Settings for the module instead of the agent's, a JSON object
    #[arg(long, value_name = "JSON")]
    settings: Option<String>,
    /// Only turns since then: `2h`, `7d`, `2026-11-20` or `2026-11-20T12:00:00Z`
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<SystemTime>,
    /// At most so many, the last ones
    #[arg(long, default_value_t = 1000)]
    limit: usize,
    /// List also what differs for other reasons than the module
    #[arg(long)]
    all: bool,
}

/// A span before now, a day or a moment.
fn since(text: &str) -> Result<SystemTime, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return SystemTime::now().checked_sub(span).ok_or_else(|| "that is before all time".to_owned());
    }
    let moment = text.parse::<jiff::Timestamp>().or_else(|_| format!("{text}T00:00:00Z").parse());
    moment.map(SystemTime::from).map_err(|_| "write 2h, 7d, 2026-11-20 or 2026-11-20T12:00:00Z".to_owned())
}

/// What both policies see beside the turns.
struct Scene {
    id: AgentId,
    config: Arc<AgentConfig>,
    library: Arc<Library>,
    targets: Arc<[Target]>,
    files: Arc<dyn FileSource>,
    /// The ones that the host has fetched.
    registries: Modules,
}

/// A policy that is asked anew, and the values that it keeps meanwhile.
struct Player {
    policy: AgentPolicy,
    kept: Arc<Kept>,
}

pub(super) fn run(args: &ReplayArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let subject = Subject::read(&args.module)?;
    configured(paths, &args.agent)?;
    let config = crate::commands::load(paths, crate::commands::lenient())?.config;
    let scene = Scene::of(&args.agent, &config)?;
    let workshop = Workshop::like_the_host()?;
    let module = workshop.engine.module(&subject.bytes).with_context(|| subject.path.display().to_string())?;
    let new = Player::of_new(&workshop, &scene, &module, args.settings.as_deref())?;
    let mut notes = Vec::new();
    let present = Player::of_present(&workshop, &scene)
        .map_err(|error| {
            notes.push(format!(
                "the agent's present module does not load, so nothing tells its changes from others: {error:#}"
            ))
        })
        .ok();
    if module.asks().skills == Some(domain::FileGrant::Write) {
        notes
            .push("the module may write skills: here it may not, and what it would have written is missing".to_owned());
    }
    let mut report = Report::new(&args.agent, &subject, notes);
    crate::commands::runtime()?.block_on(async {
        let state = config.home.join("state");
        let archive = Archive::open(&state).await.with_context(|| {
            format!("the records of agent `{}` cannot be read (has a host run on this home?)", args.agent)
        })?;
        let outcome = play(args, &scene, &archive, &new, present.as_ref(), &mut report).await;
        archive.close().await;
        outcome
    })?;
    match json {
        true => output::json(&report),
        false => report.print(args.all),
    }
    Ok(())
}

async fn play(
    args: &ReplayArgs,
    scene: &Scene,
    archive: &Archive,
    new: &Player,
    present: Option<&Player>,
    report: &mut Report,
) -> anyhow::Result<()> {
    let turns = archive.turns(&args.agent, args.since.unwrap_or(SystemTime::UNIX_EPOCH), args.limit).await?;
    // A choice of the same skills as before keeps their order, so what was injected before matters.
    let mut before: HashMap<SessionId, Vec<String>> = HashMap::new();
    for id in turns {
        let Some(stored) = archive.turn(id).await? else { continue };
        let sample = archive.sample_of(id).await?;
        let then = Then::of(&stored, sample.as_ref(), before.get(&stored.record.session));
        before.insert(stored.record.session.clone(), stored.record.skills.clone());
        let Some(turn) = Recorded::of(stored, sample.as_ref(), scene) else {
            report.unreadable += 1;
            continue;
        };
        let now = new.decide(scene, &turn, sample.as_ref()).await;
        let present = match present {
            Some(present) => Some(present.decide(scene, &turn, sample.as_ref()).await),
            None => None,
        };
        report.failures += u64::from(!now.failures.is_empty());
        let changes = then.changes(&now, present.as_ref());
        report.count(Differing::of(&turn.record, changes, &now.failures));
    }
    Ok(())
}

impl Scene {
    fn of(id: &AgentId, config: &Config) -> anyhow::Result<Self> {
        let agent = config.agent(id);
        let tree = SkillTree::open(&config.skills_dir, TreeOptions { follow: false, ..TreeOptions::default() })?;
        let target =
            |t: &::config::Target| Target { upstream: t.upstream.as_str().into(), model: t.model.as_str().into() };
        Ok(Scene {
            id: id.clone(),
            library: tree.library(id),
            targets: agent.targets.iter().map(target).collect(),
            files: Arc::new(ReadOnly(agent_files(&config.skills_dir, &agent.rl.lora_output, id))),
            config: agent,
            registries: Modules::of(&config.home),
        })
    }

    /// One of the agent's own modules.
    fn load(&self, workshop: &Workshop, module: &ModuleRef) -> anyhow::Result<Arc<Module>> {
        let sources = Sources { registries: &self.registries, auth_file: None };
        modules::load(&workshop.engine, module, &self.config.policy, sources)
    }
}

impl Player {
    /// The new module in place of the agent's. Hooks that it has not are the built-in's, unless the agent has modules for single hooks.
    fn of_new(
        workshop: &Workshop,
        scene: &Scene,
        module: &Arc<Module>,
        settings: Option<&str>,
    ) -> anyhow::Result<Self> {
        let policy = &scene.config.policy;
        let own = policy.hooks.iter().any(|(_, module)| module.is_some());
        let settings = settings.unwrap_or(if own { &policy.config_json } else { "{}" });
        let problems = workshop.engine.config_problems(module, settings)?;
        if !problems.is_empty() {
            let words: Vec<_> = problems.into_iter().map(|problem| problem.message).collect();
            bail!(
                "the module refuses the settings of agent `{}` ({}): give it others with --settings",
                scene.id,
                words.join("; ")
            );
        }
        let mut named = policy.hooks.iter().filter_map(|(_, module)| module.as_ref());
        let first = named.next();
        let several = named.any(|other| Some(other) != first);
        let by_hook = PerHook::try_make(|hook| match &policy.hooks[hook] {
            _ if module.hooks()[hook] => Ok(Some(module.clone())),
            Some(other) if several => scene.load(workshop, other).map(Some),
            _ => Ok(None),
        })?;
        // What it asks for, it is given: nothing of it reaches the disk.
        let mut player = Player::new(workshop, scene, HookModules { by_hook, config: settings.into() });
        player.grant_everything(workshop, scene);
        Ok(player)
    }

    /// The agent's modules of now.
    fn of_present(workshop: &Workshop, scene: &Scene) -> anyhow::Result<Self> {
        let policy = &scene.config.policy;
        let by_hook = PerHook::try_make(|hook| match &policy.hooks[hook] {
            Some(module) => scene.load(workshop, module).map(Some),
            None => Ok(None),
        })?;
        Ok(Player::new(workshop, scene, HookModules { by_hook, config: policy.config_json.as_str().into() }))
    }

    fn new(workshop: &Workshop, scene: &Scene, modules: HookModules) -> Self {
        let policy = AgentPolicy::new(&workshop.engine, parts(scene, modules));
        Player { policy, kept: Arc::default() }
    }

    fn grant_everything(&mut self, workshop: &Workshop, scene: &Scene) {
        let grants = PolicyGrants { wasi_fs: true, ..super::cases::GRANTS };
        let parts = AgentPolicyParts { grants, ..parts(scene, self.policy.modules().clone()) };
        self.policy = AgentPolicy::new(&workshop.engine, parts);
    }

    /// As the host would have it decide.
    async fn decide(&self, scene: &Scene, turn: &Arc<Recorded>, sample: Option<&StoredSample>) -> Decisions {
        let turn = Arc::new(turn.with_values(self.kept.clone()));
        let mut decisions = Decisions::default();
        let mut call = self.policy.turn(turn.clone());
        let route = call.route().await;
        decisions.note(Hook::Route, &route);
        decisions.route = Some(match route.value {
            RouteDecision::To(index) => {
                let target = &scene.targets[index];
                let model = if target.model.is_empty() { turn.request.model() } else { (*target.model).into() };
                format!("{}/{model}", target.upstream)
            }
            RouteDecision::Refuse(words) => {
                decisions.refuses = true;
                words
            }
        });
        decisions.decided_by = Some(route.digest);
        let selects = turn.record.kind == TurnKind::Main
            && !decisions.refuses
            && scene.config.skills.enabled
            && !scene.library.is_empty();
        if selects {
            let catalog = Arc::new(CatalogView::by_words(scene.library.clone(), scene.config.skills));
            let chosen = call.select(catalog.clone()).await;
            decisions.note(Hook::Select, &chosen);
            decisions.decided_by = Some(chosen.digest);
            match chosen.value {
                Selection::Skills(names) => {
                    let mut names = fitting(&scene.library, &names, scene.config.skills.token_budget);
                    if !names.is_empty() && self.policy.has(Hook::Render) {
                        let rendered = call.render(catalog, &names).await;
                        decisions.note(Hook::Render, &rendered);
                        // An empty layout puts nothing into the prompt.
                        if rendered.value == Rendering::Text(String::new()) {
                            names.clear();
                        }
                    }
                    decisions.skills = Some(names);
                }
                Selection::Deny => {
                    decisions.refuses = true;
                    decisions.route = Some(policy::DENIED.to_owned());
                }
            }
        } else if !decisions.refuses {
            decisions.skills = Some(Vec::new());
        }
        drop(call);
        if sample.is_some() {
            let verdict = self.policy.filter(turn.clone()).await;
            decisions.note(Hook::Filter, &verdict);
            let mut judgement = Judgement::of(&verdict.value, verdict.digest);
            if matches!(verdict.value, Verdict::Keep { .. }) && self.policy.has(Hook::Reward) {
                let reward = self.policy.reward(turn).await;
                decisions.note(Hook::Reward, &reward);
                judgement.reward = reward.value;
            }
            decisions.judgement = Some(judgement);
        }
        decisions
    }
}

fn parts(scene: &Scene, modules: HookModules) -> AgentPolicyParts {
    let settings = &scene.config.policy;
    AgentPolicyParts {
        modules,
        builtin_config: settings.builtin_json.as_str().into(),
        on_failure: settings.on_failure,
        // What failed once says nothing of a later turn here: they do not come in their own time.
        breaker: BreakerLimits { failures: 0, ..settings.breaker },
        limits: PolicyLimits { memory: settings.limits.memory, ..generous_limits() },
        grants: settings.grants,
        ..AgentPolicyParts::default()
    }
}

/// As far as the budget reaches, as the host counts it.
fn fitting(library: &Library, names: &[String], budget: u32) -> Vec<String> {
    let mut left = budget;
    let chosen = names.iter().filter_map(|name| library.get(name)).filter(|skill| {
        let fits = skill.tokens <= left;
        left -= if fits { skill.tokens } else { 0 };
        fits
    });
    chosen.map(|skill| skill.name.to_string()).collect()
}
