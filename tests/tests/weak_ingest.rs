//! An ingest edge that nobody here wrote, sound and then with one weakness at a time: a sound one makes no finding, and
//! each weakness makes its own and no other. nginx and HAProxy stand in front of the lab's edge; Mosquitto and NATS are
//! brokers in the cloud. The file is long because its tables are: a case is a few lines of configuration.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use gatepost_tests::agent::Agent;
use gatepost_tests::ingest::IngestEdge;
use gatepost_tests::pki::{Identity, Leaf, Pki, foreign};
use gatepost_tests::port::Port;
use gatepost_tests::webserver::{self, Running};
use rcgen::ExtendedKeyUsagePurpose::ServerAuth;
use serde_json::Value;
use tokio::runtime::Runtime;

/// What every edge here shares.
struct Site {
    // Dropped before the folder.
    exposed: IngestEdge,
    hardened: IngestEdge,
    pki: Pki,
    unsound: Vec<(&'static str, Identity)>,
    _runtime: Runtime,
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let pki = Pki::create(&folder.path().join("pki"))?;
        let edge = |name: &str| -> Result<IngestEdge> {
            let place = folder.path().join(name);
            fs::create_dir(&place)?;
            IngestEdge::start(runtime.handle(), &place, &pki)
        };
        let exposed = edge("exposed")?;
        let mut hardened = edge("hardened")?;
        hardened.harden()?;
        let unsound = unsound(&pki, folder.path())?;
        Ok(Self { exposed, hardened, pki, unsound, _runtime: runtime, folder })
    }

    fn token(&self) -> &str {
        self.hardened.token()
    }
}

/// A case: its name, what is changed in the sound configuration, and the findings that must come of it.
struct Case {
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    expected: &'static [&'static str],
}

const fn case(
    name: &'static str,
    changes: &'static [(&'static str, &'static str)],
    expected: &'static [&'static str],
) -> Case {
    Case { name, changes, expected }
}

