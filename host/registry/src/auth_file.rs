use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Secret;
use rustix::fs::{FileType, Mode, OFlags};
use serde::Deserialize;

use crate::{Login, RegistryError};

/// Far more than a person's logins.
const MAX_FILE: u64 = 1 << 20;

/// What is read of docker's `config.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    /// Name, colon and password, in base64.
    auth: String,
    username: String,
    password: String,
}

/// The login for a registry in a file of docker's form (`~/.docker/config.json`); none when the file does not speak of it.
///
/// Fails when the file cannot be read, is open to others, or leaves the login to a helper program, since none is run.
pub fn login_for(file: &Path, registry: &str) -> Result<Option<Login>, RegistryError> {
    read(file, registry).map_err(|why| RegistryError::AuthFile { path: file.to_owned(), why })
}

fn read(path: &Path, registry: &str) -> Result<Option<Login>, String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let said = |error: rustix::io::Errno| std::io::Error::from(error).to_string();
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(said)?;
    let about = rustix::fs::fstat(&file).map_err(said)?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err("it is not a regular file".to_owned());
    }
    if about.st_mode & 0o077 != 0 {
        return Err(format!("it is open to other users: `chmod 600 {}`", path.display()));
    }
    let mut bytes = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    // What the parser says could quote the file, so only the place is repeated.
    let file: AuthFile =
        serde_json::from_slice(&bytes).map_err(|error| format!("line {} is not as docker writes it", error.line()))?;
    file.login(registry)
}

impl AuthFile {
    fn login(&self, registry: &str) -> Result<Option<Login>, String> {
        let keys = ["", "/", "/v1/", "/v2/"].map(|end| format!("https://{registry}{end}"));
        let found = self.auths.get(registry).or_else(|| keys.iter().find_map(|key| self.auths.get(key)));
        if let Some(auth) = found {
            if !auth.auth.is_empty() {
                return decode(&auth.auth).map(Some).ok_or_else(|| format!("the one for {registry} is not base64"));
            }
            if !auth.username.is_empty() {
                let password = Secret::new(auth.password.clone());
                return Ok(Some(Login { user: auth.username.clone(), password }));
            }
        }
        let helped = self.cred_helpers.contains_key(registry) || (found.is_some() && self.creds_store.is_some());
        match helped {
            true => Err(format!(
                "the one for {registry} is with a helper program, and none is run: write a file with `auths` for metaclaw"
            )),
            false => Ok(None),
        }
    }
}

fn decode(auth: &str) -> Option<Login> {
    let pair = Secret::new(String::from_utf8(STANDARD.decode(auth).ok()?).ok()?);
    let (user, password) = pair.expose().split_once(':')?;
    Some(Login { user: user.to_owned(), password: Secret::new(password.to_owned()) })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const FILE: &str = r#"{
        "auths": {
            "ghcr.io": { "auth": "YWRhOnB3OjE=" },
            "https://old.example.com/v1/": { "auth": "YWRhOm9sZA==" },
            "localhost:5000": { "username": "ada", "password": "local" },
            "desktop.example.com": {},
            "broken.example.com": { "auth": "%%" }
        },
        "credsStore": "desktop",
        "credHelpers": { "gcr.io": "gcloud" },
        "psFormat": "table"
    }"#;

    #[test]
    fn logins_are_found_as_docker_keeps_them() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, FILE).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        for (registry, expected) in [
            ("ghcr.io", Ok(Some("pw:1"))),
            ("old.example.com", Ok(Some("old"))),
            ("localhost:5000", Ok(Some("local"))),
            ("localhost", Ok(None)),
            ("other.example.com", Ok(None)),
            ("desktop.example.com", Err("helper program")),
            ("gcr.io", Err("helper program")),
            ("broken.example.com", Err("not base64")),
        ] {
            match (login_for(&file, registry), expected) {
                (Ok(found), Ok(wanted)) => {
                    assert_eq!(found.as_ref().map(|login| login.password.expose()), wanted, "{registry}");
                }
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{registry}: {error}"),
                (found, wanted) => panic!("{registry}: {found:?}, not {wanted:?}"),
            }
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(login_for(&file, "ghcr.io").unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, r#"{"auths": {"ghcr.io": {"auth": ["hunter2"]}}}"#).unwrap();
        let words = login_for(&file, "ghcr.io").unwrap_err().to_string();
        assert!(words.contains("line 1") && !words.contains("hunter2"), "{words}");
    }
}
