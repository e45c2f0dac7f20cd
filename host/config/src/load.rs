use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use domain::{AgentId, ByteSize, Mode};

use crate::admin::{self, AdminListen};
use crate::agents::{self, AgentConfig, Agents};
use crate::paths::{Environment, Paths, process_environment};
use crate::problem::{Problem, Problems, Report};
use crate::server::{self, ServerConfig};
use crate::setting::{FromSetting, Setting};
use crate::settings::{Settings, default_setting};
use crate::upstreams::{self, UpstreamConfig};
use crate::{Place, judging, learning, schema, secret};

/// Far more than any configuration, far less than would hurt.
const MAX_FILE: u64 = 1 << 20;

/// What the command line adds to the file.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions {
    /// Accept modules without a digest, with a warning.
    pub dev: bool,
    /// Instead of the file's top-level `mode`. An agent that names its own mode keeps it.
    pub mode: Option<Mode>,
    /// Instead of `proxy.port`.
    pub port: Option<u16>,
    /// Refuse secrets in plain text.
    pub strict: bool,
}

/// A configuration without errors.
#[derive(Debug)]
pub struct Loaded {
    /// What to run with.
    pub config: Config,
    /// What somebody should look at, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Everything the host needs to know, checked and complete. Only [`load`] makes one.
#[derive(Debug)]
pub struct Config {
    /// MetaClaw's folder, absolute. It need not exist yet.
    pub home: PathBuf,
    /// Where and how to listen.
    pub server: ServerConfig,
    /// Where operators reach the host.
    pub admin: AdminListen,
    /// Who answers, by name. Never empty.
    pub upstreams: BTreeMap<String, UpstreamConfig>,
    /// When sessions end.
    pub sessions: SessionsConfig,
    /// How much is kept of a log that goes to a file.
    pub log: LogConfig,
    /// The skill library, absolute. It need not exist yet.
    pub skills_dir: PathBuf,
    /// What says what texts mean.
    pub embedder: EmbedderChoice,
    /// How much memory the adapters of all agents may take.
    pub adapter_memory: ByteSize,
    /// What happens to agents that are not listed.
    pub unknown: UnknownAgents,
    /// The logins for registries, in a file of docker's form, absolute. It is read when a module is fetched.
    pub registry_auth: Option<PathBuf>,
    /// The files that secrets were read from. What stands in them may change while the configuration does not.
    pub secret_files: BTreeSet<PathBuf>,
    pub(crate) agents: Agents,
}

/// When sessions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsConfig {
    /// A session without a turn for so long has ended.
    pub idle_timeout: Duration,
}

/// What says what texts mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbedderChoice {
    /// The best that is installed.
    Auto,
    /// Nobody.
    None,
    /// A small BERT.
    MiniLm,
    /// A table of tokens.
    Static,
}

/// How much is kept of a log that goes to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// A file that is larger is put aside.
    pub max_size: ByteSize,
    /// How many old files are kept. At least 1.
    pub keep: u32,
}

/// What happens to agents that are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownAgents {
    /// The rule.
    pub rule: UnknownRule,
    /// How many may come into being under the rule `Own`. At least 1.
    pub cap: u32,
}

/// The rule for agents that are not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownRule {
    /// `_default`'s settings, a folder and adapters of its own.
    Own,
    /// They are taken for `_default`.
    Default,
    /// They are refused.
    Reject,
}

/// The text of the file, if there is one.
pub(crate) struct Source {
    pub(crate) text: Option<String>,
    /// The file's permission bits.
    mode: u32,
}

/// What the parts of a configuration are read from, and where their problems go.
pub(crate) struct Reader<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) paths: &'a Paths,
    pub(crate) options: LoadOptions,
    pub(crate) report: &'a mut Report,
    environment: Environment<'a>,
    secret_files: BTreeSet<PathBuf>,
}

/// Reads and checks the configuration. Without a file, unless one was named, the defaults hold: the embedded model,
/// on 127.0.0.1:30000, mode `skills_only`.
///
/// Reads the file, the files that secrets are in, and the environment; opens no port and creates nothing. On failure
/// the problems hold every error and warning that could be found.
pub fn load(paths: &Paths, options: LoadOptions) -> Result<Loaded, Problems> {
    load_in(paths, options, &process_environment)
}

