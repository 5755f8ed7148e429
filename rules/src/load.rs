//! From a pack's TOML to compiled controls: everything about a pack that can be wrong before it meets any facts.

use std::collections::BTreeSet;
use std::sync::Arc;

use gatepost_evidence::canonical;
use gatepost_evidence::check::CHECKS;
use gatepost_evidence::id::Digest;
use gatepost_evidence::run::TargetKind;
use serde_json::Value;
use toml::Spanned;
use toml::de::DeTable;

use crate::assess::Outcome;
use crate::document::{Reader, Table, to_json};
use crate::expression::{Expression, Reference};
use crate::judge::{Compiled, Logic, Sources};
use crate::mistakes::{PackError, PackErrors};
use crate::names::Scope;
use crate::pack::{Control, Pack, PackRef, Severity, Vector};
use crate::shape::{self, Shape, nearest, segments};
use crate::standards::Standards;
use crate::tables::Tables;

/// The longest pack in bytes, three times the built-in one.
const MAX_BYTES: usize = 2 * 1024 * 1024;
/// After so many mistakes no further control is read.
const MAX_MISTAKES: usize = 100;
const PACK_KEYS: &[&str] = &["name", "version", "tables", "standards", "control"];
const CONTROL_KEYS: &[&str] = &[
    "key",
    "title",
    "severity",
    "domain",
    "target",
    "for_each",
    "applies",
    "fail",
    "show",
    "why",
    "remediation",
    "verify",
    "mappings",
    "vector",
];
const VECTOR_KEYS: &[&str] = &["name", "expect", "facts", "subject"];

const SEVERITIES: &[(&str, Severity)] =
    &[("low", Severity::Low), ("medium", Severity::Medium), ("high", Severity::High), ("critical", Severity::Critical)];
const OUTCOMES: &[(&str, Outcome)] = &[
    ("pass", Outcome::Pass),
    ("fail", Outcome::Fail),
    ("unknown", Outcome::Unknown),
    ("not_applicable", Outcome::NotApplicable),
];
const TARGETS: &[(&str, TargetKind)] = &[
    ("broker", TargetKind::Broker),
    ("ingest_edge", TargetKind::IngestEdge),
    ("gateway_service", TargetKind::GatewayService),
    ("host", TargetKind::Host),
    ("device", TargetKind::Device),
    ("registry", TargetKind::Registry),
    ("uplink", TargetKind::Uplink),
];

/// The kinds of target each check looks at: a control for another kind would never make a row.
const CHECK_TARGETS: &[(&str, &[TargetKind])] = &[
    ("broker_transport_posture", &[TargetKind::Broker]),
    ("broker_certificate_identity", &[TargetKind::Broker]),
    ("ingest_auth", &[TargetKind::IngestEdge]),
    ("gateway_config_guardrails", &[TargetKind::GatewayService, TargetKind::Broker]),
    ("device_certificate_hygiene", &[TargetKind::Device, TargetKind::Registry]),
    ("host_guardrails", &[TargetKind::Host]),
    ("link_posture", &[TargetKind::Uplink]),
    ("telemetry_integrity", &[TargetKind::Broker]),
    ("disclosure_readiness", &[TargetKind::Host]),
];

/// Reads, checks and compiles a pack; its vectors are read but not run.
///
/// # Errors
/// Every mistake in it.
pub(crate) fn load(text: &str) -> Result<Pack, PackErrors> {
    let mut reader = Reader::new(text);
    if text.len() > MAX_BYTES {
        reader.mistake(1, format!("it has {} bytes; at most {MAX_BYTES} are read", text.len()));
        return Err(PackErrors::new(reader.errors));
    }
    let document = parse(text, &mut reader)?;
    let root = Table { fields: document.get_ref(), line: 1 };
    reader.only(root, PACK_KEYS);
    let head = Head::read(&mut reader, root);
    let controls = reader.tables(root, "control");
    if controls.is_empty() {
        reader.mistake(1, "there is no [[control]]");
    }
    let mut loader = Loader { reader, head: &head, tested: false, keys: BTreeSet::new() };
    let mut read: Vec<Option<Control>> = Vec::new();
    for table in controls {
        read.push(loader.control(table));
        if loader.reader.errors.len() > MAX_MISTAKES {
            break;
        }
    }
    let mut reader = loader.reader;
    let digest = match canonical::to_vec(&to_json(document.get_ref())) {
        Ok(bytes) => Some(Digest::of(&bytes)),
        Err(error) => {
            reader.mistake(1, error.to_string());
            None
        }
    };
    head.pack(digest, read, reader.errors)
}

