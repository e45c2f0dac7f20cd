use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ::config::Paths;
use anyhow::{Context, bail};
use clap::Args;
use policy_cases::{Case, Difference, Outcome, compare};
use serde::Serialize;

use super::cases::{self, Runner};
use super::subject::{Subject, Workshop};
use super::tools::ToolArgs;
use crate::output;

/// How often files are looked at that are watched.
const LOOK: Duration = Duration::from_millis(200);

/// `metaclaw policy test`
#[derive(Debug, Args)]
#[command(
    after_help = "Each case is run twice from nothing in the host's own engine: it must give the same, down to the number of instructions.
Ends with 1 when a case fails. The module has whatever grants it asks for.

Examples:
  metaclaw policy test my-policy                    my-policy/policy.wasm and my-policy/cases.yaml
  metaclaw policy test policy.wasm --cases more.yaml
  metaclaw policy test my-policy --build --watch    again whenever a file changes
  metaclaw policy test my-policy --only tides --json"
)]
pub(super) struct TestArgs {
    /// A policy's folder, or its module
    #[arg(default_value = ".")]
    policy: PathBuf,
    /// The cases [default: cases.yaml beside the module]
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// Only cases with these words in their name
    #[arg(long, value_name = "WORDS")]
    only: Option<String>,
    /// Build the policy first
    #[arg(long)]
    build: bool,
    /// Go on, and run again when a file changes
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    tools: ToolArgs,
}

/// What came of one case.
#[derive(Serialize)]
struct Tested {
    name: String,
    line: u64,
    passed: bool,
    differences: Vec<Difference>,
    /// The most that an instance used.
    fuel: Option<u64>,
    memory: Option<u64>,
    took_ms: u128,
    /// All that came of it.
    outcome: Outcome,
}

#[derive(Serialize)]
struct Report {
    module: String,
    sha256: String,
    cases: String,
    passed: usize,
    failed: usize,
    results: Vec<Tested>,
}

/// Runs the cases; fails when one does.
pub(super) fn run(args: &TestArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    if !args.watch {
        return once(args, paths, json);
    }
    let runtime = crate::commands::runtime()?;
    loop {
        let before = state(args);
        if let Err(error) = once(args, paths, json) {
            output::note(format_args!("metaclaw: {error:#}"));
        }
        output::note("waiting for a change; end with Ctrl-C");
        // A build of ours has changed files as well: what counts is what changes after it.
        let after = if args.build { state(args) } else { before };
        while state(args) == after {
            runtime.block_on(tokio::time::sleep(LOOK));
        }
    }
}

fn once(args: &TestArgs, paths: &Paths, json: bool) -> anyhow::Result<()> {
    if args.build {
        super::build::in_place(&args.policy, &args.tools, paths)?;
    }
    let module = cases::module_of(&args.policy)?;
    let subject = Subject::read(&module)?;
    let file = cases::cases_of(&module, args.cases.as_deref());
    let suite = cases::read(&file)?;
    let workshop = Workshop::metered()?;
    let module = workshop.engine.module(&subject.bytes).with_context(|| subject.path.display().to_string())?;
    let runner = Runner::new(&workshop.engine, module)?;
    let wanted = |case: &&Case| args.only.as_ref().is_none_or(|words| case.name.contains(words));
    let mut report = Report {
        module: subject.path.display().to_string(),
        sha256: subject.digest.to_string(),
        cases: file.display().to_string(),
        passed: 0,
        failed: 0,
        results: Vec::new(),
    };
    for case in suite.cases.iter().filter(wanted) {
        let tested = test(&runner, case)?;
        if !json {
            tested.print(&file);
        }
        *(if tested.passed { &mut report.passed } else { &mut report.failed }) += 1;
        report.results.push(tested);
    }
    let (passed, failed) = (report.passed, report.failed);
    match json {
        true => output::json(&report),
        false => output::line(format_args!("\n{passed} passed, {failed} failed")),
    }
    if let (0, 0, Some(words)) = (passed, failed, &args.only) {
        bail!("no case of {} has {words:?} in its name", file.display());
    }
    match failed {
        0 => Ok(()),
        1 => bail!("one case does not come out as {} wants it", file.display()),
        several => bail!("{several} cases do not come out as {} wants them", file.display()),
    }
}

fn test(runner: &Runner, case: &Case) -> anyhow::Result<Tested> {
    let began = Instant::now();
    let what = || format!("the case {:?}", case.name);
    let outcome = runner.run(case).with_context(what)?;
    let took = began.elapsed();
    let mut differences = compare(case, &outcome);
    let again = runner.run(case).with_context(what)?;
    if again != outcome {
        differences.push(wavering(&outcome, &again)?);
    }
    Ok(Tested {
        name: case.name.clone(),
        line: case.line,
        passed: differences.is_empty(),
        differences,
        fuel: outcome.fuel,
        memory: outcome.memory,
        took_ms: took.as_millis(),
        outcome,
    })
}

/// What two runs of one case do not have in common.
fn wavering(first: &Outcome, second: &Outcome) -> anyhow::Result<Difference> {
    let (first, second) = (serde_json::to_value(first)?, serde_json::to_value(second)?);
    let keys = first.as_object().into_iter().flatten().filter(|(key, value)| second.get(key) != Some(value));
    let (mut expected, mut got) = (Vec::new(), Vec::new());
    for (key, value) in keys {
        expected.push(format!("{key} {value}"));
        got.push(format!("{key} {}", second.get(key).unwrap_or(&serde_json::Value::Null)));
    }
    Ok(Difference {
        what: "the same in a second run from nothing".to_owned(),
        expected: expected.join(", "),
        got: got.join(", "),
    })
}

impl Tested {
    fn print(&self, file: &Path) {
        let used = match (self.fuel, self.memory) {
            (Some(fuel), Some(memory)) => format!("  {fuel} instructions, {} KiB", memory >> 10),
            _ => String::new(),
        };
        match self.passed {
            true => output::line(format_args!("✓ {}{used}", self.name)),
            false => output::line(format_args!("✗ {}  {}:{}", self.name, file.display(), self.line)),
        }
        for Difference { what, expected, got } in &self.differences {
            output::line(format_args!("    {what}\n      expected  {expected}\n      got       {got}"));
            // Of long texts it is hard to see where they part.
            let common = expected.chars().zip(got.chars()).take_while(|(a, b)| a == b).count();
            if common > 0 && expected.chars().count().min(got.chars().count()) > 40 {
                output::line(format_args!("                {}^ from here on", " ".repeat(common)));
            }
        }
    }
}

/// When the files that count were changed last. Results of builds do not count when they are made here.
fn state(args: &TestArgs) -> Vec<(PathBuf, Option<SystemTime>, u64)> {
    let mut files = vec![args.policy.clone(), args.policy.join(cases::MODULE)];
    files.extend(args.cases.clone());
    files.push(cases::cases_of(&args.policy, None));
    if args.policy.is_dir() {
        files.push(cases::cases_of(&args.policy.join(cases::MODULE), None));
        if args.build {
            super::build::sources(&args.policy, &mut files);
        }
    }
    let look = |path: PathBuf| {
        let meta = path.metadata().ok();
        let (changed, size) = (meta.as_ref().and_then(|m| m.modified().ok()), meta.map_or(0, |m| m.len()));
        (path, changed, size)
    };
    files.into_iter().map(look).collect()
}
