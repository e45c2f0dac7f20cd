//! A host in small: the real store, a small made-up model with its real engine and trainer, and agents that are whatever a test says.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods, reason = "tests")]

#[path = "../../../local-model/tests/common/mod.rs"]
mod models;
mod moody;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use domain::{
    AgentId, DecisionSource, Digest, Sample, SampleState, SessionId, TokenTrace, TurnId, TurnKind, TurnOutcome,
    TurnRecord, Verdict,
};
use local_model::{AdamW, Engine, EngineOptions, Event, LoraShape, Loss, Model, Request, Sampling};
use serde_json::{Value, json};
use store::{Store, StoreOptions};
use tokio_util::sync::CancellationToken;
use training::{
    Backend, Driver, Embedded, Gate, Host, Metrics, Mode, Noting, Player, Served, Serving, Settings, Staleness,
    Trainer, Training,
};
use uuid::Uuid;

pub(crate) use moody::Moody;

/// Everything of one host.
pub(crate) struct World {
    pub(crate) store: Arc<Store>,
    pub(crate) model: Arc<Model>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) embedded: Arc<Embedded>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) training: Arc<Training>,
    pub(crate) dir: PathBuf,
    driver: Option<(CancellationToken, tokio::task::JoinHandle<()>)>,
}

/// The agents, and what they are answered with.
#[derive(Default)]
pub(crate) struct Agents {
    pub(crate) settings: Mutex<HashMap<AgentId, Settings>>,
    pub(crate) backend: Mutex<Option<Backend>>,
    pub(crate) judge: Mutex<Option<Arc<dyn judge::Ask>>>,
    pub(crate) served: Mutex<HashMap<AgentId, Served>>,
    /// What the judge's grades were heard to be.
    pub(crate) outcomes: Mutex<Vec<(AgentId, TurnId, f32)>>,
    /// Every generation that served, in order, with its agent.
    pub(crate) swaps: Mutex<Vec<(AgentId, u64)>>,
}

impl Host for Agents {
    fn agents(&self) -> Vec<AgentId> {
        self.settings.lock().unwrap().keys().cloned().collect()
    }

    fn settings(&self, agent: &AgentId) -> Option<Settings> {
        self.settings.lock().unwrap().get(agent).cloned()
    }

    fn backend(&self, _: &AgentId) -> Option<Backend> {
        self.backend.lock().unwrap().clone()
    }

    fn skill_generation(&self, _: &AgentId) -> Option<u64> {
        Some(1)
    }

    fn judge(&self, _: &AgentId) -> Option<Arc<dyn judge::Ask>> {
        self.judge.lock().unwrap().clone()
    }

    fn note_outcome<'a>(&'a self, agent: &'a AgentId, turn: TurnId, reward: f32) -> Noting<'a> {
        self.outcomes.lock().unwrap().push((agent.clone(), turn, reward));
        Box::pin(async {})
    }
}

impl Serving for Agents {
    fn serve(&self, agent: &AgentId, adapter: Option<Served>) {
        let generation = adapter.as_ref().map_or(0, |served| served.generation);
        self.swaps.lock().unwrap().push((agent.clone(), generation));
        let mut served = self.served.lock().unwrap();
        match adapter {
            Some(adapter) => drop(served.insert(agent.clone(), adapter)),
            None => drop(served.remove(agent)),
        }
    }
}

pub(crate) fn agent(name: &str) -> AgentId {
    AgentId::from_trusted(name).unwrap()
}

/// Polls until there is something, at most for a minute.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{what}: it did not happen within a minute");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// How the agents of these tests train: on everything, in small steps, at once.
pub(crate) fn settings(dir: &Path, agent: &AgentId) -> Settings {
    Settings {
        mode: Mode::Ready,
        refused: None,
        batch_size: 4,
        shape: LoraShape { rank: 4, alpha: 8.0, projections: [true; 7] },
        loss: Loss::Cispo { low: 0.8, high: 1.2 },
        adam: AdamW { learning_rate: 5e-3, ..AdamW::default() },
        warmup_steps: 0,
        max_tokens: 128,
        staleness: Staleness::default(),
        votes: 3,
        candidates: 0,
        retry_wait: Duration::from_millis(20),
        gate: Gate { max_drift: 10.0, prompts: 0, judge: false, held_out: 0, watch: 0 },
        review: false,
        keep: 3,
        folder: dir.join("lora").join(agent.as_str()),
        resume: None,
        seed: 7,
        threads: 1,
    }
}

