//! Loading: what is refused, with which words, and what a pack's identity is.

use super::*;
use crate::judge::Compiled;

const HEAD: &str = "name = 'test'\nversion = '1.0.0'\n";

/// A sound control of `ingest_auth`, with `changes` made to its lines (`from => to`).
fn control(changes: &[(&str, &str)]) -> String {
    let mut text = r#"[[control]]
key = 'ingest_auth.open'
title = 'Open'
severity = 'high'
domain = 'ingest'
target = 'ingest_edge'
fail = 'facts.unauthenticated_accepted'
why = 'w'
remediation = 'r'
verify = 'v'
[[control.vector]]
name = 'open'
expect = 'fail'
facts = { unauthenticated_accepted = true }
[[control.vector]]
name = 'closed'
expect = 'pass'
facts = { unauthenticated_accepted = false }
"#
    .to_owned();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

fn mistakes(text: &str) -> Vec<String> {
    Pack::parse(text).err().map(|errors| errors.errors().iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn the_builtin_pack_loads_and_every_vector_comes_out_as_expected() {
    let made = Pack::parse(BUILTIN_TOML).unwrap_or_else(|errors| panic!("{:#?}", errors.errors()));
    if std::env::var_os("GATEPOST_BLESS").is_some() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/packs/gateway-baseline-1.0.0.digest");
        std::fs::write(file, format!("{}\n", made.reference().digest)).unwrap();
        // What stands there now is in the next build.
        return;
    }
    assert!(BUILTIN_DIGEST.trim_end().parse::<Digest>().is_ok(), "the file beside the pack holds no digest");
    let pack = Pack::builtin();
    assert_eq!(
        pack.reference(),
        made.reference(),
        "the digest beside the pack is another; run this with GATEPOST_BLESS=1"
    );
    assert_eq!((pack.reference().name.as_str(), pack.reference().version.as_str()), ("gateway-baseline", "1.0.0"));
    assert!(made.test().ok());
    for key in [
        "ingest_auth.unauthenticated_ingest_allowed",
        "ingest_auth.insecure_transport",
        "gateway_config_guardrails.auth_enforcement_disabled",
        "gateway_config_guardrails.unsafe_defaults_not_observable",
    ] {
        assert!(pack.control(key).is_some(), "{key}");
    }
}

#[test]
fn every_check_has_controls_and_none_lacks_a_text() {
    let pack = Pack::builtin();
    for check in gatepost_evidence::check::CHECKS {
        assert!(pack.controls().iter().any(|control| control.check == check.id), "{}", check.id);
    }
    for control in pack.controls() {
        for text in [&control.title, &control.why, &control.remediation, &control.verify, &control.domain] {
            assert!(!text.is_empty(), "{}", control.key);
        }
        assert!(!control.title.ends_with('.') && control.why.ends_with('.'), "{}", control.key);
    }
}

#[test]
fn a_pack_may_cross_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Pack>();
}

#[test]
fn every_mistake_of_a_pack_is_told_at_once_with_line_and_control() {
    let text = [
        "name = 3\nversion = '1.0'\ncolour = 'red'\n",
        &control(&[("severity = 'high'", "severity = 'hihg'"), ("why = 'w'\n", "")]),
        &control(&[("ingest_auth.open", "ingest_aut.open"), ("domain =", "domian =")]),
        &control(&[("facts.unauthenticated_accepted'", "facts.unauthenticated_acepted'"), (".open'", ".other'")]),
    ]
    .concat();
    let told = mistakes(&text);
    for words in [
        "line 1: `name` should be text, not integer",
        "line 2: `version` is `1.0`; it should be three numbers, such as 1.0.0",
        "line 3: unknown key `colour`; there are: name, version, tables, standards, control",
        "line 4: ingest_auth.open: `why` is missing",
        "line 7: ingest_auth.open: `severity` is `hihg`; it is one of: low, medium, high, critical",
        "ingest_aut.open: there is no check `ingest_aut`; did you mean `ingest_auth`?",
        "ingest_aut.open: unknown key `domian`; did you mean `domain`?",
        "ingest_aut.open: `domain` is missing",
        "ingest_auth.other: `fail`: `facts.unauthenticated_acepted`: the contract has no fact \
         `facts.unauthenticated_acepted`; did you mean `unauthenticated_accepted`?",
    ] {
        assert!(told.iter().any(|one| one.contains(words)), "{words}\n{told:#?}");
    }
    assert_eq!(told.len(), 9, "{told:#?}");
    let lines: Vec<usize> = Pack::parse(&text).unwrap_err().errors().iter().map(|error| error.line).collect();
    assert!(lines.is_sorted());
}

#[test]
fn each_single_mistake_is_refused_in_its_own_words() {
    for (changes, words) in [
        (vec![("facts = { unauthenticated_accepted = true }", "")], "`facts` is missing"),
        (vec![("accepted = true }", "accepted = 'yes' }")], "is true or false in the contract, not \"yes\""),
        (vec![("{ unauthenticated_accepted = true }", "{ plaintext = 'open' }")], "/plaintext is never `open`"),
        (vec![("{ unauthenticated_accepted = true }", "{ accepted = true }")], "the contract has no fact /accepted"),
        (vec![("expect = 'pass'", "expect = 'unknown'")], "it has no vector that must pass"),
        (vec![("expect = 'fail'", "expect = 'not_applicable'")], "it has no vector that must fail"),
        (vec![("expect = 'fail'", "expect = 'fails'")], "`expect` is `fails`; it is one of"),
        (vec![("name = 'open'", "name = 'closed'")], "there is another vector `closed`"),
        (vec![("name = 'open'", "nam = 'open'")], "unknown key `nam`; did you mean `name`?"),
        (vec![("'ingest_edge'", "'broker'")], "ingest_auth never looks at this kind of target; use ingest_edge"),
        (vec![("'ingest_edge'", "'edge'")], "`target` is `edge`"),
        (vec![("ingest_auth.open", "open")], "it should be <check>.<finding>"),
        (vec![("ingest_auth.open", "ingest_auth.Open")], "should be lower-case words joined by `_`"),
        (vec![("why = 'w'", "why = '  '")], "`why` is empty"),
        (vec![("why = 'w'", "why = 'w'\nfor_each = '/peers'")], "`for_each`: the facts have no /peers"),
        (vec![("why = 'w'", "why = 'w'\nfor_each = 'peers'")], "is not a JSON pointer"),
        (vec![("why = 'w'", "why = 'w'\nfor_each = '/plaintext'")], "/plaintext is text, not a map"),
        (vec![("why = 'w'", "why = 'w'\napplies = 'facts.x'")], "`applies`: `facts.x`: the contract has no fact"),
        (vec![("why = 'w'", "why = 'w'\nshow = ['facts.x']")], "`show`: the contract has no fact `facts.x`"),
        (vec![("why = 'w'", "why = 'w'\nshow = ['1 == 1']")], "`show`: it should name one fact"),
        (vec![("why = 'w'", "why = 'w'\nshow = 'facts.x'")], "`show` should be a list of texts"),
        (
            vec![("verify = 'v'", "verify = 'v'\nmappings = { 'ETSI EN 303 645' = ['5.1-1'] }")],
            "there is no [standards.\"ETSI EN 303 645\"]; say there what it is",
        ),
        (vec![("why = 'w'", "why = ")], "not TOML"),
    ] {
        let told = mistakes(&format!("{HEAD}{}", control(&changes)));
        assert!(told.iter().any(|one| one.contains(words)), "{words}\n{told:#?}");
    }
    assert!(mistakes(HEAD)[0].contains("there is no [[control]]"));
    let twice = format!("{HEAD}{0}{0}", control(&[]));
    assert!(mistakes(&twice)[0].contains("another control with this key"), "{:?}", mistakes(&twice));
    assert!(mistakes(&format!("{HEAD}{}", control(&[]))).is_empty());
}

/// A pack whose control has these mappings, before a standard of two provisions, with `changes` made to that.
fn mapped(mappings: &str, changes: &[(&str, &str)]) -> String {
    let mut standard = "[standards.'Home 1']\ntitle = 'Home'\nversion = 'V1 (2026-01)'\nas_of = '2026-11-22'\n\
                        source = 'https://example.org/home'\nprovisions = { '1-1' = 'locks', '1-2A' = 'keys' }\n"
        .to_owned();
    for (from, to) in changes {
        assert!(standard.contains(from), "{from}");
        standard = standard.replace(from, to);
    }
    let verify = format!("verify = 'v'\nmappings = {mappings}");
    format!("{HEAD}{standard}{}", control(&[("verify = 'v'", verify.as_str())]))
}

#[test]
fn controls_are_mapped_to_provisions_that_the_pack_lists() {
    let sound = mapped("{ 'Home 1' = ['1-1', '1-2A'] }", &[]);
    assert_eq!(mistakes(&sound), Vec::<String>::new());
    let pack = Pack::parse(&sound).unwrap();
    let standard = &pack.standards()[0];
    assert_eq!((standard.id.as_str(), standard.version.as_str()), ("Home 1", "V1 (2026-01)"));
    assert_eq!(standard.provisions["1-2A"], "keys");
    for (mappings, words) in [
        ("{ 'Home 1' = ['1-2'] }", "line 19: ingest_auth.open: Home 1 has no provision `1-2`; did you mean `1-2A`?"),
        ("{ 'Home 1' = ['lock the door'] }", "has no provision `lock the door`; if it exists, add it"),
        ("{ 'Home 1' = ['1-1', '1-1'] }", "Home 1 `1-1` stands there twice"),
        ("{ 'Home 2' = ['1-1'] }", "there is no [standards.\"Home 2\"]; did you mean `Home 1`?"),
        ("{ 'Office' = ['1-1'] }", "there is no [standards.\"Office\"]; say there"),
    ] {
        let told = mistakes(&mapped(mappings, &[]));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(words), "{words}\n{told:#?}");
    }
    let all = mistakes(&mapped("{ 'Home 1' = ['2', '3'], 'Office' = ['1'] }", &[("title = 'Home'\n", "")]));
    assert_eq!(all.len(), 4, "every mistake at once: {all:#?}");
}

