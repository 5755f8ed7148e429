//! Looks for `disclosure_readiness`: the declared domain's `security.txt`, the releases of system and kernel, and dpkg's database.
//!
//! At most four GET requests for each of two places, over HTTPS only: a redirect is followed to an `https` URL, three times at most;
//! the second place is asked where the first has nothing. Files are read below
//! the configured root; of the package database only names, versions and their digest are kept.

mod packages;

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gatepost_evidence::check::Contract as _;
use gatepost_evidence::check::disclosure_readiness::{Answer, Check, Observation, Packages};
use gatepost_evidence::look::{Bytes, Failure, FailureKind};
use gatepost_evidence::run::{Target, TargetKind};
use ureq::http::Uri;

use super::host::{root::Root, system};
use super::{Probe, blocking, observed};
use crate::config::{Config, Disclosure};
use crate::http;

/// The probe.
pub const PROBE: Probe = Probe {
    check: Check::CHECK,
    contract: Check::VERSION,
    limit: Duration::from_secs(36),
    touches: "https://DOMAIN/.well-known/security.txt of the declared domain: one GET, and one more for each of at most three \
              redirects; the same for /security.txt where there is none. os-release, the kernel's release and /var/lib/dpkg/status.",
    needs: "domain of [disclosure], and a way to it; without them the files are read all the same.",
    targets: |_| vec![Target::new(TargetKind::Host, "gateway")],
    look: |config, _| Box::pin(async move { observed(&blocking(move || Ok(observe(&config))).await?) }),
};

/// The longest that one request may take.
const REQUEST: Duration = Duration::from_secs(4);
/// Redirects that are followed.
const REDIRECTS: usize = 3;
/// Bytes of a `security.txt` that are kept; the RFC's advice for the whole file (section 5) is this.
const BODY: u64 = 32 * 1024;

/// Looks. Blocking.
#[must_use]
pub fn observe(config: &Arc<Config>) -> Observation {
    let root = Root::new(&config.host.root);
    let disclosure = config.disclosure.as_ref();
    let first = disclosure.map(|disclosure| security_txt(disclosure, "/.well-known/security.txt"));
    let none_there = matches!(&first, Some(Ok(answer)) if answer.status != 200);
    let top = disclosure.filter(|_| none_there).map(|disclosure| security_txt(disclosure, "/security.txt"));
    Observation {
        domain: disclosure.map(|disclosure| disclosure.domain.clone()),
        security_txt: first.map(Into::into),
        security_txt_top: top.map(Into::into),
        os_release: system::os_release(&root).into(),
        kernel: system::kernel(&root),
        packages: inventory(&root).into(),
    }
}

fn security_txt(disclosure: &Disclosure, path: &str) -> Result<Answer, Failure> {
    let client = http::client(disclosure.ca_file.as_deref(), REQUEST)?;
    let wrong = |what: &str| Failure::new(FailureKind::Protocol, what);
    let first = format!("https://{}{path}", disclosure.domain);
    let mut url: Uri = first.parse().map_err(|_| wrong("the domain makes no URL"))?;
    let mut urls = vec![first];
    loop {
        let response = client.get(&url).header("accept", "text/plain").call().map_err(|error| http::failure(&error))?;
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).chars().take(200).collect::<String>())
        };
        if let (301 | 302 | 303 | 307 | 308, Some(location)) = (status, header("location")) {
            let next = redirected(&url, &location).ok_or_else(|| wrong("a redirect leads to no https URL"))?;
            if urls.len() > REDIRECTS || urls.contains(&next.to_string()) {
                return Err(wrong("its redirects go on for too long or in a circle"));
            }
            urls.push(next.to_string());
            url = next;
            continue;
        }
        let content_type = header("content-type");
        let mut body = Vec::new();
        if status == 200 {
            let mut reader = response.into_body().into_reader().take(BODY);
            reader.read_to_end(&mut body).map_err(|error| Failure::new(http::io_kind(&error), error))?;
        }
        return Ok(Answer { urls, status, content_type, body: Bytes(body) });
    }
}

/// Where `location` leads to from `url`, if that is an https URL without user information.
fn redirected(url: &Uri, location: &str) -> Option<Uri> {
    let absolute = match location.strip_prefix('/') {
        Some(rest) if !rest.starts_with('/') => format!("https://{}{location}", url.authority()?),
        _ => location.to_owned(),
    };
    let next: Uri = absolute.parse().ok()?;
    (next.scheme_str() == Some("https") && !next.authority()?.as_str().contains('@')).then_some(next)
}

fn inventory(root: &Root) -> Result<Packages, Failure> {
    packages::read(|each| root.lines(Path::new(packages::PATH), each))
}

#[cfg(test)]
mod tests {
    use gatepost_evidence::id::Digest;

    use super::super::host::tests::snapshot;
    use super::*;

    const STATUS: &str = "Package: mosquitto\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.0.11-1.2+deb12u2\n\
                          Description: broker\n Package: not a field\n\nPackage: gone\nStatus: deinstall ok config-files\n\
                          Version: 1\nArchitecture: all\n\nPackage: libssl3t64\nStatus: install ok installed\nVersion: 3.5.1-1\n\
                          Architecture: arm64\n";

    #[test]
    fn installed_packages_are_counted_and_digested_in_their_order() {
        let folder = snapshot(&[("var/lib/dpkg/status", STATUS)]);
        let found = inventory(&Root::new(folder.path())).unwrap();
        assert_eq!(found.installed, 2);
        assert_eq!(found.versions.keys().collect::<Vec<_>>(), ["libssl3t64", "mosquitto"]);
        let lines = "libssl3t64\t3.5.1-1\tarm64\nmosquitto\t2.0.11-1.2+deb12u2\tarm64\n";
        assert_eq!(found.digest, Digest::of(lines.as_bytes()));
    }

    #[test]
    fn no_database_an_empty_one_and_garbage_are_told_apart() {
        let kind = |files: &[(&str, &str)]| inventory(&Root::new(snapshot(files).path())).unwrap_err().kind;
        assert_eq!(kind(&[]), FailureKind::NotFound);
        assert_eq!(kind(&[("var/lib/dpkg/status", "")]), FailureKind::Unparseable);
        assert_eq!(kind(&[("var/lib/dpkg/status", "\u{0}\u{1}garbage\n\n\n")]), FailureKind::Unparseable);
    }

    #[test]
    fn a_redirect_leads_to_https_or_nowhere() {
        let from: Uri = "https://a.example:8443/.well-known/security.txt".parse().unwrap();
        let to = |location: &str| redirected(&from, location).map(|url| url.to_string());
        assert_eq!(to("/security.txt").as_deref(), Some("https://a.example:8443/security.txt"));
        assert_eq!(to("https://b.example/s").as_deref(), Some("https://b.example/s"));
        for nowhere in ["http://b.example/s", "//b.example/s", "https://me:secret@b.example/", "ftp://x/", "\u{1}"] {
            assert_eq!(to(nowhere), None, "{nowhere}");
        }
    }
}
