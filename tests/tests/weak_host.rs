//! A real system, hardened, has no findings; each single weakening of it, applied while it runs, has exactly its own.
//!
//! One boot for all: a weakening is undone before the next, and whatever one left behind would be found with the next. What
//! belongs to the machine's kernel is a copy in the container (see `gatepost_tests::container`), and is turned there.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use gatepost_tests::container::{COPIES, Container, OF_THE_MACHINE, Setting};

/// What is unknown of the hardened container, with the beginning of the reason: what a container cannot have.
const UNKNOWN: &[(&str, &str)] = &[];

/// What does not apply to it: it is no Raspberry Pi, has no Docker, forwards nothing, and its disk does not tell its wear.
const NOT_APPLICABLE: &[&str] = &[
    "boot_not_signed",
    "bootloader_old",
    "card_worn[vda]",
    "clock_without_battery",
    "container_engine_open",
    "container_mounts_host",
    "container_privileged",
    "container_sees_processes",
    "docker_api_on_network",
    "docker_group_member",
    "docker_socket_open",
    "firewall_forwards[ipv4]",
    "firewall_forwards[ipv6]",
    "hot",
    "icmp_redirects_sent",
    "mount_options_loose[/]",
    "mount_options_loose[/proc]",
    "power_supply_weak",
    "throttled",
    "under_voltage",
    "watchdog_not_armed",
];

/// A weakening: scripts of sh(1), run as root in the container, and the findings it has to make.
struct Weakening {
    apply: String,
    undo: String,
    finds: &'static [&'static str],
    /// The file it turns, where that is a copy of the machine's.
    copy: Option<String>,
}

fn weakening(apply: impl Into<String>, undo: impl Into<String>, finds: &'static [&'static str]) -> Weakening {
    Weakening { apply: apply.into(), undo: undo.into(), finds, copy: None }
}

/// A line of sshd_config(5) before all others, that sshd itself takes.
fn ssh(line: &str, finds: &'static [&'static str]) -> Weakening {
    let file = "/etc/ssh/sshd_config.d/01-weak.conf";
    weakening(format!("printf '{line}\\n' > {file}; /usr/sbin/sshd -t"), format!("rm {file}"), finds)
}

/// A line added to a file.
fn line(file: &str, line: &str, finds: &'static [&'static str]) -> Weakening {
    changed(file, &format!("printf '{line}\\n' >> {file}"), finds)
}

/// A file that a script changes, put back with its owner, mode and times.
fn changed(file: &str, script: &str, finds: &'static [&'static str]) -> Weakening {
    let kept = "/run/kept-by-the-test";
    weakening(
        format!("cp -a {file} {kept}; {script}"),
        format!("cp -a --remove-destination {kept} {file}; rm {kept}"),
        finds,
    )
}

/// A new file.
fn file(file: &str, text: &str, finds: &'static [&'static str]) -> Weakening {
    weakening(format!("mkdir -p $(dirname {file}); printf '{text}\\n' > {file}"), format!("rm {file}"), finds)
}

/// A unit that runs as long as the weakening lasts.
fn running(command: &str, finds: &'static [&'static str]) -> Weakening {
    weakening(
        format!("systemd-run --quiet --unit=weak {command}"),
        "systemctl stop weak; systemctl reset-failed weak || true",
        finds,
    )
}

/// The hardened settings of the container's own network. To switch forwarding sets many others as the kernel sees fit.
const SYSCTLS: &str = "sysctl -q --load=/etc/sysctl.d/90-gateway.conf";

/// Settings of the container's own network.
fn net(settings: &[&str], finds: &'static [&'static str]) -> Weakening {
    let set = settings.iter().map(|setting| format!("sysctl -qw {setting}"));
    weakening(set.collect::<Vec<_>>().join("; "), SYSCTLS, finds)
}

