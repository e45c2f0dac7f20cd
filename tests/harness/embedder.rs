use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::{Home, target};

impl Home {
    /// Gives the home an embedder, `minilm` or `static`, which is fetched once for this machine.
    pub fn embedder(&self, kind: &str) {
        let fetched = fetched(kind);
        let models = self.path().join("models");
        std::fs::create_dir_all(&models).unwrap();
        for file in [format!("{kind}.embedder.gguf"), format!("{kind}.json")] {
            // The same file under a second name: nothing is copied, and what is recorded of it stays true.
            std::fs::hard_link(fetched.join(&file), models.join(&file))
                .or_else(|_| symlink(fetched.join(&file), models.join(&file)))
                .unwrap();
        }
    }
}

/// The folder with the embedder in it.
fn fetched(kind: &str) -> PathBuf {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let embedders = target().join("embedders");
    std::fs::create_dir_all(&embedders).unwrap();
    // Tests of other crates may want it at the same time.
    let lock = std::fs::File::create(embedders.join(".lock")).unwrap();
    lock.lock().unwrap();
    if !embedders.join(format!("{kind}.json")).exists() {
        let home = Home::new();
        symlink(&embedders, home.path().join("models")).unwrap();
        let (code, out, err) = home.run(&["models", "fetch", kind]);
        assert_eq!(code, 0, "{kind} cannot be fetched: {out}{err}");
    }
    embedders
}
