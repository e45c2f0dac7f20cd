use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use domain::Hook;
use policy::{AgentPolicy, AgentPolicyParts, Engine, Used};
use policy_cases::{Case, Suite};
use serde::Serialize;
use serde_json::json;

use super::cases::{self, World, agent_policy, generous_limits, tool_call};
use super::subject::{Subject, Workshop};
use crate::output;

/// Runs before time counts.
const WARM_UP: usize = 20;
/// How long one hook is measured at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// What is asked when there are no cases: a conversation of some length, and a few skills.
const USUAL: &str = include_str!("bench.yaml");

/// `metaclaw policy bench`
#[derive(Debug, Args)]
#[command(
    after_help = "Times are those of a hook in a fresh instance, through the host's engine with its admission, as a turn meets it; the built-in
policy is measured beside it in the same run. Instructions and memory are counted apart, in an engine that does so.

Examples:
  metaclaw policy bench policy.wasm
  metaclaw policy bench my-policy --runs 5000 --json
  metaclaw policy bench policy.wasm --cases busy.yaml"
)]
pub(super) struct BenchArgs {
    /// A policy's folder, or its module
    #[arg(default_value = ".")]
    policy: PathBuf,
    /// The cases that are asked [default: cases.yaml beside the module, else one of ours]
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// How often each hook is asked; fewer times if that takes more than 5 s
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    runs: u32,
}

/// What one hook takes.
#[derive(Serialize)]
struct Row {
    hook: &'static str,
    /// How many cases ask it.
    cases: usize,
    runs: usize,
    failures: usize,
    p50_us: f64,
    p99_us: f64,
    /// The most instructions of a case.
    fuel: Option<u64>,
    /// The most memory of a case, in bytes.
    memory: u64,
    /// The built-in policy on the same cases; none where it has no such hook.
    builtin: Option<Beside>,
}

#[derive(Serialize)]
struct Beside {
    p50_us: f64,
    p99_us: f64,
    fuel: Option<u64>,
    memory: u64,
    /// How many times as long the module takes, by the median.
    ratio: f64,
}

/// A policy that is asked, with each case made ready for it: settings are a case's own.
struct Asked {
    policies: Vec<AgentPolicy>,
}

/// Measures each hook of a module.
pub(super) fn run(args: &BenchArgs, json: bool) -> anyhow::Result<()> {
    let module = cases::module_of(&args.policy)?;
    let subject = Subject::read(&module)?;
    let (suite, from) = suite(&module, args.cases.as_deref())?;
    let (timed, counted) = (Workshop::like_the_host()?, Workshop::metered()?);
    let mut rows = Vec::new();
    let runtime = crate::commands::runtime()?;
    for hook in Hook::ALL {
        // A case whose settings are refused asks nothing.
        let asking: Vec<&Case> = suite.cases.iter().filter(|case| asks(case, hook)).collect();
        let worlds = asking.iter().map(|case| World::of(case)).collect::<anyhow::Result<Vec<_>>>()?;
        let own = |engine: &Arc<Engine>| Asked::module(engine, &subject, &asking);
        let (own_timed, own_counted) = (own(&timed.engine)?, own(&counted.engine)?);
        let Some((own_timed, own_counted)) = own_timed.zip(own_counted).filter(|(own, _)| own.has(hook)) else {
            continue;
        };
        let builtin = timed.engine.builtin().hooks()[hook]
            .then(|| (Asked::builtin(&timed.engine, asking.len()), Asked::builtin(&counted.engine, asking.len())));
        let measured = runtime.block_on(async {
            let beside = builtin.as_ref().map(|(timed, _)| timed);
            let times = measure(&own_timed, beside, &asking, &worlds, hook, args.runs).await;
            let used = most(&own_counted, &asking, &worlds, hook).await;
            let builtin = match &builtin {
                Some((_, counted)) => Some(most(counted, &asking, &worlds, hook).await),
                None => None,
            };
            (times, used, builtin)
        });
        let (mut times, used, builtin_used) = measured;
        let (p50_us, p99_us) = quantiles(&mut times.own);
        let builtin = builtin_used.map(|used| {
            let (p50, p99) = quantiles(&mut times.builtin);
            Beside { p50_us: p50, p99_us: p99, fuel: used.fuel, memory: used.memory, ratio: p50_us / p50.max(0.001) }
        });
        rows.push(Row {
            hook: hook.as_str(),
            cases: asking.len(),
            runs: times.own.len(),
            failures: times.failures,
            p50_us,
            p99_us,
            fuel: used.fuel,
            memory: used.memory,
            builtin,
        });
    }
    if rows.is_empty() {
        bail!("the cases in {from} ask for no hook that {} has: add one that does", subject.path.display());
    }
    if json {
        let (path, digest) = (subject.path.display().to_string(), subject.digest.to_string());
        output::json(
            &json!({"module": path, "sha256": digest, "size": subject.bytes.len(), "cases": from, "hooks": rows}),
        );
        return Ok(());
    }
    print(&subject, &from, &rows);
    Ok(())
}

/// The cases, and where they come from.
fn suite(module: &Path, named: Option<&Path>) -> anyhow::Result<(Suite, String)> {
    let file = cases::cases_of(module, named);
    if named.is_none() && !file.exists() {
        let usual = Suite::parse(USUAL, Path::new("bench.yaml")).map_err(|problems| anyhow::anyhow!("{problems}"))?;
        return Ok((usual, "a usual turn".to_owned()));
    }
    Ok((cases::read(&file)?, file.display().to_string()))
}

