use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::{Digest, PolicyGrants, PublicKey, TrustRoot};
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::exports::metaclaw::policy::{lifecycle, routing, sample_filter, skill_selection};
use crate::call::{CallLimits, classify, new_store};
use crate::decision::{Failure, FailureClass};
use crate::engine::{Machine, NO_SETTINGS};
use crate::error::LoadError;
use crate::grants::{self, Asks};
use crate::state::{CpuMeter, State, Subject};
use crate::text::printable;

/// What a module may use while it is tried out; nobody waits for an answer then.
const PROBE_LIMITS: CallLimits = CallLimits {
    cpu: Duration::from_secs(1),
    memory: 256 << 20,
    grants: PolicyGrants { skills: None, lora: false, kv: None, log: None, wasi: false, wasi_fs: false },
};
/// The version of the contract that this host speaks; modules of an earlier 0.1 fit as well.
const VERSION: &str = "0.1.1";
/// The most of each text that a module says of itself, in bytes.
const MAX_DESCRIPTION: usize = 1 << 10;
/// The most problems with a configuration that are reported.
const MAX_PROBLEMS: usize = 16;

/// A compiled policy. Agents that use the same bytes share one.
pub struct Module {
    digest: Digest,
    description: Description,
    pub(crate) pre: InstancePre<State>,
    pub(crate) routing: Option<routing::GuestIndices>,
    pub(crate) selection: Option<skill_selection::GuestIndices>,
    pub(crate) filter: Option<sample_filter::GuestIndices>,
    lifecycle: lifecycle::GuestIndices,
    asks: Asks,
    signers: Mutex<Vec<PublicKey>>,
}

/// What a module says of itself; control characters escaped, each at most 1 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The author's name for it.
    pub name: String,
    /// The author's version.
    pub version: String,
    /// One sentence.
    pub summary: String,
}

/// Which hooks a module has; the built-in policy covers the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// `routing`.
    pub route: bool,
    /// `skill-selection`.
    pub select: bool,
    /// `sample-filter`.
    pub filter: bool,
}

impl Module {
    /// Finds the hooks and tries the module out. Shapes are only compared with ours when an instance exists, so a module
    /// that does not fit is refused here and not on its first turn.
    pub(crate) fn new(
        machine: &Arc<Machine>,
        digest: Digest,
        pre: InstancePre<State>,
        asks: Asks,
    ) -> Result<Self, LoadError> {
        let exports = |name: &str| {
            let name = format!("metaclaw:policy/{name}@{VERSION}");
            pre.component().get_export_index(None, &name).is_some()
        };
        let shape = |e: wasmtime::Error| LoadError::shape(&e);
        if !exports("lifecycle") {
            return Err(LoadError::NoLifecycle);
        }
        let lifecycle = lifecycle::GuestIndices::new(&pre).map_err(shape)?;
        let routing = exports("routing").then(|| routing::GuestIndices::new(&pre)).transpose().map_err(shape)?;
        let selection =
            exports("skill-selection").then(|| skill_selection::GuestIndices::new(&pre)).transpose().map_err(shape)?;
        let filter =
            exports("sample-filter").then(|| sample_filter::GuestIndices::new(&pre)).transpose().map_err(shape)?;
        let (description, signers) = (Description::default(), Mutex::default());
        let mut module = Module { digest, description, pre, routing, selection, filter, lifecycle, asks, signers };
        let hooks = module.hooks();
        if !(hooks.route || hooks.select || hooks.filter) {
            return Err(LoadError::NoHook);
        }
        let (description, words) = module.probe(machine, NO_SETTINGS, async |store, instance| {
            if let Some(hook) = &module.routing {
                hook.load(&mut *store, instance).map_err(ProbeError::Shape)?;
            }
            if let Some(hook) = &module.selection {
                hook.load(&mut *store, instance).map_err(ProbeError::Shape)?;
            }
            if let Some(hook) = &module.filter {
                hook.load(&mut *store, instance).map_err(ProbeError::Shape)?;
            }
            let guest = module.lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
            let said = guest.call_describe(&mut *store).await.map_err(ProbeError::Failed)?;
            let words = said.attrs.iter().filter(|(key, _)| key == grants::ATTRIBUTE).map(|(_, words)| words.as_str());
            let words = words.collect::<Vec<_>>().join(" ");
            let [name, version, summary] =
                [said.name, said.version, said.summary].map(|text| printable(&text, MAX_DESCRIPTION));
            Ok((Description { name, version, summary }, words))
        })?;
        module.description = description;
        module.asks.read(&words)?;
        Ok(module)
    }

