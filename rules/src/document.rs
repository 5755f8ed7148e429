//! Reading TOML with lines: typed access to tables that collects mistakes instead of stopping at the first.

use jiff::civil::Date;
use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::mistakes::PackError;
use crate::shape::nearest;

/// A table of the document and where it begins.
#[derive(Clone, Copy)]
pub(crate) struct Table<'d> {
    pub(crate) fields: &'d DeTable<'d>,
    pub(crate) line: usize,
}

/// The mistakes found in a document so far, and where its lines are.
pub(crate) struct Reader {
    /// Where each line begins.
    lines: Vec<usize>,
    /// The control that is being read, for the mistakes in it.
    pub(crate) control: Option<String>,
    pub(crate) errors: Vec<PackError>,
}

impl Reader {
    pub(crate) fn new(text: &str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(place, _)| place + 1)).collect();
        Self { lines, control: None, errors: Vec::new() }
    }

    /// The line, from 1, of a place in the text.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|start| *start <= offset)
    }

    pub(crate) fn mistake(&mut self, line: usize, message: impl Into<String>) {
        self.errors.push(PackError { line, control: self.control.clone(), message: message.into() });
    }

    /// Names every key of `table` that is not in `known`.
    pub(crate) fn only(&mut self, table: Table<'_>, known: &[&str]) {
        for key in table.fields.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let hint = match nearest(key.get_ref(), known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are: {}", known.join(", ")),
            };
            self.mistake(self.line(key.span().start), format!("unknown key `{}`; {hint}", key.get_ref()));
        }
    }

    /// The text of `key`, if it is there, and its line.
    pub(crate) fn optional<'d>(&mut self, table: Table<'d>, key: &str) -> Option<(&'d str, usize)> {
        let value = table.fields.get(key)?;
        let line = self.line(value.span().start);
        match value.get_ref().as_str().map(str::trim) {
            Some("") => {
                self.mistake(line, format!("`{key}` is empty"));
                None
            }
            Some(text) => Some((text, line)),
            None => {
                self.mistake(line, format!("`{key}` should be text, not {}", value.get_ref().type_str()));
                None
            }
        }
    }

    /// The text of `key`, which must be there, and its line.
    pub(crate) fn required<'d>(&mut self, table: Table<'d>, key: &str) -> Option<(&'d str, usize)> {
        if !table.fields.contains_key(key) {
            self.mistake(table.line, format!("`{key}` is missing"));
        }
        self.optional(table, key)
    }

    /// The word of `key`, which must be there and be one of `known`.
    pub(crate) fn word<'d, T: Copy>(&mut self, table: Table<'d>, key: &str, known: &[(&str, T)]) -> Option<T> {
        let (word, line) = self.required(table, key)?;
        let found = known.iter().find(|(name, _)| *name == word);
        if found.is_none() {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            self.mistake(line, format!("`{key}` is `{word}`; it is one of: {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// The day of `key`, which must be there.
    pub(crate) fn day(&mut self, table: Table<'_>, key: &str) -> Option<Date> {
        let (day, line) = self.required(table, key)?;
        let parsed = day.parse::<Date>().ok();
        if parsed.is_none() {
            self.mistake(line, format!("`{key}` is `{day}`; it should be a day, such as 2026-11-22"));
        }
        parsed
    }

    /// The tables of `key`, an array of tables; none when it is not there.
    pub(crate) fn tables<'d>(&mut self, table: Table<'d>, key: &str) -> Vec<Table<'d>> {
        let Some(value) = table.fields.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            let line = self.line(value.span().start);
            self.mistake(line, format!("`{key}` should be written as [[...{key}]] tables"));
            return Vec::new();
        };
        items.iter().filter_map(|item| self.as_table(item, key)).collect()
    }

    /// The table of `key`, if it is there.
    pub(crate) fn table<'d>(&mut self, table: Table<'d>, key: &str) -> Option<Table<'d>> {
        self.as_table(table.fields.get(key)?, key)
    }

    fn as_table<'d>(&mut self, value: &'d Spanned<DeValue<'d>>, key: &str) -> Option<Table<'d>> {
        let line = self.line(value.span().start);
        let fields = value.get_ref().as_table();
        if fields.is_none() {
            self.mistake(line, format!("`{key}` should be a table, not {}", value.get_ref().type_str()));
        }
        fields.map(|fields| Table { fields, line })
    }

    /// The texts of `value`, a list.
    pub(crate) fn texts<'d>(&mut self, value: &'d Spanned<DeValue<'d>>, key: &str) -> Vec<(&'d str, usize)> {
        let line = self.line(value.span().start);
        let texts = value.get_ref().as_array().and_then(|items| {
            let text = |item: &'d Spanned<DeValue<'d>>| Some((item.get_ref().as_str()?, self.line(item.span().start)));
            items.iter().map(text).collect::<Option<Vec<_>>>()
        });
        texts.unwrap_or_else(|| {
            self.mistake(line, format!("`{key}` should be a list of texts"));
            Vec::new()
        })
    }
}

/// A table as JSON: what it says, without comments, spacing and order.
pub(crate) fn to_json(table: &DeTable<'_>) -> Value {
    let fields = table.iter().map(|(key, value)| (key.get_ref().to_string(), value_to_json(value.get_ref())));
    Value::Object(fields.collect::<Map<_, _>>())
}

fn value_to_json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Value::from(number),
            Err(_) => Value::String(integer.to_string()),
        },
        DeValue::Float(float) => float.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| value_to_json(item.get_ref())).collect()),
        DeValue::Table(table) => to_json(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_types_and_unknown_keys_are_told() {
        let text = "# a comment\nname = 3\nversoin = \"1\"\n";
        let document = DeTable::parse(text).unwrap();
        let table = Table { fields: document.get_ref(), line: 1 };
        let mut reader = Reader::new(text);
        reader.only(table, &["name", "version"]);
        assert_eq!(reader.required(table, "name"), None);
        assert_eq!(reader.required(table, "version"), None);
        let told: Vec<String> = reader.errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "line 3: unknown key `versoin`; did you mean `version`?",
                "line 2: `name` should be text, not integer",
                "line 1: `version` is missing",
            ]
        );
    }

    #[test]
    fn json_holds_what_the_document_says() {
        let document = DeTable::parse("a = 0x10\nb = [1.5, true, 'x']\n[c]\nd = 1979-05-27\n").unwrap();
        let expected = serde_json::json!({"a": 16, "b": [1.5, true, "x"], "c": {"d": "1979-05-27"}});
        assert_eq!(to_json(document.get_ref()), expected);
    }
}