fn asks(case: &Case, hook: Hook) -> bool {
    case.asks().iter().any(|asked| asked.as_str() == hook.as_str())
}

impl Asked {
    /// None when the module refuses the settings of every case; a case that it refuses is asked with none.
    fn module(engine: &Arc<Engine>, subject: &Subject, cases: &[&Case]) -> anyhow::Result<Option<Self>> {
        let module = engine.module(&subject.bytes).with_context(|| subject.path.display().to_string())?;
        let mut policies = Vec::new();
        for case in cases {
            let json = case.config_json();
            if !engine.config_problems(&module, &json)?.is_empty() {
                bail!(
                    "the module refuses the settings of the case {:?}, which asks hooks: mend one of the two",
                    case.name
                );
            }
            policies.push(agent_policy(engine, &module, &json, generous_limits()));
        }
        Ok((!policies.is_empty()).then_some(Asked { policies }))
    }

    fn builtin(engine: &Engine, cases: usize) -> Self {
        let parts = || AgentPolicyParts { limits: generous_limits(), ..AgentPolicyParts::default() };
        Asked { policies: (0..cases).map(|_| AgentPolicy::new(engine, parts())).collect() }
    }

    fn has(&self, hook: Hook) -> bool {
        self.policies.iter().any(|policy| policy.has(hook))
    }

    /// Asks one hook in a fresh instance; what it used, or nothing when it failed.
    async fn ask(&self, at: usize, case: &Case, world: &World, hook: Hook) -> Option<Used> {
        let policy = &self.policies[at];
        let (failure, used) = match hook {
            Hook::Route => {
                let decided = policy.turn(world.turn.clone()).route().await;
                (decided.failure, decided.used)
            }
            Hook::Select => {
                let decided = policy.turn(world.turn.clone()).select(world.catalog.clone()).await;
                (decided.failure, decided.used)
            }
            Hook::Render => {
                let names = case.rendered(None);
                let decided = policy.turn(world.turn.clone()).render(world.catalog.clone(), &names).await;
                (decided.failure, decided.used)
            }
            Hook::Gate => {
                let call = case.calls.first()?;
                let decided = policy.gate(world.turn.clone(), &tool_call(call)).await;
                (decided.failure, decided.used)
            }
            Hook::Filter => {
                let decided = policy.filter(world.sample.clone()).await;
                (decided.failure, decided.used)
            }
            Hook::Reward => {
                let decided = policy.reward(world.sample.clone()).await;
                (decided.failure, decided.used)
            }
        };
        failure.is_none().then_some(used)
    }
}

#[derive(Default)]
struct Times {
    own: Vec<Duration>,
    builtin: Vec<Duration>,
    failures: usize,
}

/// Asks both by turns, so that whatever else the machine does weighs on both alike.
async fn measure(
    own: &Asked,
    builtin: Option<&Asked>,
    cases: &[&Case],
    worlds: &[World],
    hook: Hook,
    runs: u32,
) -> Times {
    let mut times = Times::default();
    let began = Instant::now();
    for run in 0..WARM_UP + runs as usize {
        if began.elapsed() > PATIENCE && times.own.len() >= 10 {
            break;
        }
        let at = run % cases.len();
        let counts = run >= WARM_UP;
        let start = Instant::now();
        let used = own.ask(at, cases[at], &worlds[at], hook).await;
        let took = start.elapsed();
        if counts {
            times.own.push(took);
            times.failures += usize::from(used.is_none());
        }
        if let Some(builtin) = builtin {
            let start = Instant::now();
            builtin.ask(at, cases[at], &worlds[at], hook).await;
            let took = start.elapsed();
            if counts {
                times.builtin.push(took);
            }
        }
    }
    times
}

/// The most that a case uses.
async fn most(asked: &Asked, cases: &[&Case], worlds: &[World], hook: Hook) -> Used {
    let mut most = Used::default();
    for (at, (case, world)) in cases.iter().zip(worlds).enumerate() {
        if let Some(used) = asked.ask(at, case, world, hook).await {
            most = Used { fuel: most.fuel.max(used.fuel), memory: most.memory.max(used.memory) };
        }
    }
    most
}

/// Median and 99th percentile, in microseconds.
fn quantiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1)));
    let micros = |time: Option<&Duration>| time.map_or(0.0, |time| (time.as_secs_f64() * 1e7).round() / 10.0);
    (micros(at(50)), micros(at(99)))
}

fn print(subject: &Subject, from: &str, rows: &[Row]) {
    output::line(format_args!("{} ({} bytes), asked what {from} asks\n", subject.path.display(), subject.bytes.len()));
    output::line(format_args!(
        "{:<8} {:>10} {:>10} {:>12} {:>10}   {:>12} {:>8}",
        "hook", "p50", "p99", "instructions", "memory", "built-in p50", "ratio"
    ));
    for row in rows {
        let (beside, ratio) = match &row.builtin {
            Some(builtin) => (format!("{} µs", builtin.p50_us), format!("{:.1}", builtin.ratio)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let fuel = row.fuel.map_or_else(|| "-".to_owned(), |fuel| fuel.to_string());
        output::line(format_args!(
            "{:<8} {:>7} µs {:>7} µs {fuel:>12} {:>6} KiB   {beside:>12} {ratio:>8}",
            row.hook,
            row.p50_us,
            row.p99_us,
            row.memory >> 10
        ));
        if row.failures > 0 {
            output::line(format_args!("         failed in {} of {} runs", row.failures, row.runs));
        }
    }
}