impl World {
    /// A host on this home, in which the agents of these names train.
    pub(crate) async fn new(dir: &Path, agents: &[&str]) -> Self {
        let model = dir.join("tiny.gguf");
        if !model.exists() {
            models::write_tiny(&model, &models::Tiny::default());
        }
        let model = Arc::new(Model::load(&model).unwrap());
        let engine = Arc::new(Engine::start(model.clone(), &EngineOptions::default()).unwrap());
        let all = Arc::new(Agents::default());
        let embedded = Embedded::start(model.clone(), engine.clone(), all.clone()).unwrap();
        let (trainer, player): (Arc<dyn Trainer>, Arc<dyn Player>) = (embedded.clone(), embedded.clone());
        *all.backend.lock().unwrap() = Some(Backend { trainer, player });
        for name in agents {
            let agent = agent(name);
            all.settings.lock().unwrap().insert(agent.clone(), settings(dir, &agent));
        }
        let store = Arc::new(Store::open(&dir.join("state"), StoreOptions::default()).await.unwrap());
        let metrics = Metrics::new(&mut prometheus_client::registry::Registry::default());
        let training = Training::new(store.clone(), metrics, all.clone());
        World { store, model, engine, embedded, agents: all, training, dir: dir.to_owned(), driver: None }
    }

    /// Changes how an agent trains.
    pub(crate) fn change(&self, name: &str, change: impl FnOnce(&mut Settings)) {
        change(self.agents.settings.lock().unwrap().get_mut(&agent(name)).unwrap());
        self.training.refresh();
    }

    /// Puts a player with moods, and none yet, in the real one's place.
    pub(crate) fn moody(&self) -> Arc<Moody> {
        let mut backend = self.agents.backend.lock().unwrap();
        let player = &mut backend.as_mut().unwrap().player;
        let [broken, busy, ends] = Default::default();
        let moody = Arc::new(Moody { inner: player.clone(), broken, busy, ends });
        *player = moody.clone();
        moody
    }