/// A file of the machine's kernel: its copy in the container.
fn kernel(path: &str, text: &str, finds: &'static [&'static str]) -> Weakening {
    let folder = OF_THE_MACHINE.iter().find(|place| path.starts_with(**place)).unwrap();
    let (copies, copy, kept) = (format!("{COPIES}{folder}"), format!("{COPIES}{path}"), "/run/kept-by-the-test");
    let apply =
        format!("mkdir -p $(dirname {copy}); if [ -e {copy} ]; then cp {copy} {kept}; fi; printf '{text}\\n' > {copy}");
    // Folders that were made for it go with it, and never the one that is mounted.
    let inside = path.strip_prefix(folder).unwrap().trim_start_matches('/');
    let undo = format!(
        "if [ -e {kept} ]; then cat {kept} > {copy}; rm {kept}; \
         else rm {copy}; cd {copies}; rmdir -p $(dirname {inside}) 2> /dev/null || true; fi"
    );
    Weakening { copy: Some(path.to_owned()), ..weakening(apply, undo, finds) }
}

/// As Docker's daemon keeps a container that runs.
fn docker(host: &str, finds: &'static [&'static str]) -> Weakening {
    let folder = "/var/lib/docker/containers/abc";
    weakening(
        format!(
            "mkdir -p {folder}; printf '%s' '{{\"Name\": \"/c\", \"State\": {{\"Running\": true}}, \"Config\": {{\"Image\": \"i\"}}}}' > {folder}/config.v2.json; \
             printf '%s' '{host}' > {folder}/hostconfig.json"
        ),
        "rm -r /var/lib/docker",
        finds,
    )
}

fn of_ssh() -> Vec<Weakening> {
    vec![
        ssh("PermitRootLogin yes", &["ssh_root_login"]),
        ssh("PasswordAuthentication yes", &["ssh_password_authentication"]),
        ssh("PermitEmptyPasswords yes", &["ssh_empty_passwords"]),
        ssh("KbdInteractiveAuthentication yes", &["ssh_keyboard_interactive"]),
        ssh("MaxAuthTries 20", &["ssh_many_attempts"]),
        ssh("LoginGraceTime 0", &["ssh_slow_login"]),
        ssh("ClientAliveInterval 0", &["ssh_idle_sessions"]),
        ssh("AllowTcpForwarding yes", &["ssh_tcp_forwarding"]),
        ssh("AllowAgentForwarding yes", &["ssh_agent_forwarding"]),
        ssh("X11Forwarding yes", &["ssh_x11_forwarding"]),
        ssh("GatewayPorts yes", &["ssh_gateway_ports"]),
        ssh("PermitTunnel yes", &["ssh_tunnel"]),
        ssh("PermitUserEnvironment yes", &["ssh_user_environment"]),
        ssh("StrictModes no", &["ssh_strict_modes_off"]),
        ssh("IgnoreRhosts no", &["ssh_rhosts_honoured"]),
        ssh("HostbasedAuthentication yes", &["ssh_host_based"]),
        ssh("Ciphers aes256-gcm@openssh.com,aes128-cbc", &["ssh_weak_cipher"]),
        ssh("MACs +hmac-sha1-96", &["ssh_weak_mac"]),
        ssh("KexAlgorithms +diffie-hellman-group14-sha1", &["ssh_weak_key_exchange"]),
        ssh("HostKeyAlgorithms +ssh-rsa", &["ssh_weak_signature"]),
        ssh("LogLevel QUIET", &["ssh_quiet_log"]),
        ssh("MaxSessions 50", &["ssh_many_sessions"]),
        ssh("Match User pump Address 10.0.0.0/8\\nPasswordAuthentication yes", &["ssh_password_authentication"]),
        changed(
            "/etc/ssh/sshd_config.d/10-gateway.conf",
            "sed -i /^AllowGroups/d /etc/ssh/sshd_config.d/10-gateway.conf",
            &["ssh_logins_not_restricted"],
        ),
        weakening(
            "ssh-keygen -q -t rsa -b 1024 -N '' -f /etc/ssh/ssh_host_weak_key; \
             echo HostKey /etc/ssh/ssh_host_weak_key > /etc/ssh/sshd_config.d/01-weak.conf",
            "rm /etc/ssh/ssh_host_weak_key* /etc/ssh/sshd_config.d/01-weak.conf",
            &["ssh_weak_host_key"],
        ),
    ]
}

