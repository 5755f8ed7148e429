//! Whose keys are in a bundle, and who sealed its manifest.
//!
//! Guarantees: a key that the auditor named and that is not inside ends the replay. A key that nobody named is used and
//! said to be unproven.

use gatepost_evidence::bundle::{GATEWAY_KEY, MANIFEST, Maker, Manifest, SEAL, SINK_KEY, Seal};
use gatepost_evidence::envelope::Envelope;
use gatepost_evidence::id::Digest;
use gatepost_evidence::key::PublicKey;

use super::{Part, Replay, Trust, Wrong};

impl Replay<'_> {
    pub(super) fn keys(&mut self, manifest: &Manifest, trust: &Trust) -> Option<(PublicKey, Option<PublicKey>)> {
        let part = Part::Keys;
        let gateway = match self.key(GATEWAY_KEY) {
            Ok(key) => key,
            Err(wrong) => {
                self.broken(part, GATEWAY_KEY, wrong);
                return None;
            }
        };
        if gateway.id() != manifest.gateway {
            self.broken(part, GATEWAY_KEY, ("other_gateway", format!("it is the key of gateway {}", gateway.id())));
            return None;
        }
        if let Some(expected) = trust.gateway.filter(|expected| *expected != gateway.id()) {
            let why = format!("it is the key of {}, and {expected} was to be expected", gateway.id());
            self.broken(part, GATEWAY_KEY, ("unknown_key", why));
            return None;
        }
        let inside = match self.files.contains_key(SINK_KEY).then(|| self.key(SINK_KEY)).transpose() {
            Ok(key) => key,
            Err(wrong) => {
                self.broken(part, SINK_KEY, wrong);
                return None;
            }
        };
        if let (Some(given), Some(inside)) = (&trust.sink, &inside)
            && given != inside
        {
            let why = format!("it is the key {}, and {} was to be expected", inside.id(), given.id());
            self.broken(part, SINK_KEY, ("unknown_key", why));
            return None;
        }
        let sink = inside.or_else(|| trust.sink.clone());
        if manifest.maker == Maker::Sink && sink.is_none() {
            self.broken(part, SINK_KEY, ("missing_key", "a sink made this bundle, and its key is not there".into()));
            return None;
        }
        match trust.gateway {
            Some(_) => self.holds(part, "the gateway is the one that was to be expected"),
            None => self.not_checked(part, "that the gateway's key is the gateway's: no key or id of it was given"),
        }
        match (&sink, &trust.sink) {
            (Some(_), Some(_)) => self.holds(part, "the sink is the one that was to be expected"),
            (Some(_), None) => self.not_checked(part, "that the sink's key is the sink's: it was not given"),
            (None, _) => {}
        }
        Some((gateway, sink))
    }

    fn key(&self, path: &str) -> Result<PublicKey, Wrong> {
        let bytes = self.files.get(path).ok_or_else(|| ("missing_key", "it is not there".to_owned()))?;
        let text = std::str::from_utf8(bytes).map_err(|error| ("bad_key", error.to_string()))?;
        let key = PublicKey::from_pem(text).map_err(|error| ("bad_key", error.to_string()))?;
        // One key, one file: what a lenient reader of PEM skips is not skipped here.
        if key.to_pem() == text { Ok(key) } else { Err(("bad_key", "it is not the plain PEM of its key".into())) }
    }

    pub(super) fn seal(&mut self, manifest: &Manifest, gateway: &PublicKey, sink: Option<&PublicKey>) {
        let key = match (manifest.maker, sink) {
            (Maker::Sink, Some(sink)) => sink,
            _ => gateway,
        };
        let check = || -> Result<(), Wrong> {
            let bytes =
                self.files.get(SEAL).ok_or_else(|| ("missing_seal", "nobody sealed the manifest".to_owned()))?;
            let envelope = Envelope::parse(bytes).map_err(|error| (error.reason(), error.to_string()))?;
            if envelope.to_json().as_bytes() != bytes {
                return Err(("malformed", "the seal is not written as it should be".into()));
            }
            let seal = Seal::open(&envelope, key).map_err(|error| (error.reason(), error.to_string()))?;
            let found = Digest::of(self.files.get(MANIFEST).map(Vec::as_slice).unwrap_or_default());
            if seal.manifest == found { Ok(()) } else { Err(("other_manifest", format!("it seals {}", seal.manifest))) }
        };
        match check() {
            Ok(()) => self.holds(Part::Seal, format!("the {} sealed the manifest", manifest.maker)),
            Err(wrong) => self.broken(Part::Seal, SEAL, wrong),
        }
    }
}