/// The pack of `text` whose `digest` is known, because somebody has loaded and tested it. That is not done again: vectors are not
/// read, what was compiled then is compiled when it is first asked, and one control is parsed at a time, since a parser of the
/// whole would take more memory than all else that a look at a gateway takes.
///
/// # Errors
/// Mistakes that were not there when it was tested.
pub(crate) fn load_tested(text: &str, digest: Digest) -> Result<Pack, PackErrors> {
    let (beginning, controls) = parts(text);
    let mut reader = Reader::new(&beginning);
    let document = parse(&beginning, &mut reader)?;
    let head = Head::read(&mut reader, Table { fields: document.get_ref(), line: 1 });
    let (mut read, mut errors) = (Vec::new(), reader.errors);
    for text in &controls {
        let mut reader = Reader::new(text);
        let document = parse(text, &mut reader)?;
        let tables = reader.tables(Table { fields: document.get_ref(), line: 1 }, "control");
        let mut loader = Loader { reader, head: &head, tested: true, keys: BTreeSet::new() };
        read.extend(tables.into_iter().map(|table| loader.control(table)));
        errors.append(&mut loader.reader.errors);
    }
    head.pack(Some(digest), read, errors)
}

fn parse<'t>(text: &'t str, reader: &mut Reader) -> Result<Spanned<DeTable<'t>>, PackErrors> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        let line = reader.line(error.span().map_or(0, |span| span.start));
        reader.mistake(line, format!("not TOML: {}", error.message()));
    }
    if syntax.is_empty() { Ok(document) } else { Err(PackErrors::new(std::mem::take(&mut reader.errors))) }
}

/// What a pack has beside its controls.
struct Head {
    name: Option<String>,
    version: Option<String>,
    tables: Arc<Tables>,
    standards: Standards,
}

impl Head {
    fn read(reader: &mut Reader, root: Table<'_>) -> Self {
        let name = reader.required(root, "name").map(|(name, _)| name.to_owned());
        let version = reader.required(root, "version").and_then(|(version, line)| {
            let numbers: Vec<_> = version.split('.').map(str::parse::<u32>).collect();
            let sound = numbers.len() == 3 && numbers.iter().all(Result::is_ok);
            if !sound {
                reader.mistake(line, format!("`version` is `{version}`; it should be three numbers, such as 1.0.0"));
            }
            sound.then(|| version.to_owned())
        });
        let tables = Arc::new(Tables::read(reader, root));
        Self { name, version, tables, standards: Standards::read(reader, root) }
    }

    fn pack(
        self,
        digest: Option<Digest>,
        read: Vec<Option<Control>>,
        errors: Vec<PackError>,
    ) -> Result<Pack, PackErrors> {
        match (self.name, self.version, digest, read.into_iter().collect::<Option<Vec<_>>>()) {
            (Some(name), Some(version), Some(digest), Some(controls)) if errors.is_empty() => {
                Ok(Pack::new(PackRef { name, version, digest }, self.tables, self.standards.into_all(), controls))
            }
            _ => Err(PackErrors::new(errors)),
        }
    }
}

struct Loader<'d> {
    reader: Reader,
    head: &'d Head,
    /// Somebody has done it before: see [`load_tested`].
    tested: bool,
    keys: BTreeSet<&'d str>,
}

impl<'d> Loader<'d> {
    /// A control, or `None` and at least one mistake.
    fn control(&mut self, table: Table<'d>) -> Option<Control> {
        let before = self.reader.errors.len();
        self.reader.control = table.fields.get("key").and_then(|key| key.get_ref().as_str()).map(str::to_owned);
        let control = self.read_control(table);
        self.reader.control = None;
        control.filter(|_| self.reader.errors.len() == before)
    }

