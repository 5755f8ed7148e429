//! Docker, from its socket's mode, its configuration and what its daemon keeps of each container; of other engines the
//! sockets. None is asked: whoever may ask one may also command it.

use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::FileState;
use gatepost_evidence::check::host_guardrails::containers::{Container, Docker};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use serde_json::Value;

use super::root::Root;
use super::{if_there, shorten};

/// The most containers that are recorded.
pub const MAX_CONTAINERS: usize = 200;
/// Where Docker keeps everything, unless it is told another place.
const DATA: &str = "/var/lib/docker";
const SOCKET: &str = "/run/docker.sock";
const PID: &str = "/run/docker.pid";
const DAEMON: &str = "/etc/docker/daemon.json";

/// What is to be seen of Docker.
#[must_use]
pub fn docker(root: &Root) -> Docker {
    let socket = Path::new(SOCKET);
    let words = command_line(root);
    let settings = words.clone().and_then(|words| Ok(Settings { file: configuration(root, &words)?, words }));
    let tls_verify = settings.as_ref().is_ok_and(|settings| {
        settings.file.get("tlsverify").and_then(Value::as_bool) == Some(true)
            || settings.words.iter().any(|word| word == "--tlsverify" || word == "--tlsverify=true")
    });
    Docker {
        socket: root.state(socket).map(|state| state.as_evidence(socket)).into(),
        hosts: settings.as_ref().map(Settings::hosts).map_err(Clone::clone).into(),
        tls_verify,
        containers: settings.and_then(|settings| containers(root, &settings)).into(),
        other_sockets: Some(other_sockets(root)),
    }
}

/// Where other engines take their orders.
const OTHERS: [&str; 4] = [
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
    "/run/crio/crio.sock",
    "/run/k3s/containerd/containerd.sock",
];

/// The sockets that are there. A folder that hides them hides them from everyone, so what cannot be seen is told.
fn other_sockets(root: &Root) -> Vec<Look<FileState>> {
    let looks = OTHERS.iter().map(Path::new).map(|path| root.state(path).map(|state| state.as_evidence(path)));
    let absent = |failure: &Failure| failure.kind == FailureKind::NotFound;
    looks.filter(|look| !look.as_ref().is_err_and(absent)).map(Look::from).collect()
}

/// What the daemon was told: the words of its command line, and its configuration.
struct Settings {
    words: Vec<String>,
    file: Value,
}

/// The words of the daemon's command line; none where it does not run.
fn command_line(root: &Root) -> Result<Vec<String>, Failure> {
    let Some(id) = if_there(root.word(Path::new(PID)))?.filter(|id| id.parse::<u32>().is_ok()) else {
        return Ok(Vec::new());
    };
    let text = if_there(root.read_text(&Path::new("/proc").join(&id).join("cmdline")))?.unwrap_or_default();
    let words: Vec<_> = text.split('\0').take(100).map(str::to_owned).collect();
    // One that was killed leaves its file, and its number goes to somebody else.
    let docker = words.first().is_some_and(|program| Path::new(program).ends_with("dockerd"));
    Ok(if docker { words } else { Vec::new() })
}

/// The file of `--config-file`, or Docker's own; null where it is not there.
fn configuration(root: &Root, words: &[String]) -> Result<Value, Failure> {
    let path = option(words, None, "--config-file").pop().unwrap_or_else(|| DAEMON.to_owned());
    let Some(text) = if_there(root.read_text(Path::new(&path)))? else { return Ok(Value::Null) };
    let odd = |error| Failure::new(FailureKind::Unparseable, format_args!("{}: {error}", shorten(&path)));
    serde_json::from_str(&text).map_err(odd)
}

/// The values of an option: `--host value`, `--host=value`, and with a letter `-H value`, `-H=value`, `-Hvalue`.
fn option(words: &[String], letter: Option<&str>, long: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let behind = match letter.and_then(|letter| word.strip_prefix(letter)) {
            Some(rest) => Some(rest),
            None => word.strip_prefix(long).filter(|rest| rest.is_empty() || rest.starts_with('=')),
        };
        match behind {
            Some("") => found.extend(words.get(index + 1).cloned()),
            Some(value) => found.push(value.strip_prefix('=').unwrap_or(value).to_owned()),
            None => {}
        }
    }
    found
}

