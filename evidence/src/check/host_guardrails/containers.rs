//! Containers: who may command the Docker daemon, and which containers are hardly any.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FileState, Socket, take};
use crate::check::Unknown;
use crate::check::broker_transport_posture::Scope;
use crate::look::{FailureKind, Look};

/// What was seen of Docker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Docker {
    /// Its socket; `not_found` where there is none.
    pub socket: Look<FileState>,
    /// `hosts` of its daemon.json and of its command line.
    pub hosts: Look<Vec<String>>,
    /// Clients over the network have to show a certificate.
    pub tls_verify: bool,
    /// Its containers; `not_found` where it keeps none.
    pub containers: Look<Vec<Container>>,
    /// Sockets of other engines that command containers as root: Podman, containerd, CRI-O; those that are there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_sockets: Option<Vec<Look<FileState>>>,
}

/// A container, as the daemon keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// It runs.
    pub running: bool,
    /// `Privileged`.
    pub privileged: bool,
    /// Folders and files of the host that it sees, those it may only read marked with `:ro`.
    pub binds: Vec<String>,
    /// `NetworkMode`, `PidMode`, `IpcMode` where they are the host's.
    pub host_namespaces: Vec<String>,
    /// Capabilities that were added.
    pub capabilities: Vec<String>,
}

/// Facts about containers; all absent where there is no Docker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerFacts {
    /// Docker runs here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker: Option<bool>,
    /// Everyone on this machine may command it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_open: Option<bool>,
    /// It can be commanded over the network without a certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_on_network: Option<bool>,
    /// Running containers with all privileges, or with a capability that amounts to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privileged: Option<Vec<String>>,
    /// Running containers that may write to the host's system folders or command Docker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_mounts: Option<Vec<String>>,
    /// Running containers that see the host's processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_processes: Option<Vec<String>>,
    /// Other engines run here: Podman, containerd, CRI-O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<bool>,
    /// Sockets of other engines by which everyone on this machine may command containers as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub other_sockets_open: Option<Vec<String>>,
}

