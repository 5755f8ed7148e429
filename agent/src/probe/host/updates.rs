//! Packages, their sources and their updates, from the files of dpkg(1) and apt(8). Nothing is fetched. Package
//! lists that apt keeps packed its own helper unpacks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gatepost_evidence::check::host_guardrails::updates::{PackageSource, Packages, Pending, Updates, compare_versions};
use gatepost_evidence::look::{Failure, FailureKind};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::root::Root;
use super::{helper, if_there, shorten, snippets};

/// The most bytes of dpkg's status file and of a package list.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The most packages.
const MAX_PACKAGES: usize = 20_000;
/// The most names that are recorded of one kind.
const MAX_NAMES: usize = 200;
/// The most sources that are recorded.
const MAX_SOURCES: usize = 200;
const STATUS: &str = "/var/lib/dpkg/status";
/// Packages whose version is recorded.
const WATCHED: [&str; 12] = [
    "openssh-server",
    "unattended-upgrades",
    "mosquitto",
    "openssl",
    "libssl3",
    "libssl3t64",
    "sudo",
    "systemd",
    "docker.io",
    "docker-ce",
    "apt",
    "nginx",
];

/// What is installed, by package and architecture.
type Installed = BTreeMap<(String, String), String>;

/// What is to be seen of packages, and the version of the SSH server's.
pub fn updates(root: &Root) -> (Updates, Result<String, Failure>) {
    let status = status(root);
    let (packages, installed) = match status {
        Ok((packages, installed)) => (Ok(packages), Ok(installed)),
        Err(failure) => (Err(failure.clone()), Err(failure)),
    };
    let openssh = match &packages {
        Ok(packages) => packages.versions.get("openssh-server").cloned().ok_or_else(|| {
            Failure::new(
                FailureKind::NotFound,
                "the package openssh-server is not installed, so its version is not known",
            )
        }),
        Err(failure) => Err(failure.clone()),
    };
    let updates = Updates {
        packages: packages.into(),
        sources: sources(root).into(),
        periodic: periodic(root).into(),
        lists_changed: lists_changed(root).into(),
        unattended_ran: changed(root, "/var/lib/apt/periodic/unattended-upgrades-stamp").into(),
        security_pending: installed.and_then(|installed| pending(root, &installed)).into(),
    };
    (updates, openssh)
}

/// The fields of interest of one paragraph, by their names in lower case.
type Fields = BTreeMap<String, String>;

/// Paragraphs of deb822(5), put together line by line.
struct Paragraphs<'a, F> {
    wanted: &'a [&'a str],
    fields: Fields,
    each: F,
}

impl<'a, F: FnMut(&Fields) -> Result<(), Failure>> Paragraphs<'a, F> {
    fn new(wanted: &'a [&'a str], each: F) -> Self {
        Self { wanted, fields: Fields::new(), each }
    }

    fn line(&mut self, line: &str) -> Result<(), Failure> {
        if line.is_empty() {
            return self.end();
        }
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| !name.starts_with([' ', '\t']))
            && let Some(wanted) = self.wanted.iter().find(|wanted| wanted.eq_ignore_ascii_case(name))
        {
            self.fields.insert((*wanted).to_owned(), shorten(value.trim()));
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        if !self.fields.is_empty() {
            (self.each)(&self.fields)?;
            self.fields.clear();
        }
        Ok(())
    }
}

/// Gives each paragraph's fields of interest to `each`.
fn paragraphs(
    root: &Root,
    path: &Path,
    wanted: &[&str],
    each: impl FnMut(&Fields) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut paragraphs = Paragraphs::new(wanted, each);
    root.lines_of(path, MAX_BYTES, |line| paragraphs.line(line))?;
    paragraphs.end()
}

