//! The functions that guests import. They only pass on what the [sources](crate::source) say, within bounds.

use std::time::SystemTime;

use domain::ToolCall;
use wasmtime::component::Resource;

use crate::bindings::metaclaw::policy::{catalog, log, sample, settings, turn, types};
use crate::bindings::{CatalogHandle, SampleHandle, TurnHandle};
use crate::source::{
    CatalogSource, MAX_HITS, MAX_LIST, MAX_TEXT, Message, SampleSource, Scored, SkillSummary, TurnSource,
};
use crate::state::{State, Subject};
use crate::text::{first_bytes, printable};

type Result<T> = wasmtime::Result<T>;

impl State {
    // A guest has a handle only while it is asked about such a thing, so these errors are a second wall.
    fn turn(&self) -> Result<&dyn TurnSource> {
        match &self.subject {
            Subject::Turn(turn) => Ok(turn.as_ref()),
            _ => Err(wasmtime::Error::msg("there is no turn")),
        }
    }

    fn sample(&self) -> Result<&dyn SampleSource> {
        match &self.subject {
            Subject::Sample(sample) => Ok(sample.as_ref()),
            _ => Err(wasmtime::Error::msg("there is no sample")),
        }
    }

    fn catalog(&self) -> Result<&dyn CatalogSource> {
        self.catalog.as_deref().ok_or_else(|| wasmtime::Error::msg("there is no catalog"))
    }
}

impl settings::Host for State {
    fn get(&mut self) -> Result<String> {
        Ok(self.settings.as_ref().to_owned())
    }
}

impl log::Host for State {
    fn write(&mut self, level: String, message: String) -> Result<()> {
        self.passed(level.len() + message.len())?;
        let within = first_bytes(&message, self.log.left);
        self.log.left -= within.len();
        self.log.cut += message.len() - within.len();
        if within.is_empty() {
            return Ok(());
        }
        // Escapes are longer than what they stand for.
        let message = printable(within, 10 * within.len());
        let agent = self.subject.agent().map(tracing::field::display);
        match level.as_str() {
            "debug" => tracing::debug!(target: "policy::guest", agent, "{message}"),
            "warn" => tracing::warn!(target: "policy::guest", agent, "{message}"),
            "error" => tracing::error!(target: "policy::guest", agent, "{message}"),
            _ => tracing::info!(target: "policy::guest", agent, "{message}"),
        }
        Ok(())
    }
}

impl types::Host for State {}
impl turn::Host for State {}
impl catalog::Host for State {}
impl sample::Host for State {}

impl turn::HostTurn for State {
    fn agent(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(self.turn()?.agent().as_str().to_owned())
    }

    fn session(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(self.turn()?.session().as_str().to_owned())
    }

    fn index(&mut self, _: Resource<TurnHandle>) -> Result<u32> {
        Ok(self.turn()?.index())
    }

    fn kind(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(match self.turn()?.kind() {
            domain::TurnKind::Main => "main".to_owned(),
            domain::TurnKind::Side => "side".to_owned(),
        })
    }

    fn mode(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(match self.turn()?.mode() {
            domain::Mode::SkillsOnly => "skills_only".to_owned(),
            domain::Mode::Rl => "rl".to_owned(),
            domain::Mode::Auto => "auto".to_owned(),
        })
    }

    fn received_at(&mut self, _: Resource<TurnHandle>) -> Result<u64> {
        Ok(millis(self.turn()?.received_at()))
    }

    fn requested_model(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(self.turn()?.requested_model().into_owned())
    }

    fn user_text(&mut self, _: Resource<TurnHandle>) -> Result<String> {
        Ok(first_bytes(&self.turn()?.user_text(), MAX_TEXT).to_owned())
    }

    fn body_size(&mut self, _: Resource<TurnHandle>) -> Result<u64> {
        Ok(self.turn()?.body_size())
    }

    fn message_count(&mut self, _: Resource<TurnHandle>) -> Result<u32> {
        Ok(self.turn()?.message_count())
    }

    fn message(&mut self, _: Resource<TurnHandle>, index: u32) -> Result<Option<types::Message>> {
        Ok(self.turn()?.message(index).map(message))
    }

    fn tool_names(&mut self, _: Resource<TurnHandle>) -> Result<Vec<String>> {
        Ok(self.turn()?.tool_names())
    }

    fn targets(&mut self, _: Resource<TurnHandle>) -> Result<Vec<types::Target>> {
        let targets = self.turn()?.targets().iter();
        Ok(targets
            .map(|t| types::Target { upstream: (*t.upstream).to_owned(), model: (*t.model).to_owned() })
            .collect())
    }

