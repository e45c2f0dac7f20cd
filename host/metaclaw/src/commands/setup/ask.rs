//! The questions, at most five of them for a provider that is known, each with an answer that was found.

use std::fmt;

use ::config::{BaseUrl, Paths, Preset};
use anyhow::Context;
use console::Term;
use domain::Secret;
use inquire::error::InquireResult;
use inquire::validator::Validation;
use inquire::{Confirm, InquireError, MultiSelect, Select, Text};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::SetupArgs;
use super::choice::{Choice, Key, Upstream};
use super::find::{self, Found, Present};
use super::known::{self, CUSTOM, EMBEDDED};
use crate::bank::Role;
use crate::commands::trial::Trouble;
use crate::output;

/// What the Esc key sends.
const ESC: char = '\u{1b}';
/// More lines than this scroll.
const PAGE: usize = 12;
const HOW_TO_SELECT: &str = "arrow keys and enter; type to search; Esc leaves everything as it is";

/// Who answers, as it is offered.
#[derive(Clone, Debug)]
enum Who {
    Present,
    Server(String),
    Provider(&'static str),
}

/// What else can be set up.
#[derive(Clone, Copy, Debug)]
enum Extra {
    Agent(Role),
    OpenClaw,
}

/// What to do after a trial that failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    Again,
    Change,
    Keep,
    Stop,
}

/// One line of a list: what it stands for, and the words.
#[derive(Clone, Debug)]
struct Item<T> {
    value: T,
    words: String,
}

impl<T> Item<T> {
    fn new(value: T, label: &str, hint: &str) -> Self {
        let words = if hint.is_empty() { label.to_owned() } else { format!("{label} ({hint})") };
        Item { value, words }
    }
}

impl<T> fmt::Display for Item<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

/// None when somebody pressed Esc: then nothing has happened, and nothing will. Ctrl-C ends the program.
fn answered<T>(answer: InquireResult<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(InquireError::OperationCanceled | InquireError::OperationInterrupted) => Ok(None),
        // Ctrl-C, when the read that it interrupts ends before the process does.
        Err(InquireError::IO(error)) if error.kind() == std::io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error).context("the terminal cannot be read: say everything with flags and --yes"),
    }
}

/// Unwraps an answer, or ends the questions.
macro_rules! ask {
    ($question:expr) => {
        match answered($question)? {
            Some(answer) => answer,
            None => return Ok(None),
        }
    };
}

/// Asks for what the command line leaves open.
pub(super) fn choose(
    args: &SetupArgs,
    found: &Found,
    paths: &Paths,
    runtime: &Runtime,
) -> anyhow::Result<Option<Choice>> {
    let mut choice = Choice::of(args, found)?;
    let given = args.api_key.as_deref().map(Key::parse).transpose()?;
    let provider = match args.provider() {
        Some(provider) => Some(provider.to_owned()),
        None => match ask!(who(args, found, paths)) {
            Who::Present => None,
            Who::Server(provider) => Some(provider),
            Who::Provider(provider) => Some(provider.to_owned()),
        },
    };
    match provider {
        None => {
            choice.other_model.clone_from(&args.model);
            choice.other_key = given.unwrap_or(Key::None);
        }
        Some(provider) => {
            let Some(upstream) = upstream(provider, args, given, found, paths, runtime)? else { return Ok(None) };
            choice.upstream = Some(upstream);
        }
    }
    for extra in ask!(extras(args, found)) {
        match extra {
            Extra::Agent(role) => choice.agents.push((role.name().parse()?, role)),
            Extra::OpenClaw => choice.connect_openclaw = true,
        }
    }
    Ok(Some(choice))
}

/// The first question. What was found stands first, and the best of it is chosen already.
fn who(args: &SetupArgs, found: &Found, paths: &Paths) -> InquireResult<Who> {
    let mut items = Vec::new();
    if found.present == Present::Configured && !args.force {
        let file = paths.config_file.display().to_string();
        items.push(Item::new(Who::Present, "whoever your configuration names", &file));
    }
    for server in &found.servers {
        let hint = format!("{}, models: {}", server.base, server.models.len());
        items.push(Item::new(Who::Server(server.provider.clone()), known::label(&server.provider), &hint));
    }
    for (preset, variable) in &found.keys {
        items.push(Item::new(Who::Provider(preset.name), preset.title, &format!("with {variable}")));
    }
    let hint = if found.model_installed { "no key; installed" } else { "no key; a small model, 93 MB to download" };
    items.push(Item::new(Who::Provider(EMBEDDED), "the embedded model", hint));
    for preset in known::offered() {
        let stands_above = found.servers.iter().any(|server| server.provider == preset.name)
            || found.keys.iter().any(|(other, _)| other.name == preset.name);
        if !stands_above {
            let hint = if preset.needs_key { "needs a key" } else { "no key; not found on its port" };
            items.push(Item::new(Who::Provider(preset.name), preset.title, hint));
        }
    }
    items.push(Item::new(Who::Provider(CUSTOM), "another OpenAI-compatible server", "by its address"));
    select("Who should answer your agents?", items, 0)
}

fn select<T: Clone>(question: &str, items: Vec<Item<T>>, start: usize) -> InquireResult<T> {
    let question = Select::new(question, items).with_page_size(PAGE).with_starting_cursor(start);
    question.with_help_message(HOW_TO_SELECT).prompt().map(|item| item.value)
}