fn status(root: &Root) -> Result<(Packages, Installed), Failure> {
    let mut packages = Packages::default();
    let mut installed = Installed::new();
    paragraphs(root, Path::new(STATUS), &["package", "status", "version", "architecture"], |fields| {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let (name, version) = (field("package"), field("version"));
        let status = field("status");
        let words: Vec<_> = status.split(' ').collect();
        let [want, error, state] = words[..] else {
            let detail = format!("{STATUS}: {name} has no status that is known");
            return Err(Failure::new(FailureKind::Unparseable, detail));
        };
        if matches!(state, "not-installed" | "config-files") {
            return Ok(());
        }
        if state != "installed" || error != "ok" {
            push(&mut packages.broken, format!("{name} ({state})"));
        }
        if want == "hold" {
            push(&mut packages.held, name.clone());
        }
        if WATCHED.contains(&name.as_str()) {
            packages.versions.insert(name.clone(), version.clone());
        }
        installed.insert((name, field("architecture")), version);
        if installed.len() > MAX_PACKAGES {
            return Err(Failure::new(
                FailureKind::TooLarge,
                format_args!("{STATUS} has more than {MAX_PACKAGES} packages"),
            ));
        }
        Ok(())
    })?;
    let mut digest = Sha256::new();
    for ((name, architecture), version) in &installed {
        digest.update(format!("{name} {version} {architecture}\n"));
    }
    packages.installed = installed.len() as u64;
    packages.digest = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((packages, installed))
}

fn push(list: &mut Vec<String>, item: String) {
    if list.len() < MAX_NAMES {
        list.push(item);
    }
}

const LISTS: &str = "/var/lib/apt/lists";

/// Packages for which a list of a security archive names a newer version. Without any such list nothing is known.
fn pending(root: &Root, installed: &Installed) -> Result<Vec<Pending>, Failure> {
    let names = root.list(Path::new(LISTS))?;
    let lists: Vec<_> = names.iter().filter(|name| name.contains("security") && name.contains("_Packages")).collect();
    if lists.is_empty() {
        let detail = format!("{LISTS} holds no list of a security archive");
        return Err(Failure::new(FailureKind::NotFound, detail));
    }
    let mut newest: BTreeMap<(String, String), String> = BTreeMap::new();
    for list in lists {
        newer(root, list, installed, |key, version| {
            if newest.get(&key).is_none_or(|known| compare_versions(&version, known).is_gt()) {
                newest.insert(key, version);
            }
        })?;
    }
    let mut found = Vec::new();
    for ((name, architecture), available) in newest {
        let installed = installed.get(&(name.clone(), architecture)).cloned().unwrap_or_default();
        if found.len() < MAX_NAMES {
            found.push(Pending { name, installed, available });
        }
    }
    found.dedup_by(|a, b| a.name == b.name);
    Ok(found)
}

/// What apt unpacks its own lists with, whatever they are packed by (apt-helper is not in anyone's PATH).
const UNPACK: [&str; 1] = ["/usr/lib/apt/apt-helper"];
const OF_LISTS: [&str; 3] = ["package", "version", "architecture"];

/// Gives those packages of the list `name` to `each` that are installed in an older version.
fn newer(
    root: &Root,
    name: &str,
    installed: &Installed,
    mut each: impl FnMut((String, String), String),
) -> Result<(), Failure> {
    let mut look = |fields: &Fields| {
        let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let (key, version) = ((field("package"), field("architecture")), field("version"));
        if installed.get(&key).is_some_and(|have| compare_versions(&version, have).is_gt()) {
            each(key, version);
        }
        Ok(())
    };
    let path = Path::new(LISTS).join(name);
    if name.ends_with("_Packages") {
        return paragraphs(root, &path, &OF_LISTS, look);
    }
    // Small systems keep the lists packed (`Acquire::GzipIndexes`). The answer is short, whatever the list is.
    let place = path.display().to_string();
    let most = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let found = helper::ask_much(root, &place, &UNPACK, &["cat-file", &place], most, |text| {
        let mut kept = String::new();
        let mut paragraphs = Paragraphs::new(&OF_LISTS, |fields: &Fields| {
            let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
            let (name, version, architecture) = (field("package"), field("version"), field("architecture"));
            let have = installed.get(&(name.to_owned(), architecture.to_owned()));
            if have.is_some_and(|have| compare_versions(version, have).is_gt()) {
                kept.push_str(&format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n\n"));
            }
            Ok(())
        });
        text.lines().try_for_each(|line| paragraphs.line(line))?;
        paragraphs.end()?;
        Ok(kept)
    })?;
    let mut paragraphs = Paragraphs::new(&OF_LISTS, &mut look);
    found.lines().try_for_each(|line| paragraphs.line(line))?;
    paragraphs.end()
}

fn changed(root: &Root, path: &str) -> Result<Timestamp, Failure> {
    let state = root.state(Path::new(path))?;
    Timestamp::from_second(state.changed)
        .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("{path}: {error}")))
}

