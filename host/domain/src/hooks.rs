use std::ops::Index;

use crate::Fallback;

/// The decisions that an agent's policy makes, in the order of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// Which upstream and model answer.
    Route,
    /// Which skills the prompt gets.
    Select,
    /// How they are laid out.
    Render,
    /// Whether the client gets a tool call.
    Gate,
    /// Whether the turn becomes a sample.
    Filter,
    /// How good it was.
    Reward,
}

/// One thing for each hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerHook<T> {
    /// Which upstream and model answer.
    pub route: T,
    /// Which skills the prompt gets.
    pub select: T,
    /// How they are laid out.
    pub render: T,
    /// Whether the client gets a tool call.
    pub gate: T,
    /// Whether the turn becomes a sample.
    pub filter: T,
    /// How good it was.
    pub reward: T,
}

impl Hook {
    /// Every hook, in the order of a turn.
    pub const ALL: [Hook; 6] = [Hook::Route, Hook::Select, Hook::Render, Hook::Gate, Hook::Filter, Hook::Reward];

    /// Its name in configuration and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Route => "route",
            Hook::Select => "select",
            Hook::Render => "render",
            Hook::Gate => "gate",
            Hook::Filter => "filter",
            Hook::Reward => "reward",
        }
    }

    /// What happens when the agent's module fails, unless the operator says otherwise: what nobody has judged is not let
    /// through.
    pub fn usual_fallback(self) -> Fallback {
        match self {
            Hook::Route | Hook::Select | Hook::Render => Fallback::Builtin,
            Hook::Gate => Fallback::Deny,
            Hook::Filter | Hook::Reward => Fallback::Drop,
        }
    }
}

impl<T> PerHook<T> {
    /// Made one by one, in the order of a turn.
    pub fn make(mut one: impl FnMut(Hook) -> T) -> Self {
        PerHook {
            route: one(Hook::Route),
            select: one(Hook::Select),
            render: one(Hook::Render),
            gate: one(Hook::Gate),
            filter: one(Hook::Filter),
            reward: one(Hook::Reward),
        }
    }

    /// As [`PerHook::make`], until one fails.
    pub fn try_make<E>(mut one: impl FnMut(Hook) -> Result<T, E>) -> Result<Self, E> {
        Ok(PerHook {
            route: one(Hook::Route)?,
            select: one(Hook::Select)?,
            render: one(Hook::Render)?,
            gate: one(Hook::Gate)?,
            filter: one(Hook::Filter)?,
            reward: one(Hook::Reward)?,
        })
    }

    /// Each hook with its thing.
    pub fn iter(&self) -> impl Iterator<Item = (Hook, &T)> {
        Hook::ALL.into_iter().map(|hook| (hook, &self[hook]))
    }
}

impl<T> Index<Hook> for PerHook<T> {
    type Output = T;

    fn index(&self, hook: Hook) -> &T {
        match hook {
            Hook::Route => &self.route,
            Hook::Select => &self.select,
            Hook::Render => &self.render,
            Hook::Gate => &self.gate,
            Hook::Filter => &self.filter,
            Hook::Reward => &self.reward,
        }
    }
}
