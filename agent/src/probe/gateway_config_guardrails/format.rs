//! A service's configuration as one value, whatever it is written in. Errors give the place, not the words that stand there.

use std::path::Path;

use gatepost_evidence::look::{Failure, FailureKind};
use serde_json::Value;

use super::yaml;

/// The endings of configuration files that are understood.
const ENDINGS: &str = ".toml, .json, .yaml, .yml, .env or .conf (KEY=value)";

/// What a configuration is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON (RFC 8259).
    Json,
    /// YAML 1.2.
    Yaml,
    /// `KEY=value` lines.
    Assignments,
}

impl Format {
    /// By the ending of the file; a file called `.env` has no ending but a name.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_ascii_lowercase);
        let ending = ending.or_else(|| (path.file_name()? == ".env").then(|| "env".to_owned()));
        Some(match ending?.as_str() {
            "toml" => Self::Toml,
            "json" => Self::Json,
            "yaml" | "yml" => Self::Yaml,
            "env" | "conf" => Self::Assignments,
            _ => return None,
        })
    }
}

/// `text` as one value; `name` is what it is called in errors.
///
/// # Errors
/// When it is not what its format says, or the format is not known.
pub fn parse(text: &str, format: Option<Format>, name: &str) -> Result<Value, Failure> {
    let unparseable = |words: String| Failure::new(FailureKind::Unparseable, format_args!("{name}: {words}"));
    match format {
        Some(Format::Json) => serde_json::from_str(text).map_err(|error| {
            unparseable(format!("not valid JSON at line {}, column {}", error.line(), error.column()))
        }),
        Some(Format::Toml) => {
            text.parse::<toml::Table>().map(|table| from_toml(toml::Value::Table(table))).map_err(|error| {
                let before = error.span().map_or(0, |span| span.start).min(text.len());
                let line = text.bytes().take(before).filter(|byte| *byte == b'\n').count() + 1;
                unparseable(format!("not valid TOML at line {line}"))
            })
        }
        Some(Format::Yaml) => yaml::parse(text).map_err(|(line, words)| unparseable(format!("line {line} {words}"))),
        Some(Format::Assignments) => {
            assignments(text).map_err(|line| unparseable(format!("line {line} is not KEY=value")))
        }
        None => Err(unparseable(format!("its ending does not say what it is written in; it must be {ENDINGS}"))),
    }
}

fn from_toml(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(from_toml).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, from_toml(value))).collect(),
    }
}

/// `KEY=value` lines, as systemd's `EnvironmentFile=` and shells write them; the last of a key counts.
fn assignments(text: &str) -> Result<Value, usize> {
    let mut found = serde_json::Map::new();
    for (line, number) in text.lines().zip(1_usize..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or(number)?;
        let value = value.trim();
        let quoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        found.insert(key.trim().to_owned(), quoted.unwrap_or(value).into());
    }
    Ok(Value::Object(found))
}
