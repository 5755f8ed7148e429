//! Who gets in where: every route that is there, and what the answers carry.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{FORM, Field, Sink, State};
use gatepost_evidence::id::Digest;
use gatepost_evidence::tombstone::Cause;
use gatepost_evidence::wire::Answer;
use gatepost_sink::places::PER_CLIENT;
use gatepost_sink::routes::{Access, table};
use gatepost_sink::serve::{Options, start};

fn path(template: &str, field: &Field, tombstone: Digest) -> String {
    let path = template.replace("{id}", &field.id().to_string()).replace("{seq}", "1");
    path.replace("{digest}", &tombstone.to_string())
}

/// A gateway with one run and one that is gone; gives the tombstone's digest.
fn with_a_tombstone(sink: &Sink, field: &mut Field) -> Digest {
    let runs = field.runs(&[State::Hardened; 2]);
    sink.accept(&runs[..1]);
    sink.judged(&field.path("/runs/1"));
    let tombstone = field.tombstone(&runs, 2, 2, Cause::NoRoom).sign(&field.key).unwrap().to_json();
    match &sink.upload_lines(&[tombstone]).answers()[0] {
        Answer::Accepted { digest, .. } => *digest,
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn every_route_but_the_open_ones_needs_the_operator() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let tombstone = with_a_tombstone(&sink, &mut field);
    let wrong = [
        vec![],
        vec![("authorization", "Bearer wrong".to_owned())],
        vec![("authorization", "Bearer ".to_owned())],
        vec![("authorization", sink.operator())],
        vec![("authorization", format!("Basic {}", sink.operator()))],
        vec![("cookie", "gatepost=".to_owned())],
        vec![("cookie", "gatepost=wrong".to_owned())],
        vec![("cookie", format!("gatepost={}", sink.operator()))],
    ];
    let mut seen = 0;
    for route in table() {
        let path = path(route.path, &field, tombstone);
        for headers in &wrong {
            let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let reply = match route.method {
                "GET" => sink.get_with(&path, &headers),
                _ => sink.post_with(&path, &headers, b"{\"seq\":1}"),
            };
            let what = format!("{} {path} with {headers:?}: {}", route.method, reply.text());
            match route.access {
                Access::Api => {
                    assert_eq!((reply.status, reply.reason().as_str()), (401, "unauthorized"), "{what}");
                    assert_eq!(reply.headers["www-authenticate"], "Bearer");
                }
                Access::Page => {
                    assert_eq!(reply.status, 303, "{what}");
                    assert!(reply.headers["location"].starts_with("/sign-in?next=/"), "{what}");
                    assert!(reply.body.is_empty(), "{what}");
                }
                Access::Open => assert!(!reply.text().contains(&field.id().to_string()), "{what}"),
            }
            assert!(!reply.text().contains("pump-house"), "{what}");
        }
        seen += usize::from(route.access != Access::Open);
    }
    assert!(seen >= 14, "the table was walked: {seen}");
    let open: Vec<_> = table().iter().filter(|route| route.access == Access::Open).map(|route| route.path).collect();
    let log = ["/v1/log/checkpoint", "/v1/log/consistency", "/v1/log/inclusion"];
    assert_eq!(open[..2], ["/v1/enrol", "/v1/runs"]);
    assert_eq!(open[2..5], log);
    assert_eq!(open[5..], ["/healthz", "/style.css", "/sign-in", "/sign-in"]);
    assert!(sink.get(&field.path("")).json()["baseline"].is_null(), "nothing was promoted by any of that");
}

#[test]
fn the_operator_gets_in_everywhere() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    let tombstone = with_a_tombstone(&sink, &mut field);
    assert_eq!(sink.post(&field.path("/baseline"), &serde_json::json!({"seq": 1})).status, 200);
    let cookie = sink.sign_in();
    for route in table().iter().filter(|route| route.method == "GET" && route.access != Access::Open) {
        let path = path(route.path, &field, tombstone);
        if route.access == Access::Api {
            assert_eq!(sink.get(&path).status, 200, "{path}");
        }
        // A session may read the API too: the pages link to envelopes.
        assert_eq!(sink.page(&path, &cookie).status, 200, "{path}");
    }
    // But it may not change anything through it.
    let reply = sink.post_with(&field.path("/baseline"), &[("cookie", &cookie)], b"{\"seq\":1}");
    assert_eq!(reply.status, 401);
}

#[test]
fn signing_in_and_out() {
    let sink = Sink::start();
    let wrong = sink.post_with("/sign-in", FORM, b"token=wrong&next=/");
    assert_eq!(wrong.status, 401);
    assert!(!wrong.headers.contains_key("set-cookie"));
    assert!(wrong.text().contains("Not this sink"));

    let body = format!("token={}&next=//evil.example", sink.operator());
    let right = sink.post_with("/sign-in", FORM, body.as_bytes());
    assert_eq!((right.status, right.headers["location"].as_str()), (303, "/"));
    let cookie = right.headers["set-cookie"].clone();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&sink.operator()));
    let cookie = cookie.split(';').next().unwrap();

    let page = sink.page("/", cookie).text();
    let token = page.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let headers = [("cookie", cookie), FORM[0]];
    assert_eq!(sink.post_with("/sign-out", &headers, b"form_token=wrong").status, 403);
    assert_eq!(sink.page("/", cookie).status, 200, "still signed in");
    assert_eq!(sink.post_with("/sign-out", &headers, format!("form_token={token}").as_bytes()).status, 303);
    assert_eq!(sink.page("/", cookie).status, 303, "signed out");
}