    /// Lets the driver work.
    pub(crate) fn start(&mut self) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(Driver::new(self.training.clone()).run(stop.clone()));
        self.driver = Some((stop, task));
    }

    /// Ends everything, as a host does.
    pub(crate) async fn stop(mut self) {
        if let Some((stop, task)) = self.driver.take() {
            stop.cancel();
            task.await.unwrap();
        }
        self.embedded.close().await;
        self.engine.shutdown().await;
        self.store.close().await;
    }

    /// What the model, or the agent's adapter, says to this. The same number gives the same answer.
    pub(crate) async fn say(&self, name: &str, prompt: &str, seed: u64) -> (TokenTrace, u64) {
        let served = self.agents.served.lock().unwrap().get(&agent(name)).cloned();
        let sampling = Sampling { seed: Some(seed), max_tokens: Some(8), ..Sampling::default() };
        let tokens: Vec<u32> = prompt.bytes().map(u32::from).collect();
        let generation = served.as_ref().map_or(0, |served| served.generation);
        let adapter = served.map(|served| served.adapter);
        let request = Request { tokens: Some(tokens.into()), sampling, adapter, ..Request::default() };
        let mut events = self.engine.submit(request).unwrap();
        while let Some(event) = events.recv().await {
            match event {
                Event::Text(_) => {}
                Event::Done(finish) => return (finish.trace, generation),
                Event::Failed(error) => panic!("{error}"),
            }
        }
        panic!("no answer");
    }

    /// Records a turn with this sample, in a session of its own.
    pub(crate) async fn keep(&self, name: &str, (tokens, adapter): (TokenTrace, u64), reward: Option<f32>) -> TurnId {
        let turn = record(name, adapter, &json!([{"role": "user", "content": "a question"}]));
        self.keep_turn(turn, Some(tokens), reward).await
    }

    pub(crate) async fn keep_turn(&self, turn: TurnRecord, tokens: Option<TokenTrace>, reward: Option<f32>) -> TurnId {
        let sample = Sample {
            turn: turn.id,
            agent: turn.agent.clone(),
            session: turn.session.clone(),
            policy: Digest::of(b"module"),
            skill_generation: 1,
            adapter: turn.adapter,
            weight: 1.0,
            reward,
            tokens,
        };
        let id = turn.id;
        self.store.record_turn(turn).await.unwrap();
        self.store.capture(sample, Verdict::Keep { weight: 1.0 }).await.unwrap();
        id
    }

    /// Has the agent answer this often, each time with a reward by its tokens.
    pub(crate) async fn play(&self, name: &str, prompt: &str, seeds: std::ops::Range<u64>, reward: fn(&[u32]) -> f32) {
        for seed in seeds {
            let (trace, generation) = self.say(name, prompt, seed).await;
            let reward = reward(&trace.completion);
            self.keep(name, (trace, generation), Some(reward)).await;
        }
    }

    /// How many of an agent's samples stand so.
    pub(crate) async fn count(&self, name: &str, state: SampleState) -> u64 {
        let counts = self.store.sample_counts().await.unwrap();
        counts.iter().filter(|c| c.agent == agent(name) && c.state == state).map(|c| c.count).sum()
    }

    /// The agent's line in `train status`.
    pub(crate) async fn status(&self, name: &str) -> Value {
        let status = self.training.status().await.unwrap();
        let agents = status["agents"].as_array().unwrap();
        agents.iter().find(|one| one["agent"] == name).cloned().unwrap_or_default()
    }

    /// Waits until the agent is answered by this generation.
    pub(crate) async fn serves(&self, name: &str, generation: u64) {
        let began = Instant::now();
        loop {
            let served = self.agents.served.lock().unwrap().get(&agent(name)).map_or(0, |served| served.generation);
            if served == generation {
                return;
            }
            if began.elapsed() > Duration::from_secs(60) {
                panic!("{name}@{generation} does not serve within a minute: {:#}", self.status(name).await);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The log-probabilities of an answer as the agent is answered now.
    pub(crate) fn logprobs(&self, name: &str, prompt: &str, answer: &[u32]) -> Vec<f32> {
        let served = self.agents.served.lock().unwrap().get(&agent(name)).cloned();
        let prompt: Vec<u32> = prompt.bytes().map(u32::from).collect();
        self.model.logprobs(&prompt, answer, served.as_ref().map(|served| &*served.adapter)).unwrap()
    }
}

pub(crate) fn record(name: &str, adapter: u64, messages: &Value) -> TurnRecord {
    let session: SessionId = format!("s-{}", Uuid::now_v7().simple()).parse().unwrap();
    let answer = json!({"choices": [{"message": {"role": "assistant", "content": "an answer"}}]});
    TurnRecord {
        id: TurnId(Uuid::now_v7()),
        agent: agent(name),
        session,
        session_key: None,
        kind: TurnKind::Main,
        started: SystemTime::now(),
        duration: Duration::from_millis(5),
        first_byte: None,
        upstream: "local".to_owned(),
        model: "tiny".to_owned(),
        request: json!({ "messages": messages }).to_string().into(),
        answer: answer.to_string().into(),
        skills: vec![],
        policy: (Digest::of(b"module"), DecisionSource::Builtin),
        adapter,
        usage: None,
        outcome: TurnOutcome::Complete,
    }
}

/// A reward that can be learned: the share of tokens that are even.
pub(crate) fn even(tokens: &[u32]) -> f32 {
    let even = tokens.iter().filter(|token| **token % 2 == 0).count();
    2.0 * even as f32 / tokens.len().max(1) as f32 - 1.0
}

/// The opposite.
pub(crate) fn odd(tokens: &[u32]) -> f32 {
    -even(tokens)
}
