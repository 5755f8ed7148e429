//! What is recognised in an answer, so that the answer itself need not be kept.
//!
//! A body may hold anything, other people's data and secrets included. It is looked through for known marks and then
//! dropped; the record says which marks there were and nothing of what stood around them.

use std::collections::BTreeSet;

use gatepost_evidence::check::ingest_auth::questions::Mark;

use super::answer::Head;

/// What stands in a body, and whose mark it is. Compared without regard to case.
const IN_BODY: &[(&str, Mark)] = &[
    ("traceback (most recent call last)", Mark::StackPython),
    ("  file \"/", Mark::StackPython),
    ("exception in thread \"", Mark::StackJava),
    ("\tat java.", Mark::StackJava),
    ("\tat org.", Mark::StackJava),
    ("\tat com.", Mark::StackJava),
    (".java:", Mark::StackJava),
    (".kt:", Mark::StackJava),
    ("java.lang.", Mark::StackJava),
    ("    at object.<anonymous>", Mark::StackJavascript),
    ("node_modules/", Mark::StackJavascript),
    ("(node:internal", Mark::StackJavascript),
    ("goroutine 1 [", Mark::StackGo),
    ("panic: runtime error", Mark::StackGo),
    ("goroutine running", Mark::StackGo),
    ("thread 'main' panicked at", Mark::StackRust),
    ("stack backtrace:", Mark::StackRust),
    ("   at system.", Mark::StackDotnet),
    ("   at microsoft.", Mark::StackDotnet),
    ("[nullreferenceexception", Mark::StackDotnet),
    ("server error in '/' application", Mark::StackDotnet),
    ("fatal error: uncaught", Mark::StackPhp),
    ("stack trace:\n#0 ", Mark::StackPhp),
    (".php on line ", Mark::StackPhp),
    (".rb:", Mark::StackRuby),
    ("sqlstate[", Mark::SqlError),
    ("ora-0", Mark::SqlError),
    ("you have an error in your sql syntax", Mark::SqlError),
    ("pg::", Mark::SqlError),
    ("psycopg2.", Mark::SqlError),
    ("sqlite3.operationalerror", Mark::SqlError),
    ("werkzeug debugger", Mark::DebugPage),
    ("debug = true", Mark::DebugPage),
    ("whoops, looks like something went wrong", Mark::DebugPage),
    ("symfony exception", Mark::DebugPage),
];

/// Products that are named with their version behind this.
const PRODUCTS: &[&str] = &[
    "nginx/",
    "openresty/",
    "apache/",
    "apache tomcat/",
    "iis/",
    "httpapi/",
    "jetty(",
    "jetty://",
    "jetty/",
    "lighttpd/",
    "caddy/",
    "haproxy/",
    "envoy/",
    "varnish/",
    "squid/",
    "werkzeug/",
    "gunicorn/",
    "uvicorn/",
    "tornado/",
    "cheroot/",
    "python/",
    "php/",
    "express/",
    "kestrel/",
    "undertow/",
    "wildfly/",
    "glassfish",
    "phusion passenger",
    "openssl/",
];

/// Fields that name what runs there.
const NAMING: &[&str] = &["server", "x-powered-by", "x-generator"];
/// Fields whose whole point is a version.
const VERSIONS: &[&str] = &["x-aspnet-version", "x-aspnetmvc-version", "x-runtime-version"];
/// Fields in which a cache tells a hit.
const CACHES: &[&str] = &["x-cache", "x-cache-status", "cf-cache-status", "cache-status"];

/// The marks in an answer.
#[must_use]
pub fn find(head: &Head, body: &[u8]) -> BTreeSet<Mark> {
    let lower = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_lowercase();
    let text = lower(body);
    let mut marks: BTreeSet<Mark> =
        IN_BODY.iter().filter(|(sign, _)| text.contains(sign)).map(|(_, mark)| *mark).collect();
    let field = |name: &&str| head.field(name).map(lower);
    if PRODUCTS.iter().any(|product| versioned(&text, product)) {
        marks.insert(Mark::VersionInBody);
    }
    let slash_number = |value: String| versioned(&value, "/");
    if NAMING.iter().filter_map(field).any(slash_number)
        || VERSIONS.iter().filter_map(field).any(|value| value.contains(|c: char| c.is_ascii_digit()))
    {
        marks.insert(Mark::VersionInHeader);
    }
    if ["duplicate", "already"].iter().any(|word| text.contains(word)) {
        marks.insert(Mark::Duplicate);
    }
    let old = head.field("age").map(lower).and_then(|age| age.parse::<u64>().ok()).is_some_and(|age| age > 0);
    if old || CACHES.iter().filter_map(field).any(|value| value.contains("hit")) {
        marks.insert(Mark::FromCache);
    }
    marks
}

/// Whether a digit follows `product` somewhere in `text`, or a space and a digit.
fn versioned(text: &str, product: &str) -> bool {
    text.match_indices(product).any(|(at, _)| {
        let rest = &text[at + product.len()..];
        rest.trim_start_matches([' ', 'v']).starts_with(|c: char| c.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(fields: &[(&str, &str)], body: &str) -> Vec<Mark> {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect();
        find(&Head { status: 500, fields }, body.as_bytes()).into_iter().collect()
    }

    #[test]
    fn an_honest_refusal_has_no_marks() {
        for body in ["", "{\"status\":\"unauthorized\"}", "<html><h1>401 Authorization Required</h1><hr>nginx</html>"] {
            assert_eq!(marks(&[("server", "nginx")], body), []);
        }
    }

    #[test]
    fn traces_are_recognised_by_their_language() {
        for (body, mark) in [
            ("Traceback (most recent call last):\n  File \"app.py\", line 3", Mark::StackPython),
            ("java.lang.NullPointerException\n\tat com.example.Edge.take(Edge.java:42)", Mark::StackJava),
            ("Error\n    at Object.<anonymous> (/srv/app.js:1:7)", Mark::StackJavascript),
            ("panic: runtime error: index out of range\n\ngoroutine 1 [running]:", Mark::StackGo),
            ("thread 'main' panicked at src/main.rs:2:5", Mark::StackRust),
            ("   at System.Web.HttpApplication.ExecuteStep", Mark::StackDotnet),
            ("Fatal error: Uncaught Exception in /srv/www/i.php on line 3", Mark::StackPhp),
            ("app/controllers/events.rb:12:in `create'", Mark::StackRuby),
            ("SQLSTATE[42000]: Syntax error", Mark::SqlError),
        ] {
            assert_eq!(marks(&[], body), [mark], "{body}");
        }
    }

    #[test]
    fn versions_are_recognised_where_they_stand() {
        assert_eq!(marks(&[("server", "nginx/1.22.1")], ""), [Mark::VersionInHeader]);
        assert_eq!(marks(&[("x-aspnet-version", "4.0.30319")], ""), [Mark::VersionInHeader]);
        assert_eq!(marks(&[], "<address>Apache/2.4.62 (Debian)</address>"), [Mark::VersionInBody]);
        assert_eq!(marks(&[("x-powered-by", "Express")], "see /nginx/docs"), []);
    }

    #[test]
    fn caches_and_duplicates_tell_themselves() {
        assert_eq!(marks(&[("x-cache", "HIT from edge")], ""), [Mark::FromCache]);
        assert_eq!(marks(&[("age", "12")], "{\"status\":\"duplicate\"}"), [Mark::Duplicate, Mark::FromCache]);
        assert_eq!(marks(&[("age", "0"), ("x-cache", "MISS")], ""), []);
    }
}
