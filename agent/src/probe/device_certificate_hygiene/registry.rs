//! The registry folder: one certificate file for each device, named after it, and whatever else lies there.
//!
//! `ID.pem`, `ID.crt` or `ID.der` is a device's certificate, leaf first if there are several in it; `ID.old.pem` (or the other
//! endings) one that it had before. Several files for one id are all of them evidence. Files are read as they are: whether
//! they parse is for the facts to say. A private key is never recorded, only that a file holds one.
//!
//! Bounded: a folder of [`MAX_ENTRIES`] entries is listed, [`MAX_DEVICES`] devices are looked at each with a record of its
//! own, expected ones first, and what is beyond is counted, never left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use gatepost_evidence::check::device_certificate_hygiene::{Earlier, Registry, Source, SourceKind};
use gatepost_evidence::look::{Bytes, Failure, FailureKind, Look};

use crate::config::Devices;
use crate::files;
use crate::probe::{Missed, certificates};

/// The endings of certificate files, in the order they are tried.
const ENDINGS: [&str; 3] = ["pem", "crt", "der"];
/// What stands behind the id of a certificate that the device had before.
const EARLIER: &str = ".old";
/// The most entries of a folder that are listed.
const MAX_ENTRIES: usize = 50_000;
/// The most devices with a target of their own: as many as have room in one run even when none of their certificates has.
const MAX_DEVICES: usize = 2000;
/// The most bytes of names that are recorded.
const MAX_NAMES: usize = 200_000;
/// The most bytes of a file that are searched for a private key, and the most such files that are named.
const SEARCHED: u64 = 64 * 1024;
const MAX_KEYS: usize = 50;

/// What lies in the folder.
#[derive(Default)]
struct Listing {
    /// Certificate files by id.
    files: BTreeMap<String, Vec<PathBuf>>,
    /// How many other entries there are, those of earlier certificates left out.
    others: u64,
    /// Regular files of any name.
    all: Vec<PathBuf>,
}

fn list(folder: &Path) -> Result<Listing, Failure> {
    let failed = |error: io::Error| files::failure(folder, &error);
    let mut listing = Listing::default();
    for (count, entry) in std::fs::read_dir(folder).map_err(failed)?.enumerate() {
        if count == MAX_ENTRIES {
            let detail = format!("{} has more than {MAX_ENTRIES} entries", folder.display());
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        let path = entry.map_err(failed)?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let known = ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known));
        match path.file_stem().and_then(|stem| stem.to_str()).filter(|_| known) {
            Some(stem) if stem.ends_with(EARLIER) => {}
            Some(id) => listing.files.entry(id.to_owned()).or_default().push(path.clone()),
            None => listing.others += 1,
        }
        listing.all.push(path);
    }
    listing.files.values_mut().for_each(|files| files.sort_by_key(|path| (rank(path), path.clone())));
    listing.all.sort();
    Ok(listing)
}

/// The place of a file's ending among those that are tried.
fn rank(path: &Path) -> usize {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    ENDINGS.iter().position(|known| ending.eq_ignore_ascii_case(known)).unwrap_or(ENDINGS.len())
}

/// The devices that are looked at one by one: the expected ones, and as many others of the registry as there is room for.
pub(super) fn ids(devices: &Devices) -> BTreeSet<String> {
    // A folder that cannot be listed is told of by the registry's own target.
    let listing = devices.registry.as_deref().and_then(|folder| list(folder).ok()).unwrap_or_default();
    chosen(devices, &listing)
}

fn chosen(devices: &Devices, listing: &Listing) -> BTreeSet<String> {
    let mut ids: BTreeSet<String> = devices.expected.iter().map(|device| device.id.clone()).collect();
    let others: Vec<&String> = listing.files.keys().filter(|id| !ids.contains(*id)).collect();
    let room = MAX_DEVICES.saturating_sub(ids.len());
    ids.extend(others.into_iter().take(room).cloned());
    ids
}

