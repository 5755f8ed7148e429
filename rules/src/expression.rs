//! One CEL expression of a control: compiled once, asked many times.
//!
//! Guarantees: the answer depends on the expression, the facts and the item alone. It is never `yes` or `no` where a fact
//! that decides it is missing. The words of an `unknown` never depend on the order of a hash map.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Program};
use gatepost_evidence::check::{Unknown, segment};
use serde_json::Value;

use crate::names::{self, Scope};
use crate::shape::segments;
use crate::tables::Tables;

/// The functions of CEL's standard library, without the optional syntax: one way to ask whether a fact is there, `has()`.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib().with_optional_support(false)));

/// A compiled expression and what it reads.
#[derive(Debug)]
pub(crate) struct Expression {
    program: Program,
    references: Vec<Reference>,
    facts: Wanted,
    item: Wanted,
    /// The pack's tables, if it looks anything up in them.
    tables: Option<cel::Value>,
}

/// Where a name in an expression begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Root {
    /// The record's facts.
    Facts,
    /// The item at hand, with `for_each`.
    Item,
}

/// A fact that an expression names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where it begins.
    pub(crate) root: Root,
    /// The names from there.
    pub(crate) path: Vec<String>,
    /// It is only asked whether it is there (`has()`).
    pub(crate) tested: bool,
}

/// The part of the facts that an expression names, as a tree.
#[derive(Debug, Default)]
struct Wanted {
    whole: bool,
    children: BTreeMap<String, Wanted>,
}

/// What an expression says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// True.
    Yes,
    /// False.
    No,
    /// It cannot be known, for this reason.
    Unknown(String),
}

/// One item of the map that a control looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item<'a> {
    /// JSON pointer of the map.
    pub(crate) map: &'a str,
    /// The item's key in it.
    pub(crate) key: &'a str,
    /// The item.
    pub(crate) value: &'a Value,
}

/// What an expression is asked about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// The record's facts.
    pub(crate) facts: &'a Value,
    /// Why facts are missing.
    pub(crate) unknown: &'a Unknown,
    /// The item at hand, with `for_each`.
    pub(crate) item: Option<Item<'a>>,
}

impl Expression {
    /// Compiles `source` and holds the names in it against the shapes in `scope`, of which `tables` has the contents.
    ///
    /// # Errors
    /// All mistakes in it.
    pub(crate) fn compile(source: &str, scope: Scope<'_>, tables: &Tables) -> Result<Self, Vec<String>> {
        let program = compile(source)?;
        let found = names::find(program.expression(), scope);
        if !found.mistakes.is_empty() {
            return Err(found.mistakes.into_iter().map(|mistake| format!("`{source}`: {mistake}")).collect());
        }
        let wanted = |root| {
            let mut tree = Wanted::default();
            found.references.iter().filter(|reference| reference.root == root).for_each(|one| tree.add(&one.path));
            tree
        };
        let (facts, item) = (wanted(Root::Facts), wanted(Root::Item));
        let tables = found.tables.then(|| whole(tables.rows()));
        Ok(Self { program, facts, item, tables, references: found.references })
    }

    /// The facts it names, in the order it names them.
    pub(crate) fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Whether it is true of `subject`.
    ///
    /// A fact that `has()` asks for and that is missing for a reason might be there: where it would change the answer, that is
    /// unknown. Only a fact that is missing without a reason is one that there is not.
    pub(crate) fn ask(&self, subject: &Subject<'_>) -> Answer {
        let answer = self.evaluate(subject);
        let hidden = self.references.iter().filter(|reference| reference.tested).find_map(|reference| {
            let absent = reference.value(subject).is_none();
            let reason = absent.then(|| subject.unknown.reason(&reference.pointer(subject))).flatten()?;
            Some((reference, reason))
        });
        let Some((_, reason)) = hidden.filter(|_| !matches!(answer, Answer::Unknown(_))) else { return answer };
        let (mut facts, mut item) = (subject.facts.clone(), subject.item.map(|item| item.value.clone()));
        for reference in self.references.iter().filter(|reference| reference.tested) {
            if reference.value(subject).is_none() && subject.unknown.reason(&reference.pointer(subject)).is_some() {
                match reference.root {
                    Root::Facts => suppose(&mut facts, &reference.path),
                    Root::Item => item.iter_mut().for_each(|item| suppose(item, &reference.path)),
                }
            }
        }
        let supposed = subject.item.zip(item.as_ref()).map(|(item, value)| Item { value, ..item });
        let other = self.evaluate(&Subject { facts: &facts, unknown: subject.unknown, item: supposed });
        if other == answer { answer } else { Answer::Unknown(reason.to_owned()) }
    }

