//! Each hook: how a module is asked, and how its answer is checked.

use std::future::Future;

use domain::{Fallback, ToolCall, Verdict};
use wasmtime::component::Resource;

use crate::bindings::metaclaw::policy::types;
use crate::call::Live;
use crate::decision::{DENIED, Failure, FailureClass, Permission, Rendering, RouteDecision, Selection};
use crate::module::Line;
use crate::state::Subject;
use crate::text::printable;

/// The longest words that a client gets instead of an answer or a tool call, in bytes.
const MAX_WORDS: usize = 4096;
/// The most skills that a selection may name.
const MAX_SKILLS: usize = 64;
/// The longest layout of skills, in bytes.
const MAX_LAYOUT: usize = 256 << 10;
/// The heaviest sample.
const MAX_WEIGHT: f32 = 10.0;
/// The longest reason for the operator, in bytes.
const MAX_REASON: usize = 1 << 10;
/// The attribute of an answer that says why.
const REASON: &str = "reason";

/// A hook: how a module is asked, and how its answer is checked.
pub(crate) trait Hook {
    type Decision;
    const NAME: domain::Hook;
    /// What holds when nobody has decided, or when the failure rule says [`Fallback::Deny`] or [`Fallback::Drop`].
    fn without(rule: Fallback) -> Self::Decision;
    /// Asks and checks. The limits are armed already.
    fn ask(&self, live: &mut Live) -> impl Future<Output = Result<Self::Decision, Failure>> + Send;
}

pub(crate) struct Route;
pub(crate) struct Select;
pub(crate) struct Render<'a> {
    pub(crate) skills: &'a [String],
}
pub(crate) struct Gate<'a> {
    pub(crate) call: &'a ToolCall,
}
pub(crate) struct Filter;
pub(crate) struct Reward;

/// Calls a function of a hook, of whichever line of the contract the module is built for, and gives what it answered. A module that
/// does not have the hook is not asked; should it be, that is a failure like any other.
macro_rules! ask {
    ($live:ident, $hook:ident, $call:ident($($argument:expr),*)) => {{
        let answer = match &$live.module.exports.$hook {
            Some(Line::V1(hook)) => {
                let guest = hook.load(&mut $live.store, &$live.instance).map_err(|e| unfit(&e))?;
                guest.$call(&mut $live.store, $($argument),*).await
            }
            Some(Line::V0(hook)) => {
                let guest = hook.load(&mut $live.store, &$live.instance).map_err(|e| unfit(&e))?;
                guest.$call(&mut $live.store, $($argument),*).await.map(|answer| answer.map(Into::into))
            }
            None => return Err(absent()),
        };
        answer.map_err(|e| $live.failed(&e))?.map_err(|p| problem(&p))?
    }};
}

/// The same for hooks that the contract has only had since 1.0.
macro_rules! ask_new {
    ($live:ident, $hook:ident, $call:ident($($argument:expr),*)) => {{
        let Some(hook) = &$live.module.exports.$hook else { return Err(absent()) };
        let guest = hook.load(&mut $live.store, &$live.instance).map_err(|e| unfit(&e))?;
        let answer = guest.$call(&mut $live.store, $($argument),*).await;
        answer.map_err(|e| $live.failed(&e))?.map_err(|p| problem(&p))?
    }};
}

impl Hook for Route {
    type Decision = RouteDecision;
    const NAME: domain::Hook = domain::Hook::Route;

    fn without(rule: Fallback) -> RouteDecision {
        if rule == Fallback::Deny { RouteDecision::Refuse(DENIED.into()) } else { RouteDecision::To(0) }
    }

    async fn ask(&self, live: &mut Live) -> Result<RouteDecision, Failure> {
        let answer: types::Decision = ask!(live, routing, call_route(Resource::new_borrow(0)));
        match answer {
            types::Decision::To(route) => {
                let Subject::Turn(turn) = &live.store.data().subject else { return Err(bad("there is no turn")) };
                let types::Target { upstream, model } = route.target;
                let chosen = turn.targets().iter().position(|t| *t.upstream == *upstream && *t.model == *model);
                note_reason(live, Self::NAME, &route.attrs);
                chosen.map(RouteDecision::To).ok_or_else(|| {
                    bad(&format!("it chose upstream {upstream:?} and model {model:?}, which the turn does not offer"))
                })
            }
            types::Decision::Refuse(refusal) => {
                words_for_the_client("refusal", refusal.message).map(RouteDecision::Refuse)
            }
        }
    }
}

impl Hook for Select {
    type Decision = Selection;
    const NAME: domain::Hook = domain::Hook::Select;

    fn without(rule: Fallback) -> Selection {
        if rule == Fallback::Deny { Selection::Deny } else { Selection::Skills(Vec::new()) }
    }

