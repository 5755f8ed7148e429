//! A gateway in a network of its own, the road from there to the cloud, and the cloud with what a gateway needs there.
//!
//! ```text
//!   gateway              road                      cloud
//!   up0  10.77.0.2 ────── 10.77.0.1   10.99.1.1 ────── 10.99.1.2
//!   up1  10.78.0.2 ────── 10.78.0.1                    10.99.0.1    edge.test: nginx, 443 and 80
//!   site0 10.79.0.2 ───── 10.79.0.1                    10.99.0.2    sink.test: gatepost-sink, 8443
//!   wg0  10.80.0.2 ────── 10.80.0.1                    10.99.0.53, .54    dnsmasq
//!                                                      10.99.0.123, .124, .125    time
//! ```
//!
//! The gateway has two default routes, by up0 and, with a higher metric, by up1; to the cloud itself leads a route by site0, so that
//! ways out can be broken without the cloud being away. As it is made nothing is wrong with it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Namespace, connect};
use crate::agent::{Finished, run};
use crate::clock::Clock;
use crate::pki::{self, Identity, Leaf, Pki};
use crate::process::{LIMIT, Program, built, installed};

/// The ingest edge.
pub const EDGE: &str = "10.99.0.1";
/// The sink.
pub const SINK: &str = "10.99.0.2";
/// Name servers.
pub const RESOLVERS: [&str; 2] = ["10.99.0.53", "10.99.0.54"];
/// Time servers.
pub const TIME: [&str; 3] = ["10.99.0.123", "10.99.0.124", "10.99.0.125"];
/// The first name server's answers: what the gateway asks for exists, and nothing does below `invalid`.
pub const HONEST: [&str; 3] = ["--address=/edge.test/10.99.0.1", "--address=/sink.test/10.99.0.2", "--local=/invalid/"];

/// The three networks and what runs there, until it is dropped.
pub struct Site {
    /// The gateway.
    pub gateway: Namespace,
    /// What lies between.
    pub road: Namespace,
    /// The cloud.
    pub cloud: Namespace,
    /// Certificates of the cloud.
    pub pki: Pki,
    folder: tempfile::TempDir,
    /// What runs, by what it is.
    running: Vec<(String, Program)>,
    sink: PathBuf,
    /// What programs that look at the clock have in their environment.
    clock: Vec<(OsString, OsString)>,
}

impl Site {
    /// Makes it.
    ///
    /// # Errors
    /// When the caller is not root, a program is missing, or one does not come up.
    pub fn make() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let pki = Pki::create(&folder.path().join("pki"))?;
        let (gateway, road, cloud) = (Namespace::make("gw")?, Namespace::make("road")?, Namespace::make("cloud")?);
        connect((&gateway, "up0", "10.77.0.2/24"), (&road, "down0", "10.77.0.1/24"))?;
        connect((&gateway, "up1", "10.78.0.2/24"), (&road, "down1", "10.78.0.1/24"))?;
        connect((&gateway, "site0", "10.79.0.2/24"), (&road, "down2", "10.79.0.1/24"))?;
        connect((&gateway, "wg0", "10.80.0.2/24"), (&road, "down3", "10.80.0.1/24"))?;
        connect((&road, "far0", "10.99.1.1/24"), (&cloud, "near0", "10.99.1.2/24"))?;
        road.sysctl("net.ipv4.ip_forward", "1")?;
        road.ip(&["route", "add", "10.99.0.0/24", "via", "10.99.1.2"])?;
        cloud.ip(&["route", "add", "default", "via", "10.99.1.1"])?;
        for address in [EDGE, SINK].iter().chain(&RESOLVERS).chain(&TIME) {
            cloud.ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
        let site = Self {
            gateway,
            road,
            cloud,
            pki,
            sink: folder.path().join("sink"),
            folder,
            running: vec![],
            clock: vec![],
        };
        site.settle()?;
        Ok(site)
    }

    /// From now on agent, sink and time servers are started under `clock`.
    pub fn turn_by(&mut self, clock: &Clock) {
        self.clock = clock.variables();
    }

