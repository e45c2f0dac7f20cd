//! A policy on the SDK that has every hook but one, and does whatever its settings say: what the SDK's stand-in for the host answers natively must be what the
//! host does. See `../README.md`.

use metaclaw_policy::files::Root;
use metaclaw_policy::prelude::*;

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Sdk {
    deed: String,
    path: String,
    weight: f32,
}

impl Default for Sdk {
    fn default() -> Self {
        Sdk { deed: String::new(), path: "notes.txt".into(), weight: 1.0 }
    }
}

impl Policy for Sdk {
    const GRANTS: &'static [&'static str] = &["skills:write", "lora:read"];

    fn check(&self) -> Vec<String> {
        if self.deed == "undone" { vec!["`undone` is no deed".into(), "there are others".into()] } else { Vec::new() }
    }

    fn route(&self, turn: &Turn) -> Result<Decision> {
        match self.deed.as_str() {
            "tell" => {
                let messages: Vec<String> = turn.messages().map(|m| format!("{}: {}", m.role, m.text)).collect();
                let told = format!(
                    "{} {} {} {} {} {} {} {} {:?} {:?} {:?} {:?} {}",
                    turn.agent(),
                    turn.session(),
                    turn.index(),
                    turn.kind(),
                    turn.mode(),
                    turn.received_at(),
                    turn.requested_model(),
                    turn.body_size(),
                    messages,
                    turn.message(99).is_none(),
                    turn.tool_names(),
                    turn.attr("none"),
                    turn.user_text()
                );
                return Ok(Decision::refuse(told));
            }
            "silence" => return Ok(Decision::refuse("")),
            "chatter" => return Ok(Decision::refuse("x".repeat(4097))),
            "foreign" => return Ok(Decision::to(Target { upstream: "else".into(), model: "where".into() })),
            "panic" => panic!("as asked"),
            "problem" => return Err(Error::new("as-asked", "the settings want it")),
            "error" => return Ok(Decision::refuse("no number".parse::<u64>()?.to_string())),
            "keep-and-fail" => {
                kv::set("a", "lost")?;
                return Err(Error::new("as-asked", "the settings want it"));
            }
            "keep" => {
                kv::set("a", "kept")?;
                kv::delete("b")?;
                log::info!("{:?} {:?} {}", kv::keys("")?, kv::text("a")?, kv::number("c")?);
            }
            "bad-key" => kv::set("", "x")?,
            "large-value" => kv::set("a", vec![0; (64 << 10) + 1])?,
            "read" => return Ok(Decision::refuse(files::text(Root::Skills, &self.path)?.unwrap_or("none".into()))),
            "read-shared" => return Ok(Decision::refuse(files::text(Root::Shared, &self.path)?.unwrap_or("none".into()))),
            "list" => {
                let entries = files::list(Root::Skills, &self.path)?;
                let told = entries.iter().map(|entry| format!("{} {} {}", entry.name, entry.kind, entry.size));
                return Ok(Decision::refuse(format!("{:?}", told.collect::<Vec<_>>())));
            }
            "write" => files::write(Root::Skills, &self.path, "new")?,
            "write-shared" => files::write(Root::Shared, &self.path, "new")?,
            "write-lora" => files::write(Root::Lora, &self.path, "new")?,
            "remove" => files::remove(Root::Skills, &self.path)?,
            _ => {}
        }
        log::warn!("routed");
        turn.to_first()
    }

    fn select(&self, turn: &Turn, catalog: &Catalog) -> Result<Selection> {
        Ok(match self.deed.as_str() {
            "unknown" => Selection::of(["nobody"]),
            "twice" => Selection::of(["a-skill", "a-skill"]),
            "search" => {
                let hits = catalog.search(&turn.user_text(), 1);
                for hit in &hits {
                    log::info!("{} {} {}", hit.name, hit.score, hit.tokens);
                }
                Selection::of(hits.into_iter().map(|hit| hit.name)).because("they were found")
            }
            _ => catalog.all().into_iter().map(|skill| skill.name).collect::<Vec<_>>().into(),
        })
    }

    fn render(&self, _turn: &Turn, catalog: &Catalog, skills: Vec<String>) -> Result<String> {
        if self.deed == "huge" {
            return Ok("x".repeat((256 << 10) + 1));
        }
        let bodies = skills.iter().filter_map(|name| catalog.read(name));
        Ok(format!("{} of {}: {}", skills.len(), catalog.len(), bodies.collect::<Vec<_>>().join(" ")))
    }

    fn gate(&self, _turn: &Turn, call: ToolCall) -> Result<Permission> {
        let called = format!("{} {} {}", call.id, call.name, call.arguments);
        Ok(match call.name.as_str() {
            "rm" => Permission::deny(called),
            "send" => Permission::hold(called),
            "mute" => Permission::deny(""),
            _ => Permission::Allow,
        })
    }

    fn filter(&self, sample: &Sample) -> Result<Verdict> {
        if self.deed != "tell" {
            return Ok(Verdict::Keep(self.weight));
        }
        let calls: Vec<String> = sample.tool_calls().into_iter().map(|call| call.name).collect();
        Ok(Verdict::drop(format!(
            "{} {} {} {} {} {} {} {} {} {} {:?} {:?} {}",
            sample.agent(),
            sample.session(),
            sample.received_at(),
            sample.model(),
            sample.user_text(),
            sample.message_count(),
            sample.answer_text(),
            sample.finish_reason(),
            sample.prompt_tokens(),
            sample.completion_tokens(),
            sample.skills(),
            calls,
            sample.has_tokens()
        )))
    }
}

// Without `reward`: a hook that a module does not have is not asked.
metaclaw_policy::export!(Sdk: route, select, render, gate, filter);

#[cfg(test)]
#[test]
fn it_decides_as_its_cases_say() {
    metaclaw_policy::testing::check::<Sdk>("cases.yaml");
}
