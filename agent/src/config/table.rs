//! One table of a TOML file that is being read: typed look-ups that note every mistake and go on.
//!
//! serde stops at the first error and does not know what a key could have been meant to be; a field engineer wants the
//! whole list. A key that nobody asked for by [`Table::finish`] is a mistake too, with the nearest known name as a hint.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Mistake;

/// The most mistakes that are told. Who has more has another kind of file, and to tell them all would take minutes.
pub(super) const MAX_MISTAKES: usize = 200;

/// The file being read: its text, where relative paths start, and the mistakes so far.
pub(super) struct Source<'a> {
    pub(super) text: &'a str,
    pub(super) folder: PathBuf,
    pub(super) mistakes: RefCell<Vec<Mistake>>,
    /// There were more than [`MAX_MISTAKES`].
    pub(super) too_many: Cell<bool>,
    /// Files that the configuration names, for `config check`.
    pub(super) files: RefCell<Vec<(Range<usize>, String, PathBuf)>>,
}

impl Source<'_> {
    pub(super) fn mistake(&self, span: Range<usize>, key: impl Into<String>, message: impl Into<String>) {
        if self.mistakes.borrow().len() == MAX_MISTAKES {
            self.too_many.set(true);
            return;
        }
        let before = &self.text[..span.start.min(self.text.len())];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|&c| c != '\n').count() + 1;
        self.mistakes.borrow_mut().push(Mistake { line, column, key: key.into(), message: message.into() });
    }
}

