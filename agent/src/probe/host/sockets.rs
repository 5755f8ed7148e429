//! Sockets that accept connections or datagrams, from the tables of proc(5), with the programs that hold them.
//!
//! A table that can not be understood is a failed look as a whole: an open port must not hide behind an odd line. Programs
//! are found by their file descriptors, which takes root (or CAP_SYS_PTRACE) for those of other users; without it the
//! sockets are still seen and the program is not.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::Socket;
use gatepost_evidence::look::{Failure, FailureKind};

use super::root::Root;
use super::shorten;

/// The most sockets that are recorded.
pub const MAX_SOCKETS: usize = 1000;
/// The most file descriptors that are looked through for the programs.
const MAX_DESCRIPTORS: usize = 200_000;

/// The state of a socket that listens, and of one that has no peer (`include/net/tcp_states.h`).
const LISTEN: &str = "0A";
const UNCONNECTED: &str = "07";

/// A socket and its inode, by which its program is found.
type Held = (Socket, u64);

/// Every socket that listens (TCP) or takes datagrams from anyone (UDP).
///
/// # Errors
/// When a table can not be read or understood, or there are more than [`MAX_SOCKETS`].
pub fn sockets(root: &Root) -> Result<Vec<Socket>, Failure> {
    let held = held(root, &[("tcp", "tcp"), ("tcp6", "tcp"), ("udp", "udp"), ("udp6", "udp")])?;
    let mut programs = programs(root, &held);
    let mut sockets: Vec<_> =
        held.into_iter().map(|(socket, inode)| Socket { program: programs.remove(&inode), ..socket }).collect();
    sockets.sort_by(|a, b| {
        (&a.protocol, a.port, &a.address, a.uid, &a.program).cmp(&(&b.protocol, b.port, &b.address, b.uid, &b.program))
    });
    sockets.dedup();
    Ok(sockets)
}

/// Every socket that accepts connections over TCP; whose they are is not asked.
///
/// # Errors
/// As [`sockets`].
pub fn tcp(root: &Root) -> Result<Vec<Socket>, Failure> {
    Ok(held(root, &[("tcp", "tcp"), ("tcp6", "tcp")])?.into_iter().map(|(socket, _)| socket).collect())
}

fn held(root: &Root, tables: &[(&str, &str)]) -> Result<Vec<Held>, Failure> {
    let mut held = Vec::new();
    for (table, protocol) in tables {
        let result = read_table(root, &Path::new("/proc/net").join(table), protocol, &mut held);
        match result {
            // A kernel without IPv6 has no such tables.
            Err(Failure { kind: FailureKind::NotFound, .. }) if table.ends_with('6') => {}
            result => result?,
        }
    }
    Ok(held)
}

