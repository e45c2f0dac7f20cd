use std::cell::RefCell;
use std::collections::BTreeMap;

use policy_cases::Case;

/// What a policy may change, beside deciding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    pub(crate) kv: BTreeMap<String, Vec<u8>>,
    /// By `root/path`.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) log: Vec<String>,
    pub(crate) grants: Vec<&'static str>,
}

thread_local! {
    /// Of the case that runs on this thread.
    static HOST: RefCell<Host> = RefCell::default();
}

impl Host {
    /// As a case finds it.
    pub(crate) fn of(case: &Case, grants: &[&'static str]) -> Self {
        let roots = [("skills", &case.files.skills), ("shared", &case.files.shared), ("lora", &case.files.lora)];
        let paths = roots.into_iter().flat_map(|(root, texts)| {
            texts.iter().map(move |(path, text)| (format!("{root}/{path}"), text.clone().into_bytes()))
        });
        Host { kv: case.kv.clone(), files: paths.collect(), log: Vec::new(), grants: grants.to_vec() }
    }
}

/// Does something with this thread's.
pub(crate) fn with<T>(work: impl FnOnce(&mut Host) -> T) -> T {
    HOST.with(|host| work(&mut host.borrow_mut()))
}
