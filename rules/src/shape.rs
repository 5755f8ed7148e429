//! The shape of a check's facts, read from the contract's JSON Schema.
//!
//! Packs are held against it when they load, so that a misspelt fact or enum value is an error for the rule's author and
//! never a control that quietly says `unknown` in the field. Where the schema does not say, the shape is [`Shape::Any`]
//! and nothing is refused.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gatepost_evidence::check::segment;
use serde_json::{Map, Value};

/// What stands at a place in the facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Fields with names that the contract fixes.
    Object(BTreeMap<String, Shape>),
    /// Entries with names that the gateway decides, all of one shape.
    Map(Box<Shape>),
    /// A list of one shape.
    List(Box<Shape>),
    /// Text; with the values there are, when the contract lists them.
    Text(Option<Vec<String>>),
    /// A number.
    Number,
    /// True or false.
    Bool,
    /// The contract does not say.
    Any,
}

/// `$ref`s deeper than this are not followed; no contract is recursive.
const MAX_DEPTH: usize = 16;

impl Shape {
    /// The shape that a JSON Schema (draft 2020-12, as schemars writes it) describes.
    pub(crate) fn of_schema(schema: &Value) -> Self {
        let definitions = schema.get("$defs").and_then(Value::as_object);
        read(schema, definitions, 0)
    }

    /// What this is, in a word.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Object(_) => "an object",
            Self::Map(_) => "a map",
            Self::List(_) => "a list",
            Self::Text(_) => "text",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Any => "anything",
        }
    }

    /// The shape of the field or entry called `name`.
    ///
    /// # Errors
    /// What is wrong with asking for it, with a hint at the nearest name there is.
    pub(crate) fn field(&self, name: &str) -> Result<&Self, String> {
        match self {
            Self::Object(fields) => fields.get(name).ok_or_else(|| match nearest(name, fields.keys()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", fields.keys().cloned().collect::<Vec<_>>().join(", ")),
            }),
            Self::Map(entry) => Ok(entry),
            Self::Any => Ok(&Self::Any),
            other => Err(format!("its parent is {}, which has no fields", other.noun())),
        }
    }

    /// The shape at `pointer` (RFC 6901).
    ///
    /// # Errors
    /// The first place that the contract does not have.
    pub(crate) fn at(&self, pointer: &str) -> Result<&Self, String> {
        let mut shape = self;
        let mut place = String::new();
        for name in segments(pointer) {
            place = format!("{place}/{}", segment(&name));
            shape = shape.field(&name).map_err(|hint| format!("the facts have no {place}; {hint}"))?;
        }
        Ok(shape)
    }

    /// Appends to `mistakes` everything in `value` that this shape does not have. Absent facts are no mistake.
    pub(crate) fn check(&self, value: &Value, place: &str, mistakes: &mut Vec<String>) {
        match (self, value) {
            (Self::Object(_), Value::Object(fields)) => {
                for (name, value) in fields {
                    let place = format!("{place}/{}", segment(name));
                    match self.field(name) {
                        Ok(shape) => shape.check(value, &place, mistakes),
                        Err(hint) => mistakes.push(format!("the contract has no fact {place}; {hint}")),
                    }
                }
            }
            (Self::Map(entry), Value::Object(fields)) => {
                for (name, value) in fields {
                    entry.check(value, &format!("{place}/{}", segment(name)), mistakes);
                }
            }
            (Self::List(item), Value::Array(items)) => {
                for (index, value) in items.iter().enumerate() {
                    item.check(value, &format!("{place}/{index}"), mistakes);
                }
            }
            (Self::Text(Some(values)), Value::String(text)) if !values.contains(text) => {
                mistakes.push(format!("{place} is never `{text}`; {}", one_of(text, values)));
            }
            (Self::Text(_), Value::String(_)) | (Self::Number, Value::Number(_)) | (Self::Bool, Value::Bool(_)) => {}
            (Self::Any, _) => {}
            (shape, _) => mistakes.push(format!("{place} is {} in the contract, not {value}", shape.noun())),
        }
    }
}

/// A hint at the values of an enumeration.
pub(crate) fn one_of(found: &str, values: &[String]) -> String {
    match nearest(found, values) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it is one of: {}", values.join(", ")),
    }
}

/// The name nearest to `found`, if any is near enough to be meant.
pub(crate) fn nearest<'a, S: AsRef<str> + ?Sized + 'a>(
    found: &str,
    names: impl IntoIterator<Item = &'a S>,
) -> Option<&'a str> {
    names
        .into_iter()
        // What is more than twice as long is not near, and may be very long.
        .filter(|name| name.as_ref().len() <= 2 * found.len())
        .map(|name| (strsim::normalized_damerau_levenshtein(found, name.as_ref()), name.as_ref()))
        .filter(|(score, _)| *score >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The unescaped segments of a JSON pointer.
pub(crate) fn segments(pointer: &str) -> impl Iterator<Item = String> + '_ {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~"))
}