    /// The gateway as it should be.
    fn settle(&self) -> Result<()> {
        let gateway = &self.gateway;
        gateway.ip(&["route", "add", "default", "via", "10.77.0.1", "metric", "100"])?;
        gateway.ip(&["route", "add", "default", "via", "10.78.0.1", "metric", "200"])?;
        gateway.ip(&["route", "add", "10.99.0.0/24", "via", "10.79.0.1"])?;
        gateway.resolvers(&RESOLVERS)?;
        // A gateway that passes packets on, and looks where they come from; routes come from nobody.
        gateway.sysctl("net.ipv4.ip_forward", "1")?;
        gateway.sysctl("net.ipv4.conf.all.rp_filter", "0")?;
        for interface in ["up0", "up1", "site0", "wg0"] {
            gateway.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "2")?;
            gateway.sysctl(&format!("net.ipv6.conf.{interface}.accept_ra"), "0")?;
        }
        Ok(())
    }

    /// Starts everything that the cloud has but the sink.
    ///
    /// # Errors
    /// When something does not come up.
    pub fn serve(&mut self) -> Result<()> {
        for server in RESOLVERS {
            self.name_server(server, &HONEST)?;
        }
        for server in TIME {
            self.time_server(server, &["0", "2", "0"])?;
        }
        let edge = self.certificate("edge", "edge.test")?;
        self.edge(&edge)
    }

    /// A certificate of the cloud's CA for `name`, in files called `file`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn certificate(&self, file: &str, name: &str) -> Result<Identity> {
        self.pki.issue(file, &leaf(name, &[name]))
    }

    /// The same of an authority that nobody knows.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn foreign_certificate(&self, file: &str, name: &str) -> Result<Identity> {
        pki::foreign(self.folder.path(), file, &leaf(name, &[name]))
    }

    /// Runs nginx as the ingest edge, with this certificate: 404 for everything on 443, and to there from port 80.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn edge(&mut self, identity: &Identity) -> Result<()> {
        let servers = format!(
            "server {{ listen {EDGE}:443 ssl; ssl_certificate {}; ssl_certificate_key {}; return 404; }}\n\
             server {{ listen {EDGE}:80; return 301 https://edge.test/; }}",
            identity.certificate.display(),
            identity.key.display()
        );
        self.nginx("edge", false, &servers)
    }

    /// Runs nginx with these servers, in the cloud or on the road, in place of what ran under this name.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn nginx(&mut self, name: &str, on_the_road: bool, servers: &str) -> Result<()> {
        self.end(name);
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder)?;
        let place = folder.display();
        let text = format!(
            "worker_processes 1;\ndaemon off;\nmaster_process off;\nerror_log stderr notice;\npid {place}/nginx.pid;\n\
             events {{ worker_connections 128; }}\nhttp {{\n  access_log off;\n  client_body_temp_path {place}/body;\n  \
             proxy_temp_path {place}/proxy;\n  fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  \
             scgi_temp_path {place}/scgi;\n{servers}\n}}\n"
        );
        let file = folder.join("nginx.conf");
        pki::write(&file, text.as_bytes(), 0o600)?;
        let binary = installed("nginx", "nginx-light")?;
        let namespace = if on_the_road { &self.road } else { &self.cloud };
        let mut program =
            namespace.start(&binary, &["-p", text_of(&folder)?, "-c", text_of(&file)?, "-e", "stderr"])?;
        // It says so when its sockets listen.
        program
            .wait_until("it serves", LIMIT, |lines| lines.iter().any(|line| line.contains("using the \"epoll\"")))?;
        self.running.push((name.to_owned(), program));
        Ok(())
    }

    /// Runs dnsmasq at `address` with further `options`, in place of what ran there.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn name_server(&mut self, address: &str, options: &[&str]) -> Result<()> {
        self.end(address);
        let listen = format!("--listen-address={address}");
        let mut arguments = vec![
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=root",
            "--pid-file=",
            "--log-facility=-",
            &listen,
        ];
        arguments.extend(options);
        let mut program = self.cloud.start(&installed("dnsmasq", "dnsmasq-base")?, &arguments)?;
        program.wait_until("it serves", LIMIT, |lines| lines.iter().any(|line| line.contains("started, version")))?;
        self.running.push((address.to_owned(), program));
        Ok(())
    }

    /// Runs a time server at `address`: seconds ahead, stratum, leap indicator, and a word if it sends one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn time_server(&mut self, address: &str, how: &[&str]) -> Result<()> {
        self.far_side(address, &[&["sntp", address], how].concat())
    }

    /// Runs `tests/python/far_side.py` in the cloud with these arguments, in place of what ran under this name.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn far_side(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        self.end(name);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/far_side.py");
        let arguments = [&["-I", text_of(&script)?], arguments].concat();
        let python = installed("python3", "python3")?;
        let mut command = self.cloud.command(&python);
        command.args(arguments).envs(self.clock.iter().cloned());
        let mut program = Program::start_command(&python, command)?;
        program.wait_until("it serves", LIMIT, |lines| lines.iter().any(|line| line == "ready"))?;
        self.running.push((name.to_owned(), program));
        Ok(())
    }

    /// Ends what runs under this name.
    pub fn end(&mut self, name: &str) {
        self.running.retain(|(known, _)| known != name);
    }

    /// Starts the sink.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_sink(&mut self) -> Result<()> {
        let identity = self.certificate("sink-in-the-cloud", "sink.test")?;
        self.end("sink");
        std::fs::create_dir_all(&self.sink)?;
        let address_file = self.sink.join("address");
        let _ = std::fs::remove_file(&address_file);
        let binary = built("gatepost-sink")?;
        let mut command = self.cloud.command(&binary);
        command.args(["serve", "--listen", &format!("{SINK}:8443"), "--data"]).arg(self.sink.join("data"));
        command.arg("--tls-cert").arg(&identity.certificate).arg("--tls-key").arg(&identity.key);
        command.arg("--address-file").arg(&address_file).envs(self.clock.iter().cloned());
        let mut program = Program::start_command(&binary, command)?;
        program.wait_until("it wrote its address", LIMIT, |_| {
            std::fs::read_to_string(&address_file).is_ok_and(|text| text.contains(":8443"))
        })?;
        self.running.push(("sink".to_owned(), program));
        Ok(())
    }

    /// A one-time token of the sink.
    ///
    /// # Errors
    /// When the sink's command does not succeed.
    pub fn enrolment_token(&self) -> Result<String> {
        let mut command = self.cloud.command(&built("gatepost-sink")?);
        command.args(["token", "create", "--data"]).arg(self.sink.join("data"));
        command.envs(self.clock.iter().cloned());
        Ok(run(command, LIMIT)?.expect_code(0)?.stdout.trim().to_owned())
    }

    /// The agent's configuration, with its state in a folder of this name; `more` follows it.
    #[must_use]
    pub fn configuration(&self, state: &str, more: &str) -> String {
        format!(
            "[state]\ndirectory = {:?}\n[ingest]\nurl = \"https://edge.test/v1/events\"\nca_file = {:?}\n[link]\n\
             time_servers = {TIME:?}\ntunnels = [\"wg0\"]\n{more}",
            self.folder.path().join(state),
            self.pki.ca
        )
    }

    /// `[sink]` of the agent's configuration.
    #[must_use]
    pub fn sink_configuration(&self) -> String {
        format!("[sink]\nurl = \"https://sink.test:8443\"\nca_file = {:?}\n", self.pki.ca)
    }

    /// Runs the agent in the gateway.
    ///
    /// # Errors
    /// When it does not start or end.
    pub fn agent(&self, configuration: &str, arguments: &[&str]) -> Result<Finished> {
        let file = self.folder.path().join("gatepost.toml");
        pki::write(&file, configuration.as_bytes(), 0o600)?;
        let mut command = self.gateway.command(&built("gatepost")?);
        command.args(arguments).arg("--config").arg(&file);
        command.envs(self.clock.iter().cloned());
        run(command, LIMIT * 3).with_context(|| format!("gatepost {}", arguments.join(" ")))
    }

    /// Lets the agent look at the link, and gives its report.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn look(&self, configuration: &str) -> Result<Value> {
        self.agent(configuration, &["audit", "--bundle", "uplink", "--format", "json"])?.json()
    }

    /// The observation of the run that was made last.
    ///
    /// # Errors
    /// When there is none.
    pub fn observation(&self, configuration: &str) -> Result<Value> {
        let envelope = self.agent(configuration, &["show", "--envelope"])?.expect_code(0)?.json()?;
        let payload: gatepost_evidence::look::Bytes = serde_json::from_value(envelope["payload"].clone())?;
        let statement: Value = serde_json::from_slice(&payload.0)?;
        Ok(statement["predicate"]["records"][0]["observation"].clone())
    }

    /// Its folder, for further files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn leaf<'a>(name: &'a str, names: &'a [&'a str]) -> Leaf<'a> {
    Leaf { common_name: name, names, usages: &[rcgen::ExtendedKeyUsagePurpose::ServerAuth], from_day: -1, to_day: 90 }
}

fn text_of(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}
