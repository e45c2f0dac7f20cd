use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use ::config::{AdminListen, Config, LoadOptions, Paths};
use agents::{Host, HostParts, Metrics};
use anyhow::{Context, bail};
use arc_swap::{ArcSwap, ArcSwapOption};
use domain::AgentId;
use keys::Keyring;
use learning::{Driver, Learning};
use prometheus_client::registry::Registry;
use serde_json::json;
use server::{Access, AdminApp, AdminListener, App, Listener};
use store::{Store, StoreError, StoreOptions};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use training::Training;

use crate::cli::StartArgs;
use crate::evolver::HostEvolver;
use crate::exit::Exit;
use crate::keyring::{self, KeyWatch};
use crate::reloading::{ReloadParts, Reloader};
use crate::running::Running;
use crate::trainer::TrainedHost;
use crate::wiring::{self, Parts};
use crate::{logging, output, service_manager};

/// What a host is served with, beside its parts.
struct Serving<'a> {
    paths: &'a Paths,
    options: LoadOptions,
    config: &'a Config,
    running: &'a Running,
    json: bool,
}

/// Where a host is reached, bound and not served yet.
struct Doors {
    front: Listener,
    admin: Option<AdminListener>,
    ring: Keyring,
}

/// How many agents the greeting names.
const SHOWN_AGENTS: usize = 4;

/// The signals that mean something to a host.
struct Signals {
    term: Signal,
    int: Signal,
}

/// `metaclaw start`
pub(crate) fn in_foreground(args: &StartArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    let loaded = super::load(paths, options(args))?;
    loaded.warnings.iter().for_each(output::note);
    let config = loaded.config;
    let ring = keyring::read(paths)?;
    check_exposure(&config, &ring)?;
    private_folder(&config.home)?;
    // Dropped last: what is logged on the way out is written, too.
    let _logging = logging::begin(&args.log, args.log_file.as_deref(), config.log)?;
    wiring::spare_huge_pages(&config);
    // The runtime has a worker for each core this process may use.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("host").build()?;
    let address = SocketAddr::new(config.server.host, config.server.port);
    let listener = runtime.block_on(Listener::bind(address))?;
    if !json {
        super::openclaw::mention(paths);
    }
    let store = runtime.block_on(open_store(&config))?;
    // Now that the state directory is ours, so is a socket that another host has left behind.
    let admin = runtime.block_on(open_admin(&config, &ring))?;
    let parts = wiring::parts(&config)?;
    parts.problems.iter().for_each(|p| output::note(format_args!("warning: {p}")));
    let running = Running {
        pid: std::process::id(),
        address: listener.address(),
        version: env!("CARGO_PKG_VERSION").into(),
        wants_key: config.server.wants_key(),
        admin: admin.as_ref().map(AdminListener::place),
    };
    let doors = Doors { front: listener, admin, ring };
    let serving = Serving { paths, options: options(args), config: &config, running: &running, json };
    let served = serve(&runtime, &serving, doors, store, parts);
    Running::withdraw(&config.home);
    served
}

pub(super) fn options(args: &StartArgs) -> LoadOptions {
    LoadOptions { dev: args.dev, mode: args.mode.map(Into::into), port: args.port, ..LoadOptions::default() }
}

/// A key that has ended opens nothing, so it does not make an open socket safe either.
pub(super) fn check_exposure(config: &Config, ring: &Keyring) -> anyhow::Result<()> {
    let server = &config.server;
    let configured = server.api_key.is_some() || !server.agent_keys.is_empty();
    if server.host.to_canonical().is_loopback() || configured || ring.can_speak() {
        return Ok(());
    }
    output::note(format_args!(
        "metaclaw: {} opens the proxy to the network, and every key has ended: make one with `metaclaw keys add --agent NAME`",
        server.host
    ));
    Err(Exit::Config.into())
}

async fn open_admin(config: &Config, ring: &Keyring) -> anyhow::Result<Option<AdminListener>> {
    Ok(match &config.admin {
        AdminListen::Unix(path) => Some(AdminListener::unix(path).await?),
        AdminListen::Tcp(address) => {
            if !ring.can_administer() {
                output::note("warning: there is no key for administration yet: `metaclaw keys add --admin` makes one");
            }
            Some(AdminListener::tcp(*address).await?)
        }
        AdminListen::None => None,
    })
}

/// What operators are told of a host beside its state.
fn about(paths: &Paths, running: &Running) -> serde_json::Value {
    json!({
        "pid": running.pid,
        "address": running.address,
        "version": running.version,
        "home": paths.home,
        "config": paths.config_file,
    })
}

async fn open_store(config: &Config) -> anyhow::Result<Store> {
    match Store::open(&config.home.join("state"), StoreOptions::default()).await {
        Err(locked @ StoreError::Locked { .. }) => Err(Exit::Locked(locked.to_string()).into()),
        opened => Ok(opened?),
    }
}

