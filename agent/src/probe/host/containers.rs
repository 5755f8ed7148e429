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
const DAEMON: &str = "/etc/docker/daemon.json";

/// What is to be seen of Docker.
#[must_use]
pub fn docker(root: &Root) -> Docker {
    let socket = Path::new("/run/docker.sock");
    let tls_verify = daemon(root).ok().flatten().and_then(|daemon| daemon.get("tlsverify")?.as_bool());
    Docker {
        socket: root.state(socket).map(|state| state.as_evidence(socket)).into(),
        hosts: hosts(root).into(),
        tls_verify: tls_verify == Some(true)
            || command_line(root).iter().any(|word| word == "--tlsverify" || word == "--tlsverify=true"),
        containers: containers(root).into(),
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

fn daemon(root: &Root) -> Result<Option<Value>, Failure> {
    let Some(text) = if_there(root.read_text(Path::new(DAEMON)))? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("{DAEMON}: {error}")))
}

/// The words of the daemon's command line, if it runs and they can be read.
fn command_line(root: &Root) -> Vec<String> {
    let Some(id) = if_there(root.word(Path::new("/run/docker.pid"))).ok().flatten() else { return Vec::new() };
    if id.parse::<u32>().is_err() {
        return Vec::new();
    }
    let text = root.read_text(&Path::new("/proc").join(&id).join("cmdline")).unwrap_or_default();
    text.split('\0').take(100).map(shorten).collect()
}

/// The values of an option on the daemon's command line: `-H value`, `--host value`, `--host=value`.
fn option(words: &[String], short: &str, long: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if word == short || word == long {
            found.extend(words.get(index + 1).cloned());
        } else if let Some(value) = word.strip_prefix(long).and_then(|rest| rest.strip_prefix('=')) {
            found.push(value.to_owned());
        }
    }
    found
}

fn hosts(root: &Root) -> Result<Vec<String>, Failure> {
    let daemon = daemon(root)?;
    let listed = daemon.as_ref().and_then(|daemon| daemon.get("hosts")?.as_array());
    let mut hosts: Vec<String> = listed.into_iter().flatten().filter_map(Value::as_str).map(shorten).collect();
    hosts.extend(option(&command_line(root), "-H", "--host"));
    hosts.truncate(20);
    Ok(hosts)
}

/// The folder of the containers, which a gateway often has on a disk of its own. `graph` is its name of before.
fn data(root: &Root) -> Result<PathBuf, Failure> {
    let words = command_line(root);
    let told = option(&words, "-g", "--data-root").pop().or_else(|| option(&words, "-g", "--graph").pop());
    let kept =
        |daemon: Value| ["data-root", "graph"].iter().find_map(|key| Some(daemon.get(key)?.as_str()?.to_owned()));
    let folder = match told {
        Some(told) => Some(told),
        None => daemon(root)?.and_then(kept),
    };
    Ok(PathBuf::from(folder.unwrap_or_else(|| DATA.to_owned())).join("containers"))
}

fn containers(root: &Root) -> Result<Vec<Container>, Failure> {
    let folder = data(root)?;
    let mut found = Vec::new();
    for id in root.list(&folder)? {
        let read = |name: &str| -> Result<Option<Value>, Failure> {
            let path = folder.join(&id).join(name);
            let Some(text) = if_there(root.read_text(&path))? else { return Ok(None) };
            serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("{}: {error}", path.display())))
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
        let there = "srv/d/containers/abc";
        let of = |file: (&str, &str)| {
            let state = (&*format!("{there}/config.v2.json"), r#"{"Name": "/there"}"#);
            let folder =
                snapshot(&[state, (&format!("{there}/hostconfig.json"), "{}"), file, ("run/docker.pid", "77")]);
            docker(&Root::new(folder.path())).containers.seen().map(Vec::len)
        };
        assert_eq!(of(("etc/docker/daemon.json", r#"{"data-root": "/srv/d"}"#)), Some(1));
        for words in ["--data-root=/srv/d", "--data-root\0/srv/d", "-g\0/srv/d", "--graph\0/srv/d"] {
            assert_eq!(of(("proc/77/cmdline", &format!("dockerd\0{words}\0"))), Some(1), "{words}");
        }
        assert_eq!(of(("etc/docker/daemon.json", "{}")), None);
    }
}