/// As [`load`], with `text` in the place of what the file holds.
pub fn load_text(text: &str, paths: &Paths, options: LoadOptions) -> Result<Loaded, Problems> {
    build_text(text, paths, options, &process_environment)
}

pub(crate) fn build_text(
    text: &str,
    paths: &Paths,
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<Loaded, Problems> {
    let source = Source { text: Some(text.to_owned()), mode: 0o600 };
    build(&source, paths, options, environment, Report::default())
}

pub(crate) fn load_in(paths: &Paths, options: LoadOptions, environment: Environment<'_>) -> Result<Loaded, Problems> {
    let mut report = Report::default();
    let source = Source::read(paths, &mut report);
    build(&source, paths, options, environment, report)
}

impl Source {
    /// Reads the file; what keeps it from being read goes into the report.
    pub(crate) fn read(paths: &Paths, report: &mut Report) -> Source {
        let mut source = Source { text: None, mode: 0o600 };
        let file = &paths.config_file;
        let read = File::open(file).and_then(|opened| {
            let about = opened.metadata()?;
            if !about.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            let mut text = String::new();
            opened.take(MAX_FILE + 1).read_to_string(&mut text)?;
            if text.len() as u64 > MAX_FILE {
                return Err(io::Error::other("it is larger than 1 MiB"));
            }
            Ok((text, about.permissions().mode()))
        });
        match read {
            Ok((text, mode)) => source = Source { text: Some(text), mode },
            Err(error) if error.kind() == io::ErrorKind::NotFound && !paths.named => {}
            Err(error) => {
                let message = format!("the file cannot be read: {error}");
                report.error("", None, message, "name a readable YAML file with -c FILE, or create it");
            }
        }
        source
    }
}

fn build(
    source: &Source,
    paths: &Paths,
    options: LoadOptions,
    environment: Environment<'_>,
    mut report: Report,
) -> Result<Loaded, Problems> {
    let text = source.text.as_deref().unwrap_or_default();
    let settings = Settings::parse(text, paths, &mut report);
    let secret_files = BTreeSet::new();
    let mut reader = Reader { settings: &settings, paths, options, report: &mut report, environment, secret_files };

    let server = server::build(&mut reader);
    let admin = admin::build(&mut reader);
    let mut upstreams = upstreams::build(&mut reader);
    let evolver = learning::evolver(&mut reader, &upstreams);
    let judge = judging::upstream(&mut reader, &upstreams);
    upstreams.extend(evolver.into_iter().chain(judge).map(|described| (described.name.clone(), described)));
    let agents = agents::build(&mut reader, &upstreams);
    let config = Config {
        home: paths.home.clone(),
        server,
        admin,
        sessions: SessionsConfig { idle_timeout: reader.value("sessions.idle_timeout").unwrap_or_default() },
        log: LogConfig {
            max_size: reader.value("log.max_size").unwrap_or(ByteSize(16 << 20)),
            keep: reader.value("log.keep").unwrap_or(5),
        },
        skills_dir: reader.path("skills.dir").unwrap_or_else(|| paths.home.join("skills")),
        embedder: match reader.text("skills.embedder").as_deref() {
            Some("none") => EmbedderChoice::None,
            Some("minilm") => EmbedderChoice::MiniLm,
            Some("static") => EmbedderChoice::Static,
            _ => EmbedderChoice::Auto,
        },
        adapter_memory: reader.value("rl.adapter_memory").unwrap_or(ByteSize(512 << 20)),
        unknown: UnknownAgents {
            rule: match reader.value::<String>("agents_unknown").as_deref() {
                Some("default") => UnknownRule::Default,
                Some("reject") => UnknownRule::Reject,
                _ => UnknownRule::Own,
            },
            cap: reader.value("agents_unknown_cap").unwrap_or(1),
        },
        upstreams,
        registry_auth: reader.path("registry.auth_file"),
        secret_files: reader.secret_files,
        agents,
    };

    let trains = config.agents().any(|(_, agent)| agent.mode != Mode::SkillsOnly);
    settings.review(trains, options.strict, &mut report);
    review_file(source, &settings, &mut report);
    let wrong = report.has_errors();
    let problems = report.finish(&paths.config_file);
    if wrong { Err(problems) } else { Ok(Loaded { config, warnings: problems.problems }) }
}

/// Who can write it decides what runs here, and who can read it knows whom to ask; if not now, with the next key that is put in.
fn review_file(source: &Source, settings: &Settings, report: &mut Report) {
    if source.mode & 0o077 != 0 {
        let message = format!("the file is open to other users (mode {:04o})", source.mode & 0o7777);
        report.error("", None, message, format!("`chmod 600 {}`", settings.file.display()));
    }
}

impl Config {
    /// Where agents have their adapters that name no folder of their own: each in the one of its name. It need not exist yet.
    pub fn lora_dir(&self) -> PathBuf {
        agents::lora_dir(&self.home)
    }

    /// An agent's settings. An agent that is not listed has `_default`'s, with adapters of its own under the rule
    /// `Own`; whether it may come into being at all is for the caller to decide, by [`Config::unknown`].
    pub fn agent(&self, id: &AgentId) -> Arc<AgentConfig> {
        self.agents.get(id, self)
    }

    /// Whether the file has a section for this agent. `_default` always counts as listed.
    pub fn is_listed(&self, id: &AgentId) -> bool {
        self.agents.listed.contains_key(id)
    }

    /// `_default` and the agents that the file lists, in order of name.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &Arc<AgentConfig>)> {
        self.agents.listed.iter()
    }
}

