use std::path::PathBuf;

use ::config::{Paths, referenced_secret};
use anyhow::{Context, bail};
use clap::Args;
use domain::ArtifactRef;
use registry::{Login, login_for};

/// Who asks a registry.
#[derive(Debug, Args)]
pub(super) struct LoginArgs {
    /// Your name at the registry; without one, `registry.auth_file` of the configuration is looked into
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A file (0600) with your password or token
    #[arg(long, value_name = "FILE", requires = "user", conflicts_with = "password_env")]
    password_file: Option<PathBuf>,
    /// The environment variable with your password or token
    #[arg(long, value_name = "NAME", requires = "user")]
    password_env: Option<String>,
}

impl LoginArgs {
    /// The login to show, if the registry wants one.
    pub(super) fn resolve(&self, paths: &Paths, reference: &ArtifactRef) -> anyhow::Result<Option<Login>> {
        let Some(user) = &self.user else {
            let config = crate::commands::load(paths, crate::commands::lenient())?.config;
            let found = config.registry_auth.map(|file| login_for(&file, reference.registry())).transpose()?;
            return Ok(found.flatten());
        };
        let password = match (&self.password_file, &self.password_env) {
            // The configuration's paths are relative to its own folder, those of a command are not.
            (Some(file), _) => format!("file:{}", std::path::absolute(file)?.display()),
            (None, Some(name)) => format!("env:{name}"),
            (None, None) => bail!("where is the password of {user}? Name it with --password-file or --password-env"),
        };
        let password = referenced_secret(&password, paths).map_err(anyhow::Error::msg).context("the password")?;
        Ok(Some(Login { user: user.clone(), password }))
    }
}
