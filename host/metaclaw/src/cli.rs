use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use domain::Mode;

use crate::commands::adapters::AdaptersArgs;
use crate::commands::calls::CallsArgs;
use crate::commands::completions::{CompletionsArgs, ManArgs};
use crate::commands::doctor::DoctorArgs;
use crate::commands::setup::SetupArgs;
use crate::commands::train::TrainArgs;
use crate::commands::{
    config::ConfigArgs, keys::KeysArgs, models::ModelsArgs, openclaw::OpenclawArgs, policy::PolicyArgs,
    service::ServiceArgs, sessions::SessionsArgs, skills::SkillsArgs,
};

/// A policy host for many agents: an OpenAI-compatible proxy that gives each agent its own skills, mode and sandboxed policy.
#[derive(Debug, Parser)]
#[command(name = "metaclaw", version, max_term_width = 110, after_help = EXAMPLES)]
pub(crate) struct Cli {
    /// MetaClaw's folder, with config, skills and state [default: $METACLAW_HOME, else ~/.metaclaw]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// The configuration file [default: config.yaml in the home folder]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  metaclaw setup                           from nothing to a host that answers
  metaclaw start                           serve on 127.0.0.1:30000
  metaclaw chat --agent researcher         talk to an agent of the running host
  metaclaw doctor                          what is wrong, and what to do
  metaclaw config check                    what every agent's settings come to
  metaclaw skills list --agent researcher  which skills that agent may be given";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Set everything up: finds what is there, asks little, tries it, writes the configuration
    Setup(SetupArgs),
    /// Look at everything that can be wrong, and say the remedy
    Doctor(DoctorArgs),
    /// Start the host
    Start(StartArgs),
    /// Stop the running host; turns under way finish first
    Stop(HostArgs),
    /// Say whether a host is running, and how it is
    Status(HostArgs),
    /// Let the running host read its configuration and modules anew, now
    Reload(HostArgs),
    /// List, add, show or remove agents
    Agents(AgentsArgs),
    /// List or end the sessions of an agent of the running host
    Sessions(SessionsArgs),
    /// List, allow or deny the tool calls that policies hold
    Calls(CallsArgs),
    /// Make, list, revoke or rotate the keys that clients show
    Keys(KeysArgs),
    /// List, show, add or check skills; decide about learned ones
    Skills(SkillsArgs),
    /// Say how agents train; train a step now, pause, resume
    Train(TrainArgs),
    /// List, compare, promote, take back or export the adapters that agents have trained
    Adapters(AdaptersArgs),
    /// Write, build, check, test and measure policies
    Policy(PolicyArgs),
    /// Get and list models that run in this process
    Models(ModelsArgs),
    /// Show, read, change or check the configuration
    Config(ConfigArgs),
    /// Let OpenClaw's agents use this host, or give its configuration back
    Openclaw(OpenclawArgs),
    /// Let systemd run the host
    Service(ServiceArgs),
    /// Talk to an agent through the running host
    Chat(ChatArgs),
    /// Print what a shell needs to complete this command's words
    Completions(CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(ManArgs),
    /// Compile one policy module, from standard input to standard output: what a host starts for each
    #[command(hide = true)]
    CompilePolicy,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw start
  metaclaw start --mode rl --port 31000
  metaclaw start --home ./demo --dev
  metaclaw start --daemon && metaclaw status")]
pub(crate) struct StartArgs {
    /// Instead of the configured `mode`; an agent with a mode of its own keeps it
    #[arg(long)]
    pub(crate) mode: Option<ModeArg>,
    /// Instead of `proxy.port`; 0 takes any free one
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Run in the background; returns when the host serves
    #[arg(long)]
    pub(crate) daemon: bool,
    /// Write the log to this file, not to standard error [default of a background host: host.log in the home folder]
    #[arg(long, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    /// For writing policies: modules need no `sha256`
    #[arg(long)]
    pub(crate) dev: bool,
    /// What is logged, such as `info` or `agents=debug,warn`
    #[arg(long, value_name = "FILTER", env = "METACLAW_LOG", default_value = "warn")]
    pub(crate) log: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum ModeArg {
    /// Inject skills; keep nothing for training
    SkillsOnly,
    /// Inject skills, and train an adapter from finished turns (docs/training.md)
    Rl,
    /// As rl, but train only when told to
    Auto,
}

impl ModeArg {
    /// As the configuration spells it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            ModeArg::SkillsOnly => "skills_only",
            ModeArg::Rl => "rl",
            ModeArg::Auto => "auto",
        }
    }
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::SkillsOnly => Mode::SkillsOnly,
            ModeArg::Rl => Mode::Rl,
            ModeArg::Auto => Mode::Auto,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Only a host on this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A key for administration, for a host whose `admin.listen` is an address
    #[arg(long, value_name = "KEY", env = "METACLAW_ADMIN_KEY", hide_env_values = true)]
    pub(crate) admin_key: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw agents list
  metaclaw agents add researcher --mode rl
  metaclaw agents show researcher
  metaclaw agents reset researcher
  metaclaw agents remove researcher")]
pub(crate) struct AgentsArgs {
    #[command(subcommand)]
    pub(crate) command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentsCommand {
    /// Every configured agent, and those that only have a skill folder
    List,
    /// Write an agent into the configuration; its skill folder comes into being with its first skill
    Add {
        /// a-z, 0-9, `_` and `-`, at most 64
        id: String,
        /// Its mode
        #[arg(long)]
        mode: Option<ModeArg>,
    },
    /// What one agent's settings come to
    Show {
        /// The agent; `_default` for the one of requests that name none
        id: String,
    },
    /// Let the running host ask an agent's policy again at once, though it failed again and again
    Reset {
        /// The agent; `_default` for the one of requests that name none
        id: String,
        #[command(flatten)]
        host: HostArgs,
    },
    /// Take an agent out of the configuration; its skills, samples and sessions stay
    Remove {
        /// The agent
        id: String,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  metaclaw chat --agent researcher
  metaclaw chat --agent assistant 'What can you do?'
  echo 'Summarise this' | metaclaw chat")]
pub(crate) struct ChatArgs {
    /// Who to talk to [default: the agent of requests that name none]
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Only a host on this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// A key of that agent, if the host wants one and the configuration has none
    #[arg(long, env = "METACLAW_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
    /// Say this, print the answer, and end
    pub(crate) message: Option<String>,
}