    async fn ask(&self, live: &mut Live) -> Result<Selection, Failure> {
        let answer: types::Selection =
            ask!(live, selection, call_select(Resource::new_borrow(0), Resource::new_borrow(0)));
        let names = answer.skills;
        note_reason(live, Self::NAME, &answer.attrs);
        if names.len() > MAX_SKILLS {
            return Err(bad(&format!("it selected {} skills, at most {MAX_SKILLS} may be", names.len())));
        }
        let Some(catalog) = &live.store.data().catalog else { return Err(bad("there is no catalog")) };
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(bad(&format!("it selected the skill {name:?} twice")));
            }
            if !catalog.contains(name) {
                return Err(bad(&format!("it selected the skill {name:?}, which the catalog does not have")));
            }
        }
        Ok(Selection::Skills(names))
    }
}

impl Hook for Render<'_> {
    type Decision = Rendering;
    const NAME: domain::Hook = domain::Hook::Render;

    fn without(rule: Fallback) -> Rendering {
        if rule == Fallback::Drop { Rendering::Text(String::new()) } else { Rendering::Usual }
    }

    async fn ask(&self, live: &mut Live) -> Result<Rendering, Failure> {
        let (turn, catalog) = (Resource::new_borrow(0), Resource::new_borrow(0));
        let text: String = ask_new!(live, rendering, call_render(turn, catalog, self.skills));
        if text.len() > MAX_LAYOUT {
            return Err(bad(&format!("its layout has {} bytes, at most {MAX_LAYOUT} may be", text.len())));
        }
        Ok(Rendering::Text(text))
    }
}

impl Hook for Gate<'_> {
    type Decision = Permission;
    const NAME: domain::Hook = domain::Hook::Gate;

    fn without(rule: Fallback) -> Permission {
        if rule == Fallback::Builtin { Permission::Allow } else { Permission::Deny(DENIED.into()) }
    }

    async fn ask(&self, live: &mut Live) -> Result<Permission, Failure> {
        let ToolCall { id, name, arguments } = self.call.clone();
        let call = types::ToolCall { id, name, arguments };
        let answer: types::Permission = ask_new!(live, gate, call_gate(Resource::new_borrow(0), &call));
        match answer {
            types::Permission::Allow => Ok(Permission::Allow),
            types::Permission::Deny(reason) => words_for_the_client("denial", reason).map(Permission::Deny),
            types::Permission::Hold(reason) => words_for_the_client("hold", reason).map(Permission::Hold),
        }
    }
}

impl Hook for Filter {
    type Decision = Verdict;
    const NAME: domain::Hook = domain::Hook::Filter;

    fn without(_rule: Fallback) -> Verdict {
        Verdict::Drop { reason: "no policy could judge the sample".into() }
    }

    async fn ask(&self, live: &mut Live) -> Result<Verdict, Failure> {
        let answer: types::Verdict = ask!(live, filter, call_filter(Resource::new_borrow(0)));
        match answer {
            // Written so that NaN is refused as well.
            types::Verdict::Keep(weight) if weight > 0.0 && weight <= MAX_WEIGHT => Ok(Verdict::Keep { weight }),
            types::Verdict::Keep(weight) => {
                Err(bad(&format!("it gave the weight {weight}, which is not greater than 0 and at most {MAX_WEIGHT}")))
            }
            types::Verdict::Drop(reason) => Ok(Verdict::Drop { reason: printable(&reason, MAX_REASON) }),
        }
    }
}

impl Hook for Reward {
    type Decision = Option<f32>;
    const NAME: domain::Hook = domain::Hook::Reward;

    fn without(_rule: Fallback) -> Option<f32> {
        None
    }

    async fn ask(&self, live: &mut Live) -> Result<Option<f32>, Failure> {
        let reward: Option<f32> = ask_new!(live, reward, call_reward(Resource::new_borrow(0)));
        match reward {
            // Written so that NaN is refused as well.
            Some(reward) if !(-1.0..=1.0).contains(&reward) => {
                Err(bad(&format!("it gave the reward {reward}, which is not from -1 to 1")))
            }
            reward => Ok(reward),
        }
    }
}

/// What the client is to read, if it says something and is not too long.
fn words_for_the_client(what: &str, words: String) -> Result<String, Failure> {
    match words.len() {
        0 => Err(bad(&format!("its {what} says nothing"))),
        1..=MAX_WORDS => Ok(words),
        long => Err(bad(&format!("its {what} has {long} bytes, at most {MAX_WORDS} may be"))),
    }
}

fn note_reason(live: &Live, hook: domain::Hook, attrs: &[(String, String)]) {
    if let Some((_, reason)) = attrs.iter().find(|(name, _)| name == REASON) {
        let agent = live.agent().map(tracing::field::display);
        tracing::debug!(target: "policy::guest", agent, hook = hook.as_str(), reason = printable(reason, MAX_REASON));
    }
}

fn absent() -> Failure {
    Failure::new(FailureClass::Link, "the module does not have this hook")
}

fn unfit(error: &wasmtime::Error) -> Failure {
    Failure::new(FailureClass::Link, &format!("{error:#}"))
}

fn bad(message: &str) -> Failure {
    Failure::new(FailureClass::BadOutput, message)
}

fn problem(problem: &types::Problem) -> Failure {
    Failure::new(FailureClass::PolicyError, &format!("{}: {}", problem.code, problem.message))
}
