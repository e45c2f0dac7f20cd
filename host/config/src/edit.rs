//! Changes single values of the file, and leaves its comments, its order and everything else alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use yaml_edit::path::YamlPath;
use yaml_edit::{Document, YamlFile, YamlValue};

use crate::ConfigError;
use crate::listing::unknown_key;
use crate::load::{LoadOptions, Source, build_text};
use crate::paths::{Environment, Paths, process_environment};
use crate::problem::{Place, Problem, Problems, Report};
use crate::schema;
use crate::setting::{Kind, Setting};
use crate::settings::Settings;
use crate::yaml::{self, Key, Node, Value, join};

/// Stands for a secret that is not set where the change is made, but will be where metaclaw is started.
const UNSET: &str = "not-set-here-0123456789";

/// More copies of one second than anybody makes.
const MAX_COPIES: u32 = 99;

/// What becomes of a key.
enum Change {
    Put(Value),
    Remove,
}

/// Sets keys to values, as a user types them, all at once, and writes the file (0600, atomically). A file that does not
/// exist is created, in a folder of its own (0700).
///
/// Texts become what the key holds: `true`, `4`, `a,b` for a list. Returns what somebody should look at about these
/// keys. Nothing is written when a key or a value is wrong, or when the file would have an error that it has not
/// already.
pub fn set(paths: &Paths, changes: &[(&str, &str)], options: LoadOptions) -> Result<Vec<Problem>, ConfigError> {
    set_in(paths, changes, options, &lenient_environment)
}

/// Takes a key, or a whole section such as `agents.coder`, out of the file, as [`set`] puts one in.
///
/// Fails when the file does not have it.
pub fn unset(paths: &Paths, key: &str, options: LoadOptions) -> Result<(), ConfigError> {
    unset_in(paths, key, options, &lenient_environment)
}

fn lenient_environment(name: &str) -> Option<String> {
    process_environment(name).or_else(|| Some(UNSET.to_owned()))
}