fn read_table(root: &Root, path: &Path, protocol: &str, held: &mut Vec<Held>) -> Result<(), Failure> {
    let mut number = 0_usize;
    root.lines(path, |line| {
        number += 1;
        if number == 1 {
            return Ok(());
        }
        let row = row(line, protocol).ok_or_else(|| {
            Failure::new(FailureKind::Unparseable, format_args!("{}: line {number} is no socket", path.display()))
        })?;
        held.extend(row);
        if held.len() > MAX_SOCKETS {
            let detail = format!("there are more than {MAX_SOCKETS} sockets that listen");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        Ok(())
    })
}

/// The socket of one row: `Some(None)` when it does not listen, `None` when the row can not be understood.
fn row(line: &str, protocol: &str) -> Option<Option<Held>> {
    // sl, local address, remote address, state, queues, timer, retransmits, uid, timeout, inode
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (address, port) = endpoint(fields.next()?)?;
    let (_, remote_port) = endpoint(fields.next()?)?;
    let state = fields.next()?;
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let listens = match protocol {
        "tcp" => state == LISTEN,
        _ => state == UNCONNECTED && remote_port == 0,
    };
    let socket = || Socket { protocol: protocol.to_owned(), address: address.to_string(), port, uid, program: None };
    Some(listens.then(|| (socket(), inode)))
}

/// `0100007F:0016`: the address in words of the machine's byte order, the port in that of the network.
fn endpoint(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    if !address.is_ascii() {
        return None;
    }
    let word = |at: usize| u32::from_str_radix(address.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    let address = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index * 8)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some((address, u16::from_str_radix(port, 16).ok()?))
}

/// By inode: the program that holds the socket; of several the oldest, which has the lowest process id. Processes that end
/// meanwhile and those that may not be looked into are passed over.
fn programs(root: &Root, held: &[Held]) -> HashMap<u64, String> {
    let mut wanted: Vec<u64> = held.iter().map(|(_, inode)| *inode).filter(|inode| *inode != 0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut found = HashMap::new();
    let mut processes: Vec<u32> = match root.list(Path::new("/proc")) {
        Ok(names) => names.iter().filter_map(|name| name.parse().ok()).collect(),
        Err(_) => return found,
    };
    processes.sort_unstable();
    let mut descriptors = 0;
    for process in processes {
        if found.len() == wanted.len() || descriptors > MAX_DESCRIPTORS {
            break;
        }
        let folder = PathBuf::from(format!("/proc/{process}"));
        let Ok(entries) = root.list(&folder.join("fd")) else { continue };
        let mut program = None;
        for entry in entries {
            descriptors += 1;
            let Some(inode) = socket_inode(root, &folder.join("fd").join(entry)) else { continue };
            if wanted.binary_search(&inode).is_err() {
                continue;
            }
            let name = || root.read_text(&folder.join("comm")).ok().map(|name| shorten(name.trim()));
            if let Some(program) = program.get_or_insert_with(name) {
                found.entry(inode).or_insert_with(|| program.clone());
            }
        }
    }
    found
}

fn socket_inode(root: &Root, descriptor: &Path) -> Option<u64> {
    root.link(descriptor).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    const HEADER: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

    fn line(local: &str, remote: &str, state: &str) -> String {
        format!("   0: {local} {remote} {state} 00000000:00000000 00:00000000 00000000   105        0 4711 1 0 100 0\n")
    }

    #[test]
    fn only_sockets_that_take_traffic_from_anyone_are_seen() {
        let any = "00000000:0000";
        let tcp = [
            line("00000000:0016", any, LISTEN),
            line("0100007F:075B", any, LISTEN),
            line("0201A8C0:0016", "0301A8C0:D431", "01"),
        ];
        let udp = [line("00000000:14E9", any, UNCONNECTED), line("0201A8C0:0044", "0101A8C0:0043", "01")];
        let any6 = format!("{}:0000", "0".repeat(32));
        let tcp6 = [
            line("00000000000000000000000000000000:22B3", &any6, LISTEN),
            line("00000000000000000000000001000000:1F90", &any6, LISTEN),
            line("0000000000000000FFFF0000010000 7F:1F90".replace(' ', "").as_str(), &any6, LISTEN),
            line("000080FE00000000FF005450B6A1F0FE:0016", &any6, LISTEN),
        ];
        let folder = snapshot(&[
            ("proc/net/tcp", &format!("{HEADER}{}", tcp.concat())),
            ("proc/net/tcp6", &format!("{HEADER}{}", tcp6.concat())),
            ("proc/net/udp", &format!("{HEADER}{}", udp.concat())),
        ]);
        let sockets = sockets(&Root::new(folder.path())).unwrap();
        let names: Vec<_> = sockets.iter().map(|s| format!("{}/{}@{}", s.protocol, s.port, s.address)).collect();
        assert_eq!(
            names,
            [
                "tcp/22@0.0.0.0",
                "tcp/22@fe80::5054:ff:fef0:a1b6",
                "tcp/1883@127.0.0.1",
                "tcp/8080@::1",
                "tcp/8080@::ffff:127.0.0.1",
                "tcp/8883@::",
                "udp/5353@0.0.0.0",
            ]
        );
        assert!(sockets.iter().all(|socket| socket.uid == 105 && socket.program.is_none()));
    }

    #[test]
    fn an_odd_line_fails_the_look() {
        for odd in [
            "garbage\n".to_owned(),
            line("0000000G:0016", "00000000:0000", LISTEN),
            line("00000000:10016", "00000000:0000", LISTEN),
            line("ééé00:0016", "00000000:0000", LISTEN),
            "\n".to_owned(),
        ] {
            let folder = snapshot(&[("proc/net/tcp", &format!("{HEADER}{odd}")), ("proc/net/udp", HEADER)]);
            let failure = sockets(&Root::new(folder.path())).unwrap_err();
            assert_eq!(failure.to_string(), "unparseable: /proc/net/tcp: line 2 is no socket");
        }
    }

    #[test]
    fn a_missing_table_and_too_many_sockets_fail_the_look() {
        let folder = snapshot(&[("proc/net/udp", HEADER)]);
        assert_eq!(sockets(&Root::new(folder.path())).unwrap_err().kind, FailureKind::NotFound);
        let many = line("00000000:0016", "00000000:0000", LISTEN).repeat(MAX_SOCKETS + 1);
        let folder = snapshot(&[("proc/net/tcp", &format!("{HEADER}{many}")), ("proc/net/udp", HEADER)]);
        assert_eq!(sockets(&Root::new(folder.path())).unwrap_err().kind, FailureKind::TooLarge);
        let connected = line("00000000:0016", "0301A8C0:D431", "01").repeat(20_000);
        let folder = snapshot(&[("proc/net/tcp", &format!("{HEADER}{connected}")), ("proc/net/udp", HEADER)]);
        assert_eq!(sockets(&Root::new(folder.path())).unwrap(), []);
    }

    #[test]
    fn the_oldest_program_that_holds_a_socket_is_named() {
        let tcp = format!("{HEADER}{}", line("00000000:0016", "00000000:0000", LISTEN));
        let folder = snapshot(&[
            ("proc/net/tcp", &tcp),
            ("proc/net/udp", HEADER),
            ("proc/77/comm", "sshd\n"),
            ("proc/900/comm", "sshd-session\n"),
            ("proc/sys/x", ""),
        ]);
        for process in ["77", "900"] {
            let descriptors = folder.path().join("proc").join(process).join("fd");
            std::fs::create_dir(&descriptors).unwrap();
            std::os::unix::fs::symlink("socket:[4711]", descriptors.join("3")).unwrap();
        }
        let sockets = sockets(&Root::new(folder.path())).unwrap();
        assert_eq!(sockets[0].program.as_deref(), Some("sshd"));
    }
}
