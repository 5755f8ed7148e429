//! The names in an expression, held against the contract.
//!
//! Walks the whole of a compiled expression, macros included, and knows the shape of what it passes: facts that the
//! contract does not have, enum values that never occur, comparisons that can never hold and loops without a fixed order
//! are mistakes of the author and are found here, before any gateway is judged.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, SelectExpr, operators};

use crate::expression::{Reference, Root};
use crate::shape::{Shape, nearest, one_of};

/// The functions an expression may call; each gives the same on every machine and in every verifier. Regular expressions are
/// not among them: no two languages read them alike, and some patterns take seconds.
const FUNCTIONS: &[&str] = &["size", "contains", "startsWith", "endsWith", "int", "uint", "double", "string", "bool"];

/// What was found in an expression.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The facts it names, each once, in order.
    pub(crate) references: Vec<Reference>,
    /// Whether it looks something up in the pack's tables.
    pub(crate) tables: bool,
    /// What is wrong with it.
    pub(crate) mistakes: Vec<String>,
}

/// The names that there are for an expression.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The shape of the facts.
    pub(crate) facts: &'a Shape,
    /// With `for_each`, the shape of an entry.
    pub(crate) item: Option<&'a Shape>,
    /// The shape of the pack's tables.
    pub(crate) tables: &'a Shape,
}

/// Finds the names in `expression`, which should come out as true or false.
pub(crate) fn find(expression: &IdedExpr, scope: Scope<'_>) -> Found {
    let mut walk = Walk { scope, locals: Vec::new(), looping: false, found: Found::default() };
    walk.condition(expression);
    walk.found
}

/// Finds the one fact that `expression` names and does nothing else with.
///
/// # Errors
/// All mistakes in it.
pub(crate) fn find_fact(expression: &IdedExpr, scope: Scope<'_>) -> Result<Reference, Vec<String>> {
    let mut walk = Walk { scope, locals: Vec::new(), looping: false, found: Found::default() };
    walk.value(expression);
    let Found { mut references, mistakes, .. } = walk.found;
    let plain = matches!(expression.expr, Expr::Select(_) | Expr::Ident(_)) || index(expression).is_some();
    match (references.pop(), references.is_empty() && plain && mistakes.is_empty()) {
        (Some(reference), true) => Ok(reference),
        _ if mistakes.is_empty() => Err(vec!["it should name one fact, such as `facts.chain_error`".to_owned()]),
        _ => Err(mistakes),
    }
}

/// A part of an expression: its shape if that is known, and its place if it is a fact.
struct Part<'a> {
    shape: Option<&'a Shape>,
    place: Option<(Root, Vec<String>)>,
}

const NOTHING: Part<'static> = Part { shape: None, place: None };
const TRUTH: Part<'static> = Part { shape: Some(&Shape::Bool), place: None };

struct Walk<'a> {
    scope: Scope<'a>,
    locals: Vec<(String, Option<&'a Shape>)>,
    /// Inside a loop, or in what one goes over.
    looping: bool,
    found: Found,
}

impl<'a> Walk<'a> {
    fn mistake(&mut self, words: impl Into<String>) {
        let words = words.into();
        if !self.found.mistakes.contains(&words) {
            self.found.mistakes.push(words);
        }
    }

    fn record(&mut self, root: Root, path: Vec<String>, tested: bool) {
        if root == Root::Facts && path.is_empty() {
            self.mistake("name the facts it needs, not `facts` as a whole");
            return;
        }
        let reference = Reference { root, path, tested };
        if !self.found.references.contains(&reference) {
            self.found.references.push(reference);
        }
    }