fn of_the_packet_filter() -> Vec<Weakening> {
    let reload = "nft -f /etc/nftables.conf";
    let only4 = "flush ruleset; table ip f { chain i { type filter hook input priority 0; policy drop; }; }";
    vec![
        weakening("nft flush ruleset", reload, &["firewall_missing"]),
        weakening(format!("nft '{only4}'"), reload, &["firewall_family_unfiltered[ipv6]"]),
        weakening(
            "nft chain inet filter input '{ policy accept; }'",
            reload,
            &["firewall_accepts_by_default[ipv4]", "firewall_accepts_by_default[ipv6]"],
        ),
        weakening(
            "nft insert rule inet filter input accept",
            reload,
            &["firewall_accepts_everything[ipv4]", "firewall_accepts_everything[ipv6]"],
        ),
        weakening(
            "nft add rule inet filter input meta nfproto ipv6 accept",
            reload,
            &["firewall_accepts_everything[ipv6]"],
        ),
        weakening(
            "nft add rule inet filter input tcp dport 1-65535 accept; nft add rule inet filter input iifname lo drop",
            reload,
            &["firewall_accepts_everything[ipv4]", "firewall_accepts_everything[ipv6]"],
        ),
        weakening(
            "sysctl -qw net.ipv4.ip_forward=1; sysctl -qw net.ipv4.conf.all.accept_redirects=0; nft chain inet filter forward '{ policy accept; }'",
            format!("{SYSCTLS}; {reload}"),
            &["firewall_forwards[ipv4]"],
        ),
        weakening(
            "systemctl --quiet disable nftables.service",
            "systemctl --quiet enable nftables.service",
            &["firewall_not_at_boot"],
        ),
    ]
}

/// The same kernel's filter, set by iptables(8) and ip6tables(8) as Debian has them (iptables-nft), in place of nft(8).
fn of_iptables() -> Vec<Weakening> {
    let set = |program: &str, forward: &str, last: &str| {
        format!(
            "{program} -P INPUT DROP; {program} -P FORWARD {forward}; {program} -A INPUT -i lo -j ACCEPT; \
             {program} -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; \
             {program} -A INPUT -p tcp --dport 22 -j ACCEPT; {program} -A INPUT -p tcp --dport 8883 -j ACCEPT{last}"
        )
    };
    let (sound4, sound6) = (set("iptables", "DROP", ""), set("ip6tables", "DROP", ""));
    let all = |program: &str| format!("; {program} -A INPUT -j ACCEPT");
    let case = |rules: String, finds: &'static [&'static str]| {
        weakening(format!("nft flush ruleset; {rules}"), "nft -f /etc/nftables.conf", finds)
    };
    vec![
        case(format!("{sound4}; {sound6}"), &[]),
        case(sound4.clone(), &["firewall_family_unfiltered[ipv6]"]),
        case(format!("{sound4}; {sound6}; iptables -P INPUT ACCEPT"), &["firewall_accepts_by_default[ipv4]"]),
        case(
            format!("{sound4}; {}", set("ip6tables", "DROP", &all("ip6tables"))),
            &["firewall_accepts_everything[ipv6]"],
        ),
        case(
            format!("{sound4}; {sound6}; iptables -N mine; iptables -A mine -j ACCEPT; iptables -A INPUT -j mine"),
            &["firewall_accepts_everything[ipv4]"],
        ),
    ]
}

fn of_sockets() -> Vec<Weakening> {
    vec![
        running("systemd-socket-activate -l 0.0.0.0:5555 /bin/cat", &["unexpected_listener[tcp/5555@0.0.0.0]"]),
        running("systemd-socket-activate -l [::]:5556 /bin/cat", &["unexpected_listener[tcp/5556@::]"]),
        running(
            "systemd-socket-activate --datagram -l 0.0.0.0:5557 /bin/cat",
            &["unexpected_listener[udp/5557@0.0.0.0]"],
        ),
        weakening(
            "systemctl stop mosquitto; systemd-run --quiet --unit=weak systemd-socket-activate -l 0.0.0.0:8883 /bin/cat",
            "systemctl stop weak; systemctl reset-failed weak || true; systemctl start mosquitto",
            &["listener_of_another_program[tcp/8883@0.0.0.0]"],
        ),
    ]
}