    /// Of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the module says of itself.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// What it asks for beside what every module has.
    pub fn asks(&self) -> &Asks {
        &self.asks
    }

    /// Notes that this key has signed the component's bytes: the caller has verified it.
    pub fn note_signer(&self, key: &PublicKey) {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if !signers.contains(key) {
            signers.push(key.clone());
        }
    }

    /// Whether one of these is known to have signed the component's bytes.
    pub fn is_signed_by(&self, roots: &[TrustRoot]) -> bool {
        let signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        roots.iter().any(|root| signers.contains(&root.key))
    }

    /// Refuses when the module asks for more than these grants.
    pub fn check_grants(&self, granted: &PolicyGrants) -> Result<(), LoadError> {
        let missing = self.asks.missing(granted);
        if missing.is_empty() { Ok(()) } else { Err(LoadError::NotGranted(missing)) }
    }

    /// Which hooks it has.
    pub fn hooks(&self) -> Hooks {
        Hooks { route: self.routing.is_some(), select: self.selection.is_some(), filter: self.filter.is_some() }
    }

    /// Asks the module whether it accepts these settings.
    pub(crate) fn check_config(&self, machine: &Arc<Machine>, json: &str) -> Result<(), LoadError> {
        let problems = self.probe(machine, json, async |store, instance| {
            let guest = self.lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
            guest.call_validate_config(&mut *store, json).await.map_err(ProbeError::Failed)
        })?;
        if problems.is_empty() {
            return Ok(());
        }
        let shown = problems.iter().take(MAX_PROBLEMS).map(|p| printable(&p.message, MAX_DESCRIPTION)).collect();
        Err(LoadError::Config(shown))
    }

    /// Does something with a fresh instance, on this thread.
    fn probe<T>(
        &self,
        machine: &Arc<Machine>,
        settings: &str,
        ask: impl AsyncFnOnce(&mut wasmtime::Store<State>, &Instance) -> Result<T, ProbeError>,
    ) -> Result<T, LoadError> {
        let _running = machine.ticker.run().ok_or_else(|| {
            LoadError::Probe(Failure::new(FailureClass::Link, "the policy engine has been shut down"))
        })?;
        let meter = CpuMeter::blocking(machine.clone());
        let mut store = new_store(machine, settings.into(), Subject::Probe, PROBE_LIMITS, meter);
        let first = store.data_mut().cpu.arm(PROBE_LIMITS.cpu);
        store.set_epoch_deadline(first);
        let work = async {
            let instance = match self.pre.instantiate_async(&mut store).await {
                Ok(instance) => instance,
                Err(e) => return Err(LoadError::Probe(classify(&e, store.data(), FailureClass::Link))),
            };
            ask(&mut store, &instance).await.map_err(|e| match e {
                ProbeError::Shape(e) => LoadError::shape(&e),
                ProbeError::Failed(e) => LoadError::Probe(classify(&e, store.data(), FailureClass::BadOutput)),
            })
        };
        // The meter never has the guest give way here, and without grants no import waits: once is enough.
        match std::pin::pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => Err(LoadError::Probe(Failure::new(FailureClass::Wall, "it waits for something"))),
        }
    }
}

enum ProbeError {
    Shape(wasmtime::Error),
    Failed(wasmtime::Error),
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("digest", &self.digest)
            .field("description", &self.description)
            .field("hooks", &self.hooks())
            .finish_non_exhaustive()
    }
}
