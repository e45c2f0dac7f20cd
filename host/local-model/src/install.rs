//! Models on disk: `NAME.q8_0.gguf` (one that answers) or `NAME.embedder.gguf` (one that makes vectors) beside `NAME.json`,
//! which says where it came from and what it must be.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use candle_core::quantized::QTensor;
use candle_core::quantized::gguf_file::{self, Value};
use domain::Digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::ModelError;
use crate::gguf::{Gguf, format_error, to_q8_0};
use crate::template::ChatTemplate;
use crate::tokenizer::Tokenizer;
use crate::weights::Shape;

const CHAT_SUFFIX: &str = ".q8_0.gguf";
const EMBEDDER_SUFFIX: &str = ".embedder.gguf";
const SUFFIXES: [&str; 2] = [CHAT_SUFFIX, EMBEDDER_SUFFIX];
const RECORD_SUFFIX: &str = ".json";
/// ggml's number for "mostly Q8_0".
const FILE_TYPE_Q8_0: u32 = 7;

/// What a model does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelKind {
    /// It answers: for an embedded upstream.
    #[default]
    Chat,
    /// It makes vectors of texts: a small BERT.
    #[serde(rename = "minilm")]
    MiniLm,
    /// It makes vectors of texts: a table of tokens.
    #[serde(rename = "static")]
    StaticVectors,
}

impl ModelKind {
    /// Whether it makes vectors.
    pub fn embeds(self) -> bool {
        self != ModelKind::Chat
    }

    /// As records and answers write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ModelKind::Chat => "chat",
            ModelKind::MiniLm => "minilm",
            ModelKind::StaticVectors => "static",
        }
    }

    fn suffix(self) -> &'static str {
        if self.embeds() { EMBEDDER_SUFFIX } else { CHAT_SUFFIX }
    }
}

/// Where a model's file came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// A file's name or an address.
    pub origin: String,
    /// The digest of what came from there.
    pub sha256: Digest,
}

/// A model that is ready to be loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstalledModel {
    /// The name it is chosen by.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub kind: ModelKind,
    /// The GGUF file to load. Not recorded: it is beside the record.
    #[serde(skip)]
    pub path: PathBuf,
    /// Where it came from: a file's name or an address.
    pub source: String,
    /// The digest of the file it was made from, in hexadecimal.
    pub source_sha256: String,
    /// The digest of the installed file, in hexadecimal.
    pub sha256: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// When the installed file was last changed, in nanoseconds since 1970: how a change is noticed cheaply.
    modified: u64,
    /// When it was installed.
    pub installed: jiff::Timestamp,
    /// Number of parameters.
    pub params: u64,
    /// Tokens that fit its context; 0 when there is no bound.
    pub context: usize,
    /// The licence its file names, if it does.
    pub license: Option<String>,
}

/// How far an installation is: bytes of weights converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallProgress {
    /// Parameters converted.
    pub done: u64,
    /// Parameters there are.
    pub total: u64,
}

/// Installs a GGUF file under `name`, its weights rounded once to Q8_0, which loads and runs fastest here. An installed
/// model of that name is replaced; a crash leaves the old one or the new one, never a part.
///
/// Takes some seconds, and memory for the whole model; do not call this on the async runtime.
///
/// # Errors
/// When the name cannot be used, the source is not a model that can be run, or the files cannot be written.
pub fn install(
    source: &Path,
    origin: &str,
    models_dir: &Path,
    name: &str,
    progress: &mut dyn FnMut(InstallProgress),
) -> Result<InstalledModel, ModelError> {
    check_name(name)?;
    let source_sha256 = digest_of(source)?;
    let mut gguf = Gguf::open(source)?;
    // All that loading would refuse is refused now.
    let shape = Shape::read(&gguf)?;
    Tokenizer::read(&gguf)?;
    ChatTemplate::compile(gguf.need_text("tokenizer.chat_template")?)?;
    let params = gguf.tensors().map(|(_, count)| count as u64).sum();
    let license = gguf.text("general.license").map(str::to_owned);
    let source = Source { origin: origin.to_owned(), sha256: source_sha256 };
    let about = InstalledModel::about(name, ModelKind::Chat, source, params, shape.context, license);
    put(about, models_dir, |file| convert(&mut gguf, params, file.as_file_mut(), progress))
}