    /// A part whose value is used: the fact it names, if it does, is read.
    fn value(&mut self, expression: &IdedExpr) -> Option<&'a Shape> {
        let part = self.part(expression);
        self.whole(&part, self.looping);
        if let Some((root, path)) = part.place {
            self.record(root, path, false);
        }
        part.shape
    }

    /// What is read again and again must not be longer each time: the pack of a bundle is written by whoever made the bundle.
    fn whole(&mut self, part: &Part<'_>, looping: bool) {
        let Part { shape, place: Some((root, _)) } = part else { return };
        let single = matches!(shape, Some(Shape::Bool | Shape::Number | Shape::Text(_)));
        if !single && (looping || (self.scope.item.is_some() && *root == Root::Facts)) {
            self.mistake(
                "inside a loop, and with for_each, facts are named one by one, not a list or map of them as a whole",
            );
        }
    }

    /// A part that must be true or false.
    fn condition(&mut self, expression: &IdedExpr) {
        if let Some(shape) = self.value(expression)
            && !matches!(shape, Shape::Bool | Shape::Any)
        {
            self.mistake(format!("{} stands where true or false should", shape.noun()));
        }
    }

    fn part(&mut self, expression: &IdedExpr) -> Part<'a> {
        match &expression.expr {
            Expr::Ident(name) => self.ident(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(expression, call),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::List(list) => {
                for element in &list.elements {
                    if let Some(Shape::Map(_) | Shape::Object(_)) = self.value(element) {
                        self.mistake("only texts, numbers and truths can stand in a list");
                    }
                }
                NOTHING
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.value(&entry.key);
                        self.value(&entry.value);
                    }
                }
                NOTHING
            }
            Expr::Literal(literal) => Part { shape: literal_shape(literal), place: None },
            Expr::Struct(_) | Expr::Unspecified => {
                self.mistake("only facts, literals and operators can be used");
                NOTHING
            }
        }
    }

    fn ident(&mut self, name: &str) -> Part<'a> {
        if let Some((_, shape)) = self.locals.iter().rev().find(|(local, _)| local == name) {
            return Part { shape: *shape, place: None };
        }
        match (name, self.scope.item) {
            ("facts", _) => Part { shape: Some(self.scope.facts), place: Some((Root::Facts, Vec::new())) },
            ("tables", _) => {
                self.found.tables = true;
                Part { shape: Some(self.scope.tables), place: None }
            }
            ("item", Some(item)) => Part { shape: Some(item), place: Some((Root::Item, Vec::new())) },
            ("key", Some(_)) => Part { shape: Some(&Shape::Text(None)), place: None },
            ("item" | "key", None) => {
                self.mistake(format!("`{name}` is only there with for_each"));
                NOTHING
            }
            _ => {
                let fact = match self.scope.facts {
                    Shape::Object(fields) if fields.contains_key(name) => format!("did you mean `facts.{name}`?"),
                    _ => "there are facts, and with for_each item and key".to_owned(),
                };
                self.mistake(format!("there is no `{name}`; {fact}"));
                NOTHING
            }
        }
    }

    fn select(&mut self, select: &SelectExpr) -> Part<'a> {
        let operand = self.part(&select.operand);
        let field = self.field(operand, &select.field);
        if !select.test {
            return field;
        }
        if let Some((root, path)) = field.place {
            self.record(root, path, true);
        }
        TRUTH
    }

    fn field(&mut self, parent: Part<'a>, name: &str) -> Part<'a> {
        let place = parent.place.map(|(root, mut path)| {
            path.push(name.to_owned());
            (root, path)
        });
        match parent.shape.map(|shape| shape.field(name)) {
            Some(Ok(shape)) => Part { shape: Some(shape), place },
            Some(Err(hint)) => {
                let whole = place.as_ref().map_or_else(|| name.to_owned(), |(root, path)| spelling(*root, path));
                self.mistake(format!("the contract has no fact `{whole}`; {hint}"));
                NOTHING
            }
            None => Part { shape: None, place },
        }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Part<'a> {
        if let Some((parent, name)) = index(expression) {
            let parent = self.part(parent);
            if let Some(name) = name
                && !matches!(parent.shape, Some(Shape::List(_)))
            {
                return self.field(parent, name);
            }
            self.whole(&parent, self.looping);
            if let Some((root, path)) = parent.place {
                self.record(root, path, false);
            }
            self.value(&call.args[1]);
            let shape = match parent.shape {
                Some(Shape::List(entry) | Shape::Map(entry)) => Some(&**entry),
                Some(Shape::Object(_)) => {
                    self.mistake("the fields of an object are fixed; name the one that is meant");
                    None
                }
                _ => None,
            };
            return Part { shape, place: None };
        }
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR | operators::LOGICAL_NOT, conditions) => {
                conditions.iter().for_each(|condition| self.condition(condition));
                TRUTH
            }
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.condition(condition);
                let (yes, no) = (self.value(yes), self.value(no));
                Part { shape: yes.filter(|_| yes == no), place: None }
            }
            (operators::IN, [one, many]) => {
                let shape = self.value(one);
                if let Expr::List(list) = &many.expr {
                    list.elements.iter().for_each(|element| self.comparable(shape, element));
                }
                if let Some(Shape::List(entry)) = self.value(many) {
                    self.comparable(Some(entry), one);
                }
                TRUTH
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [left, right],
            ) => {
                let (left_shape, right_shape) = (self.value(left), self.value(right));
                self.comparable(left_shape, right);
                self.comparable(right_shape, left);
                TRUTH
            }
            (name, arguments) => {
                // A name may begin with a dot: it is then looked for outside of every container, and found.
                let named = name.chars().all(|one| one.is_alphanumeric() || matches!(one, '.' | '_'));
                if named && !FUNCTIONS.contains(&name) {
                    let hint = match nearest(name, FUNCTIONS) {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => format!("there are: {}", FUNCTIONS.join(", ")),
                    };
                    self.mistake(format!("there is no function `{name}`; {hint}"));
                }
                for part in call.target.iter().map(|target| &**target).chain(arguments) {
                    self.value(part);
                }
                match name {
                    "contains" | "startsWith" | "endsWith" | operators::NOT_STRICTLY_FALSE => TRUTH,
                    _ => NOTHING,
                }
            }
        }
    }

    /// Whether something of `shape` can ever equal the literal `other`.
    fn comparable(&mut self, shape: Option<&Shape>, other: &IdedExpr) {
        let (Some(shape), Expr::Literal(literal)) = (shape, &other.expr) else { return };
        match (shape, literal) {
            (Shape::Text(Some(values)), LiteralValue::String(text)) => {
                let text = text.inner();
                if !values.iter().any(|value| value == text) {
                    self.mistake(format!("the fact is never '{text}'; {}", one_of(text, values)));
                }
            }
            (Shape::Any, _) | (_, LiteralValue::Bytes(_)) => {}
            (_, LiteralValue::Null) => self.mistake("a fact is never null; ask with has() whether it is there"),
            (shape, literal) => {
                if let Some(found) = literal_shape(literal)
                    && shape.noun() != found.noun()
                {
                    self.mistake(format!("{} is compared with {}", shape.noun(), found.noun()));
                }
            }
        }
    }

    /// A loop takes as long as what it goes over. In each other, or over what another made, a few dozen letters would take
    /// for ever.
    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Part<'a> {
        if self.looping {
            self.mistake("a loop (all, exists, exists_one) is neither in another nor over what another made");
            return NOTHING;
        }
        if matches!(comprehension.accu_init.expr, Expr::List(_)) {
            self.mistake("there is no map() and no filter(); ask with all(), exists() or exists_one()");
            return NOTHING;
        }
        self.looping = true;
        let part = self.one_loop(comprehension);
        self.looping = false;
        part
    }

    fn one_loop(&mut self, comprehension: &ComprehensionExpr) -> Part<'a> {
        let range = self.part(&comprehension.iter_range);
        self.whole(&range, false);
        if let Some((root, path)) = range.place {
            self.record(root, path, false);
        }
        let entry = match range.shape {
            Some(Shape::List(entry)) => Some(&**entry),
            Some(Shape::Map(_) | Shape::Object(_)) => {
                self.mistake("a map has no fixed order to loop over; use for_each");
                None
            }
            _ => None,
        };
        self.value(&comprehension.accu_init);
        let outer = self.locals.len();
        self.locals.push((comprehension.iter_var.clone(), entry));
        self.locals.extend(comprehension.iter_var2.clone().map(|name| (name, None)));
        self.locals.push((comprehension.accu_var.clone(), None));
        for part in [&comprehension.loop_cond, &comprehension.loop_step, &comprehension.result] {
            self.value(part);
        }
        self.locals.truncate(outer);
        NOTHING
    }
}