/// The newest change of a list: apt leaves those alone that the server says are current, so its stamp counts as well.
fn lists_changed(root: &Root) -> Result<Timestamp, Failure> {
    let mut newest = None;
    for path in ["/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/periodic/update-stamp", LISTS] {
        if let Some(at) = if_there(changed(root, path))? {
            newest = newest.max(Some(at));
        }
    }
    newest.ok_or_else(|| Failure::new(FailureKind::NotFound, format_args!("{LISTS}: No such file or directory")))
}

/// Sources of both forms (sources.list(5)).
fn sources(root: &Root) -> Result<Vec<PackageSource>, Failure> {
    let folder = Path::new("/etc/apt/sources.list.d");
    let mut files: Vec<PathBuf> = vec!["/etc/apt/sources.list".into()];
    files.extend(snippets(root, folder, ".list")?);
    files.extend(snippets(root, folder, ".sources")?);
    let mut found = Vec::new();
    let mut any = false;
    for path in files {
        let Some(text) = if_there(root.read_text(&path))? else { continue };
        any = true;
        let file = shorten(&path.display().to_string());
        if path.extension().is_some_and(|ending| ending == "sources") {
            found.extend(deb822(&text, &file));
        } else {
            found.extend(text.lines().filter_map(|line| one_line(line, &file)));
        }
        if found.len() > MAX_SOURCES {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("there are more than {MAX_SOURCES} sources")));
        }
    }
    if !any {
        return Err(Failure::new(FailureKind::NotFound, "/etc/apt has no sources"));
    }
    Ok(found)
}

/// A URI without user and password.
fn without_user(uri: &str) -> String {
    match uri.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = host.rsplit('@').next().unwrap_or_default();
            shorten(&format!("{scheme}://{host}/{path}"))
        }
        None => shorten(uri),
    }
}

/// `deb [arch=amd64 trusted=yes] http://host/debian bookworm main`
fn one_line(line: &str, file: &str) -> Option<PackageSource> {
    let rest = line.trim().strip_prefix("deb")?.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let unsigned = options.split_whitespace().any(|option| {
        let option = option.to_ascii_lowercase();
        ["trusted=yes", "allow-insecure=yes", "allow-weak=yes"].contains(&option.as_str())
    });
    Some(PackageSource { file: file.to_owned(), uri: without_user(uri), suite: shorten(suite), unsigned })
}

fn deb822(text: &str, file: &str) -> Vec<PackageSource> {
    let mut found = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut fields: BTreeMap<String, String> = BTreeMap::new();
        let mut last = String::new();
        for line in paragraph.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with([' ', '\t']) {
                let value = fields.entry(last.clone()).or_default();
                value.push(' ');
                value.push_str(line.trim());
            } else if let Some((name, value)) = line.split_once(':') {
                last = name.to_ascii_lowercase();
                fields.insert(last.clone(), value.trim().to_owned());
            }
        }
        let field = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let binary = field("types").split_whitespace().any(|kind| kind == "deb");
        if !binary || field("enabled").eq_ignore_ascii_case("no") {
            continue;
        }
        let yes = |name: &str| field(name).eq_ignore_ascii_case("yes");
        let unsigned = yes("trusted") || yes("allow-insecure") || yes("allow-weak");
        for uri in field("uris").split_whitespace().take(20) {
            for suite in field("suites").split_whitespace().take(20) {
                let (file, uri, suite) = (file.to_owned(), without_user(uri), shorten(suite));
                found.push(PackageSource { file, uri, suite, unsigned });
            }
        }
    }
    found
}