#[test]
fn a_standard_says_what_it_is_in_which_version_and_where_it_is_published() {
    for (from, to, words) in [
        ("title = 'Home'\n", "", "`title` is missing"),
        ("version = 'V1 (2026-01)'\n", "", "`version` is missing"),
        ("2026-11-22", "yesterday", "it should be a day"),
        ("https://example.org/home", "a friend", "it should be where the standard is published"),
        ("'locks'", "' '", "`1-1` is empty"),
        ("'locks'", "7", "`1-1` should be text, not integer"),
        ("title =", "titel = 'x'\ntitle =", "unknown key `titel`; did you mean `title`?"),
    ] {
        let told = mistakes(&mapped("{ 'Home 1' = ['1-1'] }", &[(from, to)]));
        assert_eq!(told.len(), 1, "{told:#?}");
        assert!(told[0].contains(words), "{words}\n{told:#?}");
    }
    let none = mistakes(&mapped("{}", &[("provisions = { '1-1' = 'locks', '1-2A' = 'keys' }\n", "")]));
    assert!(none[0].contains("`provisions` is missing or empty"), "{none:#?}");
    let digest = |changes: &[(&str, &str)]| Pack::parse(&mapped("{}", changes)).unwrap().reference().digest;
    assert_ne!(digest(&[]), digest(&[("'locks'", "'bolts'")]), "the table is part of the pack");
}

