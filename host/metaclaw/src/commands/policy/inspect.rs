use std::path::PathBuf;

use clap::Args;
use policy::Anatomy;
use serde_json::json;
use wit_component::{DecodedWasm, WitPrinter};

use super::subject::Subject;
use crate::output;

/// `metaclaw policy inspect`
#[derive(Debug, Args)]
#[command(after_help = "Nothing of the module runs, so that a stranger's can be looked at.

Examples:
  metaclaw policy inspect policy.wasm
  metaclaw policy inspect policy.wasm --json | jq .sections")]
pub(super) struct InspectArgs {
    /// The module
    module: PathBuf,
}

/// Shows what a module consists of.
pub(super) fn run(args: &InspectArgs, json: bool) -> anyhow::Result<()> {
    let subject = Subject::read(&args.module)?;
    let anatomy = Anatomy::of(&subject.bytes)?;
    let wit = interfaces(&subject.bytes);
    if json {
        let producers = anatomy.producers.iter().map(|p| json!({"role": p.role, "name": p.name, "version": p.version}));
        output::json(&json!({
            "module": subject.path.display().to_string(),
            "sha256": subject.digest.to_string(),
            "size": subject.bytes.len(),
            "component": anatomy.is_component,
            "contract": anatomy.contract(),
            "imports": anatomy.imports,
            "exports": anatomy.exports,
            "sections": anatomy.sections,
            "modules": anatomy.modules,
            "functions": anatomy.functions,
            "largest_function": anatomy.largest_function,
            "memory": anatomy.memory,
            "producers": producers.collect::<Vec<_>>(),
            "wit": wit,
        }));
        return Ok(());
    }
    let line = |what: &str, words: String| output::line(format_args!("  {what:<10} {words}"));
    output::line(subject.path.display());
    line("sha256", subject.digest.to_string());
    line("size", format!("{} bytes", subject.bytes.len()));
    line("kind", if anatomy.is_component { "component" } else { "core module: no host loads it" }.to_owned());
    line("contract", anatomy.contract().map_or("none".to_owned(), |version| format!("metaclaw:policy@{version}")));
    line("code", format!("{} functions in {} modules", anatomy.functions, anatomy.modules));
    line("memory", format!("begins with {} bytes", anatomy.memory));
    for producer in &anatomy.producers {
        line("made with", format!("{} {} ({})", producer.name, producer.version, producer.role));
    }
    listed("imports", &anatomy.imports);
    listed("exports", &anatomy.exports);
    output::line("\nsections, in bytes");
    let mut sections: Vec<_> = anatomy.sections.iter().collect();
    sections.sort_by_key(|(_, bytes)| std::cmp::Reverse(**bytes));
    sections.iter().for_each(|(what, bytes)| output::line(format_args!("  {bytes:>10}  {what}")));
    if let Some(wit) = wit {
        output::line("\ninterfaces\n");
        output::line(wit);
    }
    Ok(())
}

fn listed(what: &str, names: &[String]) {
    output::line(format_args!("\n{what}"));
    match names {
        [] => output::line("  none"),
        names => names.iter().for_each(|name| output::line(format_args!("  {name}"))),
    }
}

/// The functions and types of all that is imported and exported, as WIT; none for what is no component, or too strange a one.
fn interfaces(bytes: &[u8]) -> Option<String> {
    let decoded = wit_component::decode(bytes).ok()?;
    let DecodedWasm::Component(resolve, _) = &decoded else { return None };
    let main = decoded.package();
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, main, &others).ok()?;
    Some(output::harmless(&String::from(printer.output)))
}
