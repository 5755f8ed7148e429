//! Wi-Fi as it is configured and heard: wpa_supplicant.conf(5), NetworkManager's keyfiles (nm-settings-keyfile(5)), and
//! `/proc/net/wireless`.
//!
//! Of a passphrase or key no more than its being there is kept, and of a network not even its name. What is read is bounded, and
//! a file that cannot be read is a failed look: these belong to root.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::canonical::whole_number;
use gatepost_evidence::check::link_posture::radio::{Network, Radio, Wireless};
use gatepost_evidence::look::{Failure, FailureKind, Look};

use crate::probe::host::root::Root;
use crate::probe::host::{shorten, snippets};

/// The most networks of one file.
const MAX_NETWORKS: usize = 64;
/// Where NetworkManager keeps connections.
const NETWORK_MANAGER: [&str; 3] = [
    "/etc/NetworkManager/system-connections",
    "/run/NetworkManager/system-connections",
    "/usr/lib/NetworkManager/system-connections",
];

/// Keys whose values are looked at, in both kinds of files.
const KEYS: [&str; 20] = [
    "network",
    "key_mgmt",
    "proto",
    "pairwise",
    "group",
    "ieee80211w",
    "pmf",
    "disabled",
    "eap",
    "mode",
    "scan_ssid",
    "priority",
    "key-mgmt",
    "autoconnect",
    "type",
    "ctrl_interface",
    "update_config",
    "country",
    "id_str",
    "system-ca-certs",
];

/// Whether a snapshot may keep the value of `key`.
#[must_use]
pub fn speaks_of_security(key: &str) -> bool {
    KEYS.contains(&key)
}

/// What is seen of Wi-Fi.
pub(super) fn look(root: &Root) -> Wireless {
    let mut files = BTreeMap::new();
    let mut folder = |path: &str, ending: &str, read: fn(&str) -> Result<Vec<Network>, Failure>| {
        match snippets(root, Path::new(path), ending) {
            Ok(found) => {
                for file in found {
                    let networks =
                        root.read_text(&file).and_then(|text| read(&text).map_err(|failure| about(&file, &failure)));
                    // Connections of NetworkManager are of every kind.
                    if !matches!(&networks, Ok(networks) if networks.is_empty()) {
                        files.insert(file.display().to_string(), Look::from(networks));
                    }
                }
            }
            Err(failure) => {
                files.insert(path.to_owned(), Look::Failed(failure));
            }
        }
    };
    folder("/etc/wpa_supplicant", ".conf", wpa_supplicant);
    for path in NETWORK_MANAGER {
        folder(path, ".nmconnection", network_manager);
    }
    Wireless { radios: radios(root).into(), files }
}

fn about(file: &Path, failure: &Failure) -> Failure {
    Failure::new(failure.kind, format_args!("{}: {}", file.display(), failure.detail))
}