pub(crate) fn set_in(
    paths: &Paths,
    changes: &[(&str, &str)],
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<Vec<Problem>, ConfigError> {
    let typed = changes.iter().map(|(key, text)| Ok((*key, Change::Put(value_for(key, text)?))));
    apply(paths, typed.collect::<Result<_, ConfigError>>()?, options, environment)
}

pub(crate) fn unset_in(
    paths: &Paths,
    key: &str,
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<(), ConfigError> {
    apply(paths, vec![(key, Change::Remove)], options, environment).map(|_| ())
}

fn apply(
    paths: &Paths,
    changes: Vec<(&str, Change)>,
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<Vec<Problem>, ConfigError> {
    let edited = work_out(paths, changes, options, environment)?;
    write(&paths.config_file, &edited.text)
        .map_err(|source| ConfigError::Write { file: paths.config_file.clone(), source })?;
    Ok(edited.warnings)
}

/// The file with its changes, and what somebody should look at about the changed keys.
#[derive(Debug)]
pub struct Edited {
    /// The whole text.
    pub text: String,
    /// What is questionable about the changed keys.
    pub warnings: Vec<Problem>,
}

/// What the file would be if these keys were set, or taken out where no value is given; a key that is not there to be
/// taken out is no error. Checked as [`set`] checks it; nothing is written.
pub fn edited(
    paths: &Paths,
    changes: &[(String, Option<String>)],
    options: LoadOptions,
) -> Result<Edited, ConfigError> {
    let settings = Settings::read(&paths.not_required())?;
    let there = |key: &str| settings.get(key).is_ok() && settings.has(key);
    let mut typed = Vec::new();
    for (key, value) in changes {
        match value {
            Some(text) => typed.push((key.as_str(), Change::Put(value_for(key, text)?))),
            None if there(key) => typed.push((key.as_str(), Change::Remove)),
            None => {}
        }
    }
    work_out(paths, typed, options, &lenient_environment)
}

/// Puts a whole text in the file's place (0600, atomically) and keeps what was there in a file beside it, its name ending
/// in `.bak-STAMP`, 0600. Returns that file, if there was anything to keep.
///
/// Nothing is written when the text, read as the host reads it, has an error; secrets in variables that are not set here
/// count as set.
pub fn replace(paths: &Paths, text: &str, stamp: &str, options: LoadOptions) -> Result<Option<PathBuf>, ConfigError> {
    build_text(text, paths, options, &lenient_environment)?;
    let file = &paths.config_file;
    let fail = |source| ConfigError::Write { file: file.clone(), source };
    let backup = match fs::read(file) {
        Ok(before) => Some(keep(file, &before, stamp).map_err(fail)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(fail(error)),
    };
    write(file, text).map_err(fail)?;
    Ok(backup)
}

/// Writes a copy that replaces nothing: when the name is taken, a number is added.
fn keep(file: &Path, bytes: &[u8], stamp: &str) -> io::Result<PathBuf> {
    let named = |number: u32| {
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".bak-{stamp}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let mut number = 1;
    loop {
        let copy = named(number);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&copy) {
            Ok(mut out) => {
                out.write_all(bytes)?;
                out.sync_all()?;
                return Ok(copy);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < MAX_COPIES => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn work_out(
    paths: &Paths,
    changes: Vec<(&str, Change)>,
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<Edited, ConfigError> {
    let mut report = Report::default();
    let source = Source::read(&paths.not_required(), &mut report);
    let before = source.text.unwrap_or_default();
    let tree = yaml::parse(&before, &mut report);
    let (false, Some(mut tree)) = (report.has_errors(), tree) else {
        return Err(report.finish(&paths.config_file).into());
    };

    let keys: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
    let mut after = before.clone();
    for (key, change) in changes {
        let refuse =
            |reason: String| ConfigError::Edit { key: key.to_owned(), file: paths.config_file.clone(), reason };
        let written = as_written(&tree, key);
        after = edit(&after, &written, &change).map_err(refuse)?;
        apply_to_tree(&mut tree, &written.split('.').collect::<Vec<_>>(), change).ok_or_else(|| {
            ConfigError::Value { key: key.to_owned(), message: "the file does not have this key".to_owned() }
        })?;
        // The editor's word is not taken for it: the new text must mean the old tree with this one change.
        let meant = yaml::parse(&after, &mut Report::default());
        if meant.map(without_empty_sections) != Some(without_empty_sections(tree.clone())) {
            return Err(refuse("its surroundings are written in a way that the editor does not master".to_owned()));
        }
    }

    let about = |problem: &Problem| keys.contains(&problem.path.as_str());
    let warnings = match build_text(&after, paths, options, environment) {
        Ok(loaded) => loaded.warnings.into_iter().filter(about).collect(),
        Err(problems) => {
            let known = build_text(&before, paths, options, environment).err();
            let new = new_errors(&problems, known.as_ref());
            if !new.is_empty() {
                let key = keys.join("`, `");
                return Err(ConfigError::WouldBreak { key, problems: Problems { problems: new, ..problems } });
            }
            problems.problems.into_iter().filter(about).collect()
        }
    };
    Ok(Edited { text: after, warnings })
}

/// The key as the file spells it: agents' names are lower-cased when they are read.
fn as_written(tree: &Node, key: &str) -> String {
    let Some((name, rest)) = key.strip_prefix("agents.").map(|rest| rest.split_once('.').unwrap_or((rest, ""))) else {
        return key.to_owned();
    };
    let section = |node: &Node, wanted: &str| match &node.value {
        Value::Map(entries) => entries.iter().find(|(key, _)| key.name.eq_ignore_ascii_case(wanted)).cloned(),
        _ => None,
    };
    let spelt = section(tree, "agents").and_then(|(_, agents)| section(&agents, name)).map(|(key, _)| key.name);
    let agent = join("agents", spelt.as_deref().unwrap_or(name));
    if rest.is_empty() { agent } else { join(&agent, rest) }
}

/// `agents:` with nothing below it says the same as `agents: {}`, and as no `agents` at all.
fn without_empty_sections(mut node: Node) -> Node {
    if let Value::Map(entries) = node.value {
        let kept = entries.into_iter().map(|(key, node)| (key, without_empty_sections(node)));
        let kept: Vec<_> = kept.filter(|(_, node)| node.value != Value::Null).collect();
        node.value = if kept.is_empty() { Value::Null } else { Value::Map(kept) };
    }
    node
}

/// The errors that the change brings. Places are not compared: a new line moves them.
fn new_errors(after: &Problems, before: Option<&Problems>) -> Vec<Problem> {
    let known = |problem: &Problem| {
        before.is_some_and(|before| before.errors().any(|p| p.path == problem.path && p.message == problem.message))
    };
    after.errors().filter(|problem| !known(problem)).cloned().collect()
}

/// The value that `text` means for this key.
fn value_for(key: &str, text: &str) -> Result<Value, ConfigError> {
    let (schema, rest) = schema::find_path(key).ok_or_else(|| unknown_key(key))?;
    let wrong = |message: String| ConfigError::Value { key: key.to_owned(), message };
    match (schema.kind, rest) {
        (Kind::Object, Some(_)) => return Ok(coerce(text)),
        (Kind::Object, None) => {
            return Err(wrong("this is a section: set the keys below it one by one, or edit the file".to_owned()));
        }
        (Kind::List, _) => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            return Ok(Value::List(items.map(|item| node(Value::Text(item.to_owned()))).collect()));
        }
        _ => {}
    }
    let typed = node(Value::Text(text.to_owned()));
    let setting = schema.kind.read(&typed).map_err(|misfit| wrong(format!("{}; {}", misfit.message, misfit.remedy)))?;
    Ok(match setting {
        Some(Setting::Bool(value)) => Value::Bool(value),
        Some(Setting::Integer(value)) => Value::Integer(value),
        Some(Setting::Number(value)) => Value::Number(value),
        _ => Value::Text(text.to_owned()),
    })
}

/// For a module's own settings, whose kinds only the module knows: as MetaClaw does it.
fn coerce(text: &str) -> Value {
    match text.to_ascii_lowercase().as_str() {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ => {
            let number = || text.parse().ok().filter(|n: &f64| n.is_finite()).map(Value::Number);
            text.parse().map(Value::Integer).ok().or_else(number).unwrap_or_else(|| Value::Text(text.to_owned()))
        }
    }
}

fn node(value: Value) -> Node {
    Node { place: Place { line: 0, column: 0 }, value }
}

/// The text with one value changed.
fn edit(text: &str, key: &str, change: &Change) -> Result<String, String> {
    let file = YamlFile::from_str(text).map_err(|error| error.to_string())?;
    let Some(document) = file.documents().next().filter(|document| document.as_mapping().is_some()) else {
        // Nothing but comments, perhaps: the first key goes below them.
        let document = Document::from_str("").map_err(|error| error.to_string())?;
        edit_document(&document, key, change)?;
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{gap}{document}"));
    };
    edit_document(&document, key, change)?;
    Ok(file.to_string())
}

fn edit_document(document: &Document, key: &str, change: &Change) -> Result<(), String> {
    let text = |node: &Node| match &node.value {
        Value::Text(text) => YamlValue::from(text.as_str()),
        _ => YamlValue::from(""),
    };
    let done = match change {
        // That the key is there is checked in the tree, with a better message.
        Change::Remove => {
            let _ = document.try_remove_path(key);
            return Ok(());
        }
        Change::Put(Value::Bool(value)) => document.try_set_path(key, *value),
        Change::Put(Value::Integer(value)) => document.try_set_path(key, *value),
        Change::Put(Value::Number(value)) => document.try_set_path(key, *value),
        Change::Put(Value::Text(text)) => document.try_set_path(key, text.as_str()),
        Change::Put(Value::List(items)) => document.try_set_path(key, items.iter().map(text).collect::<Vec<_>>()),
        Change::Put(Value::Null | Value::Map(_)) => return Err("it is not a single value".to_owned()),
    };
    done.map_err(|error| error.to_string())
}

/// The same change in the tree; none when what should be removed is not there.
fn apply_to_tree(tree: &mut Node, path: &[&str], change: Change) -> Option<()> {
    let [name, rest @ ..] = path else {
        if let Change::Put(value) = change {
            tree.value = value;
        }
        return Some(());
    };
    if matches!(change, Change::Put(_)) && !matches!(tree.value, Value::Map(_)) {
        tree.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut tree.value else { return None };
    let index = match entries.iter().position(|(key, _)| key.name == *name) {
        Some(index) if rest.is_empty() && matches!(change, Change::Remove) => {
            entries.remove(index);
            return Some(());
        }
        Some(index) => index,
        None if matches!(change, Change::Remove) => return None,
        None => {
            entries.push((Key { name: (*name).to_owned(), place: tree.place }, node(Value::Null)));
            entries.len() - 1
        }
    };
    apply_to_tree(&mut entries.get_mut(index)?.1, rest, change)
}

/// Writes beside the file and renames, so that there is always one whole file, which nobody else may read.
fn write(file: &Path, text: &str) -> io::Result<()> {
    // A link, as from a folder of dot files, stays a link.
    let file: PathBuf = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let folder = file.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut beside = tempfile::Builder::new().prefix(".config-").tempfile_in(folder)?;
    beside.write_all(text.as_bytes())?;
    beside.as_file().sync_all()?;
    beside.persist(&file)?;
    File::open(folder)?.sync_all()
}