/// `APT::Periodic::Unattended-Upgrade "1";` in any file of apt.conf(5); the last one counts. Blocks in braces are read as
/// the names around them.
fn periodic(root: &Root) -> Result<BTreeMap<String, String>, Failure> {
    let mut files: Vec<PathBuf> = Vec::new();
    let folder = Path::new("/etc/apt/apt.conf.d");
    for name in if_there(root.list(folder))?.unwrap_or_default() {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        if matches!(ending, None | Some("conf")) {
            files.push(folder.join(name));
        }
    }
    files.push("/etc/apt/apt.conf".into());
    let mut options = BTreeMap::new();
    for path in files {
        if let Some(text) = if_there(root.read_text(&path))? {
            apt_options(&text, &mut options);
        }
    }
    let kept: BTreeSet<_> = ["apt::periodic::", "unattended-upgrade::automatic-reboot"].into();
    options.retain(|name: &String, _| kept.iter().any(|prefix| name.starts_with(prefix)));
    Ok(options)
}

/// Options by their name in lower case.
fn apt_options(text: &str, options: &mut BTreeMap<String, String>) {
    let mut around: Vec<String> = Vec::new();
    let mut words: Vec<String> = Vec::new();
    for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        if line.starts_with('#') {
            continue;
        }
        let mut rest = line;
        while let Some(at) = rest.find(['"', '{', '}', ';', ' ', '\t']) {
            let (word, tail) = rest.split_at(at);
            if !word.is_empty() {
                words.push(word.to_owned());
            }
            let sign = tail.chars().next().unwrap_or_default();
            rest = &tail[1..];
            match sign {
                '"' => {
                    let (value, after) = rest.split_once('"').unwrap_or((rest, ""));
                    words.push(value.to_owned());
                    rest = after;
                }
                '{' => around.push(std::mem::take(&mut words).join("::").to_ascii_lowercase()),
                '}' => {
                    around.pop();
                    words.clear();
                }
                ';' => {
                    if let [name, value] = words.as_slice() {
                        let name =
                            around.iter().chain([&name.to_ascii_lowercase()]).cloned().collect::<Vec<_>>().join("::");
                        if options.len() < 1000 {
                            options.insert(shorten(&name), shorten(value));
                        }
                    }
                    words.clear();
                }
                _ => {}
            }
        }
        if !rest.is_empty() {
            words.push(rest.to_owned());
        }
        // An option that is never ended is cut.
        words.truncate(8);
        around.truncate(32);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    const STATUS_TEXT: &str = "Package: openssl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3.0.1-1\n\
        Description: x\n a: b\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n\
        Package: half\nStatus: hold ok half-configured\nVersion: 2\nArchitecture: all\n";

    #[test]
    fn packages_and_their_security_updates_are_told() {
        let list = "Package: openssl\nArchitecture: amd64\nVersion: 3.0.9-1\n\nPackage: openssl\nArchitecture: arm64\nVersion: 4\n\n\
            Package: half\nArchitecture: all\nVersion: 1.9\n";
        let folder = snapshot(&[
            ("var/lib/dpkg/status", STATUS_TEXT),
            (
                "var/lib/apt/lists/deb.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages",
                list,
            ),
            ("var/lib/apt/lists/deb.debian.org_debian_dists_bookworm_main_binary-amd64_Packages", "garbage"),
        ]);
        let (updates, openssh) = updates(&Root::new(folder.path()));
        let packages = updates.packages.seen().unwrap();
        assert_eq!((packages.installed, &packages.held[..]), (2, &["half".to_owned()][..]));
        assert_eq!((packages.digest.len(), &packages.broken[..]), (64, &["half (half-configured)".to_owned()][..]));
        let pending = updates.security_pending.seen().unwrap();
        assert_eq!((pending.len(), pending[0].available.as_str()), (1, "3.0.9-1"));
        assert_eq!(openssh.unwrap_err().kind, FailureKind::NotFound);
        assert!(updates.lists_changed.failure().unwrap().detail.contains("does not say who owns"));
    }

    #[test]
    fn sources_of_both_forms_are_read_without_passwords() {
        let folder = snapshot(&[
            (
                "etc/apt/sources.list",
                "# deb x y\ndeb http://me:hunter2@mirror.example/debian bookworm main\ndeb-src http://a b c\n",
            ),
            (
                "etc/apt/sources.list.d/debian.sources",
                "Types: deb deb-src\nURIs: http://deb.debian.org/debian-security\nSuites: bookworm-security\n bookworm\n\nTypes: deb\nURIs: http://x/\nSuites: a\nEnabled: no\n\nTypes: deb\nURIs: http://y/\nSuites: b\nTrusted: yes\n",
            ),
            ("etc/apt/sources.list.d/z.list", "deb [arch=amd64 trusted=yes] http://z/ ./\n"),
        ]);
        let sources = sources(&Root::new(folder.path())).unwrap();
        let shown: Vec<_> = sources.iter().map(|one| format!("{} {} {}", one.uri, one.suite, one.unsigned)).collect();
        assert_eq!(
            shown,
            [
                "http://mirror.example/debian bookworm false",
                "http://z/ ./ true",
                "http://deb.debian.org/debian-security bookworm-security false",
                "http://deb.debian.org/debian-security bookworm false",
                "http://y/ b true",
            ]
        );
    }

    #[test]
    fn apt_options_are_read_with_and_without_braces() {
        let folder = snapshot(&[
            (
                "etc/apt/apt.conf.d/20auto-upgrades",
                "APT::Periodic::Update-Package-Lists \"1\";\n// no\n# APT::Periodic::Enable \"0\";\n",
            ),
            ("etc/apt/apt.conf.d/50", "APT {\n  Periodic { Unattended-Upgrade \"1\"; };\n};\nOther \"x\";\n"),
            ("etc/apt/apt.conf.d/60.bak", "APT::Periodic::Unattended-Upgrade \"0\";\n"),
        ]);
        let options = periodic(&Root::new(folder.path())).unwrap();
        assert_eq!(options.len(), 2, "{options:?}");
        assert_eq!(options["apt::periodic::unattended-upgrade"], "1");
    }

    /// A list that is packed is asked for by name; only the running machine unpacks it.
    #[test]
    fn a_packed_list_is_unpacked_by_apt() {
        let name = "x_debian-security_dists_bookworm-security_main_binary-amd64_Packages.lz4";
        let list = format!("var/lib/apt/lists/{name}");
        let kept = "Package: openssl\nVersion: 3.0.9-1\nArchitecture: amd64\n\n";
        let ledger = serde_json::json!({"answers": {format!("/{list}"): {"Ok": kept}}}).to_string();
        let folder =
            snapshot(&[("var/lib/dpkg/status", STATUS_TEXT), (&list, "packed"), (".gatepost/ledger.json", &ledger)]);
        let updates = updates(&Root::new(folder.path())).0;
        assert_eq!(updates.security_pending.seen().unwrap()[0].available, "3.0.9-1");
        let folder = snapshot(&[("var/lib/dpkg/status", STATUS_TEXT), (&list, "packed")]);
        let pending = self::updates(&Root::new(folder.path())).0.security_pending;
        assert!(pending.failure().unwrap().detail.contains(name), "{pending:?}");
    }

    #[test]
    fn what_is_not_dpkgs_is_a_failed_look() {
        let folder = snapshot(&[("var/lib/dpkg/status", "Package: a\nStatus: odd\n")]);
        let (updates, openssh) = updates(&Root::new(folder.path()));
        assert_eq!(updates.packages.failure().unwrap().kind, FailureKind::Unparseable);
        assert_eq!(updates.security_pending.failure(), openssh.err().as_ref());
    }
}