    fn attr(&mut self, _: Resource<TurnHandle>, name: String) -> Result<Option<String>> {
        self.passed(name.len())?;
        Ok(self.turn()?.attr(&name))
    }

    fn drop(&mut self, _: Resource<TurnHandle>) -> Result<()> {
        Ok(())
    }
}

impl catalog::HostCatalog for State {
    fn len(&mut self, _: Resource<CatalogHandle>) -> Result<u32> {
        Ok(u32::try_from(self.catalog()?.len()).unwrap_or(u32::MAX))
    }

    fn list(&mut self, _: Resource<CatalogHandle>, offset: u32, limit: u32) -> Result<Vec<types::SkillSummary>> {
        let page = self.catalog()?.list(offset as usize, (limit as usize).min(MAX_LIST));
        Ok(page.iter().take(MAX_LIST).map(summary).collect())
    }

    fn search(&mut self, _: Resource<CatalogHandle>, query: String, k: u32) -> Result<Vec<types::Scored>> {
        self.passed(query.len())?;
        let hits = self.catalog()?.search(&query, (k as usize).min(MAX_HITS));
        Ok(hits.iter().take(MAX_HITS).map(scored).collect())
    }

    fn read(&mut self, _: Resource<CatalogHandle>, name: String) -> Result<Option<String>> {
        self.passed(name.len())?;
        Ok(self.catalog()?.read(&name).map(|body| first_bytes(&body, MAX_TEXT).to_owned()))
    }

    fn drop(&mut self, _: Resource<CatalogHandle>) -> Result<()> {
        Ok(())
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn message(message: Message<'_>) -> types::Message {
    types::Message { role: message.role.into_owned(), text: first_bytes(&message.text, MAX_TEXT).to_owned() }
}

fn tool_call(call: ToolCall) -> types::ToolCall {
    types::ToolCall { id: call.id, name: call.name, arguments: first_bytes(&call.arguments, MAX_TEXT).to_owned() }
}

fn summary(skill: &SkillSummary) -> types::SkillSummary {
    types::SkillSummary {
        name: (*skill.name).to_owned(),
        description: (*skill.description).to_owned(),
        category: (*skill.category).to_owned(),
        scope: match skill.scope {
            domain::SkillScope::Shared => "shared".to_owned(),
            domain::SkillScope::Own => "own".to_owned(),
        },
        tokens: skill.tokens,
    }
}

fn scored(hit: &Scored) -> types::Scored {
    types::Scored { name: (*hit.name).to_owned(), score: hit.score, tokens: hit.tokens }
}

impl sample::HostSample for State {
    fn agent(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(self.sample()?.agent().as_str().to_owned())
    }

    fn session(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(self.sample()?.session().as_str().to_owned())
    }

    fn received_at(&mut self, _: Resource<SampleHandle>) -> Result<u64> {
        Ok(millis(self.sample()?.received_at()))
    }

    fn model(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(self.sample()?.model().into_owned())
    }

    fn user_text(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(first_bytes(&self.sample()?.user_text(), MAX_TEXT).to_owned())
    }

    fn message_count(&mut self, _: Resource<SampleHandle>) -> Result<u32> {
        Ok(self.sample()?.message_count())
    }

    fn message(&mut self, _: Resource<SampleHandle>, index: u32) -> Result<Option<types::Message>> {
        Ok(self.sample()?.message(index).map(message))
    }

    fn tool_calls(&mut self, _: Resource<SampleHandle>) -> Result<Vec<types::ToolCall>> {
        Ok(self.sample()?.tool_calls().into_iter().map(tool_call).collect())
    }

    fn answer_text(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(first_bytes(&self.sample()?.answer_text(), MAX_TEXT).to_owned())
    }

    fn finish_reason(&mut self, _: Resource<SampleHandle>) -> Result<String> {
        Ok(self.sample()?.finish_reason().into_owned())
    }

    fn prompt_tokens(&mut self, _: Resource<SampleHandle>) -> Result<u64> {
        Ok(self.sample()?.prompt_tokens())
    }

    fn completion_tokens(&mut self, _: Resource<SampleHandle>) -> Result<u64> {
        Ok(self.sample()?.completion_tokens())
    }

    fn skills(&mut self, _: Resource<SampleHandle>) -> Result<Vec<String>> {
        Ok(self.sample()?.skills())
    }

    fn has_tokens(&mut self, _: Resource<SampleHandle>) -> Result<bool> {
        Ok(self.sample()?.has_tokens())
    }

    fn attr(&mut self, _: Resource<SampleHandle>, name: String) -> Result<Option<String>> {
        self.passed(name.len())?;
        Ok(self.sample()?.attr(&name))
    }

    fn drop(&mut self, _: Resource<SampleHandle>) -> Result<()> {
        Ok(())
    }
}