/// `wlan0: 0000   54.  -56.  -256        0      0      0      0      0        0` behind two lines of heading: status, quality,
/// level, noise, and counters.
fn radios(root: &Root) -> Result<Vec<Radio>, Failure> {
    let path = Path::new("/proc/net/wireless");
    let mut found = Vec::new();
    let mut number = 0_usize;
    root.lines(path, |line| {
        number += 1;
        let Some((name, rest)) = line.split_once(':').filter(|_| number > 2) else { return Ok(()) };
        let level = rest.split_ascii_whitespace().nth(2).map(|level| level.trim_end_matches('.'));
        let level: i64 = level.and_then(|level| level.parse().ok()).ok_or_else(|| {
            Failure::new(FailureKind::Unparseable, format_args!("{}: line {number} is no radio", path.display()))
        })?;
        // Drivers that do not speak of dBm give a number of their own, from 0 up; -256 stands for none.
        let signal_dbm = Some(level).filter(|level| (-200..0).contains(level));
        found.push(Radio { interface: shorten(name.trim()), signal_dbm });
        if found.len() > MAX_NETWORKS {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("there are more than {MAX_NETWORKS} radios")));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Words of a value: what stands between blanks, semicolons and commas, without quotes, in upper case.
fn words(value: &str) -> Vec<String> {
    let words = value.split(|c: char| c.is_whitespace() || c == ';' || c == ',').map(|word| word.trim_matches('"'));
    words.filter(|word| !word.is_empty()).take(16).map(|word| shorten(&word.to_ascii_uppercase())).collect()
}

/// The blocks `network={ ... }` of wpa_supplicant.conf(5).
fn wpa_supplicant(text: &str) -> Result<Vec<Network>, Failure> {
    let mut networks: Vec<Network> = Vec::new();
    let mut open: Option<Network> = None;
    // In force for all networks that do not set their own.
    let mut pmf = None;
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let squeezed: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if squeezed.starts_with("network={") {
            let place = u32::try_from(networks.len() + 1).unwrap_or(u32::MAX);
            open = Some(Network { place, ..Network::default() });
            continue;
        }
        if line == "}" {
            networks.extend(open.take());
            if networks.len() > MAX_NETWORKS {
                return Err(too_many());
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else { continue };
        match (&mut open, key) {
            (None, "pmf") => pmf = whole_number(value),
            (None, _) => {}
            (Some(network), "key_mgmt") => network.key_management = words(value),
            (Some(network), "proto") => network.protocols = words(value),
            (Some(network), "pairwise") => network.ciphers = words(value),
            (Some(network), "ieee80211w") => network.protected_management = whole_number(value),
            (Some(network), "psk" | "sae_password" | "raw_psk") => network.secret = true,
            (Some(network), "wep_key0" | "wep_key1" | "wep_key2" | "wep_key3") => network.wep = true,
            (Some(network), "eap") => network.eap = words(value),
            (Some(network), "ca_cert" | "ca_path" | "domain_suffix_match" | "domain_match") => {
                network.authority |= matches!(key, "ca_cert" | "ca_path");
            }
            (Some(network), "disabled") => network.disabled = value == "1",
            (Some(_), _) => {}
        }
    }
    if open.is_some() {
        return Err(Failure::new(FailureKind::Unparseable, "a network's block has no end"));
    }
    for network in &mut networks {
        network.protected_management = network.protected_management.or(pmf);
    }
    Ok(networks)
}

fn too_many() -> Failure {
    Failure::new(FailureKind::TooLarge, format_args!("there are more than {MAX_NETWORKS} networks"))
}

/// A connection of NetworkManager, if it is one of Wi-Fi.
fn network_manager(text: &str) -> Result<Vec<Network>, Failure> {
    let mut network = Network { place: 1, ..Network::default() };
    let (mut section, mut wifi, mut security) = ("", false, false);
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            wifi |= matches!(name, "wifi" | "802-11-wireless");
            security |= matches!(name, "wifi-security" | "802-11-wireless-security");
            continue;
        }
        let Some((key, value)) = line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) else { continue };
        match (section, key) {
            ("connection", "autoconnect") => network.disabled = value == "false",
            ("wifi-security" | "802-11-wireless-security", "key-mgmt") => network.key_management = words(value),
            ("wifi-security" | "802-11-wireless-security", "proto") => network.protocols = words(value),
            ("wifi-security" | "802-11-wireless-security", "pairwise") => network.ciphers = words(value),
            ("wifi-security" | "802-11-wireless-security", "pmf") => {
                // 0 default, 1 disable, 2 optional, 3 required; the default is to protect where the other side can.
                network.protected_management = match value {
                    "1" => Some(0),
                    "0" | "2" => Some(1),
                    "3" => Some(2),
                    _ => None,
                };
            }
            ("wifi-security" | "802-11-wireless-security", "psk") => network.secret = true,
            ("wifi-security" | "802-11-wireless-security", key)
                if key.starts_with("wep-key") && key != "wep-key-type" =>
            {
                network.wep = true;
            }
            ("802-1x", "eap") => network.eap = words(value),
            ("802-1x", "ca-cert" | "ca-path" | "system-ca-certs") => network.authority |= value != "false",
            _ => {}
        }
    }
    if !wifi {
        return Ok(Vec::new());
    }
    // Its word for WPA with a passphrase is that of nobody else, and without the section there is no security at all.
    network.protected_management = network.protected_management.or(security.then_some(1));
    if security && network.key_management.iter().any(|word| word == "NONE") {
        network.wep = true;
    }
    Ok(vec![network])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::host::tests::snapshot;

    const SECRET: &str = "correct horse battery staple";

    fn seen(files: &[(&str, &str)]) -> Wireless {
        let folder = snapshot(files);
        let seen = look(&Root::new(folder.path()));
        let text = serde_json::to_string(&seen).unwrap();
        assert!(!text.contains(SECRET) && !text.contains("Home Network"), "{text}");
        seen
    }

    #[test]
    fn networks_of_wpa_supplicant_are_read_and_no_passphrase_is() {
        let text = format!(
            "ctrl_interface=DIR=/run/wpa_supplicant\npmf=1\n# network={{\nnetwork={{\n ssid=\"Home Network\"\n psk=\"{SECRET}\"\n}}\n\
             network = {{\n key_mgmt=NONE\n disabled=1\n}}\nnetwork={{\n key_mgmt=WPA-EAP\n eap=PEAP\n password=\"{SECRET}\"\n \
             ca_cert=\"/etc/ca.pem\"\n ieee80211w=2\n}}\nnetwork={{\nkey_mgmt=WPA-PSK SAE\nproto=RSN WPA\npairwise=CCMP TKIP\n\
             psk={SECRET}\n ieee80211w=0\n}}\nnetwork={{\nwep_key0={SECRET}\nkey_mgmt=NONE\n}}\n"
        );
        let seen = seen(&[("etc/wpa_supplicant/wpa_supplicant.conf", &text)]);
        let networks = seen.files["/etc/wpa_supplicant/wpa_supplicant.conf"].seen().unwrap();
        assert_eq!(networks.len(), 5);
        assert_eq!((networks[0].secret, networks[0].protected_management), (true, Some(1)));
        assert_eq!((networks[1].disabled, networks[1].key_management.as_slice()), (true, &["NONE".to_owned()][..]));
        assert_eq!(
            (networks[2].authority, networks[2].eap.len(), networks[2].protected_management),
            (true, 1, Some(2))
        );
        assert_eq!((networks[3].ciphers.len(), networks[3].protocols.len()), (2, 2));
        assert!(networks[4].wep && networks[4].place == 5);
        assert!(seen.radios.failure().is_some(), "there is no /proc/net/wireless");
    }

    #[test]
    fn connections_of_network_manager_are_read_if_they_are_of_wifi() {
        let folder = "etc/NetworkManager/system-connections";
        let home = format!(
            "[connection]\nid=Home Network\ntype=wifi\n[wifi]\nssid=Home Network\n[wifi-security]\nkey-mgmt=wpa-psk\npmf=1\npsk={SECRET}\n"
        );
        let seen = seen(&[
            (&format!("{folder}/home.nmconnection"), &home),
            (&format!("{folder}/cafe.nmconnection"), "[connection]\nautoconnect=false\n[wifi]\nssid=x\n"),
            (&format!("{folder}/wire.nmconnection"), "[connection]\ntype=ethernet\n[ethernet]\n"),
            (
                &format!("{folder}/office.nmconnection"),
                "[wifi]\n[wifi-security]\nkey-mgmt=wpa-eap\n[802-1x]\neap=peap;\n",
            ),
            (
                "proc/net/wireless",
                "Inter-| sta\n face |\n wlan0: 0000   54.  -56.  -256        0\n wlan1: 0 0 200. 0\n",
            ),
        ]);
        let of = |name: &str| seen.files.get(&format!("/{folder}/{name}.nmconnection"));
        let home = &of("home").unwrap().seen().unwrap()[0];
        assert_eq!(
            (home.secret, home.protected_management, home.key_management[0].as_str()),
            (true, Some(0), "WPA-PSK")
        );
        let cafe = &of("cafe").unwrap().seen().unwrap()[0];
        assert!(cafe.disabled && cafe.key_management.is_empty());
        assert!(of("wire").is_none());
        assert_eq!(of("office").unwrap().seen().unwrap()[0].eap, ["PEAP"]);
        let radios = seen.radios.seen().unwrap();
        assert_eq!(
            (radios[0].interface.as_str(), radios[0].signal_dbm, radios[1].signal_dbm),
            ("wlan0", Some(-56), None)
        );
    }

    #[test]
    fn what_is_no_configuration_is_a_failed_look() {
        let many = "network={\n}\n".repeat(MAX_NETWORKS + 1);
        let seen = seen(&[
            ("etc/wpa_supplicant/open.conf", "network={\n ssid=\"x\"\n"),
            ("etc/wpa_supplicant/many.conf", &many),
            ("proc/net/wireless", "a\nb\nwlan0: rubbish\n"),
        ]);
        let failure =
            |name: &str| seen.files[&format!("/etc/wpa_supplicant/{name}.conf")].failure().unwrap().to_string();
        assert_eq!(failure("open"), "unparseable: /etc/wpa_supplicant/open.conf: a network's block has no end");
        assert!(failure("many").starts_with("too large"));
        assert!(seen.radios.failure().unwrap().detail.contains("line 3"));
    }
}
