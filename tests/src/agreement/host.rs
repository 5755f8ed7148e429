//! Our findings about a host beside those of `lynis` and `ssh-audit`, by their test ids.
//!
//! Lynis says of a test that it complains (a warning or a suggestion) or nothing; ssh-audit calls an algorithm a failure or not.
//! A line of the table is one test of theirs and the controls of ours that ask the same; one complains and the other does
//! not: a difference, which has to be mended or stand in [`explained`] with the reason. Complaints of theirs about which we
//! have no control are told with why.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::container::Found;

/// The first line of the section, by which it is found again.
pub const HEADING: &str = "# Agreement about hosts";

/// A test of lynis and what of ours asks the same. `option` tells apart what one test asks of several settings.
struct Test {
    id: &'static str,
    option: &'static str,
    controls: &'static [&'static str],
}

const fn test(id: &'static str, option: &'static str, controls: &'static [&'static str]) -> Test {
    Test { id, option, controls }
}

/// In the order of lynis's own groups.
const LYNIS: &[Test] = &[
    test("AUTH-9204", "", &["root_twin_account"]),
    test("AUTH-9208", "", &["shared_user_id", "root_twin_account"]),
    test("AUTH-9229", "", &["weak_password_hash"]),
    test("AUTH-9252", "", &["account_file_open"]),
    test("AUTH-9283", "", &["empty_password"]),
    test("AUTH-9328", "", &["loose_umask"]),
    test("KRNL-5820", "", &["core_dumps_written"]),
    test("KRNL-5830", "", &["reboot_required", "newer_kernel_installed"]),
    test("KRNL-6000", "fs.protected_fifos", &["fifo_protection_off"]),
    test("KRNL-6000", "fs.protected_hardlinks", &["hardlink_protection_off"]),
    test("KRNL-6000", "fs.protected_regular", &["regular_file_protection_off"]),
    test("KRNL-6000", "fs.protected_symlinks", &["symlink_protection_off"]),
    test("KRNL-6000", "fs.suid_dumpable", &["core_dumps_of_privileged_programs"]),
    test("KRNL-6000", "kernel.dmesg_restrict", &["kernel_messages_readable"]),
    test("KRNL-6000", "kernel.kptr_restrict", &["kernel_pointers_exposed"]),
    test("KRNL-6000", "kernel.perf_event_paranoid", &["perf_events_open"]),
    test("KRNL-6000", "kernel.randomize_va_space", &["aslr_off"]),
    test("KRNL-6000", "kernel.sysrq", &["magic_sysrq"]),
    test("KRNL-6000", "kernel.unprivileged_bpf_disabled", &["unprivileged_bpf"]),
    test("KRNL-6000", "kernel.yama.ptrace_scope", &["ptrace_unrestricted"]),
    test("KRNL-6000", "net.ipv4.conf.all.accept_redirects", &["icmp_redirects_accepted"]),
    test("KRNL-6000", "net.ipv4.conf.default.accept_redirects", &["icmp_redirects_accepted"]),
    test("KRNL-6000", "net.ipv4.conf.all.accept_source_route", &["source_routing_accepted"]),
    test("KRNL-6000", "net.ipv4.conf.all.rp_filter", &["source_addresses_not_checked"]),
    test("KRNL-6000", "net.ipv4.conf.all.send_redirects", &["icmp_redirects_sent"]),
    test("KRNL-6000", "net.ipv4.icmp_echo_ignore_broadcasts", &["broadcast_pings_answered"]),
    test("KRNL-6000", "net.ipv4.tcp_syncookies", &["syn_flood_unprotected"]),
    test("KRNL-6000", "net.ipv6.conf.all.accept_redirects", &["icmp6_redirects_accepted"]),
    test("KRNL-6000", "net.ipv6.conf.default.accept_redirects", &["icmp6_redirects_accepted"]),
    test("KRNL-6000", "net.ipv6.conf.all.accept_source_route", &["source_routing_accepted_ipv6"]),
    test("BOOT-5264", "", &["service_unfenced"]),
    test("HOME-9304", "", &["home_writable_by_others"]),
    test("FILE-6362", "", &["sticky_bit_missing"]),
    test("FILE-6374", "", &["mount_options_loose"]),
    test("USB-1000", "", &["usb_storage_usable"]),
    test("PKGS-7388", "", &["no_security_source"]),
    test("PKGS-7392", "", &["security_updates_pending"]),
    test("PKGS-7420", "", &["updates_not_automatic"]),
    test("NETW-3015", "", &["promiscuous_interface"]),
    test("FIRE-4590", "", &["firewall_missing"]),
    test("SSH-7408", "AllowAgentForwarding", &["ssh_agent_forwarding"]),
    test("SSH-7408", "AllowTcpForwarding", &["ssh_tcp_forwarding"]),
    test("SSH-7408", "GatewayPorts", &["ssh_gateway_ports"]),
    test("SSH-7408", "IgnoreRhosts", &["ssh_rhosts_honoured"]),
    test("SSH-7408", "LoginGraceTime", &["ssh_slow_login"]),
    test("SSH-7408", "LogLevel", &["ssh_quiet_log"]),
    test("SSH-7408", "MaxAuthTries", &["ssh_many_attempts"]),
    test("SSH-7408", "MaxSessions", &["ssh_many_sessions"]),
    test("SSH-7408", "PermitRootLogin", &["ssh_root_login"]),
    test("SSH-7408", "PermitTunnel", &["ssh_tunnel"]),
    test("SSH-7408", "PermitUserEnvironment", &["ssh_user_environment"]),
    test("SSH-7408", "StrictModes", &["ssh_strict_modes_off"]),
    test("SSH-7408", "X11Forwarding", &["ssh_x11_forwarding"]),
    test("SSH-7440", "", &["ssh_logins_not_restricted"]),
    test("LOGG-2130", "", &["no_log_daemon"]),
    test("LOGG-2154", "", &["logs_only_here"]),
    test("ACCT-9628", "", &["no_audit"]),
    test("TIME-3104", "", &["no_time_service"]),
];