    fn evaluate(&self, subject: &Subject<'_>) -> Answer {
        // The context holds only what the expression names: CEL copies every variable deeply, and a whole set of facts
        // costs a hundred times what the expression itself does.
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.add_variable_from_value("facts", self.facts.slim(subject.facts));
        if let Some(item) = subject.item {
            context.add_variable_from_value("item", self.item.slim(item.value));
            context.add_variable_from_value("key", item.key.to_owned());
        }
        if let Some(tables) = &self.tables {
            context.add_variable_from_value("tables", tables.clone());
        }
        match self.program.execute(&context) {
            Ok(cel::Value::Bool(true)) => Answer::Yes,
            Ok(cel::Value::Bool(false)) => Answer::No,
            Ok(other) => Answer::Unknown(format!("the expression gave a {}, not true or false", other.type_of())),
            Err(ExecutionError::NoSuchKey(name)) => Answer::Unknown(self.missing(&name, subject)),
            Err(error) => Answer::Unknown(words(&error)),
        }
    }

    /// Why a fact called `name` is missing. Of several that are, CEL's own is preferred, else the first that is named.
    fn missing(&self, name: &str, subject: &Subject<'_>) -> String {
        let absent = || self.references.iter().filter_map(|reference| reference.absent(subject));
        let Some((pointer, _)) = absent().find(|(_, gap)| gap == name).or_else(|| absent().next()) else {
            return match self.tables {
                Some(_) => format!("the pack's tables say nothing of {name}"),
                None => format!("the fact {name} is missing"),
            };
        };
        match subject.unknown.reason(&pointer) {
            Some(reason) => reason.to_owned(),
            None => format!("the fact {pointer} is missing"),
        }
    }
}

impl Reference {
    /// The one fact that `source` names, in the notation of expressions.
    ///
    /// # Errors
    /// All mistakes in it.
    pub(crate) fn parse(source: &str, scope: Scope<'_>) -> Result<Self, Vec<String>> {
        names::find_fact(compile(source)?.expression(), scope)
    }

    /// Its JSON pointer where no item is at hand: `each` stands for any.
    pub(crate) fn place(&self, each: Option<&str>) -> String {
        let base = if self.root == Root::Item { each.unwrap_or_default() } else { "" };
        self.path.iter().fold(base.to_owned(), |place, name| format!("{place}/{}", segment(name)))
    }

    /// Its JSON pointer into the record's facts.
    pub(crate) fn pointer(&self, subject: &Subject<'_>) -> String {
        let base = match (self.root, subject.item) {
            (Root::Item, Some(item)) => format!("{}/{}", item.map, segment(item.key)),
            _ => String::new(),
        };
        self.path.iter().fold(base, |pointer, name| format!("{pointer}/{}", segment(name)))
    }

    /// What stands there, if anything does.
    pub(crate) fn value<'a>(&self, subject: &Subject<'a>) -> Option<&'a Value> {
        let mut value = self.root_of(subject)?;
        for name in &self.path {
            value = present(value.get(name))?;
        }
        Some(value)
    }

    fn root_of<'a>(&self, subject: &Subject<'a>) -> Option<&'a Value> {
        match self.root {
            Root::Facts => Some(subject.facts),
            Root::Item => subject.item.map(|item| item.value),
        }
    }

    /// Its pointer and the first name on the way that is not there; what `has()` asks for may be absent, its parent not.
    fn absent(&self, subject: &Subject<'_>) -> Option<(String, String)> {
        let needed = self.path.len() - usize::from(self.tested && !self.path.is_empty());
        let mut value = self.root_of(subject)?;
        for name in &self.path[..needed] {
            match present(value.get(name)) {
                Some(inner) => value = inner,
                None => return Some((self.pointer(subject), name.clone())),
            }
        }
        None
    }
}