#[test]
fn every_builtin_control_is_mapped_to_each_kind_of_standard() {
    let pack = Pack::builtin();
    let known: Vec<&str> = pack.standards().iter().map(|standard| standard.id.as_str()).collect();
    assert_eq!(known, ["CRA Annex I", "ETSI EN 303 645", "IEC 62443-4-2", "NISTIR 8259A", "NISTIR 8259B"]);
    let mut lacking = Vec::new();
    for control in pack.controls() {
        for kind in [&["CRA Annex I"][..], &["ETSI EN 303 645", "IEC 62443-4-2"], &["NISTIR 8259A", "NISTIR 8259B"]] {
            let any = kind.iter().any(|one| control.mappings.get(*one).is_some_and(|ids| !ids.is_empty()));
            if !any {
                lacking.push(format!("{}: {}", control.key, kind.join(" or ")));
            }
        }
    }
    assert!(lacking.is_empty(), "map these (docs/rule-authoring.md, Standards): {lacking:#?}");
}

#[test]
fn a_vector_that_comes_out_otherwise_keeps_the_pack_from_loading_but_not_from_being_tested() {
    let text = format!("{HEAD}{}", control(&[("accepted = true }", "accepted = false }")]));
    assert_eq!(mistakes(&text), ["line 13: ingest_auth.open: vector `open` should fail but gave pass"]);
    let report = test(&text).unwrap();
    assert!(!report.ok());
    let told: Vec<_> = report.vectors.iter().map(|vector| (vector.vector.as_str(), vector.got, vector.ok)).collect();
    assert_eq!(told, [("open", Some(Outcome::Pass), false), ("closed", Some(Outcome::Pass), true)]);

    let missing = format!("{HEAD}{}", control(&[("{ unauthenticated_accepted = true }", "{}")]));
    assert_eq!(
        mistakes(&missing),
        ["line 13: ingest_auth.open: vector `open` should fail but gave unknown (the fact /unauthenticated_accepted \
          is missing)"]
    );
}