fn upstream(
    provider: String,
    args: &SetupArgs,
    given: Option<Key>,
    found: &Found,
    paths: &Paths,
    runtime: &Runtime,
) -> anyhow::Result<Option<Upstream>> {
    if provider == EMBEDDED {
        let model = args.model.clone().unwrap_or_default();
        return Ok(Some(Upstream { provider, base: None, model, key: Key::None }));
    }
    let server = found.servers.iter().find(|server| server.provider == provider && args.api_base.is_none());
    let own = known::address(&provider);
    let mut base = args.api_base.clone().or_else(|| server.map(|s| s.base.clone()).filter(|b| own.as_ref() != Some(b)));
    if base.is_none() && own.is_none() {
        base = Some(ask!(address()));
    }
    let address = base.clone().or(own).unwrap_or_default();
    // Of a server of any kind nobody can know.
    let wants = provider == CUSTOM || Preset::by_name(&provider).is_none_or(|preset| preset.needs_key);
    let key = match (given, found.keys.iter().find(|(preset, _)| preset.name == provider)) {
        (Some(key), _) => key,
        (None, Some((_, variable))) => Key::variable(variable),
        (None, None) if !wants => Key::None,
        (None, None) => match key(&provider)? {
            Some(key) => key,
            None => return Ok(None),
        },
    };
    let model = match &args.model {
        Some(model) => model.clone(),
        None => {
            let models = match server {
                Some(server) => server.models.clone(),
                None => runtime.block_on(find::models_of(&address, key.resolve(paths).as_ref())).unwrap_or_default(),
            };
            ask!(model(&provider, &models))
        }
    };
    Ok(Some(Upstream { provider, base, model, key }))
}

fn address() -> InquireResult<String> {
    let valid = |text: &str| {
        Ok(match text.parse::<BaseUrl>() {
            Ok(_) => Validation::Valid,
            Err(problem) => Validation::Invalid(problem.into()),
        })
    };
    Text::new("Its address?").with_placeholder("https://host.example/v1").with_validator(valid).prompt()
}

/// What is typed is never shown: the terminal does not echo while this line is read, even when a whole key is pasted at once
/// (the other questions read key by key, and the terminal echoes what comes between two of them). Who writes a reference gets
/// one. None after Esc.
fn key(provider: &str) -> anyhow::Result<Option<Key>> {
    let locked = known::locked(provider);
    let variable = locked.and_then(|preset| preset.key_env.first()).copied().unwrap_or("NAME");
    let empty = if locked.is_some() { "" } else { "; empty if it wants none" };
    let terminal = Term::stderr();
    loop {
        terminal.write_str(&format!("? Its key? (is not shown; or env:{variable}, or file:PATH{empty}) "))?;
        let typed = Zeroizing::new(terminal.read_secure_line().context("the terminal cannot be read")?);
        return Ok(match typed.trim() {
            text if text.contains(ESC) => None,
            "" if locked.is_some() => {
                terminal.write_line("  it answers nobody without one")?;
                continue;
            }
            "" => Some(Key::None),
            text if text.starts_with("env:") || text.starts_with("file:") => Some(Key::Reference(text.to_owned())),
            text => Some(Key::Typed(Secret::new(text.to_owned()))),
        });
    }
}

fn model(provider: &str, models: &[String]) -> InquireResult<String> {
    let usual = known::usual_model(provider).unwrap_or_default();
    if models.is_empty() {
        let question = Text::new("Which model?");
        return if usual.is_empty() { question } else { question.with_default(usual) }.prompt();
    }
    let at = |wanted: &str| models.iter().position(|model| model == wanted);
    let start = at(usual).or_else(|| at(known::chat_model(models)?)).unwrap_or(0);
    let items = models.iter().map(|model| Item::new(model.clone(), model, "")).collect();
    select("Which model?", items, start)
}

fn extras(args: &SetupArgs, found: &Found) -> InquireResult<Vec<Extra>> {
    let mut items = Vec::new();
    let asks_agents = args.agents.is_empty();
    if asks_agents {
        let item = |role: &Role| Item::new(Extra::Agent(*role), &format!("the agent {}", role.name()), role.about());
        items.extend(Role::ALL.iter().map(item));
    }
    // A configuration that is there has its agents.
    let chosen: Vec<usize> = if found.present == Present::None { (0..items.len()).collect() } else { Vec::new() };
    let asks_openclaw = !args.connect_openclaw && !args.no_connect_openclaw;
    if asks_openclaw && matches!(found.openclaw, Some((_, false))) {
        items.push(Item::new(Extra::OpenClaw, "let OpenClaw's agents use this host", "edits its file, keeps a copy"));
    }
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let question = MultiSelect::new("What else?", items).with_default(&chosen);
    let question = question.with_help_message("space chooses, enter goes on; Esc leaves everything as it is");
    Ok(question.prompt()?.into_iter().map(|item| item.value).collect())
}

/// The last question. Esc says no.
pub(super) fn agreed(steps: &[String]) -> anyhow::Result<bool> {
    output::note("\nThis is what happens:");
    steps.iter().for_each(|step| output::note(format_args!("  {step}")));
    Ok(answered(Confirm::new("Go ahead?").with_default(true).prompt())?.unwrap_or(false))
}

/// What to do after a trial that failed.
pub(super) fn after(trouble: &Trouble) -> anyhow::Result<Next> {
    output::note(format_args!("✗ {}\n  → {}", trouble.what, trouble.remedy));
    let items = vec![
        Item::new(Next::Again, "try again", ""),
        Item::new(Next::Change, "change the answers", ""),
        Item::new(Next::Keep, "keep it all the same", ""),
        Item::new(Next::Stop, "stop", "nothing is changed"),
    ];
    let start = if trouble.passing { 0 } else { 1 };
    Ok(answered(select("What now?", items, start))?.unwrap_or(Next::Stop))
}
