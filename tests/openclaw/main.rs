//! The real OpenClaw 2026.9.6, connected to the real host by `metaclaw openclaw connect`, with a scripted upstream behind it that
//! writes down what arrives. `make test-openclaw` runs it; OpenClaw itself is installed once, into `target/openclaw`.

mod by_key;
mod connection;
mod embedded;
mod failures;
mod gateway;
mod install;
mod plugin;
mod restart;
mod side;
mod turns;

use tests::{Home, Host, Reply, Seen, Upstream};

use gateway::{Gateway, OpenClaw, Outcome};

/// OpenClaw's gateway, the host it is connected to, and the host's upstream.
struct World {
    gateway: Gateway,
    host: Host,
    home: Home,
    upstream: Upstream,
}

impl World {
    /// Agents who learn, each with a skill of its own and all with a shared one. `more` is the host's further configuration.
    async fn new(agents: &[&str], more: &str, script: fn(&Seen) -> Reply) -> Self {
        let upstream = Upstream::scripted(script).await;
        let home = Home::with(&upstream, more);
        home.skill("_shared", "shared-rule", "Use when harbours are described", "SHARED-BODY");
        for agent in agents {
            home.skill(agent, "own-style", "Use when a report is due", &format!("BODY-OF-{agent}."));
        }
        let host = home.start_with(&["--dev"]).await;
        let claw = OpenClaw::new(agents);
        claw.connect(&home, &[]);
        World { gateway: claw.start().await, host, home, upstream }
    }

    /// Stops the host and opens what it has kept, which is there as long as the home is.
    async fn stored(self) -> (Home, store::Store) {
        drop(self.gateway);
        assert!(self.host.stop().success());
        let store = open(&self.home).await;
        (self.home, store)
    }
}

/// What a host that has ended has kept.
async fn open(home: &Home) -> store::Store {
    store::Store::open(&home.path().join("state"), store::StoreOptions::default()).await.unwrap()
}

/// Answers what the user said, calls a tool when told to, and sums up when OpenClaw compacts.
fn obliging(seen: &Seen) -> Reply {
    if seen.system().starts_with("You are a context summarization assistant") {
        return Reply::Words("## Goal\nDescribe harbours.\n## Progress\nThree are described.".into());
    }
    let asked = words(&seen.asked());
    let last_role = seen.body["messages"].as_array().and_then(|m| m.iter().rev().find(|m| !is_internal(m)).cloned());
    match asked.strip_prefix("CALL read ") {
        Some(file) if last_role.is_some_and(|m| m["role"] == "user") => {
            Reply::Call("read", serde_json::json!({"path": file}).to_string())
        }
        _ => Reply::Words(format!("heard: {asked}")),
    }
}

fn is_internal(message: &serde_json::Value) -> bool {
    message["role"] == "user" && message["content"].is_array()
}

/// What the user typed, of what OpenClaw sends: without the time in front and the line about the runtime.
fn words(sent: &str) -> String {
    let after = if sent.starts_with('[') { sent.split_once("] ").map_or(sent, |(_, rest)| rest) } else { sent };
    after.split("\n\nRuntime: ").next().unwrap_or_default().trim().to_owned()
}

/// Who OpenClaw itself says speaks, in its line about the runtime: agent, session key, session id.
fn speaker(seen: &Seen) -> Option<[String; 3]> {
    let messages = seen.body["messages"].as_array()?;
    let text = messages.iter().filter_map(|m| m["content"].as_str()).find(|t| t.contains("\n\nRuntime: agent="))?;
    let line = text.rsplit_once("\n\nRuntime: ")?.1;
    let value = |name: &str| {
        let part = line.split(" | ").find_map(|part| part.trim().strip_prefix(name))?;
        Some(part.to_owned())
    };
    Some([value("agent=")?, value("session=")?, value("sessionId=")?])
}

fn agent(name: &str) -> domain::AgentId {
    domain::AgentId::Named(name.parse().unwrap())
}