/// Serves until a signal, then shuts down in this order: 1 no new connections, and what is being trained is left for the next
/// start, 2 streams under way finish, 3 the last turns are recorded and the store closed, 4 guests and models stop. A second signal ends everything at once; what was
/// acknowledged is durable already.
fn serve(runtime: &Runtime, serving: &Serving<'_>, doors: Doors, store: Store, parts: Parts) -> anyhow::Result<()> {
    let Serving { paths, options, config, running, json } = *serving;
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let learning_metrics = learning::Metrics::new(&mut registry);
    let training_metrics = training::Metrics::new(&mut registry);
    let Doors { front, admin, ring } = doors;
    let Parts { engine, registries, skills, backends, configured, .. } = parts;
    runtime.block_on(async {
        let signals = Signals::catch()?;
        let hangup = signal(SignalKind::hangup()).context("signals cannot be caught")?;
        let host = Arc::new(Host::new(HostParts {
            configured,
            engine: engine.clone(),
            skills,
            skills_dir: config.skills_dir.clone(),
            lora_dir: config.lora_dir(),
            store,
            metrics,
        }));
        let learning = Learning::new(host.store(), host.skills(), config.skills_dir.clone(), learning_metrics);
        let learner = Driver::new(learning.clone(), Arc::new(HostEvolver(host.clone())));
        let trained = TrainedHost::new(host.clone(), &backends)?;
        let training = Training::new(host.store(), training_metrics, trained.clone());
        let trainer = training::Driver::new(training.clone());
        let access = Access::new(config.server.api_key.as_ref(), &config.server.agent_keys, ring);
        let bounds = Arc::new(ArcSwap::from_pointee(wiring::bounds(&config.server)));
        let parts = ReloadParts {
            engine: engine.clone(),
            registries,
            host: host.clone(),
            access: access.clone(),
            bounds: bounds.clone(),
            backends,
            trained: trained.clone(),
            training: training.clone(),
        };
        let reloader = Reloader::new(paths, options, parts, config);
        let stop = CancellationToken::new();
        let registry = Arc::new(registry);
        let (reload, asks) = mpsc::channel(1);
        let key_trouble = Arc::new(ArcSwapOption::empty());
        let key_watch = KeyWatch::new(paths, access.clone(), key_trouble.clone());
        let serve_admin = admin.map(|listener| {
            let app = AdminApp {
                host: host.clone(),
                learning,
                training: training.clone(),
                registry: registry.clone(),
                access: access.clone(),
                reload,
                stop: stop.clone(),
                key_trouble,
                about: Arc::new(about(paths, running)),
            };
            listener.serve(app, stop.clone())
        });
        let serve_admin = async {
            if let Some(serve) = serve_admin {
                serve.await;
            }
        };
        let app = App { host: host.clone(), training, registry, access, bounds };
        // Whoever reads the greeting may look for this host, and stop it, at once.
        running.announce(&config.home).context("the note of the running host could not be written")?;
        greet(config, running, json);
        service_manager::serving(running.address);
        let work = async {
            let serve = server::serve(front, app, stop.clone());
            let idle = async {
                stop.run_until_cancelled(host.tidy_up()).await;
                host.deny_held_calls();
            };
            let reload = reloader.run(hangup, asks, stop.clone());
            let living = service_manager::keep_saying(|| engine.is_healthy(), stop.clone());
            let keys = key_watch.run(stop.clone());
            let train = async {
                tokio::join!(trainer.run(stop.clone()), trained.tidy_up(stop.clone()));
            };
            let ending = service_manager::say_that_it_stops(stop.clone());
            let learn = learner.run(stop.clone());
            let (cut, ..) = tokio::join!(serve, idle, reload, living, serve_admin, keys, learn, train, ending);
            if cut > 0 {
                output::note(format_args!(
                    "{cut} connections were still busy after the grace period and have been cut"
                ));
            }
            trained.close().await;
            drop(trained);
            match Arc::try_unwrap(host) {
                Ok(host) => host.close().await,
                Err(_) => tracing::error!("a request outlived its connection: the last turns may not be recorded"),
            }
        };
        tokio::select! {
            () = work => Ok(()),
            second = signals.wait(stop.clone()) => second,
        }
    })?;
    engine.shutdown();
    Ok(())
}

impl Signals {
    /// From now on none of them ends the process by itself.
    fn catch() -> anyhow::Result<Self> {
        let caught = |kind| signal(kind).context("signals cannot be caught");
        Ok(Signals { term: caught(SignalKind::terminate())?, int: caught(SignalKind::interrupt())? })
    }

    /// Cancels `stop` at the first SIGTERM or SIGINT; returns at the second.
    async fn wait(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                _ = self.term.recv() => {}
                _ = self.int.recv() => {}
            }
            if stop.is_cancelled() {
                bail!("stopped at once by a second signal: turns under way were cut off");
            }
            stop.cancel();
        }
    }
}

fn greet(config: &Config, running: &Running, json: bool) {
    if json {
        output::line(json!({"address": running.address, "pid": running.pid, "version": running.version}));
        return;
    }
    let url = running.url("/v1");
    output::line(format_args!("metaclaw {} listens on {url} (stop with Ctrl-C)", running.version));
    output::line("");
    let named: Vec<_> =
        config.agents().map(|(id, _)| id.clone()).filter(|id| *id != AgentId::Default).take(SHOWN_AGENTS).collect();
    let key = if running.wants_key { " -H \"Authorization: Bearer $METACLAW_KEY\"" } else { "" };
    for id in if named.is_empty() { vec![AgentId::Default] } else { named } {
        let header = if id == AgentId::Default { String::new() } else { format!(" -H 'X-Agent-Id: {id}'") };
        let body = r#"{"messages":[{"role":"user","content":"What should I check before I trust a source?"}]}"#;
        output::line(format_args!("  curl -s {url}/chat/completions{header}{key} -d '{body}'"));
    }
    output::line("");
}

pub(super) fn private_folder(home: &Path) -> anyhow::Result<()> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(home);
    made.with_context(|| format!("the home folder {} cannot be made", home.display()))
}