fn of_accounts() -> Vec<Weakening> {
    vec![
        line("/etc/passwd", "toor:x:0:0::/nowhere:/bin/bash", &["root_twin_account"]),
        changed("/etc/shadow", "passwd --quiet --delete keeper", &["empty_password"]),
        line("/etc/passwd", "pi:x:1001:1001::/nowhere:/bin/bash", &["default_pi_account"]),
        file("/etc/sudoers.d/010_keeper", "keeper ALL=(ALL) NOPASSWD: ALL", &["sudo_without_password"]),
        changed(
            "/etc/shadow",
            "usermod --password \"$(echo x | openssl passwd -1 -stdin)\" keeper",
            &["weak_password_hash"],
        ),
        line("/etc/passwd", "twin:x:1000:1000::/nowhere:/usr/sbin/nologin", &["shared_user_id"]),
        changed("/etc/passwd", "usermod --shell /bin/bash mosquitto", &["service_account_with_shell"]),
        weakening("chmod 0644 /etc/shadow", "chmod 0640 /etc/shadow", &["account_file_open"]),
        weakening("chmod o+w /home/keeper", "chmod o-w /home/keeper", &["home_writable_by_others"]),
        file("/home/keeper/.rhosts", "+ +", &["trust_file"]),
        changed("/etc/login.defs", "sed -i 's/^UMASK.*/UMASK 002/' /etc/login.defs", &["loose_umask"]),
        changed(
            "/etc/shadow",
            "usermod --password \"$(echo x | openssl passwd -6 -stdin)\" root",
            &["root_has_password"],
        ),
    ]
}

fn of_the_kernel() -> Vec<Weakening> {
    let all = |setting: &str| format!("/proc/sys/{setting}");
    vec![
        kernel(&all("kernel/randomize_va_space"), "0", &["aslr_off"]),
        kernel(&all("kernel/kptr_restrict"), "0", &["kernel_pointers_exposed"]),
        kernel(&all("fs/protected_symlinks"), "0", &["symlink_protection_off"]),
        kernel(&all("fs/protected_hardlinks"), "0", &["hardlink_protection_off"]),
        kernel(&all("fs/suid_dumpable"), "1", &["core_dumps_of_privileged_programs"]),
        kernel(&all("kernel/dmesg_restrict"), "0", &["kernel_messages_readable"]),
        kernel(&all("kernel/yama/ptrace_scope"), "0", &["ptrace_unrestricted"]),
        kernel(&all("kernel/sysrq"), "1", &["magic_sysrq"]),
        kernel(&all("kernel/unprivileged_bpf_disabled"), "0", &["unprivileged_bpf"]),
        kernel(&all("kernel/perf_event_paranoid"), "1", &["perf_events_open"]),
        kernel(&all("fs/protected_fifos"), "0", &["fifo_protection_off"]),
        kernel(&all("fs/protected_regular"), "0", &["regular_file_protection_off"]),
        kernel("/proc/modules", "sctp 1 0 - Live 0x0", &["unwanted_module"]),
        kernel("/proc/cmdline", "root=/dev/vda1 mitigations=off", &["boot_parameter_weakens"]),
        kernel("/sys/devices/system/cpu/vulnerabilities/retbleed", "Vulnerable", &["processor_flaw_open"]),
        net(&["net.ipv4.conf.all.accept_redirects=1"], &["icmp_redirects_accepted"]),
        // An interface that was there before its defaults were set keeps what it had.
        weakening(
            "ip link add weak0 type veth peer name weak1; sysctl -qw net.ipv4.conf.weak0.accept_redirects=1",
            "ip link del weak0",
            &["icmp_redirects_accepted"],
        ),
        weakening(
            "ip link add weak0 type veth peer name weak1; sysctl -qw net.ipv6.conf.weak0.accept_redirects=1",
            "ip link del weak0",
            &["icmp6_redirects_accepted"],
        ),
        net(&["net.ipv4.conf.default.accept_redirects=1"], &["icmp_redirects_accepted"]),
        net(&["net.ipv6.conf.default.accept_redirects=1"], &["icmp6_redirects_accepted"]),
        net(&["net.ipv4.conf.all.accept_source_route=1"], &["source_routing_accepted"]),
        net(&["net.ipv6.conf.all.accept_source_route=1"], &["source_routing_accepted_ipv6"]),
        net(&["net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"], &["source_addresses_not_checked"]),
        net(&["net.ipv4.tcp_syncookies=0"], &["syn_flood_unprotected"]),
        net(&["net.ipv4.icmp_echo_ignore_broadcasts=0"], &["broadcast_pings_answered"]),
        net(
            &["net.ipv4.ip_forward=1", "net.ipv4.conf.all.accept_redirects=0", "net.ipv4.conf.all.send_redirects=1"],
            &["icmp_redirects_sent"],
        ),
        kernel("/sys/kernel/security/lockdown", "[none] integrity confidentiality", &["kernel_not_locked_down"]),
        weakening("ip link set lo promisc on", "ip link set lo promisc off", &["promiscuous_interface"]),
        changed("/etc/modprobe.d/gateway.conf", "echo > /etc/modprobe.d/gateway.conf", &["usb_storage_usable"]),
        changed("/etc/security/limits.d/core.conf", "echo > /etc/security/limits.d/core.conf", &["core_dumps_written"]),
        weakening(
            "mkdir /lib/modules/6.1.0-31-amd64",
            "rmdir /lib/modules/6.1.0-31-amd64",
            &["newer_kernel_installed"],
        ),
        weakening("touch /run/reboot-required", "rm /run/reboot-required", &["reboot_required"]),
    ]
}