/// Capabilities that amount to root on the host.
const STRONG: [&str; 5] = ["ALL", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE", "DAC_READ_SEARCH"];
/// Folders of the host that decide about the host.
const SYSTEM: [&str; 9] = ["/", "/etc", "/root", "/boot", "/usr", "/proc", "/sys", "/dev", "/var/run/docker.sock"];

pub(super) fn facts(
    seen: &Option<Docker>,
    sockets: Option<&Vec<Socket>>,
    unknown: &mut Unknown,
) -> Option<ContainerFacts> {
    let seen = seen.as_ref()?;
    let (others, other_sockets_open) = others(seen, unknown);
    let absent =
        |look: Option<&crate::look::Failure>| look.is_some_and(|failure| failure.kind == FailureKind::NotFound);
    let docker = match &seen.socket {
        Look::Seen(_) => true,
        Look::Failed(failure) if failure.kind == FailureKind::NotFound => !absent(seen.containers.failure()),
        Look::Failed(failure) => {
            unknown.because("/containers", failure);
            return Some(ContainerFacts { others, other_sockets_open, ..ContainerFacts::default() });
        }
    };
    if !docker {
        return Some(ContainerFacts { docker: Some(false), others, other_sockets_open, ..ContainerFacts::default() });
    }
    let hosts = take(&seen.hosts, &["/containers/api_on_network"], "root", unknown);
    if sockets.is_none() {
        unknown.because("/containers/api_on_network", "the sockets could not be read");
    }
    let lists = ["/containers/privileged", "/containers/host_mounts", "/containers/host_processes"];
    let containers = match &seen.containers {
        Look::Failed(failure) if failure.kind == FailureKind::NotFound => Some(&[][..]),
        look => take(look, &lists, "root", unknown).map(Vec::as_slice),
    };
    let named = |is: fn(&Container) -> bool| {
        containers.map(|all| all.iter().filter(|one| one.running && is(one)).map(|one| one.name.clone()).collect())
    };
    Some(ContainerFacts {
        docker: Some(true),
        socket_open: seen.socket.seen().map(|socket| socket.bits().unwrap_or(0o777) & 0o002 != 0),
        api_on_network: hosts.zip(sockets).map(|(hosts, sockets)| {
            let declared = hosts.iter().any(|host| {
                host.strip_prefix("tcp://").is_some_and(|address| {
                    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
                    Scope::of(host) != Scope::Loopback
                })
            });
            let open = sockets.iter().any(|socket| {
                socket.program.as_deref() == Some("dockerd") && Scope::of(&socket.address) != Scope::Loopback
                    // 2377, 7946 and 4789 are swarm's own, which has certificates of its own.
                    && !matches!(socket.port, 2377 | 7946 | 4789)
            });
            (declared || open) && !seen.tls_verify
        }),
        privileged: named(|one| {
            let strong = |name: &String| STRONG.contains(&name.trim_start_matches("CAP_"));
            one.privileged || one.capabilities.iter().any(strong)
        }),
        host_mounts: named(|one| one.binds.iter().any(|bind| system_folder(bind))),
        host_processes: named(|one| one.host_namespaces.iter().any(|mode| mode == "pid")),
        others,
        other_sockets_open,
    })
}

/// Whether other engines run here, and which of their sockets are open to everyone.
fn others(seen: &Docker, unknown: &mut Unknown) -> (Option<bool>, Option<Vec<String>>) {
    let Some(looks) = &seen.other_sockets else { return (None, None) };
    let mut whole = true;
    for look in looks {
        whole &= take(look, &["/containers/other_sockets_open"], "root", unknown).is_some();
    }
    let open = |file: &&FileState| file.bits().unwrap_or(0o777) & 0o002 != 0;
    let open: Vec<_> = looks.iter().filter_map(Look::seen).filter(open).map(|file| file.path.clone()).collect();
    // One that is open is a fact, whatever the others are.
    (Some(!looks.is_empty()), (whole || !open.is_empty()).then_some(open))
}

/// `/etc:/host/etc`, but not `/etc/localtime:/etc/localtime:ro`.
fn system_folder(bind: &str) -> bool {
    let mut parts = bind.split(':');
    let Some(source) = parts.next() else { return false };
    let read_only = parts.any(|part| part.split(',').any(|option| option == "ro"));
    let source = if source.len() > 1 { source.trim_end_matches('/') } else { source };
    let socket = source.ends_with("/docker.sock");
    socket || (!read_only && SYSTEM.contains(&source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::look::Failure;

    fn container(change: fn(&mut Container)) -> Container {
        let mut container = Container {
            name: "c".into(),
            image: "i".into(),
            running: true,
            privileged: false,
            binds: vec!["/srv/data:/data".into(), "/etc/localtime:/etc/localtime:ro".into()],
            host_namespaces: vec!["network".into()],
            capabilities: vec!["NET_ADMIN".into()],
        };
        change(&mut container);
        container
    }

    fn of(containers: Vec<Container>) -> ContainerFacts {
        let mode = "0660".into();
        let seen = Docker {
            socket: Look::Seen(FileState { path: "/run/docker.sock".into(), mode, uid: 0, gid: 999 }),
            hosts: Look::Seen(vec!["unix:///run/docker.sock".into(), "tcp://127.0.0.1:2375".into()]),
            tls_verify: false,
            containers: Look::Seen(containers),
            other_sockets: None,
        };
        facts(&Some(seen), Some(&vec![]), &mut Unknown::default()).unwrap()
    }

    #[test]
    fn containers_that_are_hardly_any_are_told() {
        let good = of(vec![container(|_| {})]);
        assert_eq!((good.socket_open, good.api_on_network), (Some(false), Some(false)));
        assert_eq!((good.privileged, good.host_mounts), (Some(vec![]), Some(vec![])));
        let one = |change| of(vec![container(change)]);
        assert_eq!(one(|c| c.privileged = true).privileged.unwrap(), ["c"]);
        assert_eq!(one(|c| c.capabilities = vec!["CAP_SYS_ADMIN".into()]).privileged.unwrap(), ["c"]);
        assert_eq!(one(|c| c.binds = vec!["/:/host".into()]).host_mounts.unwrap(), ["c"]);
        assert_eq!(one(|c| c.binds = vec!["/run/docker.sock:/d:ro".into()]).host_mounts.unwrap(), ["c"]);
        assert_eq!(one(|c| c.host_namespaces = vec!["pid".into()]).host_processes.unwrap(), ["c"]);
        assert!(one(|c| (c.privileged, c.running) = (true, false)).privileged.unwrap().is_empty());
    }

    #[test]
    fn without_docker_there_is_nothing_to_say() {
        let none = || Failure::new(FailureKind::NotFound, "none");
        let seen = Docker {
            socket: Look::Failed(none()),
            hosts: Look::Seen(vec![]),
            tls_verify: false,
            containers: Look::Failed(none()),
            other_sockets: None,
        };
        let without = facts(&Some(seen.clone()), None, &mut Unknown::default()).unwrap();
        assert_eq!(without, ContainerFacts { docker: Some(false), ..ContainerFacts::default() });

        let socket =
            |path: &str, mode: &str| Look::Seen(FileState { path: path.into(), mode: mode.into(), uid: 0, gid: 0 });
        let of = |looks| {
            let seen = Docker { other_sockets: Some(looks), ..seen.clone() };
            let mut unknown = Unknown::default();
            let facts = facts(&Some(seen), None, &mut unknown).unwrap();
            (
                facts.others,
                facts.other_sockets_open,
                unknown.reason("/containers/other_sockets_open").map(str::to_owned),
            )
        };
        assert_eq!(of(vec![]), (Some(false), Some(vec![]), None));
        assert_eq!(of(vec![socket("/run/a", "0660")]), (Some(true), Some(vec![]), None));
        assert_eq!(of(vec![socket("/run/a", "0666")]).1, Some(vec!["/run/a".into()]));
        let denied = of(vec![Look::Failed(Failure::new(FailureKind::Denied, "x"))]);
        assert_eq!(denied, (Some(true), None, Some("denied: x; needs root".into())));
    }
}
