//! Signing modules as minisign does, so that its files and ours are one kind.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use minisign::{KeyPair, PublicKey, SecretKey, SecretKeyBox, SignatureBox};
use serde::Serialize;
use serde_json::json;
use zeroize::Zeroizing;

use super::subject::Subject;
use crate::{modules, output};

/// Far more than a secret key has.
const MAX_KEY: u64 = 4 << 10;

/// What stands in a signature's first line, which nobody trusts.
const COMMENT: &str = "signature by metaclaw policy sign";

/// `metaclaw policy keygen`
#[derive(Debug, Args)]
#[command(
    after_help = "The public key goes into `trust` of every host that is to believe your signatures; the secret one stays with you (0600,
not encrypted; minisign reads it too).

Examples:
  metaclaw policy keygen team-a.key
  metaclaw config set trust.team-a \"$(tail -n1 team-a.key.pub)\""
)]
pub(super) struct KeygenArgs {
    /// Where the secret key goes; the public one goes beside it, with `.pub` at its end
    file: PathBuf,
}

/// `metaclaw policy sign`
#[derive(Debug, Args)]
#[command(
    after_help = "Writes the signature beside the module, as `minisign -Sm MODULE` does. A key with a password asks for it on the terminal, or
reads it from standard input.

Examples:
  metaclaw policy sign policies/reviewer.wasm --key team-a.key"
)]
pub(super) struct SignArgs {
    /// The module
    module: PathBuf,
    /// Your secret key, as keygen or minisign has made it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

/// What a signature says of itself; whether it is true is another question.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Signed {
    /// The number of the key, as minisign shows it.
    key: String,
    /// What was signed with the bytes.
    comment: String,
}

impl Signed {
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let read = || {
            let signature = SignatureBox::from_string(text).ok()?;
            Some(Signed {
                key: number(signature.keynum()),
                comment: output::harmless(&signature.trusted_comment().ok()?),
            })
        };
        read().context("the signature beside it is not one of minisign's: make it anew with `metaclaw policy sign`")
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by the key {} ({})", self.key, self.comment)
    }
}

/// Key numbers are little-endian, and shown the other way round.
fn number(bytes: &[u8]) -> String {
    bytes.iter().rev().map(|byte| format!("{byte:02X}")).collect()
}

/// Makes a pair of keys.
pub(super) fn keygen(args: &KeygenArgs, json: bool) -> anyhow::Result<()> {
    let public_file = beside(&args.file, ".pub");
    let KeyPair { pk, sk } = KeyPair::generate_unencrypted_keypair().context("no key could be made")?;
    let secret = Zeroizing::new(sk.to_box(None).context("no key could be made")?.into_string());
    write_new(&args.file, 0o600, secret.as_bytes())?;
    let public = pk.to_box().context("no key could be made")?.into_string();
    if let Err(error) = write_new(&public_file, 0o644, public.as_bytes()) {
        // Half a pair would only be in the way of the next attempt.
        let _ = std::fs::remove_file(&args.file);
        return Err(error);
    }
    let name = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let public = pk.to_base64();
    if json {
        output::json(&json!({"secret_key": args.file, "public_key": public_file, "trust": public}));
    } else {
        output::line(format_args!("secret key: {} (keep it to yourself)", args.file.display()));
        output::line(format_args!("public key: {}", public_file.display()));
        output::line(format_args!("for hosts that are to trust it: metaclaw config set trust.{name} {public}"));
    }
    Ok(())
}

/// Signs a module.
pub(super) fn sign(args: &SignArgs, json: bool) -> anyhow::Result<()> {
    let subject = Subject::read(&args.module)?;
    let secret = secret_key(&args.key)?;
    let public = PublicKey::from_secret_key(&secret).context("the secret key is damaged")?;
    let name = subject.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let comment = format!("timestamp:{}\tfile:{name}\thashed", jiff::Timestamp::now().as_second());
    let signature = minisign::sign(Some(&public), &secret, &subject.bytes[..], Some(&comment), Some(COMMENT))
        .with_context(|| format!("{} was not signed", subject.path.display()))?
        .into_string();
    let trusted: domain::PublicKey = public.to_base64().parse()?;
    // What the host would say, before anything is written.
    trusted.verify(&subject.bytes, &signature)?;
    let file = modules::signature_of(&subject.path);
    std::fs::write(&file, &signature).with_context(|| format!("the signature {} was not written", file.display()))?;
    let key = number(public.keynum());
    match json {
        true => output::json(&json!({
            "module": subject.path, "sha256": subject.digest.to_string(), "signature": file, "key": key,
            "trust": public.to_base64(),
        })),
        false => output::line(format_args!("signed {} with the key {key}: {}", subject.path.display(), file.display())),
    }
    Ok(())
}

/// A secret key that nobody else can read.
fn secret_key(file: &Path) -> anyhow::Result<SecretKey> {
    let what = || format!("the secret key {}", file.display());
    let mut opened = File::open(file).with_context(what)?;
    let mode = opened.metadata().with_context(what)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("{} is open to others (mode {mode:03o}): `chmod 600 {}`", what(), file.display());
    }
    let mut text = Zeroizing::new(String::new());
    (&mut opened).take(MAX_KEY).read_to_string(&mut text).with_context(what)?;
    let boxed = || SecretKeyBox::from_string(&text);
    let no_key = || format!("{} is not one: make one with `metaclaw policy keygen FILE`", what());
    if let Ok(key) = boxed().with_context(no_key)?.into_unencrypted_secret_key() {
        return Ok(key);
    }
    let password = password(file)?;
    let wrong = || format!("{} does not open: is the password right, and is it a secret key of minisign's?", what());
    boxed().with_context(no_key)?.into_secret_key(Some(password)).with_context(wrong)
}

fn password(file: &Path) -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        output::note(format_args!("password of {}:", file.display()));
        return Ok(console::Term::stderr().read_secure_line()?);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    match line.trim_end_matches(['\r', '\n']) {
        "" => bail!("{} has a password, or is no secret key: give its password on standard input", file.display()),
        password => Ok(password.to_owned()),
    }
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Writes a file that must not be there yet.
fn write_new(file: &Path, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    let mut opened = match opened {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            bail!("{} is there already, and a key is not overwritten: choose another name", file.display())
        }
        opened => opened.with_context(|| format!("{} cannot be made", file.display()))?,
    };
    // Whatever the umask takes away, an owner can read their own key.
    opened.set_permissions(std::fs::Permissions::from_mode(mode))?;
    opened
        .write_all(bytes)
        .and_then(|()| opened.sync_all())
        .with_context(|| format!("{} was not written", file.display()))
}