fn of_updates() -> Vec<Weakening> {
    let sources = "$(grep -l bookworm /etc/apt/sources.list /etc/apt/sources.list.d/* 2> /dev/null)";
    let periodic = "/etc/apt/apt.conf.d/20auto-upgrades";
    let stamps = "/var/lib/apt/periodic";
    let list = "/var/lib/apt/lists/weak_debian-security_dists_bookworm-security_main_binary-amd64_Packages";
    vec![
        weakening(
            format!("for f in {sources}; do cp -a $f /run/kept-$(basename $f); sed -i 's/security/gone/g' $f; done"),
            "for f in /run/kept-*; do cp -a $f /etc/apt/sources.list.d/${f#/run/kept-}; rm $f; done",
            &["no_security_source"],
        ),
        file(
            "/etc/apt/sources.list.d/weak.list",
            "deb [trusted=yes] http://192.0.2.1/debian bookworm main",
            &["unsigned_source"],
        ),
        changed(
            periodic,
            &format!("sed -i 's/Unattended-Upgrade \"1\"/Unattended-Upgrade \"0\"/' {periodic}"),
            &["updates_not_automatic"],
        ),
        line(periodic, "APT::Periodic::Enable \"0\";", &["updates_not_automatic"]),
        weakening(
            "systemctl mask --no-reload --quiet apt-daily-upgrade.timer",
            "systemctl unmask --no-reload --quiet apt-daily-upgrade.timer",
            &["updates_not_automatic"],
        ),
        weakening(
            "systemctl mask --no-reload --quiet apt-daily-upgrade.service",
            "systemctl unmask --no-reload --quiet apt-daily-upgrade.service",
            &["updates_not_automatic"],
        ),
        weakening(
            "systemctl mask --runtime --no-reload --quiet apt-daily-upgrade.timer",
            "systemctl unmask --runtime --no-reload --quiet apt-daily-upgrade.timer",
            &["updates_not_automatic"],
        ),
        weakening(
            "systemctl disable --no-reload --quiet apt-daily-upgrade.timer",
            "systemctl enable --no-reload --quiet apt-daily-upgrade.timer",
            &["updates_not_automatic"],
        ),
        weakening(
            format!("touch -d '40 days ago' /var/lib/apt/lists {stamps}/update-success-stamp"),
            format!("touch /var/lib/apt/lists {stamps}/update-success-stamp"),
            &["package_lists_old"],
        ),
        weakening(
            format!("touch -d '40 days ago' {stamps}/unattended-upgrades-stamp"),
            format!("touch {stamps}/unattended-upgrades-stamp"),
            &["automatic_updates_stalled"],
        ),
        weakening(
            format!(
                "printf 'Package: openssl\\nArchitecture: %s\\nVersion: 99.0\\n' $(dpkg --print-architecture) > {list}"
            ),
            format!("rm {list}"),
            &["security_updates_pending"],
        ),
        weakening(
            "apt-mark -qq hold openssl > /dev/null",
            "apt-mark -qq unhold openssl > /dev/null",
            &["package_held"],
        ),
        line(
            "/var/lib/dpkg/status",
            "\\nPackage: broken\\nStatus: install ok half-configured\\nVersion: 1\\nArchitecture: all",
            &["package_broken"],
        ),
    ]
}