/// `parent[index]`, with the name when the index is a literal text.
fn index(expression: &IdedExpr) -> Option<(&IdedExpr, Option<&str>)> {
    let Expr::Call(call) = &expression.expr else { return None };
    let [parent, index] = call.args.as_slice() else { return None };
    if call.func_name != operators::INDEX {
        return None;
    }
    let name = match &index.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    };
    Some((parent, name))
}

fn literal_shape(literal: &LiteralValue) -> Option<&'static Shape> {
    match literal {
        LiteralValue::Boolean(_) => Some(&Shape::Bool),
        LiteralValue::String(_) => Some(&Shape::Text(None)),
        LiteralValue::Double(_) | LiteralValue::Int(_) | LiteralValue::UInt(_) => Some(&Shape::Number),
        LiteralValue::Bytes(_) | LiteralValue::Null => None,
    }
}

fn spelling(root: Root, path: &[String]) -> String {
    let root = match root {
        Root::Facts => "facts",
        Root::Item => "item",
    };
    path.iter().fold(root.to_owned(), |whole, name| format!("{whole}.{name}"))
}

#[cfg(test)]
mod tests {
    use super::Scope;
    use crate::expression::Expression;
    use crate::shape::of_check;
    use crate::tables::Tables;

    fn mistakes(check: &str, source: &str) -> Vec<String> {
        let (facts, tables) = (of_check(check).unwrap(), Tables::default());
        let scope = Scope { facts: &facts, item: None, tables: tables.shape() };
        Expression::compile(source, scope, &tables).err().unwrap_or_default()
    }