fn read(schema: &Value, definitions: Option<&Map<String, Value>>, depth: usize) -> Shape {
    if depth > MAX_DEPTH {
        return Shape::Any;
    }
    let deeper = |schema: &Value| read(schema, definitions, depth + 1);
    if let Some(name) =
        schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix("#/$defs/"))
    {
        return definitions.and_then(|all| all.get(name)).map_or(Shape::Any, deeper);
    }
    if let Some(values) = enumeration(schema) {
        return Shape::Text(Some(values));
    }
    if let Some(variants) = schema.get("anyOf").and_then(Value::as_array) {
        // `Option` of something: that, or null. A fact that is null counts as absent.
        let mut others = variants.iter().filter(|variant| variant.get("type") != Some(&Value::from("null")));
        return match (others.next(), others.next()) {
            (Some(only), None) => deeper(only),
            _ => Shape::Any,
        };
    }
    match kind(schema) {
        Some("boolean") => Shape::Bool,
        Some("integer" | "number") => Shape::Number,
        Some("string") => Shape::Text(None),
        Some("array") => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, deeper))),
        Some("object") => {
            match (schema.get("properties").and_then(Value::as_object), schema.get("additionalProperties")) {
                (Some(fields), _) => {
                    Shape::Object(fields.iter().map(|(name, schema)| (name.clone(), deeper(schema))).collect())
                }
                (None, Some(entry)) => Shape::Map(Box::new(deeper(entry))),
                (None, None) => Shape::Map(Box::new(Shape::Any)),
            }
        }
        _ => Shape::Any,
    }
}

/// The one type of a schema besides null.
fn kind(schema: &Value) -> Option<&str> {
    match schema.get("type")? {
        Value::String(kind) => Some(kind),
        Value::Array(kinds) => {
            let mut kinds = kinds.iter().filter_map(Value::as_str).filter(|kind| *kind != "null");
            let only = kinds.next()?;
            kinds.next().is_none().then_some(only)
        }
        _ => None,
    }
}

/// The values of an enumeration of texts, written with `enum`, `const`, or `oneOf` of these.
fn enumeration(schema: &Value) -> Option<Vec<String>> {
    let texts = |values: &[Value]| values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return texts(values);
    }
    if let Some(value) = schema.get("const") {
        return texts(std::slice::from_ref(value));
    }
    let variants = schema.get("oneOf").and_then(Value::as_array)?;
    let values: Option<Vec<Vec<String>>> = variants.iter().map(enumeration).collect();
    Some(values?.concat())
}

/// The shape of the facts of every check there is, by the check's id; made once for each that is asked for.
pub(crate) fn of_check(id: &str) -> Option<Arc<Shape>> {
    static MADE: Mutex<BTreeMap<&str, Arc<Shape>>> = Mutex::new(BTreeMap::new());
    let check = gatepost_evidence::check::find(id)?;
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let make = || Arc::new(Shape::of_schema((check.facts_schema)().as_value()));
    Some(made.entry(check.id).or_insert_with(make).clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_contract_has_a_shape_without_blank_spots() {
        fn blank(shape: &Shape) -> bool {
            match shape {
                Shape::Any => true,
                Shape::Object(fields) => fields.values().any(blank),
                Shape::Map(entry) | Shape::List(entry) => blank(entry),
                _ => false,
            }
        }
        for check in gatepost_evidence::check::CHECKS {
            assert!(!blank(&of_check(check.id).unwrap()), "{}", check.id);
        }
    }

    #[test]
    fn references_options_maps_and_enumerations_are_seen_through() {
        let broker = of_check("broker_transport_posture").unwrap();
        assert_eq!(broker.at("/listeners/127.0.0.1:1883/open"), Ok(&Shape::Bool));
        let Ok(Shape::Text(Some(values))) = broker.at("/listeners/x/client_certificate") else { panic!() };
        assert_eq!(values, &["not_requested", "requested", "required"]);
        let config = of_check("gateway_config_guardrails").unwrap();
        assert_eq!(config.at("/service/declared"), Ok(&Shape::List(Box::new(Shape::Text(None)))));
        assert_eq!(config.at("/service/retry_limit"), Ok(&Shape::Number));
    }

    #[test]
    fn a_name_that_is_not_there_comes_with_the_nearest_that_is() {
        let shape = of_check("ingest_auth").unwrap();
        assert_eq!(shape.field("url_is_http").unwrap_err(), "did you mean `url_is_https`?");
        assert!(shape.field("zzz").unwrap_err().starts_with("there are: answer_micros, "));
    }

    #[test]
    fn values_are_held_against_the_shape_with_all_mistakes_at_once() {
        let mut mistakes = Vec::new();
        let facts = json!({"listeners": {"a/b": {"open": "yes", "scope": "lann", "opened": true, "tls12": null}}});
        of_check("broker_transport_posture").unwrap().check(&facts, "", &mut mistakes);
        assert_eq!(mistakes.len(), 4, "{mistakes:#?}");
        assert!(mistakes.iter().any(|m| m.starts_with("/listeners/a~1b/scope") && m.contains("`lan`")));
        assert!(mistakes.iter().any(|m| m.contains("/listeners/a~1b/opened; did you mean `open`?")));
    }
}
