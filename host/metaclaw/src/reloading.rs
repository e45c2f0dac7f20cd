//! Takes a changed configuration, module or secret over without a restart. What cannot be taken over is said, and what served
//! before serves on.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::{AgentParts, Host};
use arc_swap::ArcSwap;
use config::{AgentConfig, Config, LoadOptions, Paths, Settings, Shown};
use domain::AgentId;
use policy::Engine;
use registry::{Limits, Modules};
use server::{Access, Bounds, Reload};
use tokio::signal::unix::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use training::Training;

use crate::modules::Sources;
use crate::trainer::TrainedHost;
use crate::wiring::Backends;
use crate::{modules, service_manager, wiring};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a module that a registry did not give is waited for before it is asked again, at first and at most.
const ASK_AGAIN: Duration = Duration::from_secs(10);
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(600);
/// The keys that hold from a host's start to its end: its addresses, its log, where its folders are, and who says what texts mean. A running host takes over
/// all others.
const FIXED: &[&str] =
    &["proxy.host", "proxy.port", "admin.listen", "log.max_size", "log.keep", "skills.dir", "skills.embedder"];
/// Of those that hold, the one that decides who can reach the host at all.
const BOUND_TO: &str = "proxy.host";

/// Reads the configuration anew when it or a file that it names changes, and when it is asked to by SIGHUP.
pub(crate) struct Reloader {
    paths: Paths,
    options: LoadOptions,
    parts: ReloadParts,
    /// The settings that hold from the start to the end.
    fixed: Vec<Shown>,
    /// The files as the present agents were made of them.
    taken: Vec<Stamp>,
    /// The files as they were when last looked at: what is being written is left alone until it stays the same.
    seen: Vec<Stamp>,
    /// Which files there are, beside the configuration.
    named: Vec<PathBuf>,
    /// Of these, the ones that a registry has to give.
    awaited: Vec<PathBuf>,
    /// How long the next pause is, and since when it has been.
    pause: (Duration, Instant),
}

/// What a reload works on.
pub(crate) struct ReloadParts {
    pub(crate) engine: Arc<Engine>,
    pub(crate) registries: Arc<Modules>,
    pub(crate) host: Arc<Host>,
    pub(crate) access: Access,
    pub(crate) bounds: Arc<ArcSwap<Bounds>>,
    pub(crate) backends: Backends,
    pub(crate) trained: Arc<TrainedHost>,
    pub(crate) training: Arc<Training>,
}

/// What tells one version of a file from another; nothing for a file that is not there.
type Stamp = Option<(u64, i64, i64, u64)>;

impl Reloader {
    /// For a host that was put together from `config` just now.
    pub(crate) fn new(paths: &Paths, options: LoadOptions, parts: ReloadParts, config: &Config) -> Self {
        let mut reloader = Reloader {
            paths: paths.clone(),
            options,
            named: watched(config, &parts.registries),
            awaited: awaited(config, &parts.registries),
            pause: (ASK_AGAIN, Instant::now()),
            parts,
            fixed: fixed(paths),
            taken: Vec::new(),
            seen: Vec::new(),
        };
        reloader.taken = reloader.look();
        reloader.seen.clone_from(&reloader.taken);
        reloader
    }