impl Reader<'_> {
    /// The file's value, or the schema's default.
    pub(crate) fn value<T: FromSetting>(&mut self, path: &str) -> Option<T> {
        if let Some(found) = self.settings.find(path) {
            return self.convert(path, &found.setting);
        }
        let key = schema::find_path(path).map(|(key, _)| key);
        let setting = key.and_then(default_setting)?;
        self.convert(path, &setting)
    }

    /// As [`value`](Reader::value), where an empty text says nothing.
    pub(crate) fn text(&mut self, path: &str) -> Option<String> {
        self.value::<String>(path).filter(|text| !text.is_empty())
    }

    /// What holds for an agent: its own value, `_default`'s, the top level's, or the schema's default.
    pub(crate) fn for_agent<T: FromSetting>(&mut self, agent: &AgentId, rest: &str) -> Option<T> {
        if let Some((path, found)) = self.settings.inherited(agent, rest) {
            return self.convert(&path, &found.setting);
        }
        let default = |pattern: &str| schema::find(pattern).and_then(default_setting);
        let setting = default(&format!("agents.*.{rest}")).or_else(|| default(rest))?;
        self.convert(rest, &setting)
    }

    fn convert<T: FromSetting>(&mut self, path: &str, setting: &Setting) -> Option<T> {
        let value = T::from_setting(setting);
        if value.is_none() {
            let message = "the program reads this key as another kind than its schema says";
            self.report.error(path, None, message, "this is a fault in metaclaw: please report it");
        }
        value
    }

    /// Where the file has this key.
    pub(crate) fn place(&self, path: &str) -> Option<Place> {
        self.settings.find(path).map(|found| found.place)
    }

    /// An absolute path.
    pub(crate) fn path(&mut self, key: &str) -> Option<PathBuf> {
        let text = self.text(key)?;
        self.expand(key, &text)
    }

    /// The absolute path that a text in the file means.
    pub(crate) fn expand(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        match self.paths.expand(text) {
            Ok(path) => Some(path),
            Err(message) => {
                self.report.error(key, self.place(key), message, "write an absolute path");
                None
            }
        }
    }

    /// The secret itself, fetched from where the file says.
    pub(crate) fn secret(&mut self, path: &str) -> Option<domain::Secret> {
        let reference = self.value::<secret::SecretRef>(path)?;
        self.secret_files.extend(reference.file(self.paths));
        match reference.resolve(self.paths, self.environment) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.report.error(path, self.place(path), error.message, error.remedy);
                None
            }
        }
    }
}