impl InstalledModel {
    /// What is known before its file is written.
    pub(crate) fn about(
        name: &str,
        kind: ModelKind,
        source: Source,
        params: u64,
        context: usize,
        license: Option<String>,
    ) -> Self {
        InstalledModel {
            name: name.to_owned(),
            kind,
            path: PathBuf::new(),
            source: source.origin,
            source_sha256: source.sha256.to_string(),
            sha256: String::new(),
            bytes: 0,
            modified: 0,
            installed: jiff::Timestamp::now(),
            params,
            context,
            license,
        }
    }
}

/// Installs a file of this content once `check` finds nothing wrong with it.
pub(crate) fn save(
    about: InstalledModel,
    models_dir: &Path,
    metadata: &[(String, Value)],
    tensors: &[(String, QTensor)],
    check: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<InstalledModel, ModelError> {
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    put(about, models_dir, |file| {
        let path = file.path().to_owned();
        let mut out = BufWriter::new(file.as_file_mut());
        gguf_file::write(&mut out, &metadata, &tensors).map_err(|e| format_error(&path, &e))?;
        out.flush().map_err(ModelError::io("write", &path))?;
        drop(out);
        check(&path)
    })
}

/// Writes a model's file, and then its record.
fn put(
    about: InstalledModel,
    models_dir: &Path,
    write: impl FnOnce(&mut NamedTempFile) -> Result<(), ModelError>,
) -> Result<InstalledModel, ModelError> {
    check_name(&about.name)?;
    std::fs::create_dir_all(models_dir).map_err(ModelError::io("create", models_dir))?;
    let path = models_dir.join(format!("{}{}", about.name, about.kind.suffix()));
    let others = SUFFIXES.iter().map(|suffix| models_dir.join(format!("{}{suffix}", about.name)));
    if let Some(other) = others.filter(|other| *other != path).find(|other| other.exists()) {
        return Err(ModelError::Taken { name: about.name, path: other });
    }
    write_atomically(&path, write)?;
    let (bytes, modified) = stamp(&path)?;
    let installed = InstalledModel { sha256: digest_of(&path)?.to_string(), bytes, modified, path, ..about };
    let record = serde_json::to_vec_pretty(&installed).unwrap_or_default();
    let record_path = models_dir.join(format!("{}{RECORD_SUFFIX}", installed.name));
    write_atomically(&record_path, |file| file.write_all(&record).map_err(ModelError::io("write", &record_path)))?;
    Ok(installed)
}

/// The models installed in `models_dir`, by name. None if there is no such folder.
///
/// # Errors
/// When the folder or a record in it cannot be read.
pub fn list(models_dir: &Path) -> Result<Vec<InstalledModel>, ModelError> {
    let entries = match std::fs::read_dir(models_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ModelError::io("read", models_dir)(error)),
    };
    let mut models = Vec::new();
    for entry in entries {
        let file = entry.map_err(ModelError::io("read", models_dir))?.file_name();
        if let Some(name) = file.to_str().and_then(stem) {
            models.push(find(models_dir, name)?);
        }
    }
    models.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(models)
}

/// The installed model of that name.
///
/// # Errors
/// When there is none, or its record cannot be read.
pub fn find(models_dir: &Path, name: &str) -> Result<InstalledModel, ModelError> {
    check_name(name)?;
    let paths = SUFFIXES.iter().map(|suffix| models_dir.join(format!("{name}{suffix}")));
    if let Some(path) = paths.into_iter().find(|path| path.exists())
        && let Some(record) = record_of(&path)?
    {
        return Ok(record);
    }
    Err(ModelError::NotInstalled { name: name.to_owned(), dir: models_dir.to_owned() })
}

/// Reads the whole file of an installed model and compares its digest with the recorded one.
///
/// # Errors
/// When it is not installed, or its file has changed.
pub fn verify(models_dir: &Path, name: &str) -> Result<InstalledModel, ModelError> {
    let model = find(models_dir, name)?;
    compare(&model.path, &model)?;
    Ok(model)
}

/// Deletes an installed model. One that is loaded stays in memory.
///
/// # Errors
/// When it is not installed, or cannot be deleted.
pub fn remove(models_dir: &Path, name: &str) -> Result<InstalledModel, ModelError> {
    let model = find(models_dir, name)?;
    for path in [models_dir.join(format!("{name}{RECORD_SUFFIX}")), model.path.clone()] {
        std::fs::remove_file(&path).map_err(ModelError::io("delete", &path))?;
    }
    Ok(model)
}