    /// Works until `stop`. Who asks through the admin listener is told what came of it.
    pub(crate) async fn run(mut self, mut hangup: Signal, mut asks: mpsc::Receiver<Reload>, stop: CancellationToken) {
        loop {
            let (asked, answer) = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => (true, None),
                Some(answer) = asks.recv() => (true, Some(answer)),
                () = tokio::time::sleep(LOOK) => (false, None),
            };
            let (engine, registries) = (self.parts.engine.clone(), self.parts.registries.clone());
            let mut work = tokio::task::spawn_blocking(move || {
                self.step(asked);
                self
            });
            let done = tokio::select! {
                done = &mut work => done,
                () = stop.cancelled() => {
                    // A module may take minutes to come or to compile, and nobody will need it.
                    registries.stop();
                    engine.stop_compiling();
                    work.await
                }
            };
            match done {
                Ok(back) => self = back,
                Err(error) => {
                    tracing::error!(%error, "reloading has failed and is not tried again: restart the host");
                    return;
                }
            }
            // Whoever has gone away need not be told.
            let _ = answer.map(|answer| answer.send(self.parts.host.reloads().problems));
        }
    }

    /// Looks at the files, and reloads if they have changed and stay as they are, or if somebody has asked for it.
    fn step(&mut self, asked: bool) {
        let now = self.look();
        let settled = now == self.seen;
        self.seen.clone_from(&now);
        let changed = settled && now != self.taken;
        if asked || changed {
            self.pause.0 = ASK_AGAIN;
        }
        if asked || changed || (settled && self.is_to_ask_again()) {
            service_manager::reloading();
            self.reload();
            service_manager::reloaded();
            self.taken = self.look();
            self.seen.clone_from(&self.taken);
            self.pause.1 = Instant::now();
        }
    }

    /// Whether a registry has had time to come back that did not give a module: nothing here changes when it does.
    fn is_to_ask_again(&mut self) -> bool {
        let (pause, since) = self.pause;
        let due = since.elapsed() >= pause && self.awaited.iter().any(|file| !file.exists());
        if due {
            self.pause.0 = (2 * pause).min(ASK_AGAIN_AT_MOST);
        }
        due
    }

    fn look(&self) -> Vec<Stamp> {
        let files = std::iter::once(&self.paths.config_file).chain(&self.named);
        files.map(|file| stamp(file)).collect()
    }

    fn reload(&mut self) {
        let paths = crate::keyring::noted(self.paths.clone());
        let loaded = match config::load(&paths, self.options) {
            Ok(loaded) => loaded,
            Err(problems) => return self.refuse(vec![problems.to_string()]),
        };
        let config = loaded.config;
        self.named = watched(&config, &self.parts.registries);
        self.awaited = awaited(&config, &self.parts.registries);
        self.parts.registries.begin(modules::pinned(&config), Limits::PATIENT);
        let backends = match wiring::backends(&config, &self.parts.backends) {
            Ok(backends) => backends,
            Err(error) => return self.refuse(vec![format!("{error:#}")]),
        };
        let now = fixed(&self.paths);
        let holding: Vec<&Shown> = now.iter().filter(|shown| !self.fixed.contains(shown)).collect();
        let mut problems: Vec<String> =
            holding.iter().map(|s| format!("`{}` takes effect when the host is started anew", s.path)).collect();
        let configured =
            wiring::configured(&config, &backends, |id, agent| self.agent(id, agent, &config, &mut problems));
        self.parts.host.replace(configured);
        if let Err(error) = self.parts.trained.follow(&backends) {
            problems.push(format!("nothing is trained on a new model: {error}"));
        }
        self.parts.training.refresh();
        self.parts.backends = backends;
        self.parts.bounds.store(Arc::new(wiring::bounds(&config.server)));
        // Without this, a key could be given up for a socket that is still open to the network.
        if holding.iter().all(|shown| shown.path != BOUND_TO) {
            self.parts.access.replace_configured(config.server.api_key.as_ref(), &config.server.agent_keys);
        }
        problems.iter().for_each(|problem| tracing::warn!(%problem, "not all of the new configuration serves"));
        tracing::info!(problems = problems.len(), "the configuration was read anew");
        self.parts.host.note_reload(true, problems);
    }

    /// The old configuration serves on, whole.
    fn refuse(&self, problems: Vec<String>) {
        problems
            .iter()
            .for_each(|problem| tracing::error!(%problem, "the new configuration is refused; the old one serves on"));
        self.parts.host.note_reload(false, problems);
    }

    /// An agent as the new configuration has it; with the modules that serve now, if the new ones do not load.
    fn agent(&self, id: &AgentId, config: &Arc<AgentConfig>, whole: &Config, problems: &mut Vec<String>) -> AgentParts {
        let serving = self.parts.host.policy_of(id).and_then(Result::ok);
        let sources = Sources { registries: &self.parts.registries, auth_file: whole.registry_auth.as_deref() };
        let policy = match (wiring::agent_policy(&self.parts.engine, config, serving.as_ref(), sources), serving) {
            (Ok(policy), _) => Ok(policy),
            (Err(error), Some(serving)) => match wiring::serving_on(&self.parts.engine, config, &serving) {
                Ok(serving) => {
                    problems.push(format!("agent `{id}`: {error:#}; its present policy serves on"));
                    Ok(serving)
                }
                Err(neither) => {
                    problems.push(format!("agent `{id}` is not served any more: {error:#}; {neither:#}"));
                    Err(format!("{error:#}").into())
                }
            },
            (Err(error), None) => {
                problems.push(format!("agent `{id}` is not served: {error:#}"));
                Err(format!("{error:#}").into())
            }
        };
        AgentParts { id: id.clone(), config: config.clone(), policy }
    }
}

/// The settings that hold as long as the host runs, in their order; nothing when the file cannot be read.
fn fixed(paths: &Paths) -> Vec<Shown> {
    let settings = Settings::read(paths).map(|settings| settings.listing().0).unwrap_or_default();
    settings.into_iter().filter(|shown| FIXED.contains(&shown.path.as_str())).collect()
}

/// The files that the configuration names, each once: modules, their signatures where these are asked for, secrets and logins. A
/// module from a registry is looked for where it is kept, so that one which `metaclaw policy pull` brings is taken at once.
fn watched(config: &Config, registries: &Modules) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = modules::named(config)
        .filter_map(|module| Some((module.file()?, module)))
        .flat_map(|(path, module)| {
            let signature = (!module.signed_by.is_empty()).then(|| modules::signature_of(path));
            [Some(path.to_owned()), signature]
        })
        .flatten()
        .chain(awaited(config, registries))
        .chain(config.secret_files.iter().cloned())
        .chain(config.registry_auth.clone())
        .collect();
    files.sort();
    files.dedup();
    files
}

/// Where modules that a registry has to give are once they are here.
fn awaited(config: &Config, registries: &Modules) -> Vec<PathBuf> {
    modules::pinned(config).into_iter().map(|digest| registries.cache().file(digest)).collect()
}

fn stamp(file: &Path) -> Stamp {
    let about = fs::metadata(file).ok()?;
    Some((about.ino(), about.mtime(), about.mtime_nsec(), about.size()))
}
