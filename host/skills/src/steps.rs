//! The moments between two looks at the disk, when another process may act. In tests one does; else nothing is here.

/// Such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A file was looked at and is about to be opened.
    Looked,
    /// It was opened and is about to be looked at again.
    Opened,
    /// The quota was checked; folders and the file are about to be made.
    Counted,
    /// A draft was created and is about to be written.
    Drafting,
    /// It is written and durable; what it is to replace is about to be looked at.
    Drafted,
    /// It is about to be renamed.
    Checked,
    /// It was renamed; the folder is about to be made durable.
    Renamed,
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

    /// Runs `work`; `act` is told of each step that it reaches on this thread, and comes first.
    pub(crate) fn meanwhile<T>(act: impl FnMut(Step) + 'static, work: impl FnOnce() -> T) -> T {
        ACT.set(Some(Box::new(act)));
        let done = work();
        ACT.set(None);
        done
    }

    pub(crate) fn reached(step: Step) {
        // Taken out meanwhile: what the act does may reach steps of its own.
        let Some(mut act) = ACT.take() else { return };
        act(step);
        ACT.set(Some(act));
    }
}