/// One table of the file.
pub(super) struct Table<'a> {
    source: &'a Source<'a>,
    /// Dotted path, empty for the root.
    path: String,
    span: Range<usize>,
    values: Option<&'a DeTable<'a>>,
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub(super) fn root(source: &'a Source<'a>, values: &'a Spanned<DeTable<'a>>) -> Self {
        Self { source, path: String::new(), span: values.span(), values: Some(values.get_ref()), asked: Vec::new() }
    }

    /// Whether the file has this table at all.
    pub(super) fn present(&self) -> bool {
        self.values.is_some()
    }

    /// Whether the key stands here, right or wrong.
    pub(super) fn has(&self, name: &str) -> bool {
        self.values.is_some_and(|values| values.contains_key(name))
    }

    /// Whether nothing else stands here.
    pub(super) fn only(&self, name: &str) -> bool {
        self.values.is_some_and(|values| values.len() == 1 && values.contains_key(name))
    }

    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(name);
        self.values?.get(name)
    }

    fn wrong(&self, name: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let found = value.get_ref().type_str();
        self.source.mistake(value.span(), self.key(name), format!("is {found}, {wanted} is expected"));
    }

    /// Notes a mistake about a key that was read.
    pub(super) fn object(&self, name: &str, message: impl Into<String>) {
        let span = self.values.and_then(|values| values.get(name)).map_or(self.span.clone(), Spanned::span);
        self.source.mistake(span, self.key(name), message);
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&self, name: &str, message: impl Into<String>) {
        self.source.mistake(self.span.clone(), self.key(name), message);
    }

    pub(super) fn string(&mut self, name: &'static str) -> Option<String> {
        let value = self.get(name)?;
        match value.get_ref().as_str() {
            Some("") => self.object(name, "is empty; leave the line out instead"),
            Some(text) => return Some(text.to_owned()),
            None => self.wrong(name, value, "a string in quotes"),
        }
        None
    }

    /// A path; relative ones start at the folder of the configuration file.
    pub(super) fn path(&mut self, name: &'static str) -> Option<PathBuf> {
        let text = self.string(name)?;
        let path = self.source.folder.join(text);
        let span = self.values?.get(name)?.span();
        self.source.files.borrow_mut().push((span, self.key(name), path.clone()));
        Some(path)
    }

    pub(super) fn strings(&mut self, name: &'static str) -> Vec<String> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(name, value, "a list of strings, such as [\"a\", \"b\"],");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong(name, item, "a string in quotes"),
            }
        }
        texts
    }

    /// A duration written as a whole number and `s`, `m`, `h` or `d`.
    pub(super) fn duration(&mut self, name: &'static str) -> Option<Duration> {
        let text = self.string(name)?;
        let duration = parse_duration(&text);
        if duration.is_none() {
            let message = format!("{text:?} is not a duration; write a whole number and s, m, h or d, such as \"15m\"");
            self.object(name, message);
        }
        duration
    }

    /// A whole number that is not negative.
    pub(super) fn whole(&mut self, name: &'static str) -> Option<u64> {
        let value = self.get(name)?;
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none() {
            self.wrong(name, value, "a whole number that is not negative");
        }
        number
    }

    /// `true` or `false`; false when it does not stand here.
    pub(super) fn flag(&mut self, name: &'static str) -> bool {
        let Some(value) = self.get(name) else { return false };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(name, value, "true or false");
        }
        flag.unwrap_or(false)
    }

    /// Whole numbers that are not negative.
    pub(super) fn wholes(&mut self, name: &'static str) -> Option<Vec<u64>> {
        let value = self.get(name)?;
        let whole = |item: &DeValue<'_>| {
            let number = item.as_integer()?;
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        };
        let numbers = value.get_ref().as_array().and_then(|list| list.iter().map(|it| whole(it.get_ref())).collect());
        if numbers.is_none() {
            self.wrong(name, value, "a list of whole numbers, such as [0, 1],");
        }
        numbers
    }

    /// A table of strings whose keys are free.
    pub(super) fn texts(&mut self, name: &'static str) -> BTreeMap<String, String> {
        let Some(value) = self.get(name) else { return BTreeMap::new() };
        let Some(table) = value.get_ref().as_table() else {
            self.wrong(name, value, "a table of strings");
            return BTreeMap::new();
        };
        let mut texts = BTreeMap::new();
        for (key, value) in table.iter() {
            match value.get_ref().as_str() {
                Some(text) => {
                    texts.insert(key.get_ref().to_string(), text.to_owned());
                }
                None => self.wrong(&format!("{name}.{}", key.get_ref()), value, "a string in quotes"),
            }
        }
        texts
    }

    /// As [`Table::texts`], but only `known` keys may stand there.
    pub(super) fn texts_of(&mut self, name: &'static str, known: &[&str]) -> BTreeMap<String, String> {
        let mut texts = self.texts(name);
        let table = self.values.and_then(|values| values.get(name)).and_then(|value| value.get_ref().as_table());
        for (key, _) in table.into_iter().flat_map(|table| table.iter()) {
            if !known.contains(&key.get_ref().as_ref()) {
                let path = self.key(&format!("{name}.{}", key.get_ref()));
                self.source.mistake(key.span(), path, unknown(key.get_ref(), known));
                texts.remove(key.get_ref().as_ref());
            }
        }
        texts
    }

    pub(super) fn table(&mut self, name: &'static str) -> Table<'a> {
        let path = self.key(name);
        let (span, values) = match self.get(name) {
            Some(value) => {
                let table = value.get_ref().as_table();
                if table.is_none() {
                    self.wrong(name, value, &format!("a table, [{path}],"));
                }
                (value.span(), table)
            }
            None => (self.span.clone(), None),
        };
        Table { source: self.source, path, span, values, asked: Vec::new() }
    }

    /// An array of tables.
    pub(super) fn tables(&mut self, name: &'static str) -> Vec<Table<'a>> {
        let path = self.key(name);
        let Some(value) = self.get(name) else { return Vec::new() };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong(name, value, &format!("a list of tables, [[{path}]],"));
            return Vec::new();
        };
        let mut tables = Vec::new();
        for item in list.iter() {
            match item.get_ref().as_table() {
                Some(table) => tables.push(Table {
                    source: self.source,
                    path: path.clone(),
                    span: item.span(),
                    values: Some(table),
                    asked: Vec::new(),
                }),
                None => self.wrong(name, item, "a table"),
            }
        }
        tables
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        for (key, _) in self.values.into_iter().flat_map(|values| values.iter()) {
            if !self.asked.contains(&key.get_ref().as_ref()) {
                let message = unknown(key.get_ref(), &self.asked);
                self.source.mistake(key.span(), self.key(key.get_ref()), message);
            }
        }
    }
}

fn unknown(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    match nearest {
        Some(near) if strsim::jaro_winkler(name, near) > 0.8 => format!("is not known; did you mean `{near}`?"),
        _ => format!("is not known; known here: {}", known.join(", ")),
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match &text[number.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.trim_end().parse::<u64>().ok()?.checked_mul(factor)?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        assert_eq!(parse_duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("2 d"), Some(Duration::from_secs(172_800)));
        for wrong in ["", "5", "m", "-1m", "1.5h", "1w", "99999999999999999999d", "9999999999999999999d"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
