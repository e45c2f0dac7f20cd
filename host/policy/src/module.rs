use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use domain::{Digest, PerHook, PolicyGrants, PublicKey, TrustRoot};
use wasmtime::component::{Instance, InstancePre};

use crate::bindings::exports::metaclaw::policy::{
    lifecycle, reward, routing, sample_filter, skill_rendering, skill_selection, tool_gate,
};
use crate::bindings::v0::exports::metaclaw::policy as v0;
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
/// The versions of the contract that this host speaks, the present line first; modules of an earlier one of the same line fit as well.
const VERSIONS: [&str; 2] = ["1.0.0", "0.1.1"];
/// The most of each text that a module says of itself, in bytes.
const MAX_DESCRIPTION: usize = 1 << 10;
/// The most problems with a configuration that are reported.
const MAX_PROBLEMS: usize = 16;

/// A compiled policy. Agents that use the same bytes share one.
pub struct Module {
    digest: Digest,
    description: Description,
    pub(crate) pre: InstancePre<State>,
    pub(crate) exports: Exports,
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

/// What a module does not like about its settings; control characters escaped, each text at most 1 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// A word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// Where an instance has what its module exports.
pub(crate) struct Exports {
    lifecycle: Line<lifecycle::GuestIndices, v0::lifecycle::GuestIndices>,
    pub(crate) routing: Option<Line<routing::GuestIndices, v0::routing::GuestIndices>>,
    pub(crate) selection: Option<Line<skill_selection::GuestIndices, v0::skill_selection::GuestIndices>>,
    pub(crate) rendering: Option<skill_rendering::GuestIndices>,
    pub(crate) gate: Option<tool_gate::GuestIndices>,
    pub(crate) filter: Option<Line<sample_filter::GuestIndices, v0::sample_filter::GuestIndices>>,
    pub(crate) reward: Option<reward::GuestIndices>,
}

/// The line of the contract that a module is built for.
pub(crate) enum Line<N, O> {
    /// 1.x
    V1(N),
    /// 0.1
    V0(O),
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
        let exports = Exports::of(&pre)?;
        let (description, signers) = (Description::default(), Mutex::default());
        let mut module = Module { digest, description, pre, exports, asks, signers };
        if !module.hooks().iter().any(|(_, has)| *has) {
            return Err(LoadError::NoHook);
        }
        let (description, words) = module.probe(machine, NO_SETTINGS, async |store, instance| {
            module.exports.check_shapes(store, instance).map_err(ProbeError::Shape)?;
            let said = match &module.exports.lifecycle {
                Line::V1(lifecycle) => {
                    let guest = lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
                    guest.call_describe(&mut *store).await
                }
                Line::V0(lifecycle) => {
                    let guest = lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
                    guest.call_describe(&mut *store).await
                }
            };
            let said = said.map_err(ProbeError::Failed)?;
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
    pub fn hooks(&self) -> PerHook<bool> {
        let exports = &self.exports;
        PerHook {
            route: exports.routing.is_some(),
            select: exports.selection.is_some(),
            render: exports.rendering.is_some(),
            gate: exports.gate.is_some(),
            filter: exports.filter.is_some(),
            reward: exports.reward.is_some(),
        }
    }

    /// The line of the contract that it is built for: `1` or `0.1`.
    pub fn contract(&self) -> &'static str {
        match self.exports.lifecycle {
            Line::V1(_) => "1",
            Line::V0(_) => "0.1",
        }
    }

    /// Refuses when the module does not accept these settings.
    pub(crate) fn check_config(&self, machine: &Arc<Machine>, json: &str) -> Result<(), LoadError> {
        let problems = self.config_problems(machine, json)?;
        match problems.is_empty() {
            true => Ok(()),
            false => Err(LoadError::Config(problems.into_iter().map(|problem| problem.message).collect())),
        }
    }

    /// Asks the module what is wrong with these settings.
    pub(crate) fn config_problems(&self, machine: &Arc<Machine>, json: &str) -> Result<Vec<ConfigProblem>, LoadError> {
        let problems = self.probe(machine, json, async |store, instance| {
            let problems = match &self.exports.lifecycle {
                Line::V1(lifecycle) => {
                    let guest = lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
                    guest.call_validate_config(&mut *store, json).await
                }
                Line::V0(lifecycle) => {
                    let guest = lifecycle.load(&mut *store, instance).map_err(ProbeError::Shape)?;
                    guest.call_validate_config(&mut *store, json).await
                }
            };
            problems.map_err(ProbeError::Failed)
        })?;
        let shown = |text: &str| printable(text, MAX_DESCRIPTION);
        let problems = problems.iter().take(MAX_PROBLEMS);
        Ok(problems.map(|p| ConfigProblem { code: shown(&p.code), message: shown(&p.message) }).collect())
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

impl<N, O> Line<N, O> {
    fn v1(&self) -> Option<&N> {
        if let Line::V1(new) = self { Some(new) } else { None }
    }

    fn v0(&self) -> Option<&O> {
        if let Line::V0(old) = self { Some(old) } else { None }
    }
}

impl Exports {
    /// Finds what a module exports: its lifecycle, and the hooks of the same line of the contract.
    fn of(pre: &InstancePre<State>) -> Result<Self, LoadError> {
        let exports = |version: &str, name: &str| {
            pre.component().get_export_index(None, format!("metaclaw:policy/{name}@{version}")).is_some()
        };
        let shape = |e: wasmtime::Error| LoadError::shape(&e);
        /// The interface of this name, if the module has it.
        macro_rules! find {
            ($has:ident, $name:literal, $hook:ident) => {
                $has($name).then(|| $hook::GuestIndices::new(pre)).transpose().map_err(shape)
            };
            ($has:ident, $name:literal, v0::$hook:ident) => {
                $has($name).then(|| v0::$hook::GuestIndices::new(pre)).transpose().map_err(shape)
            };
        }
        let [new, old] = VERSIONS;
        let has = |name: &str| exports(new, name);
        if let Some(lifecycle) = find!(has, "lifecycle", lifecycle)? {
            return Ok(Exports {
                lifecycle: Line::V1(lifecycle),
                routing: find!(has, "routing", routing)?.map(Line::V1),
                selection: find!(has, "skill-selection", skill_selection)?.map(Line::V1),
                rendering: find!(has, "skill-rendering", skill_rendering)?,
                gate: find!(has, "tool-gate", tool_gate)?,
                filter: find!(has, "sample-filter", sample_filter)?.map(Line::V1),
                reward: find!(has, "reward", reward)?,
            });
        }
        let has = |name: &str| exports(old, name);
        Ok(Exports {
            lifecycle: Line::V0(find!(has, "lifecycle", v0::lifecycle)?.ok_or(LoadError::NoLifecycle)?),
            routing: find!(has, "routing", v0::routing)?.map(Line::V0),
            selection: find!(has, "skill-selection", v0::skill_selection)?.map(Line::V0),
            rendering: None,
            gate: None,
            filter: find!(has, "sample-filter", v0::sample_filter)?.map(Line::V0),
            reward: None,
        })
    }

    /// Compares the shapes of all hooks with ours.
    fn check_shapes(&self, store: &mut wasmtime::Store<State>, instance: &Instance) -> wasmtime::Result<()> {
        // The functions themselves are not wanted, only that they can be had.
        macro_rules! check {
            ($($found:expr),*) => {
                $(if let Some(hook) = $found {
                    let _ = hook.load(&mut *store, instance)?;
                })*
            };
        }
        let Exports { routing, selection, rendering, gate, filter, reward, .. } = self;
        check!(routing.as_ref().and_then(Line::v1), routing.as_ref().and_then(Line::v0));
        check!(selection.as_ref().and_then(Line::v1), selection.as_ref().and_then(Line::v0));
        check!(filter.as_ref().and_then(Line::v1), filter.as_ref().and_then(Line::v0));
        check!(rendering, gate, reward);
        Ok(())
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