impl Settings {
    fn text(&self, name: &str) -> Option<&str> {
        self.file.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// Where the daemon takes orders.
    fn hosts(&self) -> Vec<String> {
        let listed = self.file.get("hosts").and_then(Value::as_array);
        let mut hosts: Vec<String> = listed.into_iter().flatten().filter_map(Value::as_str).map(shorten).collect();
        hosts.extend(option(&self.words, Some("-H"), "--host").iter().map(|host| shorten(host)));
        hosts.truncate(20);
        hosts
    }

    /// The folders of the containers. Docker's own may be on a disk of its own (`graph` was its name before), and where users are
    /// mapped they are below that one alone, by the numbers that root has (`userns-remap`).
    fn folders(&self, root: &Root) -> Result<Vec<PathBuf>, Failure> {
        let told = option(&self.words, Some("-g"), "--data-root").pop();
        let told = told.or_else(|| option(&self.words, None, "--graph").pop()).filter(|told| !told.is_empty());
        let told = told.as_deref().or_else(|| self.text("data-root")).or_else(|| self.text("graph"));
        let data = Path::new(told.unwrap_or(DATA));
        if !data.is_absolute() {
            let words = format_args!(
                "Docker keeps its data in {}, below a folder that it was started in",
                shorten(&data.display().to_string())
            );
            return Err(Failure::new(FailureKind::Error, words));
        }
        if self.text("userns-remap").is_some() || !option(&self.words, None, "--userns-remap").is_empty() {
            let numbers =
                |name: &String| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
            let names = root.list(data)?;
            let folders: Vec<_> =
                names.iter().filter(|name| numbers(name)).map(|name| data.join(name).join("containers")).collect();
            let none = || Failure::new(FailureKind::Error, "Docker maps users, and has no folder of their numbers");
            return if folders.is_empty() { Err(none()) } else { Ok(folders) };
        }
        Ok(vec![data.join("containers")])
    }
}

fn containers(root: &Root, settings: &Settings) -> Result<Vec<Container>, Failure> {
    let mut found = Vec::new();
    for folder in settings.folders(root)? {
        let names = match root.list(&folder) {
            // The daemon makes it when it starts.
            Err(failure) if failure.kind == FailureKind::NotFound && root.exists(Path::new(SOCKET))? => {
                let words =
                    format_args!("Docker's socket is there, and {} is not", shorten(&folder.display().to_string()));
                return Err(Failure::new(FailureKind::Error, words));
            }
            names => names?,
        };
        for id in names {
            let read = |name: &str| -> Result<Option<Value>, Failure> {
                let path = folder.join(&id).join(name);
                let Some(text) = if_there(root.read_text(&path))? else { return Ok(None) };
                serde_json::from_str(&text).map(Some).map_err(|error| {
                    Failure::new(FailureKind::Unparseable, format_args!("{}: {error}", path.display()))
                })
            };
            // One that is being made or removed has not both.
            let (Some(state), Some(host)) = (read("config.v2.json")?, read("hostconfig.json")?) else { continue };
            found.push(container(&state, &host));
            if found.len() > MAX_CONTAINERS {
                return Err(Failure::new(
                    FailureKind::TooLarge,
                    format_args!("there are more than {MAX_CONTAINERS} containers"),
                ));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Nothing of a container's environment or arguments is kept: they often hold passwords.
fn container(state: &Value, host: &Value) -> Container {
    let text =
        |value: &Value, pointer: &str| shorten(value.pointer(pointer).and_then(Value::as_str).unwrap_or_default());
    let yes = |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_bool) == Some(true);
    let list = |pointer: &str| -> Vec<String> {
        let items = host.pointer(pointer).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).take(50).map(shorten).collect()
    };
    let mut binds = list("/Binds");
    for mount in host.pointer("/Mounts").and_then(Value::as_array).into_iter().flatten().take(50) {
        if text(mount, "/Type") == "bind" {
            let read_only = if yes(mount, "/ReadOnly") { ":ro" } else { "" };
            binds.push(format!("{}:{}{read_only}", text(mount, "/Source"), text(mount, "/Target")));
        }
    }
    let of_host = |pointer: &str, name: &str| (text(host, pointer) == "host").then(|| name.to_owned());
    let modes = [of_host("/NetworkMode", "network"), of_host("/PidMode", "pid"), of_host("/IpcMode", "ipc")];
    Container {
        name: text(state, "/Name").trim_start_matches('/').to_owned(),
        image: text(state, "/Config/Image"),
        running: yes(state, "/State/Running"),
        privileged: yes(host, "/Privileged"),
        binds,
        host_namespaces: modes.into_iter().flatten().collect(),
        capabilities: list("/CapAdd"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn containers_are_read_without_their_secrets() {
        let id = "var/lib/docker/containers/abc";
        let folder = snapshot(&[
            (
                &format!("{id}/config.v2.json"),
                r#"{"Name": "/agent", "State": {"Running": true}, "Config": {"Image": "x:1", "Env": ["PASSWORD=hunter2"]}}"#,
            ),
            (
                &format!("{id}/hostconfig.json"),
                r#"{"Privileged": true, "Binds": ["/:/host"], "Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/e", "ReadOnly": true}],
                   "PidMode": "host", "CapAdd": ["SYS_ADMIN"]}"#,
            ),
            ("var/lib/docker/containers/half/config.v2.json", "{}"),
            ("etc/docker/daemon.json", r#"{"hosts": ["unix:///run/docker.sock"]}"#),
            ("run/docker.pid", "77"),
            ("proc/77/cmdline", "/usr/bin/dockerd\0-H\0tcp://0.0.0.0:2375\0"),
        ]);
        let docker = docker(&Root::new(folder.path()));
        let containers = docker.containers.seen().unwrap();
        assert_eq!(containers.len(), 1);
        assert_eq!(containers[0].binds, ["/:/host", "/etc:/e:ro"]);
        assert_eq!((containers[0].name.as_str(), containers[0].privileged), ("agent", true));
        assert_eq!(docker.hosts.seen().unwrap(), &["unix:///run/docker.sock", "tcp://0.0.0.0:2375"]);
        assert!(!format!("{docker:?}").contains("hunter2"));
    }

    #[test]
    fn containers_lie_where_the_daemon_was_told() {
        let of = |there: &str, file: (&str, &str)| {
            let state = (&*format!("{there}/containers/abc/config.v2.json"), r#"{"Name": "/there"}"#);
            let host = (&*format!("{there}/containers/abc/hostconfig.json"), "{}");
            let folder = snapshot(&[state, host, file, ("run/docker.pid", "77"), ("run/docker.sock", "")]);
            docker(&Root::new(folder.path())).containers.seen().map(Vec::len)
        };
        let daemon = "etc/docker/daemon.json";
        assert_eq!(of("srv/d", (daemon, r#"{"data-root": "/srv/d"}"#)), Some(1));
        assert_eq!(of("var/lib/docker", (daemon, r#"{"data-root": ""}"#)), Some(1));
        let mapped = r#"{"data-root": "/srv/d", "userns-remap": "default"}"#;
        assert_eq!(of("srv/d/100000.100000", (daemon, mapped)), Some(1));
        assert_eq!(of("srv/d", (daemon, mapped)), None);
        for words in ["--data-root=/srv/d", "--data-root\0/srv/d", "-g\0/srv/d", "-g/srv/d", "--graph\0/srv/d"] {
            assert_eq!(of("srv/d", ("proc/77/cmdline", &format!("dockerd\0{words}\0"))), Some(1), "{words}");
        }
        // It runs, and its containers are elsewhere: unknown.
        assert_eq!(of("srv/d", (daemon, "{}")), None);
        assert_eq!(of("srv/d", (daemon, r#"{"data-root": "srv/d"}"#)), None);
    }

    #[test]
    fn the_daemons_hosts_are_read_in_every_form() {
        for words in [
            "-H\0tcp://0.0.0.0:1",
            "-H=tcp://0.0.0.0:1",
            "-Htcp://0.0.0.0:1",
            "--host\0tcp://0.0.0.0:1",
            "--host=tcp://0.0.0.0:1",
        ] {
            let folder = snapshot(&[("run/docker.pid", "77"), ("proc/77/cmdline", &format!("dockerd\0{words}\0"))]);
            assert_eq!(docker(&Root::new(folder.path())).hosts.seen().unwrap(), &["tcp://0.0.0.0:1"], "{words}");
        }
    }
}
