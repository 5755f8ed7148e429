//! Mounted file systems that hold data, from `/proc/self/mountinfo` (proc(5)) and statvfs(3); how places are mounted, what
//! memory is swapped to, how worn cards are, and what ext4 counts.
//!
//! Whether one is read-only is taken from the file system itself, not from this mount of it: a sandboxed agent sees its own
//! mounts read-only. Each file system is seen once, at its shortest mount point.

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::canonical::whole_number;
use gatepost_evidence::check::host_guardrails::storage::{Disk, Ext4, FileSystem, Mount as Mounted, Storage};
use gatepost_evidence::look::{Failure, FailureKind, Look};
use nix::errno::Errno;
use nix::sys::statvfs::statvfs;

use super::root::Root;
use super::{etc, if_there, shorten};

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
/// When the table can not be read or understood, one of them can not be asked, or this is a snapshot that does not hold it.
pub fn storage(root: &Root) -> Result<Vec<FileSystem>, Failure> {
    let answer = root.answer("storage", || {
        let found = live(root)?;
        serde_json::to_string(&found).map_err(|error| Failure::new(FailureKind::Error, error))
    })?;
    serde_json::from_str(&answer)
        .map_err(|error| Failure::new(FailureKind::Unparseable, format_args!("storage: {error}")))
}

fn live(root: &Root) -> Result<Vec<FileSystem>, Failure> {
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
        #[allow(clippy::useless_conversion)]
        let (inodes, inodes_free) = (u64::from(usage.files()), u64::from(usage.files_free()));
        found.push(FileSystem {
            total: bytes(usage.blocks()),
            free: bytes(usage.blocks_free()),
            available: bytes(usage.blocks_available()),
            mount: shorten(&mount.point),
            kind: mount.kind,
            read_only: mount.read_only,
            inodes: Some(inodes),
            inodes_free: Some(inodes_free),
        });
    }
    Ok(found)
}

/// Everything beyond how full it is.
#[must_use]
pub fn media(root: &Root) -> Storage {
    Storage {
        mounts: places(root).into(),
        swaps: swaps(root).into(),
        disks: disks(root).into(),
        ext4: ext4(root).into(),
        etc: etc::scan(root).into(),
        shared: ["/tmp", "/var/tmp", "/dev/shm"]
            .iter()
            .map(|path| root.state(Path::new(path)).map(|state| state.as_evidence(Path::new(path))).into())
            .filter(|look: &Look<_>| !matches!(look, Look::Failed(Failure { kind: FailureKind::NotFound, .. })))
            .collect(),
    }
}

/// Places whose mount options are told.
const PLACES: [&str; 11] =
    ["/", "/tmp", "/var/tmp", "/dev/shm", "/home", "/var", "/var/log", "/boot", "/boot/firmware", "/proc", "/run/shm"];

/// How the first process has these places mounted: a sandboxed agent's own mounts say nothing about the host. Of several at
/// one place the last is on top.
fn places(root: &Root) -> Result<Vec<Mounted>, Failure> {
    let first = Path::new("/proc/1/mountinfo");
    let table = match root.lines(first, |_| Ok(())) {
        Err(Failure { kind: FailureKind::NotFound, .. }) => Path::new(MOUNTS),
        result => {
            result?;
            first
        }
    };
    let mut found = BTreeMap::new();
    root.lines(table, |line| {
        if let Some(mounted) = mounted(line).filter(|mounted| PLACES.contains(&mounted.point.as_str())) {
            found.insert(mounted.point.clone(), mounted);
        }
        Ok(())
    })?;
    if found.is_empty() {
        let detail = format!("{}: nothing is mounted at /", table.display());
        return Err(Failure::new(FailureKind::Unparseable, detail));
    }
    Ok(found.into_values().collect())
}

fn mounted(line: &str) -> Option<Mounted> {
    let (here, there) = line.split_once(" - ")?;
    let mut here = here.split(' ').skip(4);
    let (point, options) = (here.next()?, here.next()?);
    let mut there = there.split(' ');
    let (kind, source, more) = (there.next()?, there.next()?, there.next().unwrap_or_default());
    let mut options: Vec<_> = options.split(',').chain(more.split(',')).map(shorten).collect();
    options.sort_unstable();
    options.dedup();
    // A sandboxed agent and an overlay's folders aside, nobody needs more.
    options.retain(|option| !option.contains('='));
    Some(Mounted { point: shorten(&unescape(point)), kind: shorten(kind), source: shorten(source), options })
}

