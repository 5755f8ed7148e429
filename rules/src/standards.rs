//! The standards that a pack maps its controls to: which there are, in which version, and which provisions they have.
//!
//! A mapping is a claim that somebody else's document says a thing in a certain place. The table makes it one that can be
//! checked: it names the version of the document, where it is published, and every provision that a control may be mapped
//! to. A control that is mapped to anything else keeps the pack from loading. The table is part of the pack and of its digest;
//! short titles of provisions are in the pack author's own words, never the standard's text.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::document::{Reader, Table};
use crate::shape::nearest;

const STANDARD_KEYS: &[&str] = &["title", "version", "as_of", "source", "provisions"];

/// One standard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standard {
    /// What mappings call it, such as `IEC 62443-4-2`.
    pub id: String,
    /// Its title in full.
    pub title: String,
    /// The version or edition whose provisions are listed, and when it was published.
    pub version: String,
    /// The day on which the provisions were checked.
    pub as_of: Date,
    /// Where it is published: a URL, as text only; nothing fetches it.
    pub source: String,
    /// Its provisions by their ids, each with a short title in the pack author's words.
    pub provisions: BTreeMap<String, String>,
}

/// Every standard of a pack. What is wrong with a standard's own table is told when it is read; its provisions count all the
/// same, so that one slip is told once.
#[derive(Debug, Default)]
pub(crate) struct Standards {
    provisions: BTreeMap<String, BTreeMap<String, String>>,
    sound: Vec<Standard>,
}

impl Standards {
    /// Reads the pack's `[standards.<id>]`; every mistake goes to `reader`.
    pub(crate) fn read(reader: &mut Reader, root: Table<'_>) -> Self {
        let mut all = Self::default();
        let Some(tables) = reader.table(root, "standards") else { return all };
        let names: Vec<String> = tables.fields.keys().map(|name| name.get_ref().to_string()).collect();
        for id in names {
            let Some(table) = reader.table(tables, &id) else { continue };
            let provisions = provisions(reader, table);
            if let Some(standard) = standard(reader, &id, table, &provisions) {
                all.sound.push(standard);
            }
            all.provisions.insert(id, provisions);
        }
        all
    }

    /// Each of them, in the order of their ids.
    pub(crate) fn into_all(self) -> Vec<Standard> {
        self.sound
    }

    /// The provisions that a control is mapped to, by standard; every mistake goes to `reader`.
    pub(crate) fn mappings(&self, reader: &mut Reader, control: Table<'_>) -> BTreeMap<String, Vec<String>> {
        let Some(mappings) = reader.table(control, "mappings") else { return BTreeMap::new() };
        let mut all = BTreeMap::new();
        for (name, ids) in mappings.fields {
            let standard: &str = name.get_ref();
            let ids = reader.texts(ids, standard);
            match self.provisions.get(standard) {
                None => {
                    let line = reader.line(name.span().start);
                    reader.mistake(line, format!("there is no [standards.\"{standard}\"]; {}", self.hint(standard)));
                }
                Some(known) => ids.iter().for_each(|(id, line)| {
                    if !known.contains_key(*id) {
                        let hint = match nearest(id, known.keys().map(String::as_str)) {
                            Some(near) => format!("did you mean `{near}`?"),
                            None => "if it exists, add it to the pack's table".to_owned(),
                        };
                        reader.mistake(*line, format!("{standard} has no provision `{id}`; {hint}"));
                    }
                }),
            }
            for (place, (id, line)) in ids.iter().enumerate() {
                if ids[..place].iter().any(|(before, _)| before == id) {
                    reader.mistake(*line, format!("{standard} `{id}` stands there twice"));
                }
            }
            all.insert(standard.to_owned(), ids.into_iter().map(|(id, _)| id.to_owned()).collect());
        }
        all
    }

    fn hint(&self, standard: &str) -> String {
        match nearest(standard, self.provisions.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "say there what it is, where it is published and which provisions it has".to_owned(),
        }
    }
}

fn provisions(reader: &mut Reader, table: Table<'_>) -> BTreeMap<String, String> {
    let Some(rows) = reader.table(table, "provisions").filter(|rows| !rows.fields.is_empty()) else {
        reader.mistake(table.line, "`provisions` is missing or empty");
        return BTreeMap::new();
    };
    let ids = rows.fields.keys().map(|id| id.get_ref().to_string());
    ids.map(|id| (reader.required(rows, &id).map_or_else(String::new, |(title, _)| title.to_owned()), id))
        .map(|(title, id)| (id, title))
        .collect()
}

fn standard(
    reader: &mut Reader,
    id: &str,
    table: Table<'_>,
    provisions: &BTreeMap<String, String>,
) -> Option<Standard> {
    reader.only(table, STANDARD_KEYS);
    let [title, version] = ["title", "version"].map(|key| reader.required(table, key).map(|(text, _)| text.to_owned()));
    let as_of = reader.day(table, "as_of");
    let source = reader.required(table, "source").and_then(|(source, line)| {
        let address = source.starts_with("https://");
        if !address {
            reader.mistake(
                line,
                format!("`source` is `{source}`; it should be where the standard is published, https://…"),
            );
        }
        address.then(|| source.to_owned())
    });
    Some(Standard {
        id: id.to_owned(),
        title: title?,
        version: version?,
        as_of: as_of?,
        source: source?,
        provisions: provisions.clone(),
    })
}
