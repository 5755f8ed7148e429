//! `gatepost battery`: makes the certificates of clients that the broker must turn away, where the key of its CA is.
//!
//! What it writes has no CA key in it. Nothing that exists is replaced.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;

use super::{Outcome, print};
use crate::cli::Battery;
use crate::files;
use crate::probe::battery::mint::{self, Authority, Revocation};

pub(super) fn run(options: &Battery) -> anyhow::Result<Outcome> {
    let authority = || -> Result<Authority, gatepost_evidence::look::Failure> {
        let chain = files::read_certificates(&options.ca_cert)?;
        let key = files::read_private_key(&options.ca_key)?;
        Authority::new(chain.first().map_or(&[][..], |der| &der.0), &key)
    };
    let authority = authority().context("the CA cannot be used")?;
    let revocation = match (&options.crl, options.new_crl) {
        (Some(path), _) => {
            let present = files::read(path).and_then(|bytes| mint::crl(&bytes));
            Revocation::After(present.with_context(|| format!("{} cannot be used", path.display()))?.0)
        }
        (None, true) => Revocation::New,
        (None, false) => Revocation::None,
    };
    let minted = authority.mint(&revocation, options.days, Timestamp::now()).context("no battery was made")?;

    let folder = &options.output;
    fs::DirBuilder::new()
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("{} cannot be made; a folder that exists is not replaced", folder.display()))?;
    let mut names = Vec::new();
    for (member, pem) in &minted.members {
        let name = format!("{member}.pem");
        write(&folder.join(&name), pem, 0o600)?;
        names.push(name);
    }
    let place = folder.display();
    let mut out = format!("{place} has {}.\n", names.join(", "));
    match &minted.crl {
        Some(crl) => {
            write(&folder.join("crl.pem"), crl, 0o644)?;
            out.push_str(&format!(
                "{place}/crl.pem is the CA's new CRL: it revokes revoked.pem beside what was revoked before. Publish it as you\n\
                 publish yours, and give it to the broker (`crlfile`) before the next audit.\n"
            ));
        }
        None => out.push_str(
            "No revoked certificate was made: give --crl with the CA's present CRL, or --new-crl if it has none yet.\n",
        ),
    }
    out.push_str(&format!(
        "Copy the folder to the gateway, readable by the agent alone, and name it in its configuration:\n\
         [broker.battery]\nfolder = \"/etc/gatepost/battery\"\n\
         In the broker's access control list, give the sound one a place that nobody else has:\n\
         user gatepost-canary\ntopic readwrite gatepost/foreign/#\n\
         It is good for {} days; the CA's key stays where it is.\n",
        options.days
    ));
    print(&out)?;
    Ok(Outcome::Clean)
}

fn write(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let written = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())
    };
    written().with_context(|| format!("{} cannot be written", path.display()))
}