/// The SHA-256 digest of a file, read in pieces.
///
/// # Errors
/// When it cannot be read.
pub fn digest_of(path: &Path) -> Result<Digest, ModelError> {
    let mut file = File::open(path).map_err(ModelError::io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(ModelError::io("read", path))? {
            0 => return Ok(Digest::from(<[u8; 32]>::from(hasher.finalize()))),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// The digest of a model file that is about to be loaded; an error if it is not what was installed.
pub(crate) fn check_file(path: &Path) -> Result<Digest, ModelError> {
    match record_of(path)? {
        Some(record) if stamp(path)? == (record.bytes, record.modified) => recorded(&record, path),
        Some(record) => compare(path, &record),
        None => digest_of(path),
    }
}

/// The name of the model in that file.
pub(crate) fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = stem(&file).or_else(|| file.strip_suffix(".gguf"));
    name.unwrap_or(&file).to_owned()
}

/// The name in a model's file name; none for other files.
fn stem(file: &str) -> Option<&str> {
    SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix))
}

fn check_name(name: &str) -> Result<(), ModelError> {
    let good = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-');
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts && name.len() <= 64 && name.chars().all(good) {
        return Ok(());
    }
    Err(ModelError::Name(name.to_owned()))
}

/// The record beside a model file, if it has one.
fn record_of(model: &Path) -> Result<Option<InstalledModel>, ModelError> {
    let file = model.file_name().unwrap_or_default().to_string_lossy();
    let Some(name) = stem(&file) else { return Ok(None) };
    let path = model.with_file_name(format!("{name}{RECORD_SUFFIX}"));
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ModelError::io("read", path)(error)),
    };
    let record: InstalledModel =
        serde_json::from_slice(&bytes).map_err(|e| ModelError::Format { path, reason: e.to_string() })?;
    Ok(Some(InstalledModel { path: model.to_owned(), ..record }))
}

fn recorded(record: &InstalledModel, path: &Path) -> Result<Digest, ModelError> {
    record.sha256.parse().map_err(|e: domain::InvalidDigest| ModelError::Format {
        path: path.to_owned(),
        reason: format!("its record holds no digest: {e}"),
    })
}

fn compare(path: &Path, record: &InstalledModel) -> Result<Digest, ModelError> {
    let (expected, found) = (recorded(record, path)?, digest_of(path)?);
    if expected != found {
        return Err(ModelError::Checksum { path: path.to_owned(), expected, found });
    }
    Ok(found)
}

/// Size and time of the last change.
fn stamp(path: &Path) -> Result<(u64, u64), ModelError> {
    let metadata = std::fs::metadata(path).map_err(ModelError::io("look at", path))?;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = modified.and_then(|time| u64::try_from(time.as_nanos()).ok());
    Ok((metadata.len(), nanoseconds.unwrap_or_default()))
}

fn convert(
    gguf: &mut Gguf,
    total: u64,
    file: &mut File,
    progress: &mut dyn FnMut(InstallProgress),
) -> Result<(), ModelError> {
    // Sorted, so that the same source always gives the same file.
    let mut names: Vec<String> = gguf.tensors().map(|(name, _)| name.to_owned()).collect();
    names.sort_unstable();
    let mut tensors = Vec::with_capacity(names.len());
    let mut done = 0;
    for name in names {
        let mut tensor = gguf.tensor(&name)?;
        done += tensor.shape().elem_count() as u64;
        if tensor.rank() == 2 {
            tensor = to_q8_0(tensor).map_err(|e| format_error(gguf.path(), &e))?;
        }
        tensors.push((name, tensor));
        progress(InstallProgress { done, total });
    }
    let file_type = Value::U32(FILE_TYPE_Q8_0);
    let mut metadata: Vec<(&str, &Value)> = gguf.metadata().map(|(key, value)| (key.as_str(), value)).collect();
    metadata.retain(|(key, _)| !matches!(*key, "general.file_type" | "general.alignment"));
    metadata.push(("general.file_type", &file_type));
    metadata.sort_unstable_by_key(|(key, _)| *key);
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut out = BufWriter::new(file);
    gguf_file::write(&mut out, &metadata, &tensors).map_err(|e| format_error(gguf.path(), &e))?;
    out.flush().map_err(ModelError::io("write the conversion of", gguf.path()))
}

/// Writes a file beside its final place, makes it durable, and moves it there.
fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut NamedTempFile) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(dir).map_err(ModelError::io("create a file in", dir))?;
    write(&mut file)?;
    file.as_file().sync_all().map_err(ModelError::io("write", path))?;
    file.persist(path).map_err(|e| ModelError::io("write", path)(e.error))?;
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(ModelError::io("write", dir))
}
