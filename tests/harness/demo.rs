use std::sync::{Mutex, PoisonError};

use crate::{Home, at_root, metaclaw, target};

impl Home {
    /// The demo as `make demo` lays it out: two agents, the policy of one of them, and the embedded model, which is fetched
    /// when this machine has none. Start a host on it with `--dev`.
    pub fn demo() -> Self {
        static LAYING_OUT: Mutex<()> = Mutex::new(());
        let home = Home::new();
        let command = metaclaw();
        let _one_at_a_time = LAYING_OUT.lock().unwrap_or_else(PoisonError::into_inner);
        let mut make = at_root("make");
        make.arg("demo").arg(format!("DEMO={}", home.path().display()));
        make.arg(format!("METACLAW={}", command.display()))
            .arg(format!("MODELS={}", target().join("models").display()));
        // A `make test` above this must not pass its own settings down.
        make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
        let out = make.output().unwrap_or_else(|e| panic!("`make` cannot be run ({e}): install it"));
        assert!(
            out.status.success(),
            "`make demo` failed: {}{}",
            String::from_utf8_lossy(&out.stdout),
            String::from_utf8_lossy(&out.stderr)
        );
        home
    }
}
