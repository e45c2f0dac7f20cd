use std::io::BufRead;

use ::config::{ConfigError, LoadOptions, Overview, Paths, Problem, Settings};
use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::exit::Exit;
use crate::output;

/// Show, read, change or check the configuration
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_value_name = "COMMAND | KEY [VALUE]",
    after_help = "Examples:
  metaclaw config check
  metaclaw config get agents.researcher.mode
  metaclaw config set llm.provider openai llm.api_key env:OPENAI_API_KEY
  metaclaw config keys | grep limits

MetaClaw's own form works as well:
  metaclaw config skills.top_k            as get
  metaclaw config skills.top_k 4          as set"
)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print the settings in force, as YAML; secrets are not shown
    #[command(after_help = "Examples:
  metaclaw config show
  metaclaw config show --json")]
    Show,
    /// Print the value in force of a key, or of all keys in a section
    #[command(after_help = "Examples:
  metaclaw config get proxy.port
  metaclaw config get agents.researcher")]
    Get {
        /// Such as proxy.port or agents.researcher
        key: String,
    },
    /// Set keys in the file, all at once; comments stay, and a change that would break the configuration is refused
    #[command(after_help = "Examples:
  metaclaw config set proxy.port 31000
  metaclaw config set llm.model_id gpt-5.2 llm.api_key env:OPENAI_API_KEY
  metaclaw config set proxy.api_key - < key.txt     `-` reads the value from standard input,
                                                    so that it is not in the shell's history")]
    Set {
        /// Keys and values in turn
        #[arg(required = true, num_args = 2.., value_names = ["KEY", "VALUE"], allow_negative_numbers = true)]
        pairs: Vec<String>,
        #[command(flatten)]
        dev: Dev,
    },
    /// Take a key, or a whole section, out of the file
    #[command(after_help = "Examples:
  metaclaw config unset skills.top_k
  metaclaw config unset agents.researcher.policy")]
    Unset {
        /// Such as skills.top_k or agents.researcher
        key: String,
        #[command(flatten)]
        dev: Dev,
    },
    /// Report every problem in the file, and what each agent's settings come to; fails with 64 if there is an error
    #[command(after_help = "Examples:
  metaclaw config check
  metaclaw config check -c ./config.yaml --strict")]
    Check {
        #[command(flatten)]
        dev: Dev,
        /// Refuse secrets in plain text
        #[arg(long)]
        strict: bool,
    },
    /// List every key there is, with its default and meaning
    #[command(after_help = "Examples:
  metaclaw config keys | grep limits
  metaclaw config keys --json")]
    Keys,
    /// Print where the file is, or would be
    Path,
    #[command(external_subcommand)]
    Key(Vec<String>),
}

#[derive(Clone, Copy, Debug, Args)]
struct Dev {
    /// For writing policies: modules need no `sha256`
    #[arg(long)]
    dev: bool,
}

/// What `check --json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    ok: bool,
    file: String,
    problems: &'a [Problem],
    overview: Option<Overview>,
}

/// Does what the command line says with the configuration file. A wrong configuration, key or value ends in
/// [`Exit::Config`], after its report has been printed.
pub(crate) fn run(args: ConfigArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let done = match args.command {
        ConfigCommand::Show => show(paths, json),
        ConfigCommand::Get { key } => get(&key, paths, json),
        ConfigCommand::Set { pairs, dev } => set(&pairs, dev.options(), paths, json),
        ConfigCommand::Unset { key, dev } => unset(&key, dev.options(), paths, json),
        ConfigCommand::Check { dev, strict } => check(LoadOptions { strict, ..dev.options() }, paths, json),
        ConfigCommand::Keys => keys(json),
        ConfigCommand::Path => path(paths, json),
        ConfigCommand::Key(words) => match words.as_slice() {
            [key] => get(key, paths, json),
            // What comes after a key is not read as an option.
            [key, flag] if flag == "--json" => get(key, paths, true),
            [_, _] => set(&words, LoadOptions::default(), paths, json),
            [pair @ .., flag] if pair.len() == 2 && flag == "--json" => set(pair, LoadOptions::default(), paths, true),
            _ => bail!("`metaclaw config` takes a key, or a key and a value: see `metaclaw config --help`"),
        },
    };
    done.map_err(|error| match error.downcast_ref::<ConfigError>() {
        Some(wrong) => {
            output::note(format_args!("metaclaw: {wrong}"));
            Exit::Config.into()
        }
        None => error,
    })
}

