//! A host that is killed anywhere in a step makes the same adapter when it starts again, and uses each sample once.
//!
//! These tests run themselves again as a child process: an ignored test that reads where to work, and where to die, from standard input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod world;

use std::io::{BufRead as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use domain::{AgentId, SampleState};
use local_model::{AdamW, Watch};
use training::{
    Backend, Batch, Facts, Files, Handle, Opening, Passed, Played, Player, Prompt, Stepped, Trainer, Version, Work,
};
use world::{World, agent, even};

/// Where it dies: after each of these is done, and before anything else is.
const POINTS: [&str; 6] = ["claim", "forward_backward", "optim_step", "save", "publish", "commit"];

/// The real trainer and player, which kill the process when they get somewhere.
#[derive(Clone)]
struct Deadly {
    trainer: Arc<dyn Trainer>,
    player: Arc<dyn Player>,
    point: String,
}

impl Deadly {
    fn reached(&self, point: &str) {
        if self.point == point {
            let me = rustix::process::getpid();
            let _ = rustix::process::kill_process(me, rustix::process::Signal::KILL);
            unreachable!("dead");
        }
    }
}

struct DeadlyHandle(Box<dyn Handle>, Deadly);

impl Trainer for Deadly {
    fn facts(&self) -> Facts {
        self.trainer.facts()
    }

    fn open(&self, from: Opening) -> Work<'_, Box<dyn Handle>> {
        // The batch is claimed, and nothing else has happened.
        self.reached("claim");
        Box::pin(
            async move { Ok(Box::new(DeadlyHandle(self.trainer.open(from).await?, self.clone())) as Box<dyn Handle>) },
        )
    }
}

impl Handle for DeadlyHandle {
    fn steps(&self) -> u64 {
        self.0.steps()
    }

    fn forward_backward(&mut self, work: Batch, watch: Arc<Watch>) -> Work<'_, Passed> {
        Box::pin(async move {
            let passed = self.0.forward_backward(work, watch).await?;
            self.1.reached("forward_backward");
            Ok(passed)
        })
    }

    fn optim_step(&mut self, adam: AdamW) -> Work<'_, Stepped> {
        Box::pin(async move {
            let stepped = self.0.optim_step(adam).await?;
            self.1.reached("optim_step");
            Ok(stepped)
        })
    }

    fn save(&mut self) -> Work<'_, Files> {
        Box::pin(async move {
            let files = self.0.save().await?;
            self.1.reached("save");
            Ok(files)
        })
    }
}

impl Player for Deadly {
    fn load<'a>(&'a self, version: &'a Version, files: Files) -> Work<'a, ()> {
        // The new version's files are in their place, and nobody has looked at them.
        if version.generation == 2 {
            self.reached("publish");
        }
        self.player.load(version, files)
    }

    fn unload<'a>(&'a self, version: &'a Version) -> Work<'a, ()> {
        self.player.unload(version)
    }

    fn sample<'a>(&'a self, version: Option<&'a Version>, prompt: Prompt) -> Work<'a, Played> {
        self.player.sample(version, prompt)
    }

    fn is_idle(&self) -> bool {
        self.player.is_idle()
    }

    fn score<'a>(&'a self, version: Option<&'a Version>, tokens: Arc<[u32]>, from: usize) -> Work<'a, Vec<f32>> {
        self.player.score(version, tokens, from)
    }

    fn serve<'a>(&'a self, agent: &'a AgentId, version: Option<&'a Version>) -> Work<'a, ()> {
        // Committed, and neither `current` nor anybody's answers know it.
        if version.is_some_and(|version| version.generation == 2) {
            self.reached("commit");
        }
        self.player.serve(agent, version)
    }
}

/// Takes the second step of an agent whose samples are there, to its end or its death.
async fn step(dir: &Path, point: &str) {
    let mut world = World::new(dir, &["a"]).await;
    {
        let mut backend = world.agents.backend.lock().unwrap();
        let Backend { trainer, player } = backend.clone().unwrap();
        let deadly = Arc::new(Deadly { trainer, player, point: point.to_owned() });
        *backend = Some(Backend { trainer: deadly.clone(), player: deadly });
    }
    world.start();
    world.training.resume(&agent("a")).await.unwrap();
    world.serves("a", 2).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the child of the crash matrix"]
async fn victim() {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    if let Some((point, dir)) = line.trim().split_once(' ') {
        step(Path::new(dir), point).await;
    }
}

/// Runs the step in a child; whether it was killed.
fn child(dir: &Path, point: &str) -> bool {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "victim", "--ignored", "--nocapture"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{point} {}", dir.display()).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "{point}: {status}");
    status.signal() == Some(9)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_kill_9_at_any_point_of_a_step_the_same_adapter_comes_of_it() {
    // A first adapter, and samples for a second one, which wait while the lane is paused.
    let home = tempfile::tempdir().unwrap();
    let mut world = World::new(home.path(), &["a"]).await;
    world.start();
    world.play("a", "x", 0..6, even).await;
    world.serves("a", 1).await;
    world.training.pause(&agent("a")).await.unwrap();
    world.play("a", "y", 10..16, even).await;
    world::until("they are eligible", async || (world.count("a", SampleState::Eligible).await == 6).then_some(()))
        .await;
    world.stop().await;

    let mut outcomes = Vec::new();
    for point in ["nowhere"].into_iter().chain(POINTS) {
        let dir = tempfile::tempdir().unwrap();
        copy(home.path(), dir.path());
        // The folder of adapters may only be the owner's.
        let died = child(dir.path(), point);
        assert_eq!(died, point != "nowhere", "{point}");
        if died {
            assert!(!child(dir.path(), "nowhere"), "it comes to its end after a start");
        }
        let mut world = World::new(dir.path(), &["a"]).await;
        world.start();
        world.serves("a", 2).await;
        let adapters = world.store.adapters(&agent("a")).await.unwrap();
        let numbers: Vec<u64> = adapters.iter().map(|adapter| adapter.generation).collect();
        assert_eq!(numbers, [2, 1], "{point}: no number is lost, and none made twice");
        let used = world.store.samples(&agent("a"), 100).await.unwrap();
        assert_eq!(used.len(), 12, "{point}");
        assert!(used.iter().all(|sample| sample.state == SampleState::Consumed), "{point}");
        let folder = dir.path().join("lora/a");
        assert_eq!(std::fs::read_to_string(folder.join("current")).unwrap().trim(), adapters[0].folder, "{point}");
        let folders = std::fs::read_dir(&folder).unwrap().filter(|e| e.as_ref().unwrap().path().is_dir()).count();
        assert_eq!(folders, 2, "{point}: nothing is left of the attempt");
        let files: Vec<(String, Vec<u8>)> = {
            let read = |name: &str| std::fs::read(folder.join(&adapters[0].folder).join(name)).unwrap();
            ["adapter_model.safetensors", "trainer.safetensors"].map(|name| (name.to_owned(), read(name))).into()
        };
        outcomes.push((point, adapters[0].digest, files, world.logprobs("a", "y", &[1, 2, 3, 65, 66])));
        world.stop().await;
    }
    let (_, digest, files, logprobs) = &outcomes[0];
    for (point, other, others, said) in &outcomes[1..] {
        assert_eq!((other, said), (digest, logprobs), "{point}");
        assert!(files == others, "{point}: the files differ");
    }
}
