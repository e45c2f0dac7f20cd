//! What [`export!`](crate::export!) makes the host's calls into.

#[cfg(target_arch = "wasm32")]
use std::cell::OnceCell;

use crate::{Description, Error, Exported, Policy, Problem, Result};

/// The code of what is wrong with settings.
const BAD_CONFIG: &str = "bad-config";
/// What `serde_json` puts between a message and its place.
const PLACE: &[u8] = b" at line ";

/// What the module is.
pub fn describe<P: Exported>() -> Description {
    let mut attrs = Vec::new();
    if !P::GRANTS.is_empty() {
        attrs.push(("grants".to_owned(), P::GRANTS.join(" ")));
    }
    let (name, version, summary) = (P::NAME.to_owned(), P::VERSION.to_owned(), P::SUMMARY.to_owned());
    Description { name, version, summary, attrs }
}

/// What is wrong with these settings.
pub fn validate<P: Policy>(json: &str) -> Vec<Problem> {
    match read::<P>(json) {
        Ok(policy) => {
            policy.check().into_iter().map(|message| Problem { code: BAD_CONFIG.to_owned(), message }).collect()
        }
        Err(error) => vec![error.into_problem()],
    }
}

/// The policy with these settings.
pub fn read<P: Policy>(json: &str) -> Result<P> {
    serde_json::from_str(json).map_err(|error| {
        let mut message = error.to_string();
        // Where in the JSON it is says nothing: the operator wrote YAML. Searched byte by byte, as the standard library's search is 3 KB.
        if let Some(at) = message.as_bytes().windows(PLACE.len()).position(|part| part == PLACE) {
            message.truncate(at);
        }
        Error::new(BAD_CONFIG, message)
    })
}

/// Asks the policy of this instance.
#[cfg(target_arch = "wasm32")]
pub fn ask<P: Policy, T>(policy: &OnceCell<P>, hook: impl FnOnce(&P) -> Result<T>) -> std::result::Result<T, Problem> {
    if policy.get().is_none() {
        let read = read(&crate::bindings::imports::metaclaw::policy::settings::get()).map_err(Error::into_problem)?;
        let _ = policy.set(read);
    }
    match policy.get() {
        Some(policy) => hook(policy).map_err(Error::into_problem),
        None => Err(Problem { code: BAD_CONFIG.to_owned(), message: "there are no settings".to_owned() }),
    }
}
