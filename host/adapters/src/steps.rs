//! The moments at which a crash leaves something else than before. In tests the host dies there; else nothing is here.

/// Such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An old draft is gone.
    Cleared,
    /// The draft's folder is there, empty.
    Drafting,
    /// A file is there, empty.
    Created,
    /// It is written, and not yet durable.
    Written,
    /// It is durable.
    Synced,
    /// So is the draft's folder.
    Drafted,
    /// What had its name has another.
    Moved,
    /// It has its name.
    Renamed,
    /// The name is durable.
    Published,
    /// Something was removed.
    Removed,
}

#[cfg(not(test))]
pub(crate) fn reached(_: Step) {}

#[cfg(test)]
pub(crate) use in_tests::{meanwhile, reached};

#[cfg(test)]
mod in_tests {
    use std::cell::RefCell;

    use super::Step;

    type Act = Box<dyn FnMut(Step)>;
    thread_local! { static ACT: RefCell<Option<Act>> = const { RefCell::new(None) } }

    /// Runs `work`; `act` is told of each step that it reaches on this thread.
    pub(crate) fn meanwhile<T>(act: impl FnMut(Step) + 'static, work: impl FnOnce() -> T) -> T {
        ACT.set(Some(Box::new(act)));
        let done = work();
        ACT.set(None);
        done
    }

    pub(crate) fn reached(step: Step) {
        let Some(mut act) = ACT.take() else { return };
        act(step);
        ACT.set(Some(act));
    }
}