    fn read_control(&mut self, table: Table<'d>) -> Option<Control> {
        self.reader.only(table, CONTROL_KEYS);
        let key = self.reader.required(table, "key");
        let check = key.and_then(|(key, line)| self.check_of(key, line));
        let [title, domain, why, remediation, verify] = ["title", "domain", "why", "remediation", "verify"]
            .map(|key| self.reader.required(table, key).map(|(text, _)| text.to_owned()));
        let severity = self.reader.word(table, "severity", SEVERITIES);
        let target = self.reader.word(table, "target", TARGETS);
        if let (Some(check), Some(target)) = (check, target) {
            self.target_fits(table, check, target);
        }
        let mappings = self.head.standards.mappings(&mut self.reader, table);
        let shape = check.filter(|_| !self.tested).and_then(shape::of_check);
        let logic = if self.tested { self.logic_for_later(table, check) } else { self.logic(table, shape.as_deref()) };
        let (logic, fail, applies) =
            logic.map_or((None, None, None), |(logic, fail, applies)| (Some(logic), Some(fail), applies));
        let vectors = if self.tested { Vec::new() } else { self.vectors(table, shape.as_deref()) };
        Some(Control {
            key: key?.0.to_owned(),
            title: title?,
            severity: severity?,
            domain: domain?,
            check: check?.to_owned(),
            target: target?,
            why: why?,
            remediation: remediation?,
            verify: verify?,
            mappings,
            for_each: logic.as_ref().and_then(|logic| logic.for_each.clone()),
            applies,
            fail: fail?,
            logic: logic?,
            vectors,
        })
    }

