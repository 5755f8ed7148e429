//! The probe on this very machine and on snapshots of others.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use gatepost_evidence::check::host_guardrails::Facts;
use gatepost_evidence::check::{Seen, Unknown};
use gatepost_evidence::look::FailureKind;

use super::*;
use crate::probe::host::tests::{config, fixture};

fn facts(observation: &Observation) -> (Facts, Unknown) {
    let seen = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
    let mut unknown = Unknown::default();
    let facts = Check::normalise(observation, &seen, &mut unknown);
    (facts, unknown)
}

#[tokio::test]
async fn this_machine_is_seen_as_it_is() {
    let loopback = TcpListener::bind("127.0.0.1:0").unwrap();
    let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
    let sixth = TcpListener::bind("[::1]:0").ok();
    let mut config = config(Path::new("/"));
    let allowed = format!("tcp/{}", everywhere.local_addr().unwrap().port());
    config.host.allowed_ports = vec![allowed.clone()];
    let value = look(Arc::new(config), Target::new(TargetKind::Host, "host")).await.unwrap();
    let observation: Observation = serde_json::from_value(value).unwrap();

    let uid = nix::unistd::getuid().as_raw();
    let program = std::fs::read_to_string("/proc/self/comm").unwrap();
    let sockets = observation.sockets.seen().unwrap();
    for listener in [Some(&loopback), Some(&everywhere), sixth.as_ref()].into_iter().flatten() {
        let address = listener.local_addr().unwrap();
        let socket = sockets
            .iter()
            .find(|socket| socket.port == address.port() && socket.address == address.ip().to_string())
            .unwrap_or_else(|| panic!("{address} was not seen"));
        assert_eq!((socket.protocol.as_str(), socket.uid), ("tcp", uid));
        assert_eq!(socket.program.as_deref(), Some(program.trim()));
    }
    let (facts, _) = facts(&observation);
    let name = format!("{allowed}@0.0.0.0");
    assert!(facts.sockets.as_ref().unwrap()[&name].allowed);

    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(facts.kernel.as_deref(), Some(release.trim()));
    assert_eq!(facts.root_twins, Some(vec![]));
    let full = std::fs::read_to_string("/proc/sys/kernel/randomize_va_space").unwrap();
    assert_eq!(facts.sysctls.kernel_randomize_va_space, full.trim().parse().ok());
    assert_eq!(facts.ssh_server, Some(Path::new("/etc/ssh/sshd_config").exists()));
    let can_read_shadow = uid == 0 || std::fs::File::open("/etc/shadow").is_ok();
    assert_eq!(observation.empty_passwords.seen().is_some(), can_read_shadow);
    let root = std::fs::metadata("/").unwrap();
    let storage = observation.storage.seen().unwrap();
    let devices: Vec<_> = storage.iter().map(|one| std::fs::metadata(&one.mount).unwrap().dev()).collect();
    let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
    if table.lines().any(|line| line.contains(" / ext4 ") || line.contains(" / overlay ")) {
        assert!(devices.contains(&root.dev()), "{storage:?}");
    }
}

#[test]
fn a_raspberry_pi_is_seen_as_it_was() {
    let mut config = config(&fixture("raspberry-pi-5"));
    config.host.allowed_ports = vec!["tcp/22".into(), "tcp/8883".into()];
    let observation = see(&config);
    let (facts, unknown) = facts(&observation);
    assert_eq!((facts.os_id.as_deref(), facts.os_version.as_deref()), (Some("debian"), Some("12")));
    assert_eq!(facts.kernel.as_deref(), Some("6.6.51+rpt-rpi-2712"));
    assert_eq!((facts.ssh_server, facts.ssh_root_login.as_deref()), (Some(true), Some("no")));
    assert_eq!(facts.ssh_password_authentication, Some(true), "for those whom the Match block is about");
    assert_eq!((facts.default_pi_account, facts.root_twins), (Some(true), Some(vec![])));
    assert_eq!(facts.reboot_required, Some(true));
    assert_eq!((facts.sysctls.kernel_kptr_restrict, facts.sysctls.fs_suid_dumpable), (Some(0), Some(0)));
    assert!(unknown.reason("/empty_passwords").unwrap().starts_with("not found: /etc/shadow"));
    assert!(unknown.reason("/storage").unwrap().contains("snapshot"));
    let sockets: Vec<_> = facts
        .sockets
        .unwrap()
        .into_iter()
        .map(|(name, socket)| {
            let program = socket.program.unwrap_or_else(|| "?".into());
            format!("{name} {:?} {} {program}", socket.scope, socket.allowed)
        })
        .collect();
    assert_eq!(
        sockets,
        [
            "tcp/1883@127.0.0.1 Loopback false mosquitto",
            "tcp/22@0.0.0.0 Public true sshd",
            "tcp/22@:: Public true sshd",
            "tcp/8883@0.0.0.0 Public true mosquitto",
            "tcp/8883@:: Public true mosquitto",
            "tcp/9100@::1 Loopback false ?",
            "udp/5353@0.0.0.0 Public false ?",
            "udp/5353@:: Public false ?",
        ]
    );
}

