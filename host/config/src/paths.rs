use std::path::{Path, PathBuf};

use crate::ConfigError;

/// Where MetaClaw's folder and its configuration are. Both paths are absolute.
#[derive(Clone, Debug)]
pub struct Paths {
    /// `~/.metaclaw`, unless `--home` or `METACLAW_HOME` say otherwise.
    pub home: PathBuf,
    /// `config.yaml` in `home`, unless `-c` says otherwise.
    pub config_file: PathBuf,
    /// Whether somebody named the file: then it must exist.
    pub(crate) named: bool,
    /// Whether the home has keys in its key file, which is not this crate's to read: then the configuration need have none.
    pub(crate) keyed: bool,
    /// What `~` stands for.
    user_home: Option<PathBuf>,
}

/// The environment, so that tests need not change the process's own.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The value of an environment variable; `None` when it is not set or not UTF-8.
#[expect(clippy::disallowed_methods, reason = "this crate is the one place that reads the environment")]
pub(crate) fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Paths {
    /// Works out the paths: the arguments (`--home`, `-c`) win over `METACLAW_HOME`, which wins over `HOME`.
    ///
    /// Fails when none of them is there, or when a relative path cannot be made absolute.
    pub fn resolve(home: Option<PathBuf>, config: Option<PathBuf>) -> Result<Paths, ConfigError> {
        Paths::resolve_in(home, config, &process_environment)
    }

    pub(crate) fn resolve_in(
        home: Option<PathBuf>,
        config: Option<PathBuf>,
        environment: Environment<'_>,
    ) -> Result<Paths, ConfigError> {
        let set = |name| environment(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let user_home = set("HOME");
        let home = home
            .or_else(|| set("METACLAW_HOME"))
            .or_else(|| user_home.as_ref().map(|h| h.join(".metaclaw")))
            .ok_or(ConfigError::NoHome)?;
        let home = absolute(home)?;
        let named = config.is_some();
        let config_file = config.map(absolute).transpose()?.unwrap_or_else(|| home.join("config.yaml"));
        Ok(Paths { home, config_file, named, keyed: false, user_home })
    }

    /// The same paths, where the home's key file has keys that clients must show.
    pub fn with_keys(self, keyed: bool) -> Paths {
        Paths { keyed, ..self }
    }

    /// The same paths for who is about to write the file: it need not exist yet, even when it was named.
    pub(crate) fn not_required(&self) -> Paths {
        Paths { named: false, ..self.clone() }
    }

    /// The absolute path that a text in the configuration means: `~` is the user's home, anything relative is relative
    /// to the configuration file's folder. The error says what cannot be understood.
    pub fn expand(&self, text: &str) -> Result<PathBuf, String> {
        let folder = self.config_file.parent().unwrap_or(Path::new("/"));
        let Some(rest) = text.strip_prefix('~') else { return Ok(folder.join(text)) };
        let home = self.user_home.as_deref().ok_or("`~` means nothing here: HOME is not set")?;
        match rest.strip_prefix('/') {
            Some(rest) => Ok(home.join(rest)),
            None if rest.is_empty() => Ok(home.to_owned()),
            None => Err("`~` stands for your own home only, as in `~/folder`".to_owned()),
        }
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&path).map_err(|source| ConfigError::Path { path, source })
}
