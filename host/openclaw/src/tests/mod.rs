mod crashes;
mod golden;
mod reading;
mod undoing;
mod writing;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::{ApiKey, Choice, Connection, Job, Model, Offer, OpenclawError, PluginFile, Wanted};

const PLUGIN: &[PluginFile] =
    &[PluginFile { name: "index.ts", text: "export default 1;\n" }, PluginFile { name: "package.json", text: "{}\n" }];

/// A MetaClaw home beside an OpenClaw folder.
struct Place {
    dir: tempfile::TempDir,
}

/// What a test may want otherwise.
#[derive(Clone)]
struct Wish {
    base_url: String,
    api_key: ApiKey,
    agents: Choice,
}

impl Default for Wish {
    fn default() -> Self {
        Wish { base_url: "http://127.0.0.1:30000/v1".into(), api_key: ApiKey::None, agents: Choice::All }
    }
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("openclaw")).unwrap();
        Place { dir }
    }

    fn with(text: &str) -> Place {
        let place = Place::new();
        fs::write(place.config(), text).unwrap();
        fs::set_permissions(place.config(), fs::Permissions::from_mode(0o600)).unwrap();
        place
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("openclaw").join("openclaw.json")
    }

    fn backup(&self) -> PathBuf {
        self.dir.path().join("openclaw").join("openclaw.json.before-metaclaw")
    }

    fn connection(&self) -> Connection {
        Connection::of(&self.dir.path().join("metaclaw"))
    }

    fn text(&self) -> String {
        fs::read_to_string(self.config()).unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(self.config(), text).unwrap();
    }

    fn connecting(&self, wish: &Wish) -> Result<Job, OpenclawError> {
        let offer = |agent: Option<&str>, _: Option<&str>| match agent {
            Some(agent) if agent.starts_with('_') => Offer::Unfit("its name begins with `_`".into()),
            agent => Offer::Model(Model {
                id: if agent.is_some_and(|a| a.eq_ignore_ascii_case("research")) { "reader" } else { "gpt-x" }.into(),
                context_window: 128_000,
                max_tokens: 8192,
                images: agent.is_none(),
            }),
        };
        let Wish { base_url, api_key, agents } = wish.clone();
        let wanted = Wanted { base_url, api_key, agents, offer: &offer };
        self.connection().connect(&self.config(), &wanted, PLUGIN)
    }

    fn connect(&self) {
        self.connecting(&Wish::default()).unwrap().run().unwrap();
    }

    fn disconnect(&self) -> Vec<String> {
        let job = self.connection().disconnect().unwrap();
        let kept = job.kept.clone();
        job.run().unwrap();
        kept
    }

    /// What disconnecting must leave of our own: nothing, but a copy that says more than the file does.
    fn check_tidy(&self) {
        let copy = fs::read_to_string(self.backup()).ok();
        assert!(copy.is_none_or(|copy| copy != self.text()), "the copy is still there");
        assert!(!self.connection().record_file().exists(), "the record is still there");
        assert!(!self.connection().plugin_folder().exists(), "the plugin is still there");
        let names = fs::read_dir(self.dir.path().join("openclaw")).unwrap().map(|e| e.unwrap().file_name());
        let strange = names.filter(|name| name != "openclaw.json" && name != "parts");
        let strange: Vec<_> = strange.filter(|name| self.backup().file_name() != Some(name)).collect();
        assert!(strange.is_empty(), "left behind: {strange:?}");
    }
}

/// What a text means.
fn value(text: &str) -> serde_json::Value {
    crate::document::Document::read(text, std::path::Path::new("test")).unwrap().1
}
