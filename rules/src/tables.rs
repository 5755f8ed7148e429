//! Tables that a pack carries: what expressions look up, such as until when a release is supported.
//!
//! A table is part of the pack and of its digest, so that the same run under the same pack gives the same verdict, whoever
//! judges it and when. It says as of when it holds and where it was taken from.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde_json::{Map, Value};

use crate::document::{Reader, Table};
use crate::shape::Shape;

const TABLE_KEYS: &[&str] = &["as_of", "source", "rows"];

/// The most tables of a pack.
const MAX_TABLES: usize = 1000;
/// The longest name of one in bytes.
const MAX_NAME: usize = 64;

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its name in expressions, below `tables`.
    pub name: String,
    /// The day on which it was put together.
    pub as_of: Date,
    /// Where its contents were taken from.
    pub source: String,
    /// What is looked up, and what stands there.
    pub rows: BTreeMap<String, String>,
}

/// Every table of a pack.
#[derive(Debug)]
pub(crate) struct Tables {
    tables: Vec<Lookup>,
    rows: Value,
    shape: Shape,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl Tables {
    fn new(tables: Vec<Lookup>) -> Self {
        let rows = |table: &Lookup| table.rows.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        let all: Map<String, Value> =
            tables.iter().map(|table| (table.name.clone(), Value::Object(rows(table)))).collect();
        let text = || Shape::Map(Box::new(Shape::Text(None)));
        let shape = Shape::Object(tables.iter().map(|table| (table.name.clone(), text())).collect());
        Self { tables, rows: Value::Object(all), shape }
    }

    /// Reads the pack's `[tables.<name>]`; every mistake goes to `reader`.
    pub(crate) fn read(reader: &mut Reader, root: Table<'_>) -> Self {
        let Some(tables) = reader.table(root, "tables") else { return Self::default() };
        if tables.fields.len() > MAX_TABLES || tables.fields.keys().any(|name| name.get_ref().len() > MAX_NAME) {
            let words = format!("at most {MAX_TABLES} tables are read, with names of at most {MAX_NAME} bytes");
            reader.mistake(tables.line, words);
            return Self::default();
        }
        let names = tables.fields.keys().map(|name| name.get_ref().to_string()).collect::<Vec<_>>();
        let read = |name: String| reader.table(tables, &name).and_then(|table| lookup(reader, name, table));
        Self::new(names.into_iter().filter_map(read).collect())
    }

    /// Each of them.
    pub(crate) fn all(&self) -> &[Lookup] {
        &self.tables
    }

    /// As expressions see them.
    pub(crate) fn rows(&self) -> &Value {
        &self.rows
    }

    /// The shape of [`Self::rows`].
    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    #[cfg(test)]
    pub(crate) fn of(name: &str, rows: &[(&str, &str)]) -> Self {
        let rows = rows.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::new(vec![Lookup { name: name.into(), as_of: Date::constant(2026, 1, 1), source: String::new(), rows }])
    }
}

fn lookup(reader: &mut Reader, name: String, table: Table<'_>) -> Option<Lookup> {
    reader.only(table, TABLE_KEYS);
    let as_of = reader.day(table, "as_of");
    let source = reader.required(table, "source").map(|(source, _)| source.to_owned());
    let rows = reader.table(table, "rows");
    if rows.is_none_or(|rows| rows.fields.is_empty()) {
        reader.mistake(table.line, "`rows` is missing or empty");
    }
    let keys = rows.into_iter().flat_map(|rows| rows.fields.keys().map(move |key| (rows, key.get_ref().to_string())));
    let rows = keys.filter_map(|(rows, key)| Some((reader.required(rows, &key)?.0.to_owned(), key)));
    let rows = rows.map(|(value, key)| (key, value)).collect();
    Some(Lookup { name, as_of: as_of?, source: source?, rows })
}
