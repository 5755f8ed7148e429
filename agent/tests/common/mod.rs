//! What the probes' tests look at: a real Mosquitto, TLS servers, and peers that misbehave. Loopback only, ephemeral ports.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener as StdListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gatepost::config::Config;
use gatepost::probe::wire::Limits;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A configuration that names nothing, over an empty root folder.
pub fn config(root: &Path) -> Config {
    let mut config = Config::default();
    config.state.directory = root.join("state");
    config.host.root = root.to_owned();
    config
}

/// Limits for peers that never answer; for all others they are as they are, so that a busy machine changes nothing.
pub fn short() -> Limits {
    let stage = Duration::from_millis(150);
    Limits { handshake: stage, answer: stage, ..Limits::default() }
}

/// A port of loopback on which nobody listens, and nobody will: it stays bound until the test ends.
pub fn closed_port() -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}

/// A port of loopback that nobody else is given until the test ends, and a server that sets `SO_REUSEADDR` can listen on.
pub fn held_port() -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    std::mem::forget(socket);
    port
}

/// A certificate authority.
pub struct Authority {
    pub pem: String,
    pub name: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Leaf {
    pub pem: String,
    pub der: CertificateDer<'static>,
    pub key: KeyPair,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, name: name.into(), issuer: Issuer::new(params, key) }
    }

    pub fn leaf(&self, names: &[&str], usage: ExtendedKeyUsagePurpose) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = Default::default();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf { pem: certificate.pem(), der: certificate.der().clone(), key }
    }

    pub fn server(&self) -> Leaf {
        self.leaf(&["localhost", "127.0.0.1"], ExtendedKeyUsagePurpose::ServerAuth)
    }

    pub fn client(&self, name: &str) -> Leaf {
        self.leaf(&[name], ExtendedKeyUsagePurpose::ClientAuth)
    }
}

/// A folder with an authority and a broker's and a client's certificate in files.
pub struct Pki {
    pub folder: tempfile::TempDir,
    pub authority: Authority,
}

impl Pki {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("the authority");
        let pki = Self { folder, authority };
        let (server, client) = (pki.authority.server(), pki.authority.client("gateway"));
        pki.write("ca.pem", &pki.authority.pem);
        pki.write("server.pem", &server.pem);
        pki.write("server.key", server.key.serialize_pem());
        pki.write("client.pem", &client.pem);
        pki.write("client.key", client.key.serialize_pem());
        pki
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The lines that make a Mosquitto listener one with TLS.
    pub fn tls_lines(&self) -> String {
        let path = |name| self.path(name).display().to_string();
        format!("certfile {}\nkeyfile {}\ncafile {}\n", path("server.pem"), path("server.key"), path("ca.pem"))
    }

    pub fn config(&self) -> Config {
        config(&self.path("root"))
    }
}

/// Debian's Mosquitto, stopped when dropped.
pub struct Mosquitto {
    child: Child,
    pub port: u16,
    pub configuration: PathBuf,
}

impl Mosquitto {
    /// Starts one listener on loopback, with `lines` about it. Returns once the broker says that it runs.
    pub fn start(folder: &Path, lines: &str) -> Self {
        loop {
            // Mosquitto takes no port 0, and another process may take the port before it does.
            let free = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            match Self::start_on(free, folder, lines) {
                Err(said) if said.contains("Address already in use") => {}
                other => return other.unwrap_or_else(|said| panic!("mosquitto did not start: {said}")),
            }
        }
    }

    fn start_on(port: u16, folder: &Path, lines: &str) -> Result<Self, String> {
        let configuration = folder.join(format!("mosquitto-{port}.conf"));
        let text = format!("user root\nlog_dest stderr\nlog_type all\nlistener {port} 127.0.0.1\n{lines}");
        std::fs::write(&configuration, text).unwrap();
        let mut child = Command::new("mosquitto").arg("-c").arg(&configuration).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains(" running") {
            if log.read_line(&mut said).unwrap() == 0 {
                let _ = child.wait();
                return Err(said);
            }
        }
        // It must not block on a full pipe.
        std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
        Ok(Self { child, port, configuration })
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a misbehaving peer does with each connection.
#[derive(Clone, Copy)]
pub enum Manner {
    /// Accepts and says nothing.
    Hang,
    /// Says this, as soon as anything was said to it, and then nothing.
    Say(&'static [u8]),
    /// Closes as soon as anything was said to it.
    Close,
}

/// A peer with bad manners; its address.
pub async fn peer(manner: Manner) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = [0; 4096];
            match manner {
                Manner::Hang => kept.push(stream),
                Manner::Say(bytes) => {
                    let _ = stream.read(&mut heard).await;
                    let _ = stream.write_all(bytes).await;
                    kept.push(stream);
                }
                Manner::Close => {
                    let _ = stream.read(&mut heard).await;
                }
            }
        }
    });
    address
}

/// The configuration of a TLS server that shows `leaf`; with `clients` it demands a certificate from that authority.
pub fn server_config(
    leaf: &Leaf,
    clients: Option<&Authority>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> rustls::ServerConfig {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf.key.serialize_der()));
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions).unwrap();
    let builder = match clients {
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
        None => builder.with_no_client_auth(),
    };
    // Not `with_single_cert`, which would not serve a certificate with a key that is not its own.
    let shown = rustls::sign::CertifiedKey::new(vec![leaf.der.clone()], key);
    builder.with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)))
}

/// A TLS server that completes handshakes, hears something and closes; its address.
pub async fn tls_server(config: rustls::ServerConfig) -> String {
    http_edge(Some(config), |_| String::new()).await.address
}

/// An HTTP server and what it heard.
pub struct Edge {
    pub address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Edge {
    /// The requests, head and body.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// An HTTP server, over TLS with `config`, that answers each request as `respond` says.
pub async fn http_edge(config: Option<rustls::ServerConfig>, respond: fn(&str) -> String) -> Edge {
    let acceptor = config.map(|config| TlsAcceptor::from(Arc::new(config)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, log) = (acceptor.clone(), log.clone());
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            converse(stream, respond, &log).await;
                        }
                    }
                    None => converse(stream, respond, &log).await,
                }
            });
        }
    });
    Edge { address, heard }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    respond: fn(&str) -> String,
    log: &Mutex<Vec<String>>,
) {
    let mut request = String::new();
    loop {
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(count) if count > 0 => request.push_str(&String::from_utf8_lossy(&chunk[..count])),
            _ => break,
        }
        let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        match request.split_once("\r\n\r\n") {
            Some((_, body)) if body.len() >= length.unwrap_or(0) => break,
            _ => {}
        }
    }
    let answer = respond(&request);
    log.lock().unwrap().push(request);
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
}