/// What `lynis` told.
#[derive(Debug, Default)]
pub struct Lynis {
    /// Tests that it made.
    executed: BTreeSet<String>,
    /// By test: what it complains of.
    complaints: BTreeMap<String, Vec<String>>,
    /// Kernel settings that are not as lynis wants them, with what it wants and what it found.
    settings: BTreeMap<String, String>,
}

impl Lynis {
    /// From its report file.
    #[must_use]
    pub fn of(report: &str) -> Self {
        let mut found = Self::default();
        for (name, value) in report.lines().filter_map(|line| line.split_once('=')) {
            let fields: Vec<_> = value.split('|').collect();
            match (name, fields.as_slice()) {
                ("tests_executed", ids) => found.executed.extend(ids.iter().map(|id| (*id).to_owned())),
                ("warning[]" | "suggestion[]", [id, text, details, ..]) => {
                    let words = if *details == "-" || details.is_empty() { text } else { details };
                    found.complaints.entry((*id).to_owned()).or_default().push((*words).to_owned());
                }
                ("details[]", ["KRNL-6000", _, details, ..]) => {
                    let part = |name: &str| details.split(';').find_map(|part| part.strip_prefix(name));
                    let words = |wanted: &str, value: &str| format!("{value}, not {wanted}");
                    if let Some(setting) = part("field:") {
                        let words = part("prefval:").zip(part("value:")).map(|(wanted, value)| words(wanted, value));
                        found.settings.insert(setting.to_owned(), words.unwrap_or_default());
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Whether it complains; none where it did not ask.
    fn says(&self, test: &Test) -> Option<bool> {
        if test.id == "KRNL-6000" {
            // Those that are as it wants them it does not name.
            return self.executed.contains(test.id).then(|| self.settings.contains_key(test.option));
        }
        let complaints = self.complaints.get(test.id);
        if test.option.is_empty() {
            return (self.executed.contains(test.id) || complaints.is_some()).then(|| complaints.is_some());
        }
        let named = |words: &String| words.starts_with(&format!("{} ", test.option));
        self.executed.contains(test.id).then(|| complaints.is_some_and(|all| all.iter().any(named)))
    }
}

/// By kind (`kex`, `key`, `enc`, `mac`): algorithms that `ssh-audit` calls a failure, with its words, and those it does not.
#[derive(Debug, Default)]
pub struct SshAudit(BTreeMap<(String, String), Option<String>>);

impl SshAudit {
    /// From what it prints without colours.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut found = Self::default();
        let mut last = None;
        for line in text.lines() {
            if let Some((kind, rest)) = line.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
                last = None;
                if ["kex", "key", "enc", "mac"].contains(&kind) {
                    let name = rest.split_whitespace().next().unwrap_or_default();
                    let place = (kind.to_owned(), name.to_owned());
                    found.0.entry(place.clone()).or_default();
                    last = Some(place);
                }
            }
            if let (Some(place), Some((_, words))) = (&last, line.split_once("[fail] ")) {
                let kept = found.0.entry(place.clone()).or_default();
                *kept = Some(kept.take().map_or_else(|| words.to_owned(), |kept| format!("{kept}, {words}")));
            }
        }
        found
    }
}

/// One system, as three tools see it.
pub struct System {
    /// What it is called.
    pub name: &'static str,
    /// What the agent found.
    pub ours: Found,
    /// Algorithms of SSH that the agent calls weak.
    pub weak: BTreeSet<String>,
    /// What lynis told.
    pub lynis: Lynis,
    /// What ssh-audit told, if there was a server to ask.
    pub ssh: Option<SshAudit>,
}

/// One line of the table.
#[derive(Debug)]
pub struct Line {
    /// The system.
    pub system: &'static str,
    /// Who else: `lynis` or `ssh-audit`.
    pub who: &'static str,
    /// Their test id with its option, or kind and name of an algorithm.
    pub test: String,
    /// Whether they complain.
    pub theirs: bool,
    /// Their words, if they complain.
    pub words: String,
    /// Our controls, or none where we have no such question.
    pub controls: Vec<&'static str>,
    /// Whether ours complains; none where it is unknown or not asked.
    pub ours: Option<bool>,
}

impl Line {
    /// Whether both say the same.
    #[must_use]
    pub fn agrees(&self) -> bool {
        self.ours == Some(self.theirs)
    }
}

/// Everything that one of the others was asked.
#[must_use]
pub fn lines(system: &System) -> Vec<Line> {
    let mut found = Vec::new();
    let name = |finding: &str| finding.split('[').next().unwrap_or_default().to_owned();
    let findings: BTreeSet<_> = system.ours.findings.iter().map(|finding| name(finding)).collect();
    let unknown: BTreeSet<_> = system.ours.unknown.keys().map(|key| name(key)).collect();
    let ours = |controls: &[&str]| {
        if controls.iter().any(|control| findings.contains(*control)) {
            Some(true)
        } else if controls.iter().any(|control| unknown.contains(*control)) {
            None
        } else {
            Some(false)
        }
    };
    for test in LYNIS {
        let Some(theirs) = system.lynis.says(test) else { continue };
        let words = system.lynis.complaints.get(test.id).filter(|_| theirs).map(|words| words.join("; "));
        let id = if test.option.is_empty() { test.id.to_owned() } else { format!("{} {}", test.id, test.option) };
        let (controls, ours) = (test.controls.to_vec(), ours(test.controls));
        let of_option = || match test.id {
            "KRNL-6000" => system.lynis.settings.get(test.option).cloned(),
            _ => {
                let all = system.lynis.complaints.get(test.id).into_iter().flatten();
                all.filter_map(|words| words.strip_prefix(test.option)).map(|words| words.trim().to_owned()).next()
            }
        };
        let words = if test.option.is_empty() { words } else { of_option().filter(|_| theirs) }.unwrap_or_default();
        found.push(Line { system: system.name, who: "lynis", test: id, theirs, words, controls, ours });
    }
    let settings = system.lynis.settings.iter();
    for (setting, words) in settings.filter(|(setting, _)| !LYNIS.iter().any(|test| test.option == setting.as_str())) {
        let (test, words) = (format!("KRNL-6000 {setting}"), words.clone());
        found.push(Line { system: system.name, who: "lynis", test, theirs: true, words, controls: vec![], ours: None });
    }
    for (id, words) in &system.lynis.complaints {
        for words in words {
            let known = |test: &&Test| {
                test.id == id && (test.option.is_empty() || words.starts_with(&format!("{} ", test.option)))
            };
            if id == "KRNL-6000" || LYNIS.iter().any(|test| known(&test)) {
                continue;
            }
            let (test, words) = (id.clone(), words.clone());
            found.push(Line {
                system: system.name,
                who: "lynis",
                test,
                theirs: true,
                words,
                controls: vec![],
                ours: None,
            });
        }
    }
    for ((kind, algorithm), words) in system.ssh.iter().flat_map(|ssh| &ssh.0) {
        let control = match kind.as_str() {
            "kex" => "ssh_weak_key_exchange",
            "enc" => "ssh_weak_cipher",
            "mac" => "ssh_weak_mac",
            _ => "ssh_weak_signature",
        };
        found.push(Line {
            system: system.name,
            who: "ssh-audit",
            test: format!("{kind} {algorithm}"),
            theirs: words.is_some(),
            words: words.clone().unwrap_or_default(),
            controls: vec![control],
            ours: Some(system.weak.contains(algorithm)),
        });
    }
    found
}

/// Lines that are told differently, or about which we have no control.
#[must_use]
pub fn open(lines: &[Line]) -> Vec<&Line> {
    lines.iter().filter(|line| !line.agrees() && explained(line).is_none()).collect()
}

/// Why a difference is none of our making, or why we do not ask; none where that is not known.
#[must_use]
pub fn explained(line: &Line) -> Option<&'static str> {
    let id = line.test.split(' ').next().unwrap_or_default();
    if line.who == "ssh-audit" {
        return of_ssh_audit(line);
    }
    if line.controls.is_empty() {
        return not_asked(line, id);
    }
    Some(match (line.test.as_str(), line.theirs, line.ours) {
        (_, _, None) => "Ours is unknown, and says why.",
        ("KRNL-6000 kernel.unprivileged_bpf_disabled", true, _) => {
            "lynis wants 1. 2 keeps ordinary users out as well, and lets root change its mind until the next boot; Debian ships it."
        }
        ("KRNL-6000 kernel.kptr_restrict", true, _) => {
            "lynis wants 2, which hides addresses from root, too. Root reads them elsewhere; ours asks that users do not (1)."
        }
        ("KRNL-6000 kernel.perf_event_paranoid", true, _) => {
            "lynis wants 3, which only Debian's patched kernels know. With 2 users measure their own programs and not the kernel."
        }
        ("KRNL-6000 fs.protected_fifos" | "KRNL-6000 fs.protected_regular", true, _) => {
            "lynis wants 2, which adds folders that only a group may write to. Ours asks that it is on (1)."
        }
        ("KRNL-6000 kernel.sysrq", true, _) => {
            "lynis wants 0. Debian's 438 keeps the keys that read memory and kill programs from the keyboard; ours asks for anything but 1."
        }
        ("KRNL-6000 net.ipv4.conf.all.send_redirects", true, _) => {
            "Only a router sends them, and this one forwards nothing; ours asks where it does."
        }
        ("KRNL-6000 net.ipv4.conf.all.rp_filter", true, _) => {
            "lynis wants 1 in `all`. The larger of `all` and the interface's own counts (ip-sysctl), which comes from `default`; ours asks \
             that both are not 0, and takes 2, which two uplinks need."
        }
        ("BOOT-5264", true, _) => {
            "lynis complains as soon as systemd-analyze calls any unit of the system exposed, which Debian's own are. Ours judges those \
             of broker, gateway service and agent."
        }
        ("AUTH-9229", true, _) => {
            "lynis wants rounds for every hash that is not yescrypt's. Ours complains of schemes that are guessed quickly; SHA-512 is none."
        }
        ("AUTH-9328", true, _) => {
            "lynis wants that others may not read (027). Ours complains when they may write: others who read are the rule where a \
             service's group is not its user's."
        }
        ("KRNL-5820", true, _) => {
            "lynis wants core dumps off in every file that could switch them off. Ours follows the kernel's pattern to where they end."
        }
        ("ACCT-9628", true, _) => {
            "The kernel audits for the machine alone, so auditd cannot run in a container. Ours counts that it is switched on for boot."
        }
        ("SSH-7408 MaxSessions", true, _) => "lynis wants 2. Ours complains above OpenSSH's own 10.",
        ("SSH-7408 MaxAuthTries", true, _) => "lynis wants 3. Ours complains above OpenSSH's own 6.",
        ("SSH-7408 LogLevel", true, _) => {
            "lynis wants VERBOSE. INFO, the default, tells who logged in with which key since OpenSSH 7; ours complains of less."
        }
        ("SSH-7408 PermitRootLogin", true, _) => {
            "lynis wants no. Ours complains of passwords for root, and leaves root by key to `ssh_logins_not_restricted`."
        }
        ("USB-1000", false, Some(true)) => {
            "lynis looks at `authorized_default` of the ports there are, which a virtual machine has none of; ours at whether the \
             driver would be loaded."
        }
        ("FILE-6374", _, _) => {
            "lynis asks noexec, nodev and nosuid of a dozen places where each is a file system of its own. Ours asks nodev and nosuid of \
             those that everyone writes to."
        }
        ("FIRE-4590", false, Some(true)) => {
            "lynis takes a kernel that has iptables built in for a firewall that is on; where it is, FIRE-4512 says that it has no rules. Nothing is filtered, so ours complains."
        }
        ("SSH-7440", false, Some(true)) => {
            "lynis shows that nobody is named who may log in, and complains of nothing. Ours does."
        }
        ("TIME-3104", false, Some(true)) => {
            "lynis leaves virtual machines and containers alone here. A gateway is none; ours complains where no time service runs."
        }
        ("HOME-9304", true, Some(false)) => {
            "lynis wants that others may not read home folders. Ours complains when they may write to them."
        }
        _ => return None,
    })
}

/// Complaints about which we have no control.
fn not_asked(line: &Line, id: &str) -> Option<&'static str> {
    Some(match (id, line.test.as_str()) {
        ("LYNIS" | "TOOL-5002" | "DEB-0001", _) => "About lynis or how a site works, not about the host.",
        (
            "DEB-0280" | "DEB-0285" | "DEB-0810" | "DEB-0811" | "DEB-0831" | "DEB-0870" | "DEB-0880" | "PKGS-7370"
            | "PKGS-7394" | "PKGS-7346" | "FINT-4350" | "ACCT-9622" | "ACCT-9626" | "MALW-3280" | "HRDN-7230"
            | "FINT-4402",
            _,
        ) => {
            "A package that lynis would have installed. Ours asks for effects (updates, sessions, audit), not for packages."
        }
        ("KRNL-5788" | "BOOT-5122" | "BOOT-5180" | "BOOT-5108", _) => {
            "The boot loader of a PC; a container has none and a Raspberry Pi another, which `board` asks."
        }
        (
            "FILE-6310" | "FILE-6354" | "FILE-6430" | "FILE-7524" | "STRG-1846" | "NETW-3200" | "HRDN-7222"
            | "HRDN-7220",
            _,
        ) => {
            "A habit of servers (partitions of their own, modules that could be loaded, compilers, modes of crontabs). Ours asks which \
             modules are loaded, and which files everyone may change."
        }
        ("AUTH-9230" | "AUTH-9262" | "AUTH-9282" | "AUTH-9286" | "AUTH-9308" | "AUTH-9284", _) => {
            "Passwords' rounds, quality and age: on a gateway nobody logs in by password, which others of our controls ask."
        }
        (
            "NAME-4028" | "NAME-4404" | "NAME-4408" | "NETW-2704" | "NETW-2705" | "NETW-3032" | "MAIL-8818"
            | "MAIL-8820" | "NETW-2706",
            _,
        ) => "Names and resolvers: `link_posture` asks whether they answer, and whether they lie.",
        ("BANN-7126" | "BANN-7130", _) => "A legal banner is a matter of law, not of the host's state.",
        ("LOGG-2190" | "LOGG-2138" | "LOGG-2146" | "PROC-3612" | "PROC-3614" | "TIME-3185", _) => {
            "A passing state (deleted files in use, busy processes), not one of configuration."
        }
        ("SSH-7408", "SSH-7408") => {
            "Port, Compression, TCPKeepAlive and ClientAliveCountMax: no value of these opens anything."
        }
        ("FIRE-4512", _) => "The same question as our `firewall_missing`, of iptables alone.",
        ("KRNL-6000", setting) if setting.contains(".default.accept_source_route") => {
            "The same setting for interfaces to come. The kernel takes a source route where `all` and the interface allow it, so that `all`, which is judged, decides."
        }
        ("KRNL-6000", _) => {
            "A setting that lynis's profile has and ours has not: none opens the host to anybody who is not root, or to a neighbour."
        }
        (
            "CRYP-7902" | "CRYP-7930" | "CRYP-8004" | "CRYP-7931" | "HTTP-6640" | "HTTP-6643" | "HTTP-6710"
            | "PHP-2320" | "DBS-1816",
            _,
        ) => "Of programs that are not the gateway's, or certificates, which other checks look at where they are used.",
        ("CONT-8104" | "CONT-8106" | "CONT-8107" | "CONT-8108", _) => {
            "Docker's own warnings; ours asks for what opens the host."
        }
        _ => return None,
    })
}

fn of_ssh_audit(line: &Line) -> Option<&'static str> {
    let words = line.words.as_str();
    if line.theirs && words.contains("elliptic curves") {
        return Some(
            "ssh-audit fails the NIST curves for where they come from. IEC 62443 and BSI TR-02102-4 ask for them, and no attack is known.",
        );
    }
    None
}

