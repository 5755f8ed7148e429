//! The servers that the probe and the scanners of others are compared on: Debian's `openssl s_server` and Mosquitto, each
//! with another range of versions, list of suites, certificate, group or policy.
//!
//! What Debian's OpenSSL was built without comes from tlslite-ng, which is all Python: SSL 3.0, RC4, 3DES, no secure
//! renegotiation. EXPORT and compression nobody here can be made to do any more.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::agent::run;
use crate::pki::{self, Pki};
use crate::port::Port;
use crate::process::{LIMIT, Program, installed};
use crate::python;

/// The longest that making a key may take.
const KEYS: Duration = Duration::from_secs(60);

/// One server.
pub struct Server {
    /// Its name in the table.
    pub name: &'static str,
    /// Whether the ordinary test run looks at it.
    pub fast: bool,
    what: What,
}

enum What {
    /// `openssl s_server` with this key and these further arguments.
    OpenSsl(&'static str, &'static [&'static str]),
    /// Mosquitto with the lab's certificate (P-256) and these further lines.
    Mosquitto(&'static str),
    /// `tests/python/weak_tls_server.py` with an RSA key and this weakness.
    Tlslite(&'static str),
    /// `tests/python/hybrid_tls_server.py` with an RSA key.
    Hybrid,
}

/// With the key exchange groups of the newest OpenSSL, hybrid ones among them; not in the table, since the other scanners do not
/// know them.
pub const HYBRID: Server = Server { name: "the newest OpenSSL, hybrid groups", fast: true, what: What::Hybrid };

pub(super) const fn openssl(name: &'static str, key: &'static str, arguments: &'static [&'static str]) -> Server {
    Server { name, fast: false, what: What::OpenSsl(key, arguments) }
}

const fn mosquitto(name: &'static str, lines: &'static str) -> Server {
    Server { name, fast: false, what: What::Mosquitto(lines) }
}

pub(super) const fn tlslite(name: &'static str, weakness: &'static str) -> Server {
    Server { name, fast: false, what: What::Tlslite(weakness) }
}

const fn fast(server: Server) -> Server {
    Server { fast: true, ..server }
}

/// Every cipher that OpenSSL has, with no least strength.
const EVERYTHING: &str = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";

/// All of them.
pub const SERVERS: &[Server] = &[
    fast(mosquitto("mosquitto, as it is", "")),
    mosquitto("mosquitto, certificates required", "require_certificate true\n"),
    mosquitto("mosquitto, TLS 1.3 alone", "tls_version tlsv1.3\n"),
    mosquitto("mosquitto, TLS 1.2 and later, said so", "tls_version tlsv1.2\n"),
    mosquitto("mosquitto, one cipher", "ciphers ECDHE-ECDSA-AES256-GCM-SHA384\n"),
    mosquitto("mosquitto, everything", "ciphers ALL:COMPLEMENTOFALL:@SECLEVEL=0\n"),
    openssl("openssl, P-256 as it is", "p256", &[]),
    openssl("openssl, RSA as it is", "rsa", &[]),
    openssl("openssl, Ed25519", "ed25519", &[]),
    openssl("openssl, P-521", "p521", &[]),
    openssl("openssl, everything", "rsa", &["-cipher", EVERYTHING]),
    fast(openssl("openssl, TLS 1.0 alone", "rsa", &["-tls1", "-cipher", EVERYTHING])),
    openssl("openssl, TLS 1.1 alone", "rsa", &["-tls1_1", "-cipher", EVERYTHING]),
    openssl("openssl, TLS 1.2 alone", "rsa", &["-tls1_2"]),
    openssl("openssl, TLS 1.3 alone", "p256", &["-tls1_3"]),
    openssl("openssl, all but TLS 1.3", "rsa", &["-no_tls1_3", "-cipher", "ALL:@SECLEVEL=0"]),
    openssl("openssl, TLS 1.1 and 1.2", "rsa", &["-no_tls1_3", "-no_tls1", "-cipher", "AES:@SECLEVEL=0"]),
    openssl("openssl, NULL", "rsa", &["-tls1_2", "-cipher", "NULL:@SECLEVEL=0"]),
    fast(openssl("openssl, anonymous", "rsa", &["-tls1_2", "-cipher", "aNULL:@SECLEVEL=0"])),
    openssl("openssl, static RSA", "rsa", &["-tls1_2", "-cipher", "kRSA"]),
    fast(openssl("openssl, CBC alone", "rsa", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA256:AES128-SHA256"])),
    fast(openssl(
        "openssl, DH 1024",
        "rsa",
        &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=0", "-dhparam", "dh1024.pem"],
    )),
    openssl("openssl, DH as it is", "rsa", &["-tls1_2", "-cipher", "DHE-RSA-AES128-GCM-SHA256"]),
    openssl("openssl, P-384 alone", "rsa", &["-groups", "P-384"]),
    openssl("openssl, weak curves", "rsa", &["-groups", "P-192:P-224:P-256", "-cipher", "ALL:@SECLEVEL=0"]),
    openssl("openssl, brainpool", "rsa", &["-tls1_2", "-groups", "brainpoolP256r1:brainpoolP512r1"]),
    openssl("openssl, server's order", "rsa", &["-serverpref", "-cipher", "AES128-SHA:ECDHE+AESGCM"]),
    openssl("openssl, certificate required", "p256", &["-Verify", "1"]),
    openssl("openssl, certificate asked for", "p256", &["-verify", "1"]),
    openssl("openssl, no tickets", "p256", &["-no_ticket"]),
    openssl("openssl, ChaCha20 first", "rsa", &["-serverpref", "-prioritize_chacha"]),
    tlslite("tlslite, SSL 3.0", "ssl3"),
    tlslite("tlslite, RC4", "rc4"),
    tlslite("tlslite, 3DES", "3des"),
    tlslite("tlslite, no secure renegotiation", "no-secure-renegotiation"),
    tlslite("tlslite, no extended master secret", "no-extended-master-secret"),
    tlslite("tlslite, fallback taken", "no-fallback"),
    tlslite("tlslite, DH 1024", "dh1024"),
];

/// The keys and groups that the servers use, in one folder.
pub struct Keys {
    folder: PathBuf,
    pki: Pki,
}

impl Keys {
    /// Makes them in `folder`, which must not exist yet.
    ///
    /// # Errors
    /// When openssl(1) is not installed or does not make them.
    pub fn make(folder: &Path) -> Result<Self> {
        let pki = Pki::create(folder)?;
        let kinds: [(&str, &[&str]); 4] = [
            ("rsa", &["-newkey", "rsa:2048"]),
            ("p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            ("p521", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-521"]),
            ("ed25519", &["-newkey", "ed25519"]),
        ];
        for (name, options) in kinds {
            let mut command = Command::new(installed("openssl", "openssl")?);
            command.current_dir(folder).args(["req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost"]);
            command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]).args(options);
            command.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
            run(command, KEYS)?.expect_code(0).with_context(|| format!("no {name} certificate"))?;
        }
        let weak = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/tls/dh1024.pem");
        std::fs::copy(&weak, folder.join("dh1024.pem")).with_context(|| format!("cannot copy {}", weak.display()))?;
        Ok(Self { folder: folder.to_owned(), pki })
    }
}

/// A server that runs, until it is dropped.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    _port: Option<Port>,
    _program: Program,
}

impl Server {
    /// Starts it.
    ///
    /// # Errors
    /// When it does not come up; its log is in the error.
    pub fn start(&self, keys: &Keys) -> Result<Running> {
        let in_python = match &self.what {
            What::Tlslite(weakness) => Some(python_server(keys, "weak_tls_server.py", "tlslite", &[weakness])),
            What::Hybrid => Some(python_server(keys, "hybrid_tls_server.py", "hybrid", &[])),
            What::OpenSsl(..) | What::Mosquitto(_) => None,
        };
        if let Some(running) = in_python {
            return running.with_context(|| format!("{}: the server does not run", self.name));
        }
        let port = Port::reserve()?;
        let address = port.address();
        let (mut program, ready) = match &self.what {
            What::Tlslite(_) | What::Hybrid => bail!("it has been started above"),
            What::OpenSsl(key, further) => {
                let binary = installed("openssl", "openssl")?;
                let mut command = crate::process::command(&binary);
                // -www answers by itself; without it s_server ends with its standard input.
                command.current_dir(&keys.folder).args(["s_server", "-accept", &address.to_string(), "-www"]);
                command.args(["-cert", &format!("{key}.pem"), "-key", &format!("{key}.key")]).args(*further);
                (Program::start_command(&binary, command)?, "ACCEPT")
            }
            What::Mosquitto(lines) => {
                let configuration = keys.folder.join(format!("mosquitto-{}.conf", address.port()));
                let user = if nix::unistd::geteuid().is_root() { "user root\n" } else { "" };
                let identity = &keys.pki.broker;
                let text = format!(
                    "listener {} {}\nallow_anonymous true\nlog_dest stderr\n{user}cafile {}\ncertfile {}\nkeyfile {}\n{lines}",
                    address.port(),
                    address.ip(),
                    keys.pki.ca.display(),
                    identity.certificate.display(),
                    identity.key.display()
                );
                pki::write(&configuration, text.as_bytes(), 0o600)?;
                let binary = crate::mosquitto::broker()?;
                (Program::start(&binary, ["-c".as_ref(), configuration.as_os_str()])?, " running")
            }
        };
        program
            .wait_until("it listens", LIMIT, |lines| lines.iter().any(|line| line.ends_with(ready)))
            .with_context(|| format!("{}: the server does not run", self.name))?;
        Ok(Running { address, _port: Some(port), _program: program })
    }
}

/// It chooses its port itself: Python listens on it before it says which.
fn python_server(keys: &Keys, script: &str, environment: &str, further: &[&str]) -> Result<Running> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let python = python::environment(environment, &sources.join(environment).with_extension("txt"))?;
    let mut command = crate::process::command(&python);
    command.arg("-I").arg(sources.join(script));
    command.args([keys.folder.join("rsa.pem"), keys.folder.join("rsa.key")]).args(further);
    let mut program = Program::start_command(&python, command)?;
    let mut told = None;
    program.wait_until("it listens", LIMIT, |lines| {
        told = lines.iter().find_map(|line| {
            line.strip_prefix("stdout: listening on ").or(line.strip_prefix("listening on ")).map(str::to_owned)
        });
        told.is_some()
    })?;
    let port: u16 = told.context("it did not say where")?.parse().context("it does not say a port")?;
    Ok(Running { address: (Ipv4Addr::LOCALHOST, port).into(), _port: None, _program: program })
}
