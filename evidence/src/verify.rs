//! The only way from an envelope to a run that may be believed.
//!
//! [`VerifiedRun`] has no public constructor: whoever holds one holds a run whose signature, identity and form were
//! checked here. Nothing is repaired and nothing is skipped; the first thing wrong is the answer.

use crate::canonical::{self, ReadError};
use crate::envelope::{Envelope, EnvelopeError};
use crate::id::{Digest, GatewayId};
use crate::rotation::{Signers, WrongKey};
use crate::run::{PAYLOAD_TYPE, PREDICATE_TYPE, Run, STATEMENT_TYPE, Statement};

/// A run that was signed by the gateway it speaks of.
#[derive(Debug, Clone, PartialEq)]
pub struct VerifiedRun {
    digest: Digest,
    run: Run,
}

/// Why a run was refused. The wording is for people; [`VerifyError::reason`] is stable for programs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The envelope around it.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The payload is not RFC 8785 canonical JSON.
    #[error("the payload is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// The payload is not a Gatepost run.
    #[error("the payload is not a Gatepost run: {0}")]
    NotARun(String),
    /// Signed by one gateway, about another.
    #[error("signed by gateway {signer}, but it speaks of gateway {subject}")]
    OtherGateway {
        /// Who signed.
        signer: String,
        /// Whom the statement or its predicate names.
        subject: String,
    },
    /// Signed by a key of the gateway, but not by the one that signs at this place.
    #[error(transparent)]
    WrongKey(#[from] WrongKey),
}

impl VerifyError {
    /// A stable word for programs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Envelope(error) => error.reason(),
            Self::NotCanonical => "not_canonical",
            Self::NotARun(_) => "not_a_run",
            Self::OtherGateway { .. } => "other_gateway",
            Self::WrongKey(wrong) => wrong.reason(),
        }
    }
}