/// `text` with its changes and its names filled in.
fn filled(text: &str, case: &Case, names: &[(&str, String)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in case.changes {
        assert!(text.contains(from), "{}: {from} is not in the configuration", case.name);
        text = text.replace(from, to);
    }
    for (name, value) in names {
        text = text.replace(&format!("@{name}@"), value);
    }
    text
}

/// The findings of `ingest_auth` that an agent makes of `ingest`, without the name of the check, and its gaps.
fn audit(folder: &Path, ingest: &str) -> Result<(BTreeSet<String>, Vec<String>, Value)> {
    let text = format!("[state]\ndirectory = {:?}\n\n{ingest}", folder.join("state"));
    let agent = Agent::configured(&folder.join("gatepost.toml"), &text)?;
    let report = agent.run(&["audit", "--bundle", "audit-baseline", "--format", "json"])?.json()?;
    let keys = |rows: &str| {
        let rows = report[rows].as_array().into_iter().flatten();
        rows.filter_map(|row| row["key"].as_str()?.strip_prefix("ingest_auth.").map(str::to_owned))
    };
    let (findings, gaps) = (keys("findings").collect(), keys("gaps").collect());
    Ok((findings, gaps, report))
}

/// Runs `look` for each case, a few at a time, and holds what was found against what was expected.
fn each(cases: &[Case], look: impl Fn(&Case) -> Result<(BTreeSet<String>, Vec<String>, Value)> + Sync) -> Result<()> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
                    let expected: BTreeSet<String> = case.expected.iter().map(|key| (*key).to_owned()).collect();
                    let told = match look(case) {
                        Ok((found, gaps, _)) if found == expected && (!expected.is_empty() || gaps.is_empty()) => {
                            continue;
                        }
                        Ok((found, gaps, _)) => {
                            format!("{}: found {found:?} instead of {expected:?}; gaps {gaps:?}", case.name)
                        }
                        Err(error) => format!("{}: {error:#}", case.name),
                    };
                    wrong.lock().unwrap().push(told);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// A sound nginx: credentials by `map` on every path but none, the event handed to the service behind it.
const NGINX: &str = r#"
  server_tokens off;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
  map_hash_bucket_size 256;
  map $http_authorization $known { default 0; "~^Bearer @TOKEN@$" 1; }
  proxy_cache_path @FOLDER@/cache keys_zone=answers:1m;
  server {
    listen 127.0.0.1:@TLS@ ssl;
    ssl_certificate @CERTIFICATE@;
    ssl_certificate_key @KEY@;
    # certificates of clients
    add_header RateLimit-Policy '"events";q=6000;w=60' always;
    # further locations
    location = /v1/events {
      if ($known = 0) { return 401; }
      if ($request_method != POST) { return 405; }
      proxy_pass http://@BACKEND@;
    }
    location / { return 404; }
  }
  # further servers
"#;

/// The same, where the service itself looks at credentials.
const NGINX_IN_FRONT: &str = r#"
  server_tokens off;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
  proxy_cache_path @FOLDER@/cache keys_zone=answers:1m;
  server {
    listen 127.0.0.1:@TLS@ ssl;
    ssl_certificate @CERTIFICATE@;
    ssl_certificate_key @KEY@;
    location / {
      # cache
      proxy_pass https://@HARDENED@;
    }
  }
"#;

/// The same, by `auth_request`.
const NGINX_ASKING: &str = r#"
  server_tokens off;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;
  map $http_authorization $known { default 0; "~^Bearer @TOKEN@$" 1; }
  map $http_x_original_url $meant { default $http_x_original_url; "" $request_uri; }
  map $request_uri $public { default 0; "~^/health" 1; }
  server {
    listen 127.0.0.1:@TLS@ ssl;
    ssl_certificate @CERTIFICATE@;
    ssl_certificate_key @KEY@;
    add_header RateLimit-Policy '"events";q=6000;w=60' always;
    location = /auth {
      internal;
      if ($public = 1) { return 204; }
      if ($known = 0) { return 401; }
      return 204;
    }
    location = /v1/events {
      auth_request /auth;
      proxy_pass http://@BACKEND@;
    }
    location / { return 404; }
  }
"#;

const DEMANDS: &str = "if ($known = 0) { return 401; }";
const MORE: &str = "# further locations";
const SERVERS: &str = "# further servers";
const CLIENTS: &str = "# certificates of clients";

const NGINX_CASES: &[Case] = &[
    case("sound", &[], &[]),
    case("a location without credentials", &[(DEMANDS, "")], &["unauthenticated_ingest_allowed"]),
    case("any token will do", &[("@TOKEN@$", ".")], &["wrong_credentials_accepted"]),
    case(
        "any Basic will do",
        &[("\"~^Bearer @TOKEN@$\" 1;", "\"~^Bearer @TOKEN@$\" 1; \"~^Basic\" 1;")],
        &["malformed_credentials_accepted"],
    ),
    case(
        "the old token still works",
        &[("\"~^Bearer @TOKEN@$\" 1;", "\"~^Bearer @TOKEN@$\" 1; \"~^Bearer @EXPIRED@$\" 1;")],
        &["expired_credentials_accepted"],
    ),
    case("a pattern without an end", &[("@TOKEN@$", "@TOKEN@")], &["altered_credentials_accepted"]),
    case("a map of strings", &[("\"~^Bearer @TOKEN@$\"", "\"Bearer @TOKEN@\"")], &["credential_case_ignored"]),
    case(
        "HEAD is left out",
        &[(DEMANDS, "if ($request_method = HEAD) { return 200; } if ($known = 0) { return 401; }")],
        &["method_without_credentials"],
    ),
    case(
        "PUT is left out",
        &[(DEMANDS, "if ($request_method = PUT) { return 204; } if ($known = 0) { return 401; }")],
        &["method_without_credentials"],
    ),
    case(
        "a slash behind it",
        &[(MORE, "location = /v1/events/ { proxy_pass http://@BACKEND@/v1/events; }")],
        &["path_without_credentials"],
    ),
    case(
        "the older version is still there",
        &[(MORE, "location = /v0/events { proxy_pass http://@BACKEND@/v1/events; }")],
        &["path_without_credentials"],
    ),
    case(
        "capitals go past it",
        &[(MORE, "location ~* ^/v1/events$ { rewrite ^ /v1/events break; proxy_pass http://@BACKEND@; }")],
        &["path_without_credentials"],
    ),
    case(
        "who says that he is inside is inside",
        &[(DEMANDS, "set $gate $known$http_x_forwarded_for; if ($gate = 0) { return 401; }")],
        &["spoofed_header_trusted"],
    ),
    case(
        "a name of the host without credentials",
        &[(
            SERVERS,
            "server { listen 127.0.0.1:@TLS@ ssl; server_name localhost; ssl_certificate @CERTIFICATE@; \
             ssl_certificate_key @KEY@; location = /v1/events { proxy_pass http://@BACKEND@; } }",
        )],
        &["spoofed_header_trusted"],
    ),
    case(
        "plain HTTP accepts",
        &[(SERVERS, "server { listen 127.0.0.1:@PLAIN@; location = /v1/events { proxy_pass http://@BACKEND@; } }")],
        &["insecure_transport"],
    ),
    case(
        "plain HTTP redirects",
        &[(SERVERS, "server { listen 127.0.0.1:@PLAIN@; return 301 https://127.0.0.1:@TLS@$request_uri; }")],
        &["plaintext_redirected"],
    ),
    case(
        "plain HTTP redirects unless a header says TLS",
        &[(
            SERVERS,
            "server { listen 127.0.0.1:@PLAIN@; \
             if ($http_x_forwarded_proto != https) { return 301 https://127.0.0.1:@TLS@$request_uri; } \
             location / { return 401; } }",
        )],
        &["plaintext_redirected", "forwarded_proto_believed"],
    ),
    case("plain HTTP refuses", &[(SERVERS, "server { listen 127.0.0.1:@PLAIN@; return 403; }")], &[]),
    case(
        "a redirect to plain HTTP",
        &[(MORE, "location = /v1/events/ { return 301 http://127.0.0.1:@PLAIN@/v1/events; }")],
        &["redirects_to_plaintext"],
    ),
    case(
        "TLS 1.0 and 1.1",
        &[
            ("ssl_protocols TLSv1.2", "ssl_protocols TLSv1 TLSv1.1 TLSv1.2"),
            ("ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20", "ssl_ciphers ECDHE+AESGCM:ECDHE+AES:@SECLEVEL=0"),
        ],
        &["tls10_or_tls11_accepted"],
    ),
    case("no TLS 1.3", &[("TLSv1.2 TLSv1.3", "TLSv1.2")], &["tls13_missing"]),
    case(
        "a suite that does not encrypt",
        &[(
            "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20",
            "ssl_prefer_server_ciphers on; ssl_ciphers ECDHE+AESGCM:eNULL+ECDHE:@SECLEVEL=0",
        )],
        &["weak_suite_accepted"],
    ),
    case(
        "a suite that does not encrypt, in the client's order",
        &[("ECDHE+AESGCM:ECDHE+CHACHA20", "ECDHE+AESGCM:eNULL+ECDHE:@SECLEVEL=0")],
        &["client_order_with_weak_suites", "weak_suite_accepted"],
    ),
    case(
        "a weak curve",
        &[(
            "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20",
            "ssl_ecdh_curve X25519:P-256:P-192; ssl_ciphers ECDHE+AESGCM:@SECLEVEL=0",
        )],
        &["weak_group_accepted"],
    ),
    case("early data", &[("TLSv1.2 TLSv1.3;", "TLSv1.2 TLSv1.3; ssl_early_data on;")], &["early_data_accepted"]),
    case("CBC alone", &[("ECDHE+AESGCM:ECDHE+CHACHA20", "ECDHE-ECDSA-AES128-SHA256")], &["cbc_only"]),
    case(
        "an expired certificate",
        &[("@CERTIFICATE@", "@EXPIRED-CERTIFICATE@"), ("@KEY@", "@EXPIRED-KEY@")],
        &["certificate_expired"],
    ),
    case(
        "a certificate for another name",
        &[("@CERTIFICATE@", "@OTHER-CERTIFICATE@"), ("@KEY@", "@OTHER-KEY@")],
        &["certificate_name_mismatch"],
    ),
    case(
        "a certificate of somebody else's",
        &[("@CERTIFICATE@", "@FOREIGN-CERTIFICATE@"), ("@KEY@", "@FOREIGN-KEY@")],
        &["certificate_untrusted_chain"],
    ),
    case(
        "a certificate that ends in three weeks",
        &[("@CERTIFICATE@", "@SOON-CERTIFICATE@"), ("@KEY@", "@SOON-KEY@")],
        &["certificate_expiring_30d"],
    ),
    case(
        "the gateway's own token is refused",
        &[("~^Bearer @TOKEN@$", "~^Bearer another$")],
        &["legitimate_ingest_refused"],
    ),
    case("versions are told", &[("server_tokens off", "server_tokens on")], &["version_disclosed"]),
    case(
        "a trace in the answer",
        &[
            (DEMANDS, "error_page 401 /trace; if ($known = 0) { return 401; }"),
            (
                MORE,
                "location = /trace { internal; return 401 'Traceback (most recent call last):\n  File \"/srv/edge.py\"'; }",
            ),
        ],
        &["error_leaks_stack"],
    ),
    case("nobody remembers events", &[("proxy_pass http://@BACKEND@;", "return 202;")], &["replay_not_detected"]),
    case(
        "no limit to the rate",
        &[
            ("add_header RateLimit-Policy '\"events\";q=6000;w=60' always;", ""),
            ("proxy_pass http://@BACKEND@;", "proxy_pass http://@BACKEND@; proxy_hide_header RateLimit-Policy;"),
        ],
        &["rate_limit_not_seen"],
    ),
    case(
        "the certificate can be left out",
        &[(CLIENTS, "ssl_client_certificate @CA@; ssl_verify_client optional;")],
        &["client_certificate_not_required"],
    ),
    case(
        "any certificate will do",
        &[
            (CLIENTS, "ssl_client_certificate @CA@; ssl_verify_client optional_no_ca;"),
            (DEMANDS, "if ($ssl_client_verify = NONE) { return 403; } if ($known = 0) { return 401; }"),
        ],
        &["wrong_client_certificate_accepted"],
    ),
    case("certificates are demanded", &[(CLIENTS, "ssl_client_certificate @CA@; ssl_verify_client on;")], &[]),
];

/// Certificates beside the lab's own: expired, for another name, of another authority, and soon to end.
fn unsound(pki: &Pki, folder: &Path) -> Result<Vec<(&'static str, Identity)>> {
    let leaf = |names, from_day, to_day| Leaf { common_name: "edge", names, usages: &[ServerAuth], from_day, to_day };
    let own = &["localhost", "127.0.0.1"];
    Ok(vec![
        ("EXPIRED", pki.issue("edge-expired", &leaf(own, -30, -1))?),
        ("OTHER", pki.issue("edge-other", &leaf(&["other.example"], -1, 180))?),
        ("SOON", pki.issue("edge-soon", &leaf(own, -1, 21))?),
        ("FOREIGN", foreign(folder, "edge-foreign", &leaf(own, -1, 180))?),
    ])
}

/// One HTTP edge, its ports, and the agent's settings for it.
struct Edge {
    folder: tempfile::TempDir,
    tls: Port,
    plain: Port,
    names: Vec<(&'static str, String)>,
}

impl Edge {
    fn new(site: &Site) -> Result<Self> {
        let folder = tempfile::tempdir_in(site.folder.path())?;
        let (tls, plain) = (Port::reserve()?, Port::reserve()?);
        let shown = |path: &Path| path.display().to_string();
        let expired = fs::read_to_string(site.hardened.expired_token_file())?;
        let mut names = vec![
            ("TOKEN", site.token().to_owned()),
            ("EXPIRED", expired),
            ("FOLDER", shown(folder.path())),
            ("TLS", tls.address().port().to_string()),
            ("PLAIN", plain.address().port().to_string()),
            ("BACKEND", site.exposed.http_address().to_string()),
            ("HARDENED", site.hardened.https_address().to_string()),
            ("CA", shown(&site.pki.ca)),
            ("CERTIFICATE", shown(&site.pki.ingest.certificate)),
            ("KEY", shown(&site.pki.ingest.key)),
        ];
        for (name, identity) in &site.unsound {
            let name = |what: &str| Box::leak(format!("{name}-{what}").into_boxed_str()) as &'static str;
            names.push((name("CERTIFICATE"), shown(&identity.certificate)));
            names.push((name("KEY"), shown(&identity.key)));
        }
        Ok(Self { folder, tls, plain, names })
    }

    /// The agent's configuration; with the gateway's client certificate where the edge asks for one.
    fn ingest(&self, site: &Site, certificate: bool) -> String {
        let mut text = format!(
            "[ingest]\nurl = \"https://{}/v1/events\"\nplaintext_url = \"http://{}/v1/events\"\nca_file = {:?}\n\
             token_file = {:?}\nexpired_token_file = {:?}\n",
            self.tls.address(),
            self.plain.address(),
            site.pki.ca,
            site.hardened.token_file(),
            site.hardened.expired_token_file(),
        );
        if certificate {
            let Identity { certificate, key } = &site.pki.gateway;
            text += &format!("client_certificate = {certificate:?}\nclient_key = {key:?}\n");
        }
        text
    }

    fn listens(&self, text: &str) -> Vec<&Port> {
        let plain = text.contains(&format!(":{}", self.plain.address().port())) && !text.contains("return 301 http:");
        [Some(&self.tls), Some(&self.plain).filter(|_| plain)].into_iter().flatten().collect()
    }

    fn nginx(&self, site: &Site, text: &str) -> Result<(BTreeSet<String>, Vec<String>, Value)> {
        let running = webserver::nginx(self.folder.path(), text, &self.listens(text))?;
        self.audit(site, text.contains("ssl_client_certificate"), &running)
    }

    fn audit(
        &self,
        site: &Site,
        certificate: bool,
        running: &Running,
    ) -> Result<(BTreeSet<String>, Vec<String>, Value)> {
        audit(self.folder.path(), &self.ingest(site, certificate)).with_context(|| running.log())
    }
}

#[test]
fn each_weakness_of_an_nginx_makes_its_own_finding_and_no_other() -> Result<()> {
    let site = Site::new()?;
    each(NGINX_CASES, |case| {
        let edge = Edge::new(&site)?;
        edge.nginx(&site, &filled(NGINX, case, &edge.names))
    })
}

#[test]
fn an_nginx_in_front_of_a_service_that_looks_itself_is_sound_until_it_caches() -> Result<()> {
    let cases = [
        case("sound", &[], &[]),
        case(
            "answers to POST are cached",
            &[(
                "# cache",
                "proxy_cache answers; proxy_cache_methods POST; proxy_cache_key $request_uri; proxy_cache_valid 202 1m;",
            )],
            &["cached_acceptance"],
        ),
    ];
    let site = Site::new()?;
    each(&cases, |case| {
        let edge = Edge::new(&site)?;
        edge.nginx(&site, &filled(NGINX_IN_FRONT, case, &edge.names))
    })
}

#[test]
fn an_nginx_that_asks_is_sound_until_it_believes_x_original_url() -> Result<()> {
    let cases = [
        case("sound", &[], &[]),
        case(
            "what was meant is what a header says",
            &[("map $request_uri $public { default 0; \"~^/health\" 1; }", "map $meant $public { default 1; ~v1 0; }")],
            &["spoofed_header_trusted"],
        ),
    ];
    let site = Site::new()?;
    each(&cases, |case| {
        let edge = Edge::new(&site)?;
        edge.nginx(&site, &filled(NGINX_ASKING, case, &edge.names))
    })
}

#[test]
fn an_nginx_that_limits_the_rate_is_left_alone_and_what_was_not_asked_is_unknown() -> Result<()> {
    let limited = case(
        "ten requests and no more",
        &[
            (
                "proxy_cache_path",
                "limit_req_zone $server_port zone=all:1m rate=1r/m; limit_req_status 429;\n  proxy_cache_path",
            ),
            ("location / { return 404; }", "limit_req zone=all burst=10 nodelay;\n    location / { return 404; }"),
            (DEMANDS, "auth_request /auth;"),
            (MORE, "location = /auth { internal; if ($known = 0) { return 401; } return 204; }"),
        ],
        &[],
    );
    let site = Site::new()?;
    let edge = Edge::new(&site)?;
    let (found, gaps, report) = edge.nginx(&site, &filled(NGINX, &limited, &edge.names))?;
    assert_eq!(found, BTreeSet::new());
    assert!(gaps.contains(&"path_without_credentials".to_owned()), "{gaps:?}");
    let rows = report["rows"].as_array().unwrap();
    let row = rows.iter().find(|row| row["key"] == "ingest_auth.rate_limit_not_seen").unwrap();
    assert_eq!(row["outcome"], "pass");
    Ok(())
}

/// A sound HAProxy.
const HAPROXY: &str = r#"
global
  maxconn 128
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphers ECDHE+AESGCM:ECDHE+CHACHA20
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend edge
  bind 127.0.0.1:@TLS@ ssl crt @PEM@ # certificates of clients
  http-after-response set-header RateLimit-Policy '"events";q=6000;w=60'
  acl known req.hdr(authorization) -m str "Bearer @TOKEN@"
  acl events path /v1/events
  http-request deny deny_status 401 if events !known
  http-request deny deny_status 405 if events !{ method POST }
  http-request deny deny_status 404 if !events
  # what is taken
  default_backend service
backend service
  server service @BACKEND@
# further parts
"#;

const HAPROXY_DEMANDS: &str = "http-request deny deny_status 401 if events !known";
const PARTS: &str = "# further parts";

const HAPROXY_CASES: &[Case] = &[
    case("sound", &[], &[]),
    case("no rule about credentials", &[(HAPROXY_DEMANDS, "")], &["unauthenticated_ingest_allowed"]),
    case("any header will do", &[("-m str \"Bearer @TOKEN@\"", "-m beg \"Bearer \"")], &["wrong_credentials_accepted"]),
    case("the beginning is compared", &[("-m str", "-m beg")], &["altered_credentials_accepted"]),
    case("capitals will do", &[("-m str", "-i -m str")], &["credential_case_ignored"]),
    case(
        "HEAD is left out",
        &[(
            HAPROXY_DEMANDS,
            "http-request return status 200 if events METH_GET\n  http-request deny deny_status 401 if events !known",
        )],
        &["method_without_credentials"],
    ),
    case(
        "a slash behind it",
        &[(
            HAPROXY_DEMANDS,
            "http-request deny deny_status 401 if events !known\n  http-request set-path /v1/events if { path /v1/events/ }",
        )],
        &["path_without_credentials"],
    ),
    case(
        "capitals in the path",
        &[
            (
                "default_backend service",
                "use_backend twin if { path -i /v1/events } !events\n  default_backend service",
            ),
            (
                "http-request deny deny_status 404 if !events",
                "http-request deny deny_status 404 unless { path -i /v1/events }",
            ),
            (PARTS, "backend twin\n  http-request set-path /v1/events\n  server service @BACKEND@"),
        ],
        &["path_without_credentials"],
    ),
    case(
        "who says that he is inside is inside",
        &[(
            HAPROXY_DEMANDS,
            "http-request deny deny_status 401 if events !known !{ req.hdr_ip(x-forwarded-for) 127.0.0.0/8 }",
        )],
        &["spoofed_header_trusted"],
    ),
    case(
        "plain HTTP accepts",
        &[(PARTS, "frontend plain\n  bind 127.0.0.1:@PLAIN@\n  default_backend service")],
        &["insecure_transport"],
    ),
    case(
        "plain HTTP redirects",
        &[(PARTS, "frontend plain\n  bind 127.0.0.1:@PLAIN@\n  http-request redirect scheme https")],
        &["plaintext_redirected"],
    ),
    case(
        "TLS 1.0 and 1.1",
        &[
            ("ssl-min-ver TLSv1.2", "ssl-min-ver TLSv1.0"),
            ("ECDHE+AESGCM:ECDHE+CHACHA20", "ECDHE+AESGCM:ECDHE+AES:@SECLEVEL=0"),
        ],
        &["tls10_or_tls11_accepted"],
    ),
    case("an expired certificate", &[("@PEM@", "@EXPIRED-PEM@")], &["certificate_expired"]),
    case("nobody remembers events", &[("# what is taken", "http-request return status 202")], &["replay_not_detected"]),
    case(
        "no limit to the rate",
        &[(
            "http-after-response set-header RateLimit-Policy '\"events\";q=6000;w=60'",
            "http-after-response del-header RateLimit-Policy",
        )],
        &["rate_limit_not_seen"],
    ),
    case(
        "the certificate can be left out",
        &[("# certificates of clients", "ca-file @CA@ verify optional")],
        &["client_certificate_not_required"],
    ),
    case("certificates are demanded", &[("# certificates of clients", "ca-file @CA@ verify required")], &[]),
    case(
        "beside a certificate any header will do",
        &[
            ("# certificates of clients", "ca-file @CA@ verify required"),
            ("-m str \"Bearer @TOKEN@\"", "-m beg \"Bearer \""),
        ],
        &["wrong_credentials_accepted"],
    ),
];

#[test]
fn each_weakness_of_a_haproxy_makes_its_own_finding_and_no_other() -> Result<()> {
    let site = Site::new()?;
    each(HAPROXY_CASES, |case| {
        let edge = Edge::new(&site)?;
        let mut names = edge.names.clone();
        // HAProxy wants a certificate and its key in one file.
        for (name, certificate, key) in
            [("PEM", "CERTIFICATE", "KEY"), ("EXPIRED-PEM", "EXPIRED-CERTIFICATE", "EXPIRED-KEY")]
        {
            let read = |wanted: &str| -> Result<String> {
                let (_, path) = names.iter().find(|(name, _)| *name == wanted).context("no such file")?;
                Ok(fs::read_to_string(path)?)
            };
            let both = read(certificate)? + &read(key)?;
            let path = edge.folder.path().join(format!("{name}.pem"));
            gatepost_tests::pki::write(&path, both.as_bytes(), 0o600)?;
            names.push((name, path.display().to_string()));
        }
        let text = filled(HAPROXY, case, &names);
        let running = webserver::haproxy(edge.folder.path(), &text, &edge.listens(&text))?;
        edge.audit(&site, text.contains("ca-file"), &running)
    })
}

/// A sound Mosquitto in the cloud.
const MOSQUITTO: &str = "per_listener_settings true\n\
listener @TLS@ 127.0.0.1\n\
cafile @CA@\ncertfile @CERTIFICATE@\nkeyfile @KEY@\n\
allow_anonymous false\npassword_file @PASSWORDS@\n\
# further listeners\n";

/// A sound NATS in the cloud.
const NATS: &str = "listen: \"127.0.0.1:@CLIENTS@\"\nserver_name: cloud\n\
jetstream { store_dir: \"@FOLDER@/store\" }\n\
mqtt {\n  listen: \"127.0.0.1:@TLS@\"\n  tls { cert_file: \"@CERTIFICATE@\", key_file: \"@KEY@\" }\n}\n\
authorization { users: [ { user: gateway, password: @PASSWORD@ } ] }\n\
# more\n";

const PASSWORD: &str = "correct-horse-battery";

/// The agent's configuration for an edge that speaks MQTT.
fn mqtt(edge: &Edge, site: &Site, passwords: &Path, certificate: bool) -> Result<String> {
    gatepost_tests::pki::write(passwords, PASSWORD.as_bytes(), 0o600)?;
    let mut text = format!(
        "[ingest.mqtt]\naddress = \"{}\"\nplaintext = \"{}\"\nca_file = {:?}\nusername = \"gateway\"\n\
         password_file = {passwords:?}\n",
        edge.tls.address(),
        edge.plain.address(),
        site.pki.ca,
    );
    if certificate {
        let Identity { certificate, key } = &site.pki.gateway;
        text += &format!("client_certificate = {certificate:?}\nclient_key = {key:?}\n");
    }
    Ok(text)
}

#[test]
fn each_weakness_of_a_mosquitto_in_the_cloud_makes_its_own_finding_and_no_other() -> Result<()> {
    let cases = [
        case("sound", &[], &[]),
        case("anybody", &[("allow_anonymous false", "allow_anonymous true")], &["unauthenticated_ingest_allowed"]),
        case(
            "MQTT without TLS, for everybody",
            &[("# further listeners", "listener @PLAIN@ 127.0.0.1\nallow_anonymous true")],
            &["insecure_transport"],
        ),
        case(
            "MQTT without TLS, with a password",
            &[("# further listeners", "listener @PLAIN@ 127.0.0.1\nallow_anonymous false\npassword_file @PASSWORDS@")],
            &["mqtt_plaintext_listener"],
        ),
        case(
            "an expired certificate",
            &[("@CERTIFICATE@", "@EXPIRED-CERTIFICATE@"), ("@KEY@", "@EXPIRED-KEY@")],
            &["certificate_expired"],
        ),
        case(
            "certificates are demanded",
            &[("allow_anonymous false", "allow_anonymous false\nrequire_certificate true")],
            &[],
        ),
        case(
            "beside a certificate any password will do",
            &[("allow_anonymous false\npassword_file @PASSWORDS@", "allow_anonymous true\nrequire_certificate true")],
            &["wrong_credentials_accepted"],
        ),
        case(
            "the certificate can be left out",
            &[("allow_anonymous false", "# require_certificate\nallow_anonymous false")],
            &["client_certificate_not_required"],
        ),
    ];
    let site = Site::new()?;
    each(&cases, |case| {
        let edge = Edge::new(&site)?;
        let hashed = edge.folder.path().join("hashed");
        webserver::mosquitto_passwords(&hashed, "gateway", PASSWORD)?;
        let mut names = edge.names.clone();
        names.push(("PASSWORDS", hashed.display().to_string()));
        let text = filled(MOSQUITTO, case, &names);
        let plain = text.contains(&format!("listener {}", edge.plain.address().port()));
        let listens = [Some(&edge.tls), Some(&edge.plain).filter(|_| plain)].into_iter().flatten().collect::<Vec<_>>();
        let running = webserver::mosquitto(edge.folder.path(), &text, &listens)?;
        let certificate = text.contains("require_certificate");
        let ingest = mqtt(&edge, &site, &edge.folder.path().join("password"), certificate)?;
        audit(edge.folder.path(), &ingest).with_context(|| running.log())
    })
}

#[test]
fn each_weakness_of_a_nats_in_the_cloud_makes_its_own_finding_and_no_other() -> Result<()> {
    // Debian's NATS is built with a Go whose TLS does not know RFC 7627, which came with Go 1.21.
    let cases = [
        case("sound", &[], &["no_extended_master_secret"]),
        case(
            "anybody",
            &[("# more", "no_auth_user: gateway")],
            &["no_extended_master_secret", "unauthenticated_ingest_allowed"],
        ),
        case(
            "an expired certificate",
            &[("@CERTIFICATE@", "@EXPIRED-CERTIFICATE@"), ("@KEY@", "@EXPIRED-KEY@")],
            &["certificate_expired", "no_extended_master_secret"],
        ),
    ];
    let site = Site::new()?;
    each(&cases, |case| {
        let edge = Edge::new(&site)?;
        let clients = Port::reserve()?;
        let mut names = edge.names.clone();
        names.push(("CLIENTS", clients.address().port().to_string()));
        names.push(("PASSWORD", PASSWORD.to_owned()));
        let text = filled(NATS, case, &names);
        let running = webserver::nats(edge.folder.path(), &text, &[&edge.tls, &clients])?;
        let ingest = mqtt(&edge, &site, &edge.folder.path().join("password"), false)?;
        audit(edge.folder.path(), &ingest).with_context(|| running.log())
    })
}
