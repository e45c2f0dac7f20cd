//! README.md shows what its reader will see: every command of its beginning and of its demo is run, and prints what stands
//! below it.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::process::Command;

use tests::Home;

/// The heading of the way to a first answer. Its `console` blocks are run, in order, in a home of their own.
const BEGINNING: &str = "## From build to first answer";
/// The heading of the demo. Its `console` blocks are run, in order, on one host.
const DEMO: &str = "## Talk to the two agents";
/// Where `make run` listens, and its home.
const ADDRESS: &str = "127.0.0.1:30000";
const HOME: &str = "target/two-agents";
/// Stands for anything within a line, or alone on a line for any lines.
const ANY: &str = "…";

/// A command, and what it prints.
#[derive(Debug, PartialEq)]
struct Example {
    command: String,
    output: Vec<String>,
}

/// A shell in the project's root that finds the command.
fn shell(line: &str) -> Command {
    let built = tests::metaclaw().parent().unwrap().to_owned();
    let path: OsString = format!("{}:{}", built.display(), std::env::var_os("PATH").unwrap().display()).into();
    let mut shell = Command::new("timeout");
    shell.args(["60", "bash", "-c", &format!("exec 2>&1\n{line}")]).env("PATH", &path).current_dir(tests::root());
    shell
}

/// Runs a command and holds what it prints against what the reader is told.
fn run(Example { command, output }: &Example, mut shell: Command, as_told: impl Fn(&str) -> String) {
    let printed = as_told(&String::from_utf8(shell.output().unwrap().stdout).unwrap());
    let lines: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let wanted: Vec<&str> = output.iter().map(String::as_str).collect();
    assert!(
        prints(&wanted, &lines),
        "$ {command}\n\nREADME.md says:\n{}\n\nit prints:\n{}",
        output.join("\n"),
        lines.join("\n")
    );
}

fn told(section: &str) -> Vec<Example> {
    let readme = std::fs::read_to_string(tests::root().join("README.md")).expect("there is no README.md");
    let examples = examples(&readme, section);
    assert!(!examples.is_empty(), "README.md has no `console` block with commands under {section:?}");
    examples
}

#[test]
fn the_way_to_a_first_answer_is_as_it_says() {
    // Fetches the model if this machine has none.
    let _demo = Home::demo();
    let home = Home::new();
    symlink(tests::target().join("models"), home.path().join("models")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let at_home = |mut shell: Command| {
        shell.env("HOME", home.path()).env("METACLAW_HOME", home.path()).env("METACLAW_SETUP_PROBES", "");
        for provider in ["OPENAI", "ANTHROPIC", "OPENROUTER"] {
            shell.env_remove(format!("{provider}_API_KEY"));
        }
        shell
    };
    for example in told(BEGINNING) {
        let here = example.command.replace("metaclaw setup", &format!("metaclaw setup --port {port}"));
        run(&example, at_home(shell(&here.replace(ADDRESS, &address))), |text| text.replace(&address, ADDRESS));
    }
    assert!(at_home(shell("metaclaw stop")).status().unwrap().success());
}

#[tokio::test]
async fn the_commands_of_the_demo_print_what_it_says() {
    let home = Home::demo();
    let host = home.start_with(&["--dev"]).await;
    let (address, folder) = (host.address().to_string(), home.path().to_str().unwrap().to_owned());
    for example in told(DEMO) {
        let here = example.command.replace(ADDRESS, &address).replace(HOME, &folder);
        run(&example, shell(&here), |text| text.replace(&address, ADDRESS).replace(&folder, HOME));
    }
}

/// The commands in the section's `console` blocks: lines that begin with `$ `, gone on with after a `\` at their end.
fn examples(markdown: &str, section: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let (mut fence, mut within) = (None, false);
    for line in markdown.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fence = if fence.is_none() { Some(language) } else { None };
            continue;
        }
        if fence.is_none() && (line.starts_with("# ") || line.starts_with("## ")) {
            within = line.trim_end() == section;
        }
        if !within || fence != Some("console") {
            continue;
        }
        match (line.strip_prefix("$ "), examples.last_mut()) {
            (Some(command), _) => examples.push(Example { command: command.to_owned(), output: Vec::new() }),
            (None, Some(last)) if last.output.is_empty() && last.command.ends_with('\\') => {
                last.command.push('\n');
                last.command.push_str(line);
            }
            (None, Some(last)) => last.output.push(line.trim_end().to_owned()),
            (None, None) => panic!("README.md: {line:?} comes before any command"),
        }
    }
    for example in &mut examples {
        // An empty line before the next command is for the reader's eyes.
        while example.output.last().is_some_and(String::is_empty) {
            example.output.pop();
        }
    }
    examples
}

/// Whether the lines are those wanted.
fn prints(wanted: &[&str], lines: &[&str]) -> bool {
    match wanted {
        [] => lines.iter().all(|line| line.is_empty()),
        [ANY, rest @ ..] => (0..=lines.len()).any(|skipped| prints(rest, &lines[skipped..])),
        [first, rest @ ..] => lines.split_first().is_some_and(|(line, more)| fits(first, line) && prints(rest, more)),
    }
}

fn fits(wanted: &str, line: &str) -> bool {
    match wanted.split_once(ANY) {
        None => wanted == line,
        Some((start, rest)) => line.strip_prefix(start).is_some_and(|tail| {
            let mut ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.any(|at| fits(rest, &tail[at..]))
        }),
    }
}

#[test]
fn examples_are_taken_from_their_section_only() {
    let markdown = "\
## Before\n```console\n$ no\n```\n\
## Talk to the two agents\nWords.\n```sh\n$ no\n```\n\
```console\n$ one \\\n    --more\nout\n…\n\n$ two\n```\n\
### Deeper\n```console\n$ three\n# no heading\n```\n\
## After\n```console\n$ no\n```\n";
    let example = |command: &str, output: &[&str]| Example {
        command: command.into(),
        output: output.iter().map(|s| s.to_string()).collect(),
    };
    assert_eq!(
        examples(markdown, DEMO),
        [example("one \\\n    --more", &["out", "…"]), example("two", &[]), example("three", &["# no heading"])]
    );
}

#[test]
fn an_ellipsis_stands_for_anything_and_nothing_else_does() {
    for (wanted, lines, does) in [
        (&["a"][..], &["a"][..], true),
        (&["a"], &["a", ""], true),
        (&["a"], &["a", "b"], false),
        (&["a"], &[], false),
        (&[], &["a"], false),
        (&["a … d"], &["a b c d"], true),
        (&["a … d"], &["a b c d e"], false),
        (&["…é…"], &["é"], true),
        (&["x: …; source=policy"], &["x: 4b2c; source=policy"], true),
        (&["x: …; source=policy"], &["x: builtin; source=builtin"], false),
        (&["…", "b", "…"], &["a", "b"], true),
        (&["…", "b", "…", "c"], &["a", "b", "b", "x", "c"], true),
        (&["a", "…", "c"], &["a", "c"], true),
        (&["a", "…", "c"], &["a", "b"], false),
    ] {
        assert_eq!(prints(wanted, lines), does, "{wanted:?} {lines:?}");
    }
}