#[test]
fn a_badly_kept_server_is_seen_as_it_was() {
    let (facts, _) = facts(&see(&config(&fixture("debian12-server"))));
    assert_eq!(facts.ssh_root_login.as_deref(), Some("yes"));
    assert_eq!((facts.ssh_password_authentication, facts.ssh_empty_passwords), (Some(false), Some(true)));
    assert_eq!(facts.root_twins, Some(vec!["toor".to_owned()]));
    assert_eq!(facts.empty_passwords, Some(vec!["operator".to_owned()]));
    assert_eq!(facts.default_pi_account, Some(false));
    assert!(!facts.sockets.unwrap()["tcp/1883@0.0.0.0"].allowed);
}

#[test]
fn a_hostile_host_gives_reasons_and_no_facts() {
    let observation = see(&config(&fixture("hostile")));
    let (facts, unknown) = facts(&observation);
    assert_eq!((facts.ssh_server, facts.sockets, facts.root_twins), (None, None, None));
    assert!(unknown.reason("/ssh_root_login").unwrap().contains("within each other"));
    assert_eq!(unknown.reason("/sockets"), Some("unparseable: /proc/net/tcp: line 2 is no socket"));
    assert!(unknown.reason("/root_twins").unwrap().contains("is no account"));
    assert!(unknown.reason("/sysctls/kernel_randomize_va_space").unwrap().contains("not a number"));
    assert!(facts.os_id.unwrap().chars().count() <= 200);
    let bytes = serde_json::to_vec(&observation).unwrap().len();
    assert!(bytes < 20_000, "{bytes} bytes of evidence about nothing");
}

/// Every file that is looked at, as something that can not be read: none of them holds up the look or fills the memory.
#[test]
fn fifos_and_huge_files_are_failed_looks() {
    let places = [
        "etc/os-release",
        "etc/ssh/sshd_config",
        "etc/passwd",
        "etc/shadow",
        "proc/net/tcp",
        "proc/net/udp",
        "proc/sys/kernel/osrelease",
        "proc/sys/kernel/randomize_va_space",
    ];
    for kind in [FailureKind::Error, FailureKind::TooLarge] {
        let make = |path: &Path| match kind {
            FailureKind::Error => nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            _ => std::fs::File::create(path).unwrap().set_len(100 * 1024 * 1024).unwrap(),
        };
        let folder = tempfile::tempdir().unwrap();
        for place in places {
            let path = folder.path().join(place);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            make(&path);
        }
        let observation = see(&config(folder.path()));
        assert_eq!(observation.os_release.failure().unwrap().kind, kind);
        assert_eq!(observation.sshd.failure().unwrap().kind, kind);
        assert_eq!(observation.accounts.failure().unwrap().kind, kind);
        assert_eq!(observation.empty_passwords.failure().unwrap().kind, kind);
        assert_eq!(observation.sockets.failure().unwrap().kind, kind);
        assert_eq!(observation.sysctls["kernel.randomize_va_space"].failure().unwrap().kind, kind);
        assert_eq!(observation.kernel, None);
    }
}

/// Root may read everything, so as root this test runs itself once more as somebody else.
#[test]
fn what_is_not_permitted_is_denied() {
    let folder = tempfile::tempdir().unwrap();
    if nix::unistd::getuid().is_root() {
        let copy = folder.path().join("tests");
        // Copied by another program: a child of another test's could inherit our handle, and the copy would be "busy".
        assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&copy).status().unwrap().success());
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let name = format!("{}::what_is_not_permitted_is_denied", module_path!().split_once("::").unwrap().1);
        let output = Command::new(&copy).args(["--exact", &name]).env_clear().uid(65534).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    for place in ["etc/shadow", "etc/ssh/sshd_config.d/50-cloud-init.conf", "etc/ssh/sshd_config"] {
        let path = folder.path().join(place);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "Include sshd_config.d/*\n").unwrap();
        let mode = if place.ends_with("sshd_config") { 0o644 } else { 0o000 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let observation = see(&config(folder.path()));
    assert_eq!(observation.empty_passwords.failure().unwrap().kind, FailureKind::Denied);
    let sshd = observation.sshd.failure().unwrap();
    assert_eq!(sshd.kind, FailureKind::Denied);
    assert!(sshd.detail.contains("50-cloud-init.conf"), "{sshd}");
}
