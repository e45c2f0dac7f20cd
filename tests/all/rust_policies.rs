//! Policies in Rust: the native run and the one in the host's engine agree, and the guide's way to one works in an empty folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Every policy that stands on the SDK.
const POLICIES: [&str; 6] = [
    "policies/template",
    "policies/embedding",
    "policies/budget",
    "policies/topic-guard",
    "examples/policies/rust-cost-aware",
    "tests/guests/sdk",
];
/// What only WebAssembly has.
const ONLY_WASM: [&str; 2] = ["fuel", "memory"];

/// The policy as a component. Its dependencies are built once for all of them.
fn component(policy: &str) -> PathBuf {
    let out = tests::target().join("guests").join(format!("{}.wasm", policy.replace('/', "-")));
    let bytes = policy_build::build(&tests::root().join(policy), &tests::target().join("guests/rust")).unwrap();
    std::fs::write(&out, bytes).unwrap();
    out
}

/// What comes of its cases natively, in the order of the file.
fn natively(policy: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let outcomes = folder.path().join("outcomes.json");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["test", "--locked", "--quiet", "--target-dir"]).arg(tests::target().join("guests/native"));
    let output = cargo.current_dir(tests::root().join(policy)).env("METACLAW_OUTCOMES", &outcomes).output().unwrap();
    assert!(output.status.success(), "{policy}: {}", words(&output));
    serde_json::from_slice(&std::fs::read(outcomes).unwrap()).unwrap()
}

/// What comes of them in the host's engine; they all must be as the file says.
fn in_the_host(policy: &str) -> Vec<Value> {
    let cases = tests::root().join(policy).join("cases.yaml");
    let mut metaclaw = Command::new(tests::metaclaw());
    let output = metaclaw.args(["policy", "test", "--json"]).arg(component(policy)).arg("--cases").arg(cases).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{policy}: {}", words(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["results"].as_array().unwrap().iter().map(|result| result["outcome"].clone()).collect()
}

fn words(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn the_native_mock_and_the_wasm_run_agree_on_all_cases() {
    for policy in POLICIES {
        let (native, mut wasm) = (natively(policy), in_the_host(policy));
        assert!(native.len() > 5 && native.len() == wasm.len(), "{policy}: {} and {}", native.len(), wasm.len());
        for (native, wasm) in native.into_iter().zip(&mut wasm) {
            for key in ONLY_WASM {
                wasm[key] = Value::Null;
            }
            without_messages(wasm);
            let mut native = native;
            without_messages(&mut native);
            assert_eq!(native, *wasm, "{policy}");
        }
    }
}

/// What a failure is called must be the same; in which words the host says it need not.
fn without_messages(outcome: &mut Value) {
    match outcome {
        Value::Object(entries) => {
            if entries.contains_key("code") {
                entries.remove("message");
            }
            entries.values_mut().for_each(without_messages);
        }
        Value::Array(items) => items.iter_mut().for_each(without_messages),
        _ => {}
    }
}

#[test]
fn the_built_in_policy_decides_as_its_cases_say() {
    assert!(in_the_host("policies/default").len() > 5);
}

#[test]
fn the_guide_leads_from_nothing_to_a_policy() {
    let guide = std::fs::read_to_string(tests::root().join("policies/guide/rust.md")).unwrap();
    let blocks = fenced(&guide, "sh");
    assert!(blocks.len() >= 3, "the guide has no commands");
    let mut script = "set -e\n".to_owned();
    for line in blocks.iter().flat_map(|block| block.lines()) {
        // Bash forgives a negated command whatever becomes of it.
        script.push_str(&match line.strip_prefix("! ") {
            Some(command) => format!("if {command}; then exit 3; fi\n"),
            None => format!("{line}\n"),
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let output = shell(&script, folder.path()).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", words(&output));
    assert!(folder.path().join("tide-watch/policy.wasm").metadata().unwrap().len() < 64_000, "a small policy is small");
}

/// The blocks of a text that are in this language.
fn fenced(text: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut within): (Vec<String>, bool) = (Vec::new(), false);
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(name) if name == language && !within => {
                within = true;
                blocks.push(String::new());
            }
            Some(_) => within = false,
            None if within => blocks.last_mut().unwrap().extend([line, "\n"]),
            None => {}
        }
    }
    blocks
}

#[test]
fn every_recipe_of_the_cookbook_decides_as_it_says() {
    let cookbook = std::fs::read_to_string(tests::root().join("policies/guide/cookbook.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let run = |script: &str| {
        let output = shell(script, folder.path()).output().unwrap();
        (output.status.success(), words(&output))
    };
    let (made, said) = run("metaclaw policy new --lang rust recipe");
    assert!(made, "{said}");
    // One project for all, so that the SDK is built once.
    let project = folder.path().join("recipe");
    let recipes: Vec<&str> = cookbook.split("\n## ").skip(1).collect();
    assert_eq!(recipes.len(), 10);
    for recipe in recipes {
        let title = recipe.lines().next().unwrap();
        let (code, cases) = (fenced(recipe, "rust"), fenced(recipe, "yaml"));
        assert_eq!((code.len(), cases.len()), (1, 1), "{title}");
        std::fs::write(project.join("src/lib.rs"), &code[0]).unwrap();
        std::fs::write(project.join("cases.yaml"), &cases[0]).unwrap();
        let (good, said) = run("cd recipe && metaclaw policy build && metaclaw policy test");
        assert!(good, "{title}\n{said}");
    }
}

/// A shell that finds the command, and builds in places that are warm.
fn shell(script: &str, folder: &Path) -> Command {
    let built = tests::metaclaw().parent().unwrap().to_owned();
    let path: OsString = format!("{}:{}", built.display(), std::env::var_os("PATH").unwrap().display()).into();
    let mut shell = Command::new("timeout");
    shell.args(["600", "bash", "-c", &format!("exec 2>&1\n{script}")]).env("PATH", path).current_dir(folder);
    shell.env("CARGO_TARGET_DIR", tests::target().join("guests/native")).env("METACLAW_HOME", folder);
    shell
}

#[test]
fn the_sdk_has_the_contract_as_it_is() {
    let text = |path: &str| std::fs::read_to_string(tests::root().join(path)).unwrap();
    assert!(
        text("policies/sdk/wit/policy.wit") == text("wit/1.0.0/policy.wit"),
        "copy wit/1.0.0/policy.wit to the SDK"
    );
}