fn of_storage() -> Vec<Weakening> {
    vec![
        weakening(
            "mount -o remount,suid,dev /tmp",
            "mount -o remount,nosuid,nodev /tmp",
            &["mount_options_loose[/tmp]"],
        ),
        weakening(
            "mount -o remount,suid /dev/shm",
            "mount -o remount,nosuid /dev/shm",
            &["mount_options_loose[/dev/shm]"],
        ),
        kernel("/sys/fs/ext4/vda1/errors_count", "3", &["file_system_errors[vda1]"]),
        kernel("/sys/block/mmcblk0/device/life_time", "0x09 0x02", &["card_worn[mmcblk0]"]),
        kernel(
            "/proc/swaps",
            "Filename Type Size Used Priority\\n/dev/mmcblk0p3 partition 102396 0 -2",
            &["swap_on_card"],
        ),
        weakening("chmod o+w /etc/nftables.conf", "chmod o-w /etc/nftables.conf", &["etc_world_writable"]),
        weakening(
            "chmod o+r /etc/mosquitto/certs/broker.key",
            "chmod o-r /etc/mosquitto/certs/broker.key",
            &["private_key_readable"],
        ),
        weakening("chmod 0777 /var/tmp", "chmod 1777 /var/tmp", &["sticky_bit_missing"]),
    ]
}

fn of_units() -> Vec<Weakening> {
    let getty = "/etc/systemd/system/console-getty.service.d/autologin.conf";
    vec![
        weakening(
            "systemd-run --quiet --unit=weak --wait /bin/false || true",
            "systemctl reset-failed weak",
            &["unit_failed"],
        ),
        running(
            "--property=Restart=always --property=RestartSec=1h /bin/true; \
             until [ $(systemctl show -P SubState weak) = auto-restart ]; do :; done",
            &["unit_keeps_restarting[weak.service]"],
        ),
        weakening(
            "mv /etc/systemd/system/mosquitto.service.d /run/kept-by-the-test; systemctl daemon-reload",
            "mv /run/kept-by-the-test /etc/systemd/system/mosquitto.service.d; systemctl daemon-reload",
            &["service_is_root[mosquitto.service]", "service_unfenced[mosquitto.service]"],
        ),
        weakening(
            "printf '[Service]\\nUser=\\n' > /etc/systemd/system/mosquitto.service.d/z.conf; systemctl daemon-reload",
            "rm /etc/systemd/system/mosquitto.service.d/z.conf; systemctl daemon-reload",
            &["service_is_root[mosquitto.service]"],
        ),
        weakening(
            "systemctl --quiet enable debug-shell.service",
            "systemctl --quiet disable debug-shell.service",
            &["debug_shell"],
        ),
        weakening(
            format!(
                "mkdir -p $(dirname {getty}); printf '[Service]\\nExecStart=\\nExecStart=-/sbin/agetty --autologin keeper -\\n' > {getty}"
            ),
            format!("rm -r $(dirname {getty})"),
            &["console_autologin"],
        ),
    ]
}

fn of_docker() -> Vec<Weakening> {
    vec![
        weakening(
            "systemd-run --quiet --unit=weak systemd-socket-activate -l /run/docker.sock /bin/cat; \
             until [ -S /run/docker.sock ]; do :; done; chmod 0666 /run/docker.sock",
            "systemctl stop weak; rm /run/docker.sock",
            &["docker_socket_open"],
        ),
        weakening(
            "mkdir -p /var/lib/docker/containers /etc/docker; echo '{\"hosts\": [\"tcp://0.0.0.0:2375\"]}' > /etc/docker/daemon.json",
            "rm -r /var/lib/docker /etc/docker",
            &["docker_api_on_network"],
        ),
        weakening(
            "mkdir -p /run/podman; systemd-run --quiet --unit=weak systemd-socket-activate -l /run/podman/podman.sock /bin/cat; \
             until [ -S /run/podman/podman.sock ]; do :; done; chmod 0666 /run/podman/podman.sock",
            "systemctl stop weak; rm -r /run/podman",
            &["container_engine_open"],
        ),
        docker("{\"Privileged\": true}", &["container_privileged"]),
        docker("{\"CapAdd\": [\"SYS_ADMIN\"]}", &["container_privileged"]),
        docker("{\"Binds\": [\"/:/host\"]}", &["container_mounts_host"]),
        docker("{\"PidMode\": \"host\"}", &["container_sees_processes"]),
        weakening(
            "mkdir -p /var/lib/docker/containers; groupadd docker; usermod --append --groups docker keeper",
            "rm -r /var/lib/docker; groupdel docker",
            &["docker_group_member"],
        ),
    ]
}