/// The section of `docs/agreement.md`.
#[must_use]
pub fn markdown(lines: &[Line]) -> String {
    let (both, alone): (Vec<_>, Vec<_>) = lines.iter().partition(|line| !line.controls.is_empty());
    let differ = both.iter().filter(|line| !line.agrees()).count();
    let mut text = format!(
        "{HEADING}\n\nWhat `host_guardrails`, `lynis` and `ssh-audit` say of the same systems: this machine, on which the project is \
         tested; a\nDebian 12 as it is installed, with the kernel settings of `fixtures/hosts/broken`; and the same hardened by \
         `tests/container/harden.sh`,\nthese two booted by systemd-nspawn. {} questions that both ask, {differ} answered differently; {} \
         complaints of theirs about which\nwe have no control. \"yes\" is a complaint.\n\n## Differences\n\n",
        both.len(),
        alone.len(),
    );
    let mut reasons: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for line in both.iter().filter(|line| !line.agrees()) {
        let (test, who) = (&line.test, line.who);
        reasons
            .entry(explained(line).unwrap_or("NOT EXPLAINED"))
            .or_default()
            .insert(format!("{test} ({who}, {})", line.system));
    }
    // Writing to a string cannot fail.
    for (reason, places) in reasons {
        let _ = writeln!(text, "- {reason}\n  {}.", places.into_iter().collect::<Vec<_>>().join("; "));
    }
    let mut reasons: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in &alone {
        reasons.entry(explained(line).unwrap_or("NOT EXPLAINED")).or_default().insert(&line.test);
    }
    let _ = writeln!(text, "\n## What we do not ask\n");
    for (reason, tests) in reasons {
        let _ = writeln!(text, "- {reason}\n  {}.", tests.into_iter().collect::<Vec<_>>().join(", "));
    }
    let _ = writeln!(
        text,
        "\n## Everything that both ask\n\n| system | test | they | ours | controls |\n| --- | --- | --- | --- | --- |"
    );
    for line in both {
        let yes = |told: bool| if told { "yes" } else { "no" };
        let (ours, mark) = (line.ours.map_or("unknown", yes), if line.agrees() { "" } else { "**" });
        let theirs = yes(line.theirs);
        let (system, test) = (line.system, &line.test);
        let _ = writeln!(text, "| {system} | {test} | {theirs} | {mark}{ours}{mark} | {} |", line.controls.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_print_is_read() {
        let lynis = Lynis::of(
            "tests_executed=SSH-7408|KRNL-6000|FIRE-4590|\nsuggestion[]=SSH-7408|Consider|MaxSessions (set 4 to 2)|-|\n\
             warning[]=FIRE-4590|No firewall|-|-|\n\
             details[]=KRNL-6000|sysctl|desc:x;field:kernel.kptr_restrict;prefval:2;value:0;|\n",
        );
        let says =
            |id: &str, option: &str| lynis.says(LYNIS.iter().find(|one| one.id == id && one.option == option).unwrap());
        assert_eq!((says("SSH-7408", "MaxSessions"), says("SSH-7408", "MaxAuthTries")), (Some(true), Some(false)));
        assert_eq!((says("FIRE-4590", ""), says("TIME-3104", "")), (Some(true), None));
        assert_eq!(
            (says("KRNL-6000", "kernel.kptr_restrict"), says("KRNL-6000", "kernel.sysrq")),
            (Some(true), Some(false))
        );
        let ssh = SshAudit::of(
            "# x\n(gen) banner: x\n(kex) ecdh-sha2-nistp256   -- [fail] using weak elliptic curves\n\
             \u{20}   `- [info] available\n(mac) hmac-sha1 -- [warn] x\n    `- [fail] broken\n(rec) -x -- [fail] no\n",
        );
        let words = |kind: &str, name: &str| ssh.0[&(kind.to_owned(), name.to_owned())].clone();
        assert_eq!(words("kex", "ecdh-sha2-nistp256").as_deref(), Some("using weak elliptic curves"));
        assert_eq!(words("mac", "hmac-sha1").as_deref(), Some("broken"));
        assert_eq!(ssh.0.len(), 2);
    }
}