/// What is on file for the device.
pub(super) fn filed(folder: &Path, id: &str) -> Vec<Source> {
    let found = match named(folder, id, "") {
        paths if !paths.is_empty() => Ok(paths),
        _ => list(folder).and_then(|mut listing| {
            let expected = || folder.join(id).with_added_extension(ENDINGS[0]);
            listing.files.remove(id).ok_or_else(|| files::failure(&expected(), &io::ErrorKind::NotFound.into()))
        }),
    };
    let source = |location: &Path, chain: Look<Vec<Bytes>>| Source {
        kind: SourceKind::Registry,
        location: location.display().to_string(),
        chain,
        possession: false,
        challenge: None,
    };
    match found {
        Ok(paths) => paths.iter().map(|path| source(path, certificates::read(path).into())).collect(),
        Err(failure) => vec![source(folder, Look::Failed(failure))],
    }
}

/// The certificates that it had before.
pub(super) fn earlier(folder: &Path, id: &str) -> Vec<Earlier> {
    let paths = named(folder, id, EARLIER).into_iter();
    paths
        .map(|path| Earlier { location: path.display().to_string(), chain: certificates::read(&path).into() })
        .collect()
}

/// The files of `id` under their usual names, without listing the folder once for each device.
fn named(folder: &Path, id: &str, mark: &str) -> Vec<PathBuf> {
    let plain = !id.is_empty() && !id.contains('/');
    let path = |ending: &&str| folder.join(format!("{id}{mark}.{ending}"));
    ENDINGS.iter().filter(|_| plain).map(path).filter(|path| path.symlink_metadata().is_ok()).collect()
}

/// The folder as a whole.
///
/// # Errors
/// When none is configured, or it cannot be listed.
pub(super) fn registry(devices: &Devices) -> Result<Registry, Missed> {
    let Some(folder) = &devices.registry else {
        return Err(Missed::skipped(
            "no devices are configured; name them under [[devices.device]], or the folder of their certificates as \
             registry under [devices]",
        ));
    };
    let listing = list(folder)?;
    let chosen = chosen(devices, &listing);
    let mut expected: Vec<String> = devices.expected.iter().map(|device| device.id.clone()).collect();
    expected.sort();
    expected.dedup();
    let mut unreadable = BTreeMap::new();
    for (id, paths) in listing.files.iter().filter(|(id, _)| chosen.contains(*id)) {
        if let Some(failure) = paths.iter().find_map(|path| certificates::read(path).err()) {
            unreadable.insert(id.clone(), failure);
        }
    }
    let not_looked_at = listing.files.keys().filter(|id| !chosen.contains(*id)).count() as u64;
    // Those that are expected are named whatever their number: the others are what may be too many.
    let mut room = MAX_NAMES;
    let mut found: Vec<String> =
        listing.files.keys().filter(|id| expected.binary_search(id).is_ok()).cloned().collect();
    for id in listing.files.keys().filter(|id| expected.binary_search(id).is_err()) {
        match room.checked_sub(id.len() + 3) {
            Some(left) => room = left,
            None => break,
        }
        found.push(id.clone());
    }
    found.sort();
    Ok(Registry {
        path: folder.display().to_string(),
        expected,
        found,
        unreadable,
        not_looked_at: Some(not_looked_at),
        other_entries: Some(listing.others),
        private_keys: private_keys(&listing.all),
    })
}

/// The names of files that hold a private key: by what stands in them, or by an ending that stands for nothing else.
fn private_keys(paths: &[PathBuf]) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().chars().take(100).collect());
    paths.iter().filter(|path| holds_key(path)).filter_map(name).take(MAX_KEYS).collect()
}

fn holds_key(path: &Path) -> bool {
    const MARK: &[u8] = b"PRIVATE KEY-----";
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ["p12", "pfx"].iter().any(|known| ending.eq_ignore_ascii_case(known)) {
        return true;
    }
    // Only regular files: opening anything else may wait for ever. A file that cannot be read is told of elsewhere.
    if !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return false;
    }
    let Ok(file) = std::fs::File::open(path) else { return false };
    let mut bytes = Vec::new();
    file.take(SEARCHED).read_to_end(&mut bytes).is_ok() && bytes.windows(MARK.len()).any(|window| window == MARK)
}