#[test]
fn promoting_by_a_page_needs_the_sessions_form_token() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Exposed]));
    sink.judged(&field.path("/runs/1"));
    let (cookie, other) = (sink.sign_in(), sink.sign_in());
    let page = format!("/gateways/{}", field.id());
    let token_of = |cookie: &str| {
        let html = sink.page(&page, cookie).text();
        html.split("name=\"form_token\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let send = |token: &str| {
        let headers = [("cookie", cookie.as_str()), FORM[0]];
        sink.post_with(&format!("{page}/baseline"), &headers, format!("form_token={token}&seq=1").as_bytes())
    };
    assert_eq!(send("").status, 403);
    assert_eq!(send(&token_of(&other)).status, 403, "another session's token");
    assert!(sink.get(&field.path("")).json()["baseline"].is_null());
    let sent = send(&token_of(&cookie));
    assert_eq!((sent.status, sent.headers["location"].as_str()), (303, page.as_str()));
    assert_eq!(sink.get(&field.path("")).json()["baseline"]["seq"], 1);
}

#[test]
fn every_answer_carries_the_protecting_headers() {
    let sink = Sink::start();
    let mut field = Field::enrolled(1, &sink);
    sink.accept(&field.runs(&[State::Exposed]));
    sink.judged(&field.path("/runs/1"));
    let cookie = sink.sign_in();
    let report = format!("/gateways/{}/report", field.id());
    for path in ["/", "/sign-in", "/style.css", "/healthz", "/nothing", "/api/v1/gateways", report.as_str()] {
        let reply = sink.page(path, &cookie);
        let policy = &reply.headers["content-security-policy"];
        assert!(
            policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{path}: {policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{path}: {policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{path}");
        assert!(reply.headers.contains_key("referrer-policy"), "{path}");
    }
    let report = sink.page(&report, &cookie).text();
    for external in ["<script", "<link", "src=", "@import", "url("] {
        assert!(!report.contains(external), "the report loads nothing: {external}");
    }
}

#[test]
fn one_client_with_many_connections_does_not_starve_the_others() {
    let sink = Sink::start();
    let address = sink.running().address();
    // Each is answered once, so that it is known to have its place.
    let held: Vec<_> = (0..PER_CLIENT).map(|_| answered(address)).collect();
    let mut beyond = std::net::TcpStream::connect(address).unwrap();
    assert!(!exchange(&mut beyond).contains("HTTP/"), "hung up on");
    let another = sink.runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    another.set_nonblocking(false).unwrap();
    assert!(exchange(&mut &another).starts_with("HTTP/1.1 303"));
    drop(held);
}

#[test]
fn plaintext_is_for_loopback_only() {
    let sink = Sink::start();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let options = Options { listen: address.parse().unwrap(), ..sink.options() };
        let _in = sink.runtime.enter();
        let error = start(&options).map(drop).unwrap_err();
        assert!(error.to_string().contains("--tls-cert"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let mut sink = Sink::start();
    sink.stop();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (sink.folder.path().join("cert.pem"), sink.folder.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let other = sink.folder.path().join("other.pem");
    std::fs::write(&other, rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    {
        let _in = sink.runtime.enter();
        let options = Options { tls: Some((certificate.clone(), other)), ..sink.options() };
        let error = start(&options).map(drop).unwrap_err().to_string();
        assert!(error.contains("other.pem") && error.contains("not the key of"), "{error}");
        let options = Options { tls: Some((certificate, key)), ..sink.options() };
        sink.running = Some(start(&options).unwrap());
    }
    let address = sink.running().address();
    assert!(sink.running().url().starts_with("https://"));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut session = rustls::ClientConnection::new(std::sync::Arc::new(client), name).unwrap();
    let mut socket = std::net::TcpStream::connect(address).unwrap();
    let mut stream = rustls::Stream::new(&mut session, &mut socket);
    let answer = exchange(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(answer.contains("strict-transport-security"), "{answer}");

    let mut plain = std::net::TcpStream::connect(address).unwrap();
    let answer = exchange(&mut plain);
    assert!(!answer.contains("HTTP/"), "{answer:?}");
}

/// A connection that was answered and stays open.
fn answered(address: std::net::SocketAddr) -> std::net::TcpStream {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    stream
}

fn exchange(stream: &mut (impl std::io::Read + std::io::Write)) -> String {
    let sent = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let _ = sent.and_then(|()| stream.read_to_end(&mut answer).map(drop));
    String::from_utf8_lossy(&answer).into_owned()
}
