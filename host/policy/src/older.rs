//! Modules of contract 0.1: what they import is what those of 1.0 import under another name, and what they answer is put into the
//! words of 1.0.

use wasmtime::component::Resource;

use crate::bindings::metaclaw::policy::{catalog, files, kv, log, sample, settings, turn, types};
use crate::bindings::v0::metaclaw::policy as v0;
use crate::bindings::{CatalogHandle, SampleHandle, TurnHandle};
use crate::state::State;

type Result<T> = wasmtime::Result<T>;
type Answer<T> = std::result::Result<T, types::Problem>;

/// Functions that are the same in both, and then those that are not.
macro_rules! same {
    ($old:path as $new:path: $($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)* $(=> $other:item)?) => {
        impl $old for State {
            $(fn $name(&mut self, $($argument: $kind),*) -> Result<$answer> {
                <Self as $new>::$name(self, $($argument),*)
            })*
            $($other)?
        }
    };
}

impl v0::turn::Host for State {}
impl v0::catalog::Host for State {}
impl v0::sample::Host for State {}

same!(v0::settings::Host as settings::Host: get() -> String;);
same!(v0::log::Host as log::Host: write(level: String, message: String) -> (););
same!(v0::turn::HostTurn as turn::HostTurn:
    agent(this: Resource<TurnHandle>) -> String;
    session(this: Resource<TurnHandle>) -> String;
    index(this: Resource<TurnHandle>) -> u32;
    kind(this: Resource<TurnHandle>) -> String;
    mode(this: Resource<TurnHandle>) -> String;
    requested_model(this: Resource<TurnHandle>) -> String;
    user_text(this: Resource<TurnHandle>) -> String;
    body_size(this: Resource<TurnHandle>) -> u64;
    message_count(this: Resource<TurnHandle>) -> u32;
    tool_names(this: Resource<TurnHandle>) -> Vec<String>;
    targets(this: Resource<TurnHandle>) -> Vec<types::Target>;
    attr(this: Resource<TurnHandle>, name: String) -> Option<String>;
    drop(this: Resource<TurnHandle>) -> ();
    => fn message(&mut self, this: Resource<TurnHandle>, index: u32) -> Result<Option<v0::turn::Message>> {
        let message = turn::HostTurn::message(self, this, index)?;
        Ok(message.map(|types::Message { role, text }| v0::turn::Message { role, text }))
    }
);
same!(v0::catalog::HostCatalog as catalog::HostCatalog:
    len(this: Resource<CatalogHandle>) -> u32;
    list(this: Resource<CatalogHandle>, offset: u32, limit: u32) -> Vec<types::SkillSummary>;
    search(this: Resource<CatalogHandle>, query: String, k: u32) -> Vec<types::Scored>;
    read(this: Resource<CatalogHandle>, name: String) -> Option<String>;
    drop(this: Resource<CatalogHandle>) -> ();
);
same!(v0::sample::HostSample as sample::HostSample:
    agent(this: Resource<SampleHandle>) -> String;
    session(this: Resource<SampleHandle>) -> String;
    model(this: Resource<SampleHandle>) -> String;
    user_text(this: Resource<SampleHandle>) -> String;
    answer_text(this: Resource<SampleHandle>) -> String;
    finish_reason(this: Resource<SampleHandle>) -> String;
    prompt_tokens(this: Resource<SampleHandle>) -> u64;
    completion_tokens(this: Resource<SampleHandle>) -> u64;
    skills(this: Resource<SampleHandle>) -> Vec<String>;
    has_tokens(this: Resource<SampleHandle>) -> bool;
    attr(this: Resource<SampleHandle>, name: String) -> Option<String>;
    drop(this: Resource<SampleHandle>) -> ();
);
same!(v0::kv::Host as kv::Host:
    get(key: String) -> Answer<Option<Vec<u8>>>;
    set(key: String, value: Vec<u8>) -> Answer<()>;
    delete(key: String) -> Answer<()>;
    keys(prefix: String) -> Answer<Vec<String>>;
);

fn entry(entry: files::Entry) -> v0::files::Entry {
    v0::files::Entry { name: entry.name, kind: entry.kind, size: entry.size }
}

impl v0::files::Host for State {
    async fn list(&mut self, root: String, path: String) -> Result<Answer<Vec<v0::files::Entry>>> {
        let listed = files::Host::list(self, root, path).await?;
        Ok(listed.map(|entries| entries.into_iter().map(entry).collect()))
    }

    async fn stat(&mut self, root: String, path: String) -> Result<Answer<v0::files::Entry>> {
        Ok(files::Host::stat(self, root, path).await?.map(entry))
    }

    async fn read(&mut self, root: String, path: String, offset: u64, len: u32) -> Result<Answer<Vec<u8>>> {
        files::Host::read(self, root, path, offset, len).await
    }

    async fn write(&mut self, root: String, path: String, bytes: Vec<u8>) -> Result<Answer<()>> {
        files::Host::write(self, root, path, bytes).await
    }

    async fn remove(&mut self, root: String, path: String) -> Result<Answer<()>> {
        files::Host::remove(self, root, path).await
    }
}

/// What `select` answers in 0.1.
impl From<Vec<String>> for types::Selection {
    fn from(skills: Vec<String>) -> Self {
        types::Selection { skills, attrs: Vec::new() }
    }
}