/// The longest expression in bytes: deep ones are read by functions that call themselves.
const MAX_BYTES: usize = 1024;

fn compile(source: &str) -> Result<Program, Vec<String>> {
    if source.len() > MAX_BYTES {
        return Err(vec![format!("an expression of {} bytes; at most {MAX_BYTES} are read, so part it", source.len())]);
    }
    let told = |error: &cel::ParseError| format!("`{source}`: {}", error.msg);
    ENVIRONMENT.compile(source).map_err(|errors| errors.errors.iter().map(told).collect())
}

/// Lets something stand at `path`, if its parent is there.
fn suppose(value: &mut Value, path: &[String]) {
    let Some((name, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(value, |value, name| value.get_mut(name));
    if let Some(Value::Object(fields)) = parent {
        fields.insert(name.clone(), Value::Object(serde_json::Map::new()));
    }
}

/// A fact that is null is absent.
fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

impl Wanted {
    fn add(&mut self, path: &[String]) {
        match path.split_first() {
            None => self.whole = true,
            Some((name, rest)) => self.children.entry(name.clone()).or_default().add(rest),
        }
    }

    /// The named part of `value`, as CEL sees it.
    fn slim(&self, value: &Value) -> cel::Value {
        match value {
            Value::Object(fields) if !self.whole => {
                let named = self.children.iter().filter_map(|(name, wanted)| {
                    let value = present(fields.get(name))?;
                    Some((Key::from(name.as_str()), wanted.slim(value)))
                });
                cel::Value::Map(Map::from(named.collect::<HashMap<_, _>>()))
            }
            other => whole(other),
        }
    }
}

/// Numbers become CEL's int wherever they fit, so that arithmetic does not stumble over signs.
fn whole(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => cel::Value::Int(value),
            (None, Some(value)) => cel::Value::UInt(value),
            (None, None) => cel::Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => cel::Value::String(Arc::new(text.clone())),
        Value::Array(items) => cel::Value::List(Arc::new(items.iter().map(whole).collect())),
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            cel::Value::Map(Map::from(
                fields.map(|(name, value)| (Key::from(name.as_str()), whole(value))).collect::<HashMap<_, _>>(),
            ))
        }
    }
}

/// CEL's words for an error, without the values in it: those print in the order of a hash map.
fn words(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchOverload(_)
        | ExecutionError::UndeclaredReference(_)
        | ExecutionError::InvalidArgumentCount { .. }
        | ExecutionError::FunctionError { .. }
        | ExecutionError::UnexpectedType { .. } => format!("the expression failed: {error}"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
            "the expression failed: division by zero".to_owned()
        }
        ExecutionError::Overflow(operator, ..) => format!("the expression failed: {operator} overflows"),
        ExecutionError::IndexOutOfBounds(_) => "the expression failed: index out of bounds".to_owned(),
        ExecutionError::ValuesNotComparable(..) => "the expression failed: values cannot be compared".to_owned(),
        _ => "the expression failed on these facts".to_owned(),
    }
}

