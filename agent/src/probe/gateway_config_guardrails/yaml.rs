//! YAML as one value: the core schema of YAML 1.2.2, with the merge key that configuration files of services use.
//!
//! The parser gives events and resolves nothing, so what an alias costs is decided here: it is copied against the same bound as
//! everything else, and a few lines that stand for billions are refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// The most values that a file may come to, aliases included.
pub const MAX_VALUES: usize = 100_000;
/// A text counts as one value more for each so many bytes.
const BYTES_OF_A_VALUE: usize = 32;
/// The deepest that they may be nested.
pub const MAX_DEPTH: usize = 64;

/// A list or a table that is being read.
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Table(Map<String, Value>, Option<String>),
}

struct Level {
    open: Open,
    anchor: usize,
    /// How many values there were before it.
    before: usize,
}

/// The only document of `text`.
///
/// # Errors
/// The line, from 1, and what is wrong there. The words never quote the file.
pub fn parse(text: &str) -> Result<Value, (usize, &'static str)> {
    let mut levels: Vec<Level> = Vec::new();
    let mut anchors: HashMap<usize, (Value, usize)> = HashMap::new();
    let (mut document, mut values, mut line) = (None, 0_usize, 1);
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| (error.marker().line(), "is not valid YAML"))?;
        line = span.start.line();
        let wrong = |words: &'static str| Err((line, words));
        let (value, anchor, before) = match event {
            Event::DocumentStart(_) if document.is_some() => return wrong("begins a second document"),
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if levels.len() == MAX_DEPTH {
                    return wrong("is nested too deeply");
                }
                let open = match event {
                    Event::SequenceStart(..) => Open::List(Vec::new()),
                    _ => Open::Table(Map::new(), None),
                };
                levels.push(Level { open, anchor, before: values });
                values += 1;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match levels.pop() {
                Some(Level { open: Open::List(list), anchor, before }) => (Value::Array(list), anchor, before),
                Some(Level { open: Open::Table(table, _), anchor, before }) => (merged(table), anchor, before),
                None => return wrong("is not valid YAML"),
            },
            Event::Scalar(text, style, anchor, _) => {
                let before = values;
                // A long text costs as much as several values: an alias copies it whole.
                values += 1 + text.len() / BYTES_OF_A_VALUE;
                let value = match style {
                    ScalarStyle::Plain => plain(&text),
                    _ => Value::String(text.into_owned()),
                };
                (value, anchor, before)
            }
            Event::Alias(anchor) => {
                let Some((value, cost)) = anchors.get(&anchor) else { return wrong("has an alias of nothing") };
                let before = values;
                values = values.saturating_add(*cost);
                if values > MAX_VALUES {
                    return wrong("has aliases that stand for too much");
                }
                (value.clone(), 0, before)
            }
            _ => continue,
        };
        if values > MAX_VALUES {
            return wrong("has too many values before it");
        }
        if anchor != 0 {
            // Kept apart, and so paid for a second time.
            let cost = values - before;
            values = values.saturating_add(cost);
            anchors.insert(anchor, (value.clone(), cost));
        }
        match levels.last_mut().map(|level| &mut level.open) {
            None => document = Some(value),
            Some(Open::List(list)) => list.push(value),
            Some(Open::Table(table, key @ None)) => {
                let name = match value {
                    Value::String(name) => name,
                    Value::Number(number) => number.to_string(),
                    Value::Bool(flag) => flag.to_string(),
                    Value::Null => "null".to_owned(),
                    Value::Array(_) | Value::Object(_) => return wrong("has a key that is no text"),
                };
                if table.contains_key(&name) {
                    return wrong("has a key that stands there twice");
                }
                *key = Some(name);
            }
            Some(Open::Table(table, key)) => {
                table.insert(key.take().unwrap_or_default(), value);
            }
        }
    }
    if levels.is_empty() { Ok(document.unwrap_or(Value::Null)) } else { Err((line, "is not valid YAML")) }
}

/// With what `<<` names put beneath what the table has itself.
fn merged(mut table: Map<String, Value>) -> Value {
    let below = match table.remove("<<") {
        None => Vec::new(),
        Some(Value::Array(list)) => list,
        Some(one) => vec![one],
    };
    for one in below {
        if let Value::Object(one) = one {
            for (key, value) in one {
                table.entry(key).or_insert(value);
            }
        }
    }
    Value::Object(table)
}

/// A plain scalar (YAML 1.2.2, section 10.3.2).
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => {}
    }
    let number = match (text.strip_prefix("0x"), text.strip_prefix("0o")) {
        (Some(digits), _) => i64::from_str_radix(digits, 16).ok(),
        (_, Some(digits)) => i64::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    };
    if let Some(number) = number {
        return number.into();
    }
    let like_a_number = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
    match text.parse::<f64>() {
        Ok(number) if like_a_number && number.is_finite() => number.into(),
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_the_core_schema() {
        let text = "a: true\nb: 'true'\nc: 0x1f\nd: 1.5\ne: ~\nf: no\ng: [1, -2, \"x\"]\nh:\n  i: |\n    text\n1: one\nj: 1_000\nk: 0o17\n";
        let value = parse(text).unwrap();
        assert_eq!(
            value,
            json!({"a": true, "b": "true", "c": 31, "d": 1.5, "e": null, "f": "no", "g": [1, -2, "x"],
                   "h": {"i": "text\n"}, "1": "one", "j": "1_000", "k": 15})
        );
        assert_eq!(parse("").unwrap(), Value::Null);
        let merged = parse("base: &b {x: 1, y: 2}\nown:\n  <<: *b\n  y: 3\n").unwrap();
        assert_eq!(merged["own"], json!({"x": 1, "y": 3}));
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_refused_with_its_line() {
        for (text, line, words) in [
            ("a: 1\na: 2\n", 2, "stands there twice"),
            ("a: 1\n---\nb: 2\n", 2, "a second document"),
            ("a: *nothing\n", 1, ""),
            ("a: [1\nb: 2\n", 2, ""),
            ("? [a]\n: 1\n", 1, "a key that is no text"),
        ] {
            let (at, why) = parse(text).unwrap_err();
            assert!(why.contains(words) && at >= line, "{text}: {at} {why}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_and_a_deep_well_are_refused_at_once() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..30 {
            let below = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![below; 10].join(", "));
        }
        assert_eq!(parse(&bomb).unwrap_err().1, "has aliases that stand for too much");
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 1000].join(", "));
        assert_eq!(parse(&long).unwrap_err().1, "has aliases that stand for too much");
        let (_, why) = parse(&"[".repeat(MAX_DEPTH + 1)).unwrap_err();
        assert!(why == "is nested too deeply" || why == "is not valid YAML", "{why}");
        assert!(parse(&"- ".repeat(100_000)).is_err());
        let many = "- 1\n".repeat(MAX_VALUES + 1);
        assert_eq!(parse(&many).unwrap_err().1, "has too many values before it");
        let own = "a: &a\n  b: *a\n";
        assert!(parse(own).is_err());
    }
}