impl VerifiedRun {
    /// Checks the signature of `envelope` against the key of the gateway that it names, then reads the run inside, and
    /// whether that key signs at its place. `signers` is the gateway's keyring, or its key if it never had another.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn open(envelope: &Envelope, signers: &impl Signers) -> Result<Self, VerifyError> {
        let key = signers.signer(envelope);
        let payload = envelope.open(PAYLOAD_TYPE, key)?;
        let statement: Statement = canonical::from_slice(&payload).map_err(|error| match error {
            ReadError::NotCanonical => VerifyError::NotCanonical,
            ReadError::Shape(why) => VerifyError::NotARun(why),
        })?;
        let run = Self::check(statement, signers.gateway())?;
        signers.in_force(key, run.seq)?;
        Ok(Self { digest: Digest::of(&payload), run })
    }

    fn check(statement: Statement, gateway: GatewayId) -> Result<Run, VerifyError> {
        let not_a_run = |why: String| Err(VerifyError::NotARun(why));
        if statement.statement_type != STATEMENT_TYPE {
            return not_a_run(format!("_type is not {STATEMENT_TYPE}"));
        }
        if statement.predicate_type != PREDICATE_TYPE {
            return not_a_run(format!("predicateType is not {PREDICATE_TYPE}"));
        }
        let [subject] = statement.subject.as_slice() else {
            return not_a_run(format!("it has {} subjects, not one", statement.subject.len()));
        };
        let run = statement.predicate;
        for named in [subject.digest.sha256, run.gateway.id] {
            if named != gateway {
                return Err(VerifyError::OtherGateway { signer: gateway.to_string(), subject: named.to_string() });
            }
        }
        if subject.name != run.gateway.name {
            return not_a_run("the subject and the predicate name the gateway differently".to_owned());
        }
        if (run.seq == 1) != run.prev.is_none() || run.seq == 0 {
            return not_a_run(format!("seq {} and prev do not fit: only seq 1 has none", run.seq));
        }
        if let Some(record) = run
            .records
            .iter()
            .find(|record| (record.status == crate::run::Status::Observed) != record.observation.is_some())
        {
            return not_a_run(format!("{} has a status that does not fit its observation", record.check));
        }
        let mut targets: Vec<_> = run.records.iter().map(|record| (&record.check, &record.target)).collect();
        targets.sort();
        if let Some(pair) = targets.windows(2).find(|pair| pair[0] == pair[1]) {
            return not_a_run(format!("{} has two records of {}", pair[0].0, pair[0].1.name));
        }
        Ok(run)
    }

    /// SHA-256 of the payload, the run's identity everywhere.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the gateway saw.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// The run itself.
    #[must_use]
    pub fn into_run(self) -> Run {
        self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use crate::run::samples;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn open(run: &Run, signer: &SigningKey) -> Result<VerifiedRun, VerifyError> {
        let envelope = run.sign(signer).unwrap().envelope;
        VerifiedRun::open(&Envelope::parse(envelope.as_bytes()).unwrap(), signer.public())
    }

    #[test]
    fn a_signed_run_comes_back_as_it_was() {
        let run = samples::run(key(1).public().id(), 1, None);
        let signed = run.sign(&key(1)).unwrap();
        let verified = open(&run, &key(1)).unwrap();
        assert_eq!(verified.run(), &run);
        assert_eq!(verified.digest(), signed.digest);
    }

    #[test]
    fn a_run_about_another_gateway_is_refused() {
        let run = samples::run(key(2).public().id(), 1, None);
        assert_eq!(open(&run, &key(1)).unwrap_err().reason(), "other_gateway");
    }

    #[test]
    fn runs_that_contradict_themselves_are_refused() {
        let id: GatewayId = key(1).public().id();
        let mut twice = samples::run(id, 1, None);
        twice.records.push(twice.records[0].clone());
        let mut hollow = samples::run(id, 1, None);
        hollow.records[0].observation = None;
        for run in [
            samples::run(id, 0, None),
            samples::run(id, 2, None),
            samples::run(id, 1, Some(Digest::of(b"x"))),
            twice,
            hollow,
        ] {
            assert_eq!(open(&run, &key(1)).unwrap_err().reason(), "not_a_run");
        }
    }

    #[test]
    fn a_payload_that_is_not_canonical_is_refused_even_if_signed() {
        let run = samples::run(key(1).public().id(), 1, None);
        let signed = run.sign(&key(1)).unwrap();
        let envelope = Envelope::parse(signed.envelope.as_bytes()).unwrap();
        let mut payload = envelope.open(PAYLOAD_TYPE, key(1).public()).unwrap();
        payload.push(b' ');
        let spaced = Envelope::sign(PAYLOAD_TYPE, &payload, &key(1));
        assert_eq!(VerifiedRun::open(&spaced, key(1).public()).unwrap_err(), VerifyError::NotCanonical);
    }
    #[test]
    fn a_run_has_one_form_however_well_it_is_signed() {
        // Found while the fuzz target `payload` was written: these were accepted, and the second verifier refused the
        // first.
        let run = samples::run(key(1).public().id(), 1, None);
        let signed = run.sign(&key(1)).unwrap();
        let payload = Envelope::parse(signed.envelope.as_bytes()).unwrap().open(PAYLOAD_TYPE, key(1).public()).unwrap();
        let payload = String::from_utf8(payload).unwrap();
        for (from, to) in [
            (r#""prev":null,"#, ""),
            (r#""model":null,"#, ""),
            (r#""started_at":"2026-03-01T10:00:00Z""#, r#""started_at":"2026-03-01T10:00:00.0Z""#),
            (r#""started_at":"2026-03-01T10:00:00Z""#, r#""started_at":"2026-03-01T11:00:00+01:00""#),
        ] {
            assert!(payload.contains(from), "{from}");
            let other = Envelope::sign(PAYLOAD_TYPE, payload.replace(from, to).as_bytes(), &key(1));
            assert_eq!(VerifiedRun::open(&other, key(1).public()).unwrap_err().reason(), "not_a_run", "{to}");
        }
    }
}
