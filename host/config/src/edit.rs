//! Changes single values of the file, and leaves its comments, its order and everything else alone.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
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
use crate::yaml::{self, Key, Node, Value};

/// Stands for a secret that is not set where the change is made, but will be where metaclaw is started.
const UNSET: &str = "not-set-here-0123456789";

/// Sets keys to values, as a user types them, all at once, and writes the file (0600, atomically). A file that does not
/// exist is created, in a folder of its own (0700).
///
/// Texts become what the key holds: `true`, `4`, `a,b` for a list. Returns what somebody should look at about these
/// keys. Nothing is written when a key or a value is wrong, or when the file would have an error that it has not
/// already.
pub fn set(paths: &Paths, changes: &[(&str, &str)], options: LoadOptions) -> Result<Vec<Problem>, ConfigError> {
    let environment = |name: &str| process_environment(name).or_else(|| Some(UNSET.to_owned()));
    set_in(paths, changes, options, &environment)
}

pub(crate) fn set_in(
    paths: &Paths,
    changes: &[(&str, &str)],
    options: LoadOptions,
    environment: Environment<'_>,
) -> Result<Vec<Problem>, ConfigError> {
    let mut report = Report::default();
    let source = Source::read(&paths.not_required(), &mut report);
    let before = source.text.unwrap_or_default();
    let Some(mut tree) = yaml::parse(&before, &mut report) else {
        return Err(report.finish(&paths.config_file).into());
    };
    if report.has_errors() {
        return Err(report.finish(&paths.config_file).into());
    }

    let mut after = before.clone();
    for (key, text) in changes {
        let value = value_for(key, text)?;
        let refuse =
            |reason: String| ConfigError::Edit { key: (*key).to_owned(), file: paths.config_file.clone(), reason };
        after = edit(&after, key, &value).map_err(refuse)?;
        put(&mut tree, &key.split('.').collect::<Vec<_>>(), value);
        // The editor's word is not taken for it: the new text must mean the old tree with this one change.
        if yaml::parse(&after, &mut Report::default()).as_ref() != Some(&tree) {
            return Err(refuse("its surroundings are written in a way that the editor does not master".to_owned()));
        }
    }

    let checked = build_text(&after, paths, options, environment);
    let about = |problem: &Problem| changes.iter().any(|(key, _)| problem.path == *key);
    let warnings = match checked {
        Ok(loaded) => loaded.warnings.into_iter().filter(about).collect(),
        Err(problems) => {
            let known = build_text(&before, paths, options, environment).err();
            let new = new_errors(&problems, known.as_ref());
            if !new.is_empty() {
                let key = changes.iter().map(|(key, _)| *key).collect::<Vec<_>>().join("`, `");
                return Err(ConfigError::WouldBreak { key, problems: Problems { problems: new, ..problems } });
            }
            problems.problems.into_iter().filter(about).collect()
        }
    };
    write(&paths.config_file, &after)
        .map_err(|source| ConfigError::Write { file: paths.config_file.clone(), source })?;
    Ok(warnings)
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
fn edit(text: &str, key: &str, value: &Value) -> Result<String, String> {
    let file = YamlFile::from_str(text).map_err(|error| error.to_string())?;
    let Some(document) = file.documents().next().filter(|document| document.as_mapping().is_some()) else {
        // Nothing but comments, perhaps: the first key goes below them.
        let document = Document::from_str("").map_err(|error| error.to_string())?;
        put_into(&document, key, value)?;
        let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        return Ok(format!("{text}{gap}{document}"));
    };
    put_into(&document, key, value)?;
    Ok(file.to_string())
}

fn put_into(document: &Document, key: &str, value: &Value) -> Result<(), String> {
    match value {
        Value::Bool(value) => document.try_set_path(key, *value),
        Value::Integer(value) => document.try_set_path(key, *value),
        Value::Number(value) => document.try_set_path(key, *value),
        Value::Text(text) => document.try_set_path(key, text.as_str()),
        Value::List(items) => {
            let text = |node: &Node| match &node.value {
                Value::Text(text) => YamlValue::from(text.as_str()),
                _ => YamlValue::from(""),
            };
            document.try_set_path(key, items.iter().map(text).collect::<Vec<_>>())
        }
        Value::Null | Value::Map(_) => return Err("it is not a single value".to_owned()),
    }
    .map_err(|error| error.to_string())
}

/// The same change in the tree.
fn put(tree: &mut Node, path: &[&str], value: Value) {
    let [name, rest @ ..] = path else {
        tree.value = value;
        return;
    };
    if !matches!(tree.value, Value::Map(_)) {
        tree.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut tree.value else { return };
    let index = entries.iter().position(|(key, _)| key.name == *name).unwrap_or_else(|| {
        entries.push((Key { name: (*name).to_owned(), place: tree.place }, node(Value::Null)));
        entries.len() - 1
    });
    put(&mut entries[index].1, rest, value);
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
