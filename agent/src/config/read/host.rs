//! `[host]`: what is expected of the operating system.

use crate::config::Host;
use crate::config::table::Table;

pub(super) fn host(mut table: Table<'_>, default: Host) -> Host {
    let (mut allowed_ports, mut expected_programs) = (Vec::new(), std::collections::BTreeMap::new());
    for entry in table.strings("allowed_ports") {
        let mut words = entry.split_whitespace();
        let (port, program) = (words.next().unwrap_or_default(), words.next());
        let good = port
            .split_once('/')
            .is_some_and(|(protocol, port)| ["tcp", "udp"].contains(&protocol) && port.parse::<u16>().is_ok());
        if !good || words.next().is_some() {
            let message = format!("{entry:?} is not protocol/port or protocol/port program, such as \"tcp/22 sshd\"");
            table.object("allowed_ports", message);
        }
        if let Some(program) = program {
            expected_programs.insert(port.to_owned(), program.to_owned());
        }
        allowed_ports.push(port.to_owned());
    }
    let units = table.strings("units");
    for unit in units.iter().filter(|unit| !unit.ends_with(".service")) {
        table.object("units", format!("{unit:?} is not the name of a service, such as \"gateway.service\""));
    }
    let root = table.path("root").unwrap_or(default.root);
    table.finish();
    Host { allowed_ports, expected_programs, units, root }
}