fn of_logs_and_time() -> Vec<Weakening> {
    let journal = "/etc/systemd/journald.conf.d/weak.conf";
    vec![
        weakening(
            format!(
                "printf '[Journal]\\nStorage=volatile\\n' > {journal}; mv {journal} /etc/systemd/journald.conf.d/z.conf; systemctl stop syslog.socket rsyslog.service"
            ),
            "rm /etc/systemd/journald.conf.d/z.conf; systemctl start rsyslog.service",
            &["logs_not_persistent"],
        ),
        file(journal, "[Journal]\\nRateLimitBurst=0", &["log_rate_unlimited"]),
        changed("/etc/rsyslog.d/remote.conf", "echo > /etc/rsyslog.d/remote.conf", &["logs_only_here"]),
        weakening("systemctl --quiet disable auditd.service", "systemctl --quiet enable auditd.service", &["no_audit"]),
        weakening(
            "systemctl stop systemd-timesyncd",
            "systemctl start systemd-timesyncd; touch /run/systemd/timesync/synchronized",
            &["no_time_service"],
        ),
        weakening(
            "cp /bin/sleep /run/chronyd; systemd-run --quiet --unit=weak /run/chronyd infinity",
            "systemctl stop weak; rm /run/chronyd",
            &["several_time_services"],
        ),
        kernel("/sys/class/watchdog/watchdog0/state", "inactive", &["watchdog_not_armed"]),
    ]
}

#[test]
fn a_hardened_system_has_no_findings_and_each_weakening_alone_its_own() -> Result<()> {
    let container = Container::boot(Setting::Hardened)?;
    let hardened = container.audit()?;
    assert_eq!(hardened.findings, [""; 0]);
    let unknown: BTreeMap<_, _> = hardened.unknown.iter().map(|(key, why)| (key.as_str(), why.as_str())).collect();
    assert_eq!(
        unknown.keys().copied().collect::<Vec<_>>(),
        UNKNOWN.iter().map(|(key, _)| *key).collect::<Vec<_>>(),
        "{unknown:?}"
    );
    for (key, why) in UNKNOWN {
        assert!(unknown[key].starts_with(why), "{key}: {}", unknown[key]);
    }
    assert_eq!(hardened.not_applicable, NOT_APPLICABLE);

    let all = [
        of_ssh(),
        of_the_packet_filter(),
        of_iptables(),
        of_sockets(),
        of_accounts(),
        of_the_kernel(),
        of_updates(),
        of_storage(),
        of_units(),
        of_docker(),
        of_logs_and_time(),
    ];
    let (mut tried, mut wrong) = (0, Vec::new());
    for one in all.iter().flatten() {
        // Where this machine's kernel lacks the file, the container has none to be turned.
        let there = |path: &String| container.covers(Path::new(path));
        if let Some(path) = one.copy.as_ref().filter(|path| !there(path)) {
            println!("not tried, since this kernel has no {path}: {:?}", one.finds);
            continue;
        }
        tried += 1;
        let found = container.sh(&one.apply).and_then(|_| container.audit());
        let undone = container.sh(&one.undo);
        match (found, undone) {
            (Ok(found), Ok(_)) if found.findings == one.finds => {}
            (Ok(found), undone) => {
                let undone =
                    undone.err().map(|error| format!("\n    and is not undone: {error:#}")).unwrap_or_default();
                wrong.push(format!("{}\n    makes {:?}, not {:?}{undone}", one.apply, found.findings, one.finds));
            }
            (Err(error), _) => wrong.push(format!("{}\n    {error:#}", one.apply)),
        }
    }
    assert!(wrong.is_empty(), "{} of {tried} weakenings:\n{}", wrong.len(), wrong.join("\n"));
    assert!(tried >= 100, "{tried} weakenings");
    let end = container.audit()?;
    assert_eq!((end.findings, end.unknown, end.passed), (vec![], hardened.unknown, hardened.passed));
    Ok(())
}