impl Dev {
    fn options(self) -> LoadOptions {
        LoadOptions { dev: self.dev, ..LoadOptions::default() }
    }
}

fn show(paths: &Paths, json: bool) -> anyhow::Result<()> {
    let listing = read(paths)?.listing();
    match json {
        true => output::json(&listing),
        false => output::piece(listing),
    }
    Ok(())
}

fn get(key: &str, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let settings = read(paths)?;
    match settings.get(key)? {
        value if json => output::json(&value),
        Value::Object(_) => match settings.section(key) {
            Ok(section) => output::piece(section),
            // A module's own settings, which only the module knows.
            Err(_) => output::json(&settings.get(key)?),
        },
        Value::Null => output::line(""),
        Value::String(text) => output::line(text),
        value => output::line(value),
    }
    Ok(())
}

fn set(words: &[String], options: LoadOptions, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let mut pairs = Vec::new();
    for pair in words.chunks(2) {
        let [key, value] = pair else { bail!("`{}` has no value: give keys and values in turn", pair.concat()) };
        pairs.push((key.as_str(), if value == "-" { read_value(key)? } else { value.clone() }));
    }
    let changes: Vec<(&str, &str)> = pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let warnings = ::config::set(paths, &changes, options)?;
    let settings = read(paths).ok();
    let now = |key: &str| settings.as_ref().and_then(|settings| settings.get(key).ok()).unwrap_or_default();
    if json {
        let set: Map<String, Value> = changes.iter().map(|(key, _)| ((*key).to_owned(), now(key))).collect();
        output::json(&json!({"file": paths.config_file, "set": set, "warnings": warnings}));
        return Ok(());
    }
    for (key, _) in changes {
        match now(key) {
            Value::String(text) => output::line(format_args!("{key}: {text}")),
            value => output::line(format_args!("{key}: {value}")),
        }
    }
    warnings.iter().for_each(|warning| output::note(format_args!("warning: {warning}")));
    Ok(())
}

fn unset(key: &str, options: LoadOptions, paths: &Paths, json: bool) -> anyhow::Result<()> {
    ::config::unset(paths, key, options)?;
    match json {
        true => output::json(&json!({"file": paths.config_file, "unset": key})),
        false => output::line(format_args!("{key} is no longer in {}", paths.config_file.display())),
    }
    Ok(())
}

fn check(options: LoadOptions, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let file = paths.config_file.display().to_string();
    let loaded = ::config::load(paths, options);
    if json {
        let (problems, overview) = match &loaded {
            Ok(loaded) => (loaded.warnings.as_slice(), Some(loaded.config.overview())),
            Err(problems) => (problems.problems.as_slice(), None),
        };
        output::json(&Checked { ok: loaded.is_ok(), file, problems, overview });
    } else {
        match &loaded {
            Ok(loaded) => {
                let missing =
                    if paths.config_file.exists() { "" } else { " (there is no file: these are the defaults)" };
                loaded.warnings.iter().for_each(|warning| output::line(format_args!("warning: {warning}")));
                output::line(format_args!("ok: {file}{missing}\n{}", loaded.config.overview()));
            }
            Err(problems) => output::line(problems),
        }
    }
    loaded.map(|_| ()).map_err(|_| Exit::Config.into())
}

fn keys(json: bool) -> anyhow::Result<()> {
    let keys: Vec<_> = ::config::keys().collect();
    if json {
        output::json(&keys);
        return Ok(());
    }
    let width = keys.iter().map(|key| key.path.len()).max().unwrap_or(0);
    for key in keys {
        let default = if key.default.is_empty() { String::new() } else { format!(" [{}]", key.default) };
        let idle = if key.acted_on { "" } else { " (not acted on yet)" };
        output::line(format_args!("{:width$}  {}{default}{idle}", key.path, key.about));
    }
    Ok(())
}

fn path(paths: &Paths, json: bool) -> anyhow::Result<()> {
    let exists = paths.config_file.exists();
    match json {
        true => output::json(&json!({"file": paths.config_file, "exists": exists, "home": paths.home})),
        false => output::line(paths.config_file.display()),
    }
    Ok(())
}

fn read(paths: &Paths) -> Result<Settings, ConfigError> {
    Ok(Settings::read(paths)?)
}

/// One line of standard input, for what should not be on the command line.
fn read_value(key: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).with_context(|| format!("no value for `{key}` could be read"))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
