//! Keys that several gateways or devices of the fleet share, and RSA keys that share a prime: what no gateway sees alone.
//!
//! Each judged run leaves the keys that it saw of its broker and its devices (`store/keys.rs`); of each of them the newest
//! counts. Grouping is pure. It is this sink's own finding, beside what the rules say of each gateway: a run's assessment
//! never depends on other gateways' runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gatepost_evidence::certificate::public_key;
use gatepost_evidence::certificate::shared::{Modulus, share_a_prime};
use gatepost_evidence::check::{
    Contract as _, broker_certificate_identity as broker, device_certificate_hygiene as device,
};
use gatepost_evidence::id::{Digest, GatewayId};
use gatepost_evidence::run::Run;
use rusqlite::Connection;
use serde::Serialize;

use crate::store::{StoreError, keys};
use crate::weak_keys::WeakKeys;

/// The most RSA keys whose primes are compared; beyond it only equal keys are looked for, and the page says so.
const MAX_MODULI: usize = 20_000;

/// A key that a run saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenKey {
    /// Whose it is: `broker`, or the device's id.
    pub subject: String,
    /// It is a device's.
    pub device: bool,
    /// SHA-256 of the certificate.
    pub certificate: Digest,
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub key: Digest,
    /// The modulus, big-endian, if it is an RSA key.
    pub modulus: Option<Vec<u8>>,
}

/// The keys of the broker and of the devices that `run` saw.
#[must_use]
pub fn of_run(run: &Run) -> Vec<SeenKey> {
    let mut seen = Vec::new();
    for record in &run.records {
        let Some(observation) = &record.observation else { continue };
        // By place and not by type: every version of these contracts has the leaf there.
        let leaf = match record.check.as_str() {
            broker::Check::CHECK => observation.pointer("/chain/0"),
            device::Check::CHECK => {
                let sources = observation.pointer("/device/sources").and_then(serde_json::Value::as_array);
                sources.into_iter().flatten().find_map(|source| source.pointer("/chain/seen/0"))
            }
            _ => None,
        };
        let Some(der) = leaf.and_then(|leaf| leaf.as_str()).and_then(|text| STANDARD.decode(text).ok()) else {
            continue;
        };
        let Some(key) = public_key(&der) else { continue };
        seen.push(SeenKey {
            subject: record.target.name.clone(),
            device: record.check == device::Check::CHECK,
            certificate: Digest::of(&der),
            key,
            modulus: Modulus::of_certificate(&der).map(|modulus| modulus.to_bytes()),
        });
    }
    seen
}

/// A key and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// The gateway that saw it.
    pub gateway: GatewayId,
    /// That gateway's name; untrusted text.
    pub name: String,
    /// The run that saw it.
    pub seq: u64,
    /// The key.
    pub seen: SeenKey,
}

/// One who shares.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Holder {
    /// The gateway's name; untrusted text.
    pub name: String,
    /// The gateway that saw it.
    pub gateway: GatewayId,
    /// `broker`, or the device's id; untrusted text.
    pub subject: String,
    /// The newest run that saw it.
    pub seq: u64,
}

/// Who shares what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// Those who have one and the same key.
    pub keys: Vec<Vec<Holder>>,
    /// Those whose different RSA keys have a prime in common: everybody who has their certificates has their private keys.
    pub primes: Vec<Vec<Holder>>,
    /// Those whose key stands in one of the operator's lists of weak keys.
    pub weak: Vec<Holder>,
    /// There are too many RSA keys to compare their primes.
    pub primes_not_compared: bool,
}

impl Shared {
    /// Whether nobody shares anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.primes.is_empty() && self.weak.is_empty() && !self.primes_not_compared
    }

    /// The part of it that is about `gateway`.
    #[must_use]
    pub fn about(&self, gateway: GatewayId) -> Self {
        let own = |groups: &[Vec<Holder>]| {
            groups.iter().filter(|group| group.iter().any(|one| one.gateway == gateway)).cloned().collect()
        };
        let weak = self.weak.iter().filter(|one| one.gateway == gateway).cloned().collect();
        Self { keys: own(&self.keys), primes: own(&self.primes), weak, primes_not_compared: self.primes_not_compared }
    }
}