    #[test]
    fn mistakes_are_found_wherever_they_hide() {
        for (source, words) in [
            ("facts.url_is_http", "did you mean `url_is_https`?"),
            ("has(facts.nonsense)", "no fact `facts.nonsense`"),
            ("facts.url_is_https && !facts.nonsense.deep", "no fact `facts.nonsense`"),
            ("['a'].exists(x, facts.nonsense == x)", "no fact `facts.nonsense`"),
            ("true ? facts['nonsense'] : false", "no fact `facts.nonsense`"),
            ("facts.url_is_https.deep", "its parent is true or false"),
            ("url_is_https", "did you mean `facts.url_is_https`?"),
            ("item.open", "only there with for_each"),
            ("facts.plaintext == 'accept'", "did you mean `accepts`?"),
            ("'refused' != facts.plaintext", "did you mean `refuses`?"),
            ("facts.plaintext in ['accepts', 'zzz']", "it is one of: closed, refuses, redirects, accepts"),
            ("facts.plaintext", "text stands where true or false should"),
            ("facts.url_is_https == 'yes'", "true or false is compared with text"),
            ("facts.unauthenticated_status > '200'", "a number is compared with text"),
            ("facts.plaintext != null", "ask with has()"),
            ("facts.plaintext.startWith('a')", "did you mean `startsWith`?"),
            ("facts == facts", "not `facts` as a whole"),
            ("facts.url_is_https &&", "Syntax error"),
        ] {
            let found = mistakes("ingest_auth", source);
            assert!(found.iter().any(|mistake| mistake.contains(words)), "{source}: {found:?}");
        }
    }

    #[test]
    fn nothing_is_read_again_for_each_thing_that_is_read() {
        let list = "['a', 'b']";
        for (source, words) in [
            (format!("{list}.all(x, {list}.all(y, x == y))"), "neither in another"),
            (format!("{list}.exists_one(x, x == 'a' && {list}.exists(y, y == x))"), "neither in another"),
            (format!("size({list}.map(x, x + x)) > 0"), "no map()"),
            (format!("{list}.filter(x, x == 'a').all(x, x == 'a')"), "neither in another"),
            (format!("{list}.all(x, x in facts.accounts.administrators)"), "named one by one"),
            (format!("{list}.all(x, size(facts.accounts.administrators) > 0)"), "named one by one"),
            ("'a'.matches('(a{999}){999}')".to_owned(), "no function `matches`"),
            (".matches('a', 'b')".to_owned(), "no function `.matches`"),
            (format!("'a' == '{}'", "a".repeat(1024)), "at most 1024"),
        ] {
            let found = mistakes("host_guardrails", &source);
            assert!(found.iter().any(|mistake| mistake.contains(words)), "{source}: {found:?}");
        }
        let sound =
            format!("{list}.all(x, x == 'a') || facts.accounts.administrators.exists(x, x == facts.accounts.umask)");
        assert_eq!(mistakes("host_guardrails", &sound), Vec::<String>::new());
    }

    #[test]
    fn with_for_each_the_facts_are_named_one_by_one() {
        let (facts, tables) = (of_check("broker_transport_posture").unwrap(), Tables::default());
        let scope = Scope { facts: &facts, item: facts.at("/listeners/x").ok(), tables: tables.shape() };
        for source in ["size(facts.listeners) > 0", "facts.listeners[key].open"] {
            let found = Expression::compile(source, scope, &tables).err().unwrap_or_default();
            assert!(found.iter().any(|mistake| mistake.contains("one by one")), "{source}: {found:?}");
        }
        assert!(Expression::compile("facts.listeners['a'].open && has(facts.listeners)", scope, &tables).is_ok());
    }

    #[test]
    fn a_map_is_not_looped_over_and_every_mistake_is_told() {
        for hidden in ["[facts.listeners].all(l, l == l)", "facts.listeners[facts.listeners['a'].scope]['a' + 'b']"] {
            assert!(!mistakes("broker_transport_posture", hidden).is_empty(), "{hidden}");
        }
        let found = mistakes("broker_transport_posture", "facts.listeners.all(l, facts.x && facts.y)");
        assert!(found.iter().any(|mistake| mistake.contains("use for_each")), "{found:?}");
        assert_eq!(found.len(), 3, "{found:?}");
    }

    #[test]
    fn what_is_sound_passes() {
        for source in [
            "!facts.url_is_https || facts.plaintext == 'accepts'",
            "facts.unauthenticated_status >= 200 && facts.unauthenticated_status < 300",
            "has(facts.plaintext) ? facts.plaintext in ['closed', 'refuses'] : facts.plaintext_tried",
        ] {
            assert_eq!(mistakes("ingest_auth", source), Vec::<String>::new(), "{source}");
        }
        let source = "facts.service.declared.exists(one, one.startsWith('auth')) && 'x' in facts.service.declared";
        assert_eq!(mistakes("gateway_config_guardrails", source), Vec::<String>::new());
    }
}
