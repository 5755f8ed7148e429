//! Wi-Fi: how the networks are secured that the gateway joins, and how well it hears them. Never a passphrase.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::check::Unknown;
use crate::look::Look;

/// What was seen of Wi-Fi.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wireless {
    /// Radios that are connected, of `/proc/net/wireless`.
    pub radios: Look<Vec<Radio>>,
    /// By file: the networks that it configures.
    pub files: BTreeMap<String, Look<Vec<Network>>>,
}

/// A radio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Radio {
    /// The interface.
    pub interface: String,
    /// How well it hears, in dBm; null when the driver does not say it so.
    pub signal_dbm: Option<i64>,
}

/// A configured network, as its file has it: values as they stand there, in upper case and split at blanks and semicolons.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Its place in the file, from 1.
    pub place: u32,
    /// `key_mgmt` of wpa_supplicant, `key-mgmt` of NetworkManager; empty when it does not stand there.
    pub key_management: Vec<String>,
    /// `proto`: `WPA` is the first one, `RSN` and `WPA2` the second.
    pub protocols: Vec<String>,
    /// `pairwise`.
    pub ciphers: Vec<String>,
    /// `ieee80211w` or `pmf`, as wpa_supplicant counts: 0 off, 1 where the other side can, 2 always.
    pub protected_management: Option<u32>,
    /// There is a passphrase or a key.
    pub secret: bool,
    /// There is a WEP key.
    pub wep: bool,
    /// `eap`.
    pub eap: Vec<String>,
    /// An authority is named that the network's certificate must come from.
    pub authority: bool,
    /// It is not joined by itself.
    pub disabled: bool,
}

/// Facts about a radio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RadioFacts {
    /// How well it hears, in dBm.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_dbm: Option<i64>,
}

/// How a network is secured, by the weakest that its configuration allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// Not at all.
    Open,
    /// Encrypted for nobody in particular (OWE, RFC 8110).
    Owe,
    /// WEP.
    Wep,
    /// WPA with a passphrase, in its first version.
    Wpa,
    /// WPA2 with a passphrase.
    Wpa2,
    /// WPA3 with a passphrase (SAE).
    Wpa3,
    /// Each station by itself (IEEE 802.1X).
    Enterprise,
}

/// Facts about a configured network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NetworkFacts {
    /// How it is secured. Absent when the configuration names a way that is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security: Option<Security>,
    /// TKIP is allowed.
    pub tkip: bool,
    /// Management frames are protected where the other side can, at least.
    pub management_protected: bool,
    /// An authority is named that the network's certificate must come from.
    pub authority: bool,
    /// It is not joined by itself.
    pub disabled: bool,
}

/// Radios by interface, and networks by file and place.
pub(super) fn facts(
    wireless: Option<&Wireless>,
    unknown: &mut Unknown,
) -> (BTreeMap<String, RadioFacts>, BTreeMap<String, NetworkFacts>) {
    let Some(wireless) = wireless else { return Default::default() };
    let mut radios = BTreeMap::new();
    match &wireless.radios {
        Look::Seen(seen) => {
            for radio in seen {
                if radio.signal_dbm.is_none() {
                    let place = format!("/radios/{}/signal_dbm", crate::check::segment(&radio.interface));
                    unknown.because(place, "the driver does not give its signal in dBm");
                }
                radios.insert(radio.interface.clone(), RadioFacts { signal_dbm: radio.signal_dbm });
            }
        }
        Look::Failed(failure) => unknown.because("/radios", failure),
    }
    let mut networks = BTreeMap::new();
    for (file, look) in &wireless.files {
        match look {
            Look::Seen(seen) => {
                for network in seen {
                    let name = format!("{file} {}", network.place);
                    let facts = network_facts(network);
                    if facts.security.is_none() {
                        let place = format!("/networks/{}/security", crate::check::segment(&name));
                        let words = network.key_management.join(" ");
                        unknown.because(place, format_args!("the key management {words:?} is not known here"));
                    }
                    networks.insert(name, facts);
                }
            }
            // One file that cannot be read hides its networks; those of others are still told, and this for all.
            Look::Failed(failure) => unknown.because("/networks", failure),
        }
    }
    (radios, networks)
}

fn network_facts(network: &Network) -> NetworkFacts {
    let has = |list: &[String], word: &str| list.iter().any(|entry| entry == word);
    let keys = |word: &str| network.key_management.iter().any(|entry| entry.contains(word));
    let first = has(&network.protocols, "WPA") || (network.protocols.is_empty() && has(&network.ciphers, "TKIP"));
    let security = if network.wep {
        Some(Security::Wep)
    } else if keys("NONE") {
        Some(Security::Open)
    } else if keys("PSK") || (network.key_management.is_empty() && network.secret && network.eap.is_empty()) {
        Some(if first { Security::Wpa } else { Security::Wpa2 })
    } else if keys("EAP") || keys("IEEE8021X") || keys("SUITE-B") || !network.eap.is_empty() {
        Some(Security::Enterprise)
    } else if keys("SAE") {
        Some(Security::Wpa3)
    } else if keys("OWE") {
        Some(Security::Owe)
    } else if network.key_management.is_empty() {
        Some(Security::Open)
    } else {
        None
    };
    NetworkFacts {
        security,
        tkip: has(&network.ciphers, "TKIP") || has(&network.protocols, "WPA"),
        management_protected: network.protected_management.is_some_and(|mode| mode > 0)
            || security == Some(Security::Wpa3)
            || security == Some(Security::Owe),
        authority: network.authority,
        disabled: network.disabled,
    }
}