#[test]
fn a_vector_of_several_items_says_which_it_means() {
    let items = |subject: &str| {
        let changes = [
            ("ingest_auth.open", "link_posture.open"),
            ("'ingest_edge'", "'uplink'\nfor_each = '/peers'"),
            ("facts.unauthenticated_accepted", "item.failures > 0"),
            (
                "facts = { unauthenticated_accepted = true }",
                "facts = { peers = { a = { failures = 1 }, b = { failures = 0 } } }",
            ),
            ("facts = { unauthenticated_accepted = false }", "facts = { peers = { b = { failures = 0 } } }"),
            ("expect = 'fail'", &format!("expect = 'fail'\n{subject}")),
        ];
        mistakes(&format!("{HEAD}{}", control(&changes)))
    };
    assert_eq!(items("subject = 'a'"), Vec::<String>::new());
    assert!(items("")[0].contains("say which is meant with `subject`"));
    assert!(items("subject = 'c'")[0].contains("the facts give no row"));
}

#[test]
fn identity_is_what_a_pack_says_and_not_how_it_is_written() {
    let digest = |text: &str| Pack::parse(text).unwrap().reference().digest;
    let one = format!("{HEAD}{}", control(&[]));
    let other =
        format!("# hello\nversion = \"1.0.0\"\nname = \"test\"\n\n{}", control(&[("why = 'w'", "why   =  \"w\" # x")]));
    assert_eq!(digest(&one), digest(&other));
    assert_ne!(digest(&one), digest(&format!("{HEAD}{}", control(&[("why = 'w'", "why = 'W'")]))));
}

#[test]
fn the_example_in_the_documentation_works() {
    let text = include_str!("../../../docs/rule-authoring.md");
    let example = text.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let report = test(example).unwrap();
    assert!(report.ok(), "{report:#?}");
    assert_eq!(report.vectors.len(), 4);
    for key in [
        "key",
        "title",
        "severity",
        "for_each",
        "applies",
        "fail",
        "show",
        "mappings",
        "vector",
        "subject",
        "provisions",
    ] {
        assert!(text.contains(&format!("`{key}`")), "{key} is not explained");
    }
}