/// What stands at `pointer` in `facts`, if anything does.
pub(crate) fn at<'a>(facts: &'a Value, pointer: &str) -> Option<&'a Value> {
    segments(pointer).try_fold(facts, |value, name| present(value.get(&name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::of_check;
    use serde_json::json;

    fn compile(source: &str) -> Result<Expression, Vec<String>> {
        let shape = of_check("broker_transport_posture").unwrap();
        let tables = Tables::of("good_scopes", &[("lan", "yes"), ("loopback", "no")]);
        let scope = Scope { facts: &shape, item: shape.at("/listeners/x").ok(), tables: tables.shape() };
        Expression::compile(source, scope, &tables)
    }

    fn ask(source: &str, item: &Value) -> Answer {
        let mut unknown = Unknown::default();
        unknown.because("/listeners/a~1b/tls12", "timed out: 5 s");
        let facts = json!({"listeners": {"a/b": item}});
        let item = Item { map: "/listeners", key: "a/b", value: item };
        compile(source).unwrap().ask(&Subject { facts: &facts, unknown: &unknown, item: Some(item) })
    }

    fn unknown(words: &str) -> Answer {
        Answer::Unknown(words.into())
    }

    #[test]
    fn facts_items_and_keys_can_be_asked_about() {
        let item = json!({"open": true, "scope": "lan", "connect_micros": 41, "cipher_suites": ["A", "B"]});
        for (source, answer) in [
            ("item.open && item.scope != 'loopback'", Answer::Yes),
            ("facts.listeners['a/b'].open", Answer::Yes),
            ("item.connect_micros + 1 == 42 && key == 'a/b'", Answer::Yes),
            ("item.cipher_suites.all(suite, suite == 'A')", Answer::No),
            ("item.cipher_suites.exists(suite, suite == 'B') && size(item.cipher_suites) == 2", Answer::Yes),
            ("item.scope in ['public', 'name']", Answer::No),
            ("key.endsWith('/b')", Answer::Yes),
            ("has(item.tls13)", Answer::No),
            ("has(item.open) && !has(item.tls13)", Answer::Yes),
            ("has(facts.listeners)", Answer::Yes),
        ] {
            assert_eq!(ask(source, &item), answer, "{source}");
        }
    }

    #[test]
    fn a_missing_fact_is_unknown_with_its_reason_and_never_an_answer() {
        let item = json!({"open": true, "tls13": null});
        assert_eq!(ask("item.tls12", &item), unknown("timed out: 5 s"));
        assert_eq!(ask("item.tls13", &item), unknown("the fact /listeners/a~1b/tls13 is missing"));
        assert_eq!(ask("!item.open || item.tls12", &item), unknown("timed out: 5 s"));
        // One side decides: the other need not be known.
        assert_eq!(ask("item.open || item.tls12", &item), Answer::Yes);
        assert_eq!(ask("item.tls12 && !item.open", &item), Answer::No);
        // The reason is that of the fact that was asked for, not of one that only has() named.
        assert_eq!(ask("has(item.tls13) || item.tls12", &item), unknown("timed out: 5 s"));
    }

    #[test]
    fn what_may_be_there_and_could_not_be_seen_is_unknown_where_it_matters() {
        let item = json!({"open": true});
        // tls12 is missing for a reason, tls13 is not there at all.
        assert_eq!(ask("has(item.tls12)", &item), unknown("timed out: 5 s"));
        assert_eq!(ask("item.open && !has(item.tls12)", &item), unknown("timed out: 5 s"));
        assert_eq!(ask("has(item.tls12) && item.tls12", &item), unknown("timed out: 5 s"));
        assert_eq!(ask("!item.open && has(item.tls12)", &item), Answer::No);
        assert_eq!(ask("item.open || has(item.tls12)", &item), Answer::Yes);
        assert_eq!(ask("has(item.tls13)", &item), Answer::No);
    }

    #[test]
    fn what_a_table_does_not_have_is_unknown() {
        let source = "tables.good_scopes[item.scope] == 'yes'";
        assert_eq!(ask(source, &json!({"scope": "lan"})), Answer::Yes);
        assert_eq!(ask(source, &json!({"scope": "loopback"})), Answer::No);
        assert_eq!(ask(source, &json!({"scope": "name"})), unknown("the pack's tables say nothing of name"));
        assert_eq!(ask(source, &json!({})), unknown("the fact /listeners/a~1b/scope is missing"));
        let expression = compile("item.scope in tables.good_scopes").unwrap();
        assert_eq!(expression.references().len(), 1);
        let mistakes = compile("tables.god_scopes[item.scope] == 'yes'").unwrap_err();
        assert!(mistakes[0].contains("did you mean `good_scopes`?"), "{mistakes:?}");
    }

    #[test]
    fn other_failures_are_unknown_in_words_that_do_not_vary() {
        let item = json!({"connect_micros": 0, "open": "text"});
        assert_eq!(ask("1 / item.connect_micros == 1", &item), unknown("the expression failed: division by zero"));
        assert!(matches!(ask("item.open", &item), Answer::Unknown(words) if words.contains("string")));
    }

    #[test]
    fn the_context_holds_only_what_is_named() {
        let expression = compile("item.open && has(facts.listeners)").unwrap();
        let cel::Value::Map(map) = expression.item.slim(&json!({"open": true, "scope": "lan", "tls12": true})) else {
            panic!()
        };
        assert_eq!(map.map.len(), 1);
    }

    #[test]
    fn expressions_may_cross_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Expression>();
    }
}