/// Who of `held` shares what, and who has a key that `lists` hold.
///
/// A device that several gateways know by one id and one certificate is one device, and shares with nobody.
#[must_use]
pub fn shared(held: &[HeldKey], lists: &WeakKeys) -> Shared {
    let holder = |held: &HeldKey| Holder {
        name: held.name.clone(),
        gateway: held.gateway,
        subject: held.seen.subject.clone(),
        seq: held.seq,
    };
    let mut by_key: BTreeMap<Digest, Vec<&HeldKey>> = BTreeMap::new();
    for one in held {
        by_key.entry(one.seen.key).or_default().push(one);
    }
    let who = |one: &HeldKey| match one.seen.device {
        true => (None, one.seen.subject.clone(), Some(one.seen.certificate)),
        false => (Some(one.gateway), one.seen.subject.clone(), None),
    };
    let group = |members: Vec<&HeldKey>| -> Vec<Holder> {
        let set: BTreeSet<Holder> = members.into_iter().map(holder).collect();
        set.into_iter().collect()
    };
    let several = |members: &&Vec<&HeldKey>| members.iter().map(|one| who(one)).collect::<BTreeSet<_>>().len() > 1;
    let keys = by_key.values().filter(several).map(|members| group(members.clone())).collect();
    let (with, moduli): (Vec<&HeldKey>, Vec<Modulus>) =
        held.iter().filter_map(|one| Some((one, Modulus::from_bytes(one.seen.modulus.as_deref()?)))).unzip();
    let primes_not_compared = moduli.len() > MAX_MODULI;
    let primes = if primes_not_compared { Vec::new() } else { share_a_prime(&moduli) };
    let primes =
        primes.into_iter().map(|places| group(places.into_iter().map(|place| with[place]).collect())).collect();
    let weak = group(held.iter().filter(|one| lists.has(&one.seen)).collect());
    Shared { keys, primes, weak, primes_not_compared }
}

/// What was worked out last, as long as nothing is new, and the lists of weak keys.
#[derive(Debug, Default)]
pub struct Known {
    lists: WeakKeys,
    last: Mutex<Option<(Digest, Arc<Shared>)>>,
}

impl Known {
    /// Nothing worked out yet, and these lists of weak keys.
    #[must_use]
    pub fn with(lists: WeakKeys) -> Self {
        Self { lists, last: Mutex::default() }
    }

    /// Who of the whole fleet shares what.
    ///
    /// # Errors
    /// The database's.
    pub fn of_fleet(&self, connection: &Connection) -> Result<Arc<Shared>, StoreError> {
        let held = keys::all(connection)?;
        let mut text = String::new();
        for HeldKey { gateway, name, seq, seen } in &held {
            text += &format!(
                "{gateway} {seq} {} {} {} {name:?} {:?}\n",
                seen.key, seen.certificate, seen.device, seen.subject
            );
        }
        let state = Digest::of(text.as_bytes());
        if let Some((known, shared)) = &*self.last.lock().unwrap_or_else(PoisonError::into_inner)
            && *known == state
        {
            return Ok(Arc::clone(shared));
        }
        let found = Arc::new(shared(&held, &self.lists));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((state, Arc::clone(&found)));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(held: &[HeldKey]) -> Shared {
        super::shared(held, &WeakKeys::default())
    }

    fn held(gateway: &str, subject: &str, certificate: &str, key: &str, modulus: Option<u128>) -> HeldKey {
        HeldKey {
            gateway: GatewayId::new(Digest::of(gateway.as_bytes())),
            name: gateway.into(),
            seq: 1,
            seen: SeenKey {
                subject: subject.into(),
                device: subject != "broker",
                certificate: Digest::of(certificate.as_bytes()),
                key: Digest::of(key.as_bytes()),
                modulus: modulus.map(|modulus| modulus.to_be_bytes().to_vec()),
            },
        }
    }

    fn who(groups: &[Vec<Holder>]) -> Vec<Vec<String>> {
        groups.iter().map(|group| group.iter().map(|one| format!("{}/{}", one.name, one.subject)).collect()).collect()
    }

    #[test]
    fn brokers_and_devices_with_one_key_are_told() {
        let found = shared(&[
            held("a", "broker", "1", "k", None),
            held("b", "broker", "2", "k", None),
            held("c", "broker", "3", "other", None),
            held("a", "stm32-01", "4", "d", None),
            held("a", "stm32-02", "5", "d", None),
        ]);
        let mut groups = who(&found.keys);
        groups.sort();
        assert_eq!(groups, [["a/broker", "b/broker"], ["a/stm32-01", "a/stm32-02"]]);
        assert_eq!(who(&found.about(GatewayId::new(Digest::of(b"b"))).keys), [["a/broker", "b/broker"]]);
        assert!(found.about(GatewayId::new(Digest::of(b"c"))).is_empty());
    }

    #[test]
    fn a_device_that_two_gateways_know_is_one_device() {
        assert!(shared(&[held("a", "stm32-01", "1", "k", None), held("b", "stm32-01", "1", "k", None)]).is_empty());
        // The same key in another certificate is not.
        let found = shared(&[held("a", "stm32-01", "1", "k", None), held("b", "stm32-01", "2", "k", None)]);
        assert_eq!(who(&found.keys), [["a/stm32-01", "b/stm32-01"]]);
    }

    #[test]
    fn a_shared_prime_is_told_with_all_who_have_it() {
        const P: u128 = 2_305_843_009_213_693_951;
        let [q, r, s, t] = [
            2_305_843_009_213_693_921,
            2_305_843_009_213_693_907,
            2_305_843_009_213_693_723,
            2_305_843_009_213_693_693,
        ];
        let found = shared(&[
            held("a", "broker", "1", "1", Some(P * q)),
            held("b", "stm32-07", "2", "2", Some(P * r)),
            held("c", "broker", "3", "3", Some(s * t)),
        ]);
        assert_eq!(who(&found.primes), [["a/broker", "b/stm32-07"]]);
        assert!(found.keys.is_empty());
    }
}
