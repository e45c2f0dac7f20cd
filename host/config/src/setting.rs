use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use domain::{ByteSize, Digest, PublicKey};

use crate::problem::{Complaint, complaint};
use crate::secret::SecretRef;
use crate::upstreams::BaseUrl;
use crate::yaml::{Node, Value, quote};

/// What a key's value must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Bool,
    /// A whole number, both bounds allowed.
    Integer(i64, i64),
    /// A finite number, both bounds allowed.
    Number(f64, f64),
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Texts; a single text is a list of one.
    List,
    /// A length of time, with bounds in milliseconds.
    Time(u64, u64),
    /// A number of bytes, both bounds allowed.
    Size(u64, u64),
    /// A section whose contents are not ours to know.
    Object,
    Secret,
    Digest,
    /// To check signatures with.
    PublicKey,
    /// An IP address to listen on, or `localhost`.
    Host,
    /// The address of an API.
    Url,
    /// A file or folder.
    Path,
    /// `HH:MM`.
    Clock,
}

/// A value that fits its key.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    Bool(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<String>),
    Time(Duration),
    Size(ByteSize),
    Object(serde_json::Value),
    Secret(SecretRef),
    Digest(Digest),
    PublicKey(PublicKey),
    Host(IpAddr),
    Url(BaseUrl),
}

impl Kind {
    /// The value of this kind that a node holds; `None` when the node says nothing (`key:`, or `key: ""` where an empty
    /// text cannot be meant).
    pub(crate) fn read(self, node: &Node) -> Result<Option<Setting>, Complaint> {
        match &node.value {
            Value::Null => return Ok(None),
            Value::Text(text) if text.is_empty() && !matches!(self, Kind::Text) => return Ok(None),
            _ => {}
        }
        let setting = match self {
            Kind::Secret => return self.read_secret(node).map(Some),
            Kind::Url => return self.read_url(node).map(Some),
            Kind::Bool => read_bool(node).map(Setting::Bool),
            Kind::Integer(least, most) => {
                read_integer(node).filter(|n| (least..=most).contains(n)).map(Setting::Integer)
            }
            Kind::Number(least, most) => read_number(node).filter(|n| (least..=most).contains(n)).map(Setting::Number),
            Kind::Text | Kind::Path => text(node).map(|text| Setting::Text(text.to_owned())),
            Kind::Choice(words) => text(node).filter(|text| words.contains(text)).map(|t| Setting::Text(t.to_owned())),
            Kind::List => read_list(node).map(Setting::List),
            Kind::Time(least, most) => read_time(node, least, most).map(Setting::Time),
            Kind::Size(least, most) => read_size(node).filter(|s| (least..=most).contains(&s.0)).map(Setting::Size),
            Kind::Object => match node.value {
                Value::Map(_) => node.to_json().map(Setting::Object),
                _ => None,
            },
            Kind::Digest => text(node).and_then(|text| text.parse().ok()).map(Setting::Digest),
            Kind::PublicKey => text(node).and_then(|text| text.parse().ok()).map(Setting::PublicKey),
            Kind::Host => text(node).and_then(read_host).map(Setting::Host),
            Kind::Clock => text(node).filter(|text| is_clock(text)).map(|text| Setting::Text(text.to_owned())),
        };
        match setting {
            Some(setting) => Ok(Some(setting)),
            None if matches!((self, &node.value), (Kind::List, Value::List(_))) => {
                Err(complaint("an item of this list is not a text", "write it in quotes"))
            }
            None => Err(complaint(format!("{} is not {self}", node.describe()), self.remedy(node))),
        }
    }

    fn read_secret(self, node: &Node) -> Result<Setting, Complaint> {
        let Some(text) = text(node) else {
            return Err(complaint(
                "this is not a text (the value is not shown, it may be a secret)",
                self.remedy(node),
            ));
        };
        SecretRef::parse(text).map(Setting::Secret)
    }

    fn read_url(self, node: &Node) -> Result<Setting, Complaint> {
        let text =
            text(node).ok_or_else(|| complaint(format!("{} is not {self}", node.describe()), self.remedy(node)))?;
        text.parse().map(Setting::Url).map_err(|message: String| complaint(message, self.remedy(node)))
    }

    /// How to write a value of this kind.
    fn remedy(self, node: &Node) -> String {
        let scalar = matches!(node.value, Value::Bool(_) | Value::Integer(_) | Value::Number(_));
        match self {
            Kind::Text | Kind::Path | Kind::Secret | Kind::List if scalar => "write it in quotes".to_owned(),
            Kind::Bool => "write true or false".to_owned(),
            Kind::Choice(words) => suggestion(text(node).unwrap_or_default(), words.iter().copied())
                .map_or_else(|| format!("write {}", alternatives(words)), |word| format!("did you mean {word}?")),
            Kind::Time(..) => "write a number with ms, s, m, h or d, such as 30s".to_owned(),
            Kind::Size(..) => "write a whole number with KiB, MiB or GiB, such as 64MiB".to_owned(),
            Kind::Object => "write `key: value` lines below it".to_owned(),
            Kind::Secret => "write env:NAME or file:PATH".to_owned(),
            Kind::Digest => "write what `sha256sum FILE` prints, in quotes".to_owned(),
            Kind::PublicKey => "write the last line of the file minisign.pub".to_owned(),
            Kind::Host => "write 127.0.0.1, an IP address of this machine, or 0.0.0.0 for all of them".to_owned(),
            Kind::Url => "write it as https://host/v1".to_owned(),
            Kind::Clock => "write it in quotes, such as \"23:00\"".to_owned(),
            Kind::Integer(..) | Kind::Number(..) | Kind::Text | Kind::Path | Kind::List => format!("write {self}"),
        }
    }
}