#[test]
fn a_table_says_as_of_when_and_from_where_it_is() {
    let pack = |table: &str| {
        let control = "\n[[control]]\nkey = \"ingest_auth.open\"\ntitle = \"t\"\nseverity = \"low\"\ndomain = \"d\"\n\
                       target = \"ingest_edge\"\nfail = \"tables.good[facts.plaintext] == 'no'\"\nwhy = \"w.\"\n\
                       remediation = \"r\"\nverify = \"v\"\n";
        let vector = |name: &str, expect: &str, fact: &str| {
            format!(
                "[[control.vector]]\nname = \"{name}\"\nexpect = \"{expect}\"\nfacts = {{ plaintext = \"{fact}\" }}\n"
            )
        };
        format!("name = \"n\"\nversion = \"1.0.0\"\n{table}{control}")
            + &vector("a", "fail", "accepts")
            + &vector("b", "pass", "closed")
            + &vector("c", "unknown", "refuses")
    };
    let sound =
        "[tables.good]\nas_of = \"2026-11-22\"\nsource = \"s\"\nrows = { accepts = \"no\", closed = \"yes\" }\n";
    let read = Pack::parse(&pack(sound)).unwrap();
    assert_eq!((read.tables().len(), read.tables()[0].name.as_str()), (1, "good"));
    let other = Pack::parse(&pack(&sound.replace("2026-11-22", "2026-11-23"))).unwrap();
    assert_ne!(read.reference().digest, other.reference().digest);
    for (from, to, words) in [
        ("as_of = \"2026-11-22\"\n", "", "`as_of` is missing"),
        ("2026-11-22", "November", "it should be a day"),
        ("source = \"s\"\n", "", "`source` is missing"),
        ("closed = \"yes\"", "closed = true", "`closed` should be text"),
        ("tables.good]", "tables.god]", "did you mean `god`?"),
    ] {
        let found = mistakes(&pack(&sound.replace(from, to)));
        assert!(found.iter().any(|mistake| mistake.contains(words)), "{words}: {found:?}");
    }
}

#[test]
fn what_is_compiled_when_it_is_first_asked_is_what_was_tested() {
    let (later, tested) = (Pack::builtin(), Pack::parse(BUILTIN_TOML).unwrap());
    assert_eq!(later.reference(), tested.reference());
    assert_eq!(later.controls().len(), tested.controls().len());
    for (later, tested) in later.controls().iter().zip(tested.controls()) {
        // A control without what its logic is compiled to and its vectors, which are not kept.
        let told = |one: &Control| {
            let texts = [&one.key, &one.title, &one.domain, &one.check, &one.why, &one.remediation, &one.verify]
                .map(Clone::clone);
            let logic = (one.for_each.clone(), one.applies.clone(), one.fail.clone(), one.logic.for_each.clone());
            let Compiled { applies, fail, show } = one.logic.compiled();
            let compiled =
                format!("{:?} {:?} {show:?}", applies.as_ref().map(Expression::references), fail.references());
            (texts, one.severity, one.target, one.mappings.clone(), logic, one.facts(), compiled)
        };
        assert_eq!(told(later), told(tested));
    }
}

/// The built-in pack is read one control at a time, every other one whole.
#[test]
fn the_builtin_pack_is_what_its_text_is_when_it_is_read_whole() {
    let (parts, whole) = (Pack::builtin(), load(BUILTIN_TOML).unwrap());
    assert_eq!((parts.reference(), parts.standards()), (whole.reference(), whole.standards()));
    assert_eq!(parts.controls().len(), whole.controls().len());
    let told = |control: &Control| {
        let Control { key, title, severity, domain, check, target, for_each, applies, fail, why, .. } = control;
        let rest = (&control.remediation, &control.verify, &control.mappings);
        format!("{:?}", (key, title, severity, domain, check, target, for_each, applies, fail, why, rest))
    };
    for (part, whole) in parts.controls().iter().zip(whole.controls()) {
        assert_eq!(told(part), told(whole));
    }
}