    fn check_of(&mut self, key: &'d str, line: usize) -> Option<&'d str> {
        let Some((check, finding)) = key.split_once('.') else {
            self.reader.mistake(line, format!("`key` is `{key}`; it should be <check>.<finding>"));
            return None;
        };
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if finding.is_empty() || !finding.chars().all(plain) {
            self.reader.mistake(line, format!("`{finding}` should be lower-case words joined by `_`"));
        }
        if !self.keys.insert(key) {
            self.reader.mistake(line, "there is another control with this key; rename one of them");
        }
        let ids: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
        if ids.contains(&check) {
            return Some(check);
        }
        let hint = match nearest(check, ids.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are: {}", ids.join(", ")),
        };
        self.reader.mistake(line, format!("there is no check `{check}`; {hint}"));
        None
    }

    fn target_fits(&mut self, table: Table<'d>, check: &str, target: TargetKind) {
        let kinds = CHECK_TARGETS.iter().find(|(id, _)| *id == check).map(|(_, kinds)| *kinds);
        if kinds.is_some_and(|kinds| !kinds.contains(&target)) {
            let names = TARGETS.iter().filter(|(_, kind)| kinds.is_some_and(|kinds| kinds.contains(kind)));
            let names: Vec<&str> = names.map(|(name, _)| *name).collect();
            let line = table.fields.get("target").map_or(table.line, |value| self.reader.line(value.span().start));
            self.reader
                .mistake(line, format!("{check} never looks at this kind of target; use {}", names.join(" or ")));
        }
    }

    /// As [`Self::logic`], of a control that was tested.
    fn logic_for_later(&mut self, table: Table<'d>, check: Option<&str>) -> Option<(Logic, String, Option<String>)> {
        let mut text = |name| self.reader.optional(table, name).map(|(text, _)| text.to_owned());
        let (for_each, applies, fail) = (text("for_each"), text("applies"), text("fail")?);
        let show = table.fields.get("show").map(|list| self.reader.texts(list, "show")).unwrap_or_default();
        let sources = Sources {
            check: check?.to_owned(),
            applies: applies.clone(),
            fail: fail.clone(),
            show: show.into_iter().map(|(source, _)| source.to_owned()).collect(),
            tables: Arc::clone(&self.head.tables),
        };
        Some((Logic::later(for_each, sources), fail, applies))
    }

    /// The compiled part of a control, and the source of `fail` and `applies`.
    fn logic(&mut self, table: Table<'d>, shape: Option<&Shape>) -> Option<(Logic, String, Option<String>)> {
        let for_each = self.reader.optional(table, "for_each");
        let applies = self.reader.optional(table, "applies");
        let fail = self.reader.required(table, "fail");
        let shape = shape?;
        let item = match for_each.map(|(pointer, line)| (map_entry(shape, pointer), line)) {
            None => None,
            Some((Ok(item), _)) => Some(item),
            Some((Err(words), line)) => {
                self.reader.mistake(line, format!("`for_each`: {words}"));
                return None;
            }
        };
        let scope = Scope { facts: shape, item, tables: self.head.tables.shape() };
        let mut compile = |name: &str, (source, line): (&str, usize)| {
            let compiled = Expression::compile(source, scope, &self.head.tables);
            let mistakes = compiled.as_ref().err().into_iter().flatten();
            mistakes.for_each(|mistake| self.reader.mistake(line, format!("`{name}`: {mistake}")));
            compiled.ok()
        };
        let compiled_applies = applies.map(|source| compile("applies", source));
        let compiled_fail = fail.map(|source| compile("fail", source));
        let mut show = Vec::new();
        for (source, line) in table.fields.get("show").map(|list| self.reader.texts(list, "show")).unwrap_or_default() {
            match Reference::parse(source, scope) {
                Ok(reference) => show.push(reference),
                Err(mistakes) => {
                    mistakes.iter().for_each(|mistake| self.reader.mistake(line, format!("`show`: {mistake}")));
                }
            }
        }
        let compiled_applies = match compiled_applies {
            Some(None) => return None,
            Some(compiled) => compiled,
            None => None,
        };
        let for_each = for_each.map(|(pointer, _)| pointer.to_owned());
        let logic = Logic::new(for_each, Compiled { applies: compiled_applies, fail: compiled_fail??, show });
        Some((logic, fail?.0.to_owned(), applies.map(|(source, _)| source.to_owned())))
    }

    fn vectors(&mut self, table: Table<'d>, shape: Option<&Shape>) -> Vec<Vector> {
        let tables = self.reader.tables(table, "vector");
        let mut vectors = Vec::new();
        let mut names = BTreeSet::new();
        for table in tables {
            self.reader.only(table, VECTOR_KEYS);
            let name = self.reader.required(table, "name");
            if let Some((name, line)) = name
                && !names.insert(name)
            {
                self.reader.mistake(line, format!("there is another vector `{name}`; rename one of them"));
            }
            let expect = self.reader.word(table, "expect", OUTCOMES);
            let subject = self.reader.optional(table, "subject").map(|(subject, _)| subject.to_owned());
            let facts = self.facts(table, shape);
            if let (Some((name, _)), Some(expect), Some(facts)) = (name, expect, facts) {
                vectors.push(Vector { name: name.to_owned(), expect, facts, subject, line: table.line });
            }
        }
        for (word, outcome) in OUTCOMES.iter().take(2) {
            if !vectors.iter().any(|vector| vector.expect == *outcome) {
                let message = format!("it has no vector that must {word}; add one with `expect = \"{word}\"`");
                self.reader.mistake(table.line, message);
            }
        }
        vectors
    }

    fn facts(&mut self, table: Table<'d>, shape: Option<&Shape>) -> Option<Value> {
        if !table.fields.contains_key("facts") {
            self.reader.mistake(table.line, "`facts` is missing");
        }
        let facts = self.reader.table(table, "facts")?;
        let value = to_json(facts.fields);
        let mut mistakes = Vec::new();
        if let Some(shape) = shape {
            shape.check(&value, "", &mut mistakes);
        }
        mistakes.into_iter().for_each(|mistake| self.reader.mistake(facts.line, format!("`facts`: {mistake}")));
        Some(value)
    }
}

/// What stands before the controls of a pack, and each control, without its vectors, which are most of it.
fn parts(text: &str) -> (String, Vec<String>) {
    let (mut beginning, mut controls) = (String::new(), Vec::<String>::new());
    let mut within_vector = false;
    for line in text.split_inclusive('\n') {
        if line.starts_with("[[control]]") {
            controls.push(String::new());
        }
        within_vector = line.starts_with("[[control.vector]]") || within_vector && !line.starts_with("[[control]]");
        if !within_vector {
            controls.last_mut().unwrap_or(&mut beginning).push_str(line);
        }
    }
    (beginning, controls)
}

/// The shape of the entries of the map at `pointer`.
fn map_entry<'a>(shape: &'a Shape, pointer: &str) -> Result<&'a Shape, String> {
    if !pointer.starts_with('/') || segments(pointer).any(|segment| segment.is_empty()) {
        return Err(format!("`{pointer}` is not a JSON pointer, such as /listeners"));
    }
    match shape.at(pointer)? {
        Shape::Map(entry) => Ok(entry),
        other => Err(format!("{pointer} is {}, not a map", other.noun())),
    }
}
