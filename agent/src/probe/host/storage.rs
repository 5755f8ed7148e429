//! Mounted file systems that hold data, from `/proc/self/mountinfo` (proc(5)) and statvfs(3).
//!
//! Whether one is read-only is taken from the file system itself, not from this mount of it: a sandboxed agent sees its own
//! mounts read-only. Each file system is seen once, at its shortest mount point.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::host_guardrails::FileSystem;
use gatepost_evidence::look::{Failure, FailureKind};
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::root::Root;
use super::shorten;

/// The most file systems that are recorded.
pub const MAX_FILE_SYSTEMS: usize = 200;
/// Types that hold data on a local disk. Network file systems are not asked: a dead server would hold up the look.
const KINDS: [&str; 14] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "ntfs3", "zfs", "jfs", "bcachefs", "ubifs",
    "jffs2",
];
const MOUNTS: &str = "/proc/self/mountinfo";

/// The file systems that hold data.
///
/// # Errors
/// When the table can not be read or understood, one of them can not be asked, or this is a snapshot.
pub fn storage(root: &Root) -> Result<Vec<FileSystem>, Failure> {
    if !root.is_live() {
        let detail = "how full a file system is can only be asked on the running machine, not of a snapshot";
        return Err(Failure::new(FailureKind::NotFound, detail));
    }
    let mut found = Vec::new();
    for mount in mounts(root)? {
        // Bind mounts of single files, as containers have them, are not places for data.
        if !Path::new(&mount.point).is_dir() {
            continue;
        }
        let usage = match statvfs(Path::new(&mount.point)) {
            Ok(usage) => usage,
            // It was unmounted meanwhile.
            Err(Errno::ENOENT) => continue,
            Err(error) => return Err(crate::files::failure(Path::new(&mount.point), &error.into())),
        };
        // Both are 32 bits wide on some machines.
        #[allow(clippy::useless_conversion)]
        let bytes = |blocks| u64::from(blocks).saturating_mul(u64::from(usage.fragment_size()));
        found.push(FileSystem {
            total: bytes(usage.blocks()),
            free: bytes(usage.blocks_free()),
            available: bytes(usage.blocks_available()),
            mount: shorten(&mount.point),
            kind: mount.kind,
            read_only: mount.read_only,
        });
    }
    Ok(found)
}

#[derive(Debug, PartialEq)]
struct Mount {
    point: String,
    kind: String,
    read_only: bool,
}

/// One mount per file system, sorted by its place.
fn mounts(root: &Root) -> Result<Vec<Mount>, Failure> {
    let mut by_device: BTreeMap<String, Mount> = BTreeMap::new();
    let mut number = 0_usize;
    root.lines(Path::new(MOUNTS), |line| {
        number += 1;
        let Some((device, mount)) = mount(line) else {
            let detail = format!("{MOUNTS}: line {number} is no mount");
            return Err(Failure::new(FailureKind::Unparseable, detail));
        };
        let holds_data = KINDS.contains(&mount.kind.as_str()) || (mount.kind == "overlay" && mount.point == "/");
        if !holds_data {
            return Ok(());
        }
        let rank = |mount: &Mount| (mount.point.len(), mount.point.clone());
        match by_device.get(&device) {
            Some(known) if rank(known) <= rank(&mount) => {}
            _ => {
                by_device.insert(device, mount);
            }
        }
        if by_device.len() > MAX_FILE_SYSTEMS {
            let detail = format!("there are more than {MAX_FILE_SYSTEMS} file systems");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        Ok(())
    })?;
    let mut mounts: Vec<_> = by_device.into_values().collect();
    mounts.sort_by(|a, b| a.point.cmp(&b.point));
    Ok(mounts)
}

/// `27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard`: the device and what is mounted.
fn mount(line: &str) -> Option<(String, Mount)> {
    let (here, there) = line.split_once(" - ")?;
    let mut here = here.split(' ').skip(2);
    let device = here.next()?;
    let point = unescape(here.nth(1)?);
    let mut there = there.split(' ');
    let kind = there.next()?.to_owned();
    let read_only = there.nth(1)?.split(',').any(|option| option == "ro");
    Some((device.to_owned(), Mount { point, kind, read_only }))
}

/// Space, tab, newline and backslash stand as three octal digits.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn each_file_system_is_seen_once_at_its_shortest_place() {
        let table = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
            27 1 179:2 / / ro,relatime shared:1 - ext4 /dev/mmcblk0p2 rw,discard\n\
            28 27 179:2 /var/lib /srv/a\\040b rw - ext4 /dev/mmcblk0p2 rw\n\
            29 27 179:1 / /boot/firmware rw shared:2 master:3 - vfat /dev/mmcblk0p1 ro,fmask=0022\n\
            30 27 0:50 / /var/lib/docker/overlay2/x/merged rw - overlay overlay rw,lowerdir=/a - b\n\
            31 27 0:51 / /mnt/nas rw - nfs4 nas:/x rw\n";
        let folder = snapshot(&[("proc/self/mountinfo", table)]);
        let mounts = mounts(&Root::new(folder.path())).unwrap();
        let mount = |point: &str, kind: &str, read_only| Mount { point: point.into(), kind: kind.into(), read_only };
        assert_eq!(mounts, [mount("/", "ext4", false), mount("/boot/firmware", "vfat", true)]);
        assert_eq!(unescape("/srv/a\\040b\\134c"), "/srv/a b\\c");
    }

    #[test]
    fn an_odd_line_and_a_snapshot_are_failed_looks() {
        let folder = snapshot(&[("proc/self/mountinfo", "nonsense\n")]);
        let root = Root::new(folder.path());
        assert_eq!(mounts(&root).unwrap_err().detail, "/proc/self/mountinfo: line 1 is no mount");
        assert!(storage(&root).unwrap_err().detail.contains("snapshot"));
    }

    #[test]
    fn this_machine_has_a_root_file_system() {
        let storage = storage(&Root::new(Path::new("/"))).unwrap();
        for file_system in &storage {
            assert!(file_system.available <= file_system.total, "{file_system:?}");
        }
    }
}