/// The kind as the end of the sentence "this is not …".
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Bool => f.write_str("true or false"),
            Kind::Integer(least, i64::MAX) => write!(f, "a whole number from {least} upwards"),
            Kind::Integer(least, most) => write!(f, "a whole number from {least} to {most}"),
            Kind::Number(least, most) => write!(f, "a number from {least} to {most}"),
            Kind::Text => f.write_str("a text"),
            Kind::Choice(words) => f.write_str(&alternatives(words)),
            Kind::List => f.write_str("a list of texts"),
            Kind::Time(least, most) => {
                write!(f, "a length of time from {} to {}", time_text(*least), time_text(*most))
            }
            Kind::Size(least, most) => write!(f, "a size from {} to {}", ByteSize(*least), ByteSize(*most)),
            Kind::Object => f.write_str("a section"),
            Kind::Secret => f.write_str("a secret"),
            Kind::Digest => f.write_str("a SHA-256 digest (64 hexadecimal digits)"),
            Kind::PublicKey => f.write_str("a public key of minisign's (RW and 54 more characters)"),
            Kind::Host => f.write_str("an IP address"),
            Kind::Url => f.write_str("an address"),
            Kind::Path => f.write_str("a path"),
            Kind::Clock => f.write_str("a time of day"),
        }
    }
}

/// As one would write it in the file; dots for a secret.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::Bool(value) => value.fmt(f),
            Setting::Integer(value) => value.fmt(f),
            Setting::Number(value) => value.fmt(f),
            Setting::Text(text) => f.write_str(text),
            Setting::List(items) => f.write_str(&items.join(", ")),
            Setting::Time(time) => humantime::format_duration(*time).fmt(f),
            Setting::Size(size) => size.fmt(f),
            Setting::Object(json) => json.fmt(f),
            Setting::Secret(secret) => secret.fmt(f),
            Setting::Digest(digest) => digest.fmt(f),
            Setting::PublicKey(key) => key.fmt(f),
            Setting::Host(host) => host.fmt(f),
            Setting::Url(url) => f.write_str(url.as_str()),
        }
    }
}

impl Setting {
    /// As JSON: booleans, numbers, lists and sections as such, everything else as text; dots for a secret.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Setting::Bool(value) => (*value).into(),
            Setting::Integer(value) => (*value).into(),
            Setting::Number(value) => (*value).into(),
            Setting::List(items) => items.clone().into(),
            Setting::Object(json) => json.clone(),
            other => other.to_string().into(),
        }
    }
}

/// What the parts of `Config` are read as. `None` when the schema gives the key another kind, which is our own mistake.
pub(crate) trait FromSetting: Sized {
    fn from_setting(setting: &Setting) -> Option<Self>;
}

macro_rules! from_setting {
    ($($type:ty: $variant:ident),* $(,)?) => {$(
        impl FromSetting for $type {
            fn from_setting(setting: &Setting) -> Option<Self> {
                match setting {
                    Setting::$variant(value) => Self::try_from(value.clone()).ok(),
                    _ => None,
                }
            }
        }
    )*};
}

from_setting! {
    bool: Bool, u16: Integer, u32: Integer, i64: Integer, f64: Number, String: Text, Vec<String>: List, Duration: Time,
    ByteSize: Size, serde_json::Value: Object, SecretRef: Secret, Digest: Digest,
    PublicKey: PublicKey, IpAddr: Host, BaseUrl: Url,
}

fn text(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// MetaClaw's files hold booleans as texts too, and YAML 1.1's words for them.
fn read_bool(node: &Node) -> Option<bool> {
    match &node.value {
        Value::Bool(value) => Some(*value),
        Value::Text(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

fn read_integer(node: &Node) -> Option<i64> {
    match &node.value {
        Value::Integer(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn read_number(node: &Node) -> Option<f64> {
    match &node.value {
        Value::Integer(value) => Some(*value as f64),
        Value::Number(value) => Some(*value),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn read_list(node: &Node) -> Option<Vec<String>> {
    match &node.value {
        Value::Text(text) => Some(vec![text.clone()]),
        Value::List(items) => {
            items.iter().map(|item| text(item).filter(|t| !t.is_empty()).map(str::to_owned)).collect()
        }
        _ => None,
    }
}

fn read_time(node: &Node, least: u64, most: u64) -> Option<Duration> {
    let time = humantime::parse_duration(text(node)?).ok()?;
    (Duration::from_millis(least)..=Duration::from_millis(most)).contains(&time).then_some(time)
}

fn read_size(node: &Node) -> Option<ByteSize> {
    match &node.value {
        Value::Integer(bytes) => u64::try_from(*bytes).ok().map(ByteSize),
        Value::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn read_host(text: &str) -> Option<IpAddr> {
    match text {
        "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
        text => text.parse().ok(),
    }
}

fn is_clock(text: &str) -> bool {
    let below = |part: &str, end: u8| part.len() <= 2 && part.parse::<u8>().is_ok_and(|n| n < end);
    text.split_once(':').is_some_and(|(hour, minute)| below(hour, 24) && below(minute, 60) && minute.len() == 2)
}

fn time_text(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_millis(milliseconds)).to_string()
}

/// `a, b or c`.
pub(crate) fn alternatives(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The candidate that somebody who wrote `word` most likely meant.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, a suggestion confuses more than it helps.
    const CLOSE: f64 = 0.8;
    candidates
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A sentence about a name that is none of those known.
pub(crate) fn unknown(name: &str, what: &str, known: &[&str]) -> (String, String) {
    let remedy = match suggestion(name, known.iter().copied()) {
        Some(word) => format!("did you mean {word}?"),
        None => format!("use {}", alternatives(known)),
    };
    (format!("{} is not {what}", quote(name)), remedy)
}
