//! What the devices of one run share: a certificate, a key, a serial number, a name. One device's certificate cannot say
//! that; the run can, and whoever judges it computes the same.
//!
//! The leaves of every source of every device count, since a key that stands in two places is shared wherever it was seen.
//! A device that was not seen shares nothing that is known: its own record says that it was not seen.

use std::collections::{BTreeMap, BTreeSet};

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{DeviceFacts, Observation, Unknown, leaf};
use crate::id::Digest;

/// The devices of a run, by what they show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fleet {
    /// By device: the certificates it shows.
    certificates: BTreeMap<String, BTreeSet<Digest>>,
    /// By certificate: who shows it.
    shown: BTreeMap<Digest, BTreeSet<String>>,
    /// By certificate: its key, and its issuer with its serial number.
    marks: BTreeMap<Digest, Marks>,
    /// By key: the certificates that have it.
    keys: BTreeMap<Digest, BTreeSet<Digest>>,
    /// By issuer and serial number: the certificates that have them.
    serials: BTreeMap<Digest, BTreeSet<Digest>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Marks {
    key: Digest,
    serial: Digest,
}

impl Fleet {
    /// Adds what was seen of the device called `id`.
    pub(crate) fn add(&mut self, id: &str, observation: &Observation) {
        let Some(device) = &observation.device else { return };
        let own = self.certificates.entry(id.to_owned()).or_default();
        for der in device.sources.iter().filter_map(|source| leaf(&source.chain)) {
            let digest = Digest::of(der);
            own.insert(digest);
            self.shown.entry(digest).or_default().insert(id.to_owned());
            let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
            let serial = [certificate.issuer().as_raw(), certificate.raw_serial()].concat();
            let marks = Marks { key: Digest::of(certificate.public_key().raw), serial: Digest::of(&serial) };
            self.keys.entry(marks.key).or_default().insert(digest);
            self.serials.entry(marks.serial).or_default().insert(digest);
            self.marks.insert(digest, marks);
        }
    }

    /// Says in the facts of the device called `id` what it shares with whom.
    pub(crate) fn relate(&self, id: &str, facts: &mut DeviceFacts, unknown: &mut Unknown) {
        let Some(own) = self.certificates.get(id).filter(|own| !own.is_empty()) else { return };
        // Devices that show one of these, without this device and without those that are told of already.
        let who = |certificates: &BTreeSet<Digest>, without: &BTreeSet<String>| -> BTreeSet<String> {
            let all = certificates.iter().filter_map(|digest| self.shown.get(digest)).flatten();
            all.filter(|other| *other != id && !without.contains(*other)).cloned().collect()
        };
        let with = |by: fn(&Marks) -> Digest, groups: &BTreeMap<Digest, BTreeSet<Digest>>| -> BTreeSet<Digest> {
            let marks = own.iter().filter_map(|digest| self.marks.get(digest));
            marks.filter_map(|marks| groups.get(&by(marks))).flatten().copied().collect()
        };
        let same_certificate = who(own, &BTreeSet::new());
        let same_key = who(&with(|marks| marks.key, &self.keys), &same_certificate);
        let same_serial = who(&with(|marks| marks.serial, &self.serials), &same_certificate);
        facts.same_certificate_as = Some(same_certificate.into_iter().collect());
        if own.iter().any(|digest| self.marks.contains_key(digest)) {
            facts.same_key_as = Some(same_key.into_iter().collect());
            facts.same_serial_as = Some(same_serial.into_iter().collect());
        } else {
            for fact in ["same_key_as", "same_serial_as", "names_of_others"] {
                unknown.because(format!("/device/{fact}"), "the certificate does not parse");
            }
        }
        if let Some(certificate) = facts.certificate.as_ref().filter(|certificate| certificate.parses) {
            let names = certificate.alternative_names.iter().flatten().chain(&certificate.common_name);
            let others: BTreeSet<&String> =
                names.filter(|name| *name != id && self.certificates.contains_key(*name)).collect();
            facts.names_of_others = Some(others.into_iter().cloned().collect());
        }
    }
}