fn swaps(root: &Root) -> Result<Vec<String>, Failure> {
    let text = root.read_text(Path::new("/proc/swaps"))?;
    Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).take(50).map(shorten).collect())
}

/// The most disks that are recorded.
const MAX_DISKS: usize = 100;

/// Cards and disks; not loops, RAM disks and what is made of others.
fn disks(root: &Root) -> Result<Vec<Disk>, Failure> {
    let folder = Path::new("/sys/block");
    let mut found = Vec::new();
    let virtual_ones = ["loop", "ram", "zram", "dm-", "md", "nbd", "sr", "fd"];
    for name in root.list(folder)? {
        if virtual_ones.iter().any(|prefix| name.starts_with(prefix)) || name.contains("boot") {
            continue;
        }
        let disk = folder.join(&name);
        let word = |path: &str| if_there(root.word(&disk.join(path)));
        let usb = root.link(&disk).is_ok_and(|link| link.to_string_lossy().contains("/usb"));
        found.push(Disk {
            kind: word("device/type")?.filter(|kind| matches!(kind.as_str(), "SD" | "MMC")).unwrap_or_default(),
            life_time: word("device/life_time")?,
            pre_eol: word("device/pre_eol_info")?,
            removable: word("removable")?.as_deref() == Some("1"),
            usb,
            name: shorten(&name),
        });
        if found.len() > MAX_DISKS {
            return Err(Failure::new(FailureKind::TooLarge, format_args!("there are more than {MAX_DISKS} disks")));
        }
    }
    Ok(found)
}

fn ext4(root: &Root) -> Result<Vec<Ext4>, Failure> {
    let folder = Path::new("/sys/fs/ext4");
    let mut found = Vec::new();
    for device in if_there(root.list(folder))?.unwrap_or_default() {
        let number = |file: &str| -> Result<Option<u64>, Failure> {
            Ok(if_there(root.word(&folder.join(&device).join(file)))?.and_then(|word| whole_number(&word)))
        };
        // `features` is no file system.
        if let Some(errors) = number("errors_count")? {
            let written_kib = number("lifetime_write_kbytes")?;
            found.push(Ext4 { device: shorten(&device), errors, written_kib });
        }
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
        assert_eq!(places(&root).unwrap_err().kind, FailureKind::Unparseable);
    }

    #[test]
    fn cards_disks_swap_and_errors_are_told() {
        let folder = snapshot(&[
            ("proc/swaps", "Filename Type Size Used Priority\n/var/swap file 102396 0 -2\n"),
            ("sys/block/mmcblk0/device/type", "MMC\n"),
            ("sys/block/mmcblk0/device/life_time", "0x01 0x0b\n"),
            ("sys/block/mmcblk0/device/pre_eol_info", "0x02\n"),
            ("sys/block/mmcblk0boot0/device/type", "MMC\n"),
            ("sys/block/sda/removable", "1\n"),
            ("sys/block/loop0/removable", "0\n"),
            ("sys/fs/ext4/mmcblk0p2/errors_count", "3\n"),
            ("sys/fs/ext4/features/lazy", "supported\n"),
            (
                "proc/1/mountinfo",
                "27 1 179:2 / / rw,noatime shared:1 - ext4 /dev/mmcblk0p2 rw,data=ordered\n\
              30 27 0:5 / /tmp rw,nosuid,nodev - tmpfs tmpfs rw,size=1k\n31 27 0:6 / /srv rw - tmpfs tmpfs rw\n",
            ),
        ]);
        let media = media(&Root::new(folder.path()));
        assert_eq!(media.swaps.seen().unwrap(), &["/var/swap"]);
        let disks = media.disks.seen().unwrap();
        assert_eq!(disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>(), ["mmcblk0", "sda"]);
        assert_eq!((disks[0].pre_eol.as_deref(), disks[1].removable), (Some("0x02"), true));
        assert_eq!(media.ext4.seen().unwrap()[0].errors, 3);
        let mounts = media.mounts.seen().unwrap();
        assert_eq!(mounts.iter().map(|mount| mount.point.as_str()).collect::<Vec<_>>(), ["/", "/tmp"]);
        assert_eq!(mounts[1].options, ["nodev", "nosuid", "rw"]);
    }

    #[test]
    fn this_machine_has_a_root_file_system() {
        let storage = storage(&Root::new(Path::new("/"))).unwrap();
        for file_system in &storage {
            assert!(file_system.available <= file_system.total, "{file_system:?}");
        }
    }
}
