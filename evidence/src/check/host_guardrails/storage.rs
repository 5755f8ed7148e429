//! Storage: how full and how worn it is, how it is mounted, and files that lie open.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{FileState, take};
use crate::check::Unknown;
use crate::look::Look;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount: String,
    /// Its type, such as `ext4`.
    pub kind: String,
    /// Bytes in all.
    pub total: u64,
    /// Bytes that are free, those reserved for root included.
    pub free: u64,
    /// Bytes that unprivileged programs may still use.
    pub available: u64,
    /// It is mounted read-only.
    pub read_only: bool,
    /// Places for files in all; 0 where it has no fixed number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes: Option<u64>,
    /// Places for files that are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inodes_free: Option<u64>,
}

/// What was seen of storage beyond how full it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Mounts of the places that matter, as the first process has them.
    pub mounts: Look<Vec<Mount>>,
    /// Places that memory is swapped to.
    pub swaps: Look<Vec<String>>,
    /// Cards and disks.
    pub disks: Look<Vec<Disk>>,
    /// ext4 file systems, by what they count themselves.
    pub ext4: Look<Vec<Ext4>>,
    /// Files below `/etc` that lie open.
    pub etc: Look<EtcScan>,
    /// `/tmp` and the like.
    pub shared: Vec<Look<FileState>>,
}

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where.
    pub point: String,
    /// Its type.
    pub kind: String,
    /// The device or what stands for it.
    pub source: String,
    /// Options of this mount and of its file system.
    pub options: Vec<String>,
}

/// A card or disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Its name, such as `mmcblk0`.
    pub name: String,
    /// `SD`, `MMC`, or empty for others.
    pub kind: String,
    /// `life_time` of an eMMC: two estimates, each 1 (0 to 10 percent used) to 11 (spent).
    pub life_time: Option<String>,
    /// `pre_eol_info` of an eMMC: 1 normal, 2 warning, 3 urgent.
    pub pre_eol: Option<String>,
    /// It can be taken out.
    pub removable: bool,
    /// It hangs on USB.
    pub usb: bool,
}

/// What an ext4 file system counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ext4 {
    /// The device.
    pub device: String,
    /// Errors since they were last cleared.
    pub errors: u64,
    /// KiB written since it was made.
    pub written_kib: Option<u64>,
}

/// Files below `/etc` that lie open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EtcScan {
    /// How many files and folders were looked at.
    pub entries: u64,
    /// Folders that could not be looked into.
    pub hidden: Vec<String>,
    /// Those that everyone may change.
    pub world_writable: Vec<FileState>,
    /// Private keys that others may read.
    pub readable_keys: Vec<FileState>,
}

/// Facts about a file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StorageFacts {
    /// Its type.
    pub kind: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Whole percent in use of what unprivileged programs may use, as df(1) counts.
    pub used_percent: u64,
    /// Whole percent of the places for files in use; absent where it has no fixed number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inodes_used_percent: Option<u64>,
}

/// Facts about storage beyond how full it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MediaFacts {
    /// By place: how it is mounted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mounts: Option<BTreeMap<String, MountFacts>>,
    /// The root file system is mounted read-only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_read_only: Option<bool>,
    /// Places on SD cards that memory is swapped to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_on_card: Option<Vec<String>>,
    /// Memory is swapped to some disk or file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<bool>,
    /// By name: cards and disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disks: Option<BTreeMap<String, DiskFacts>>,
    /// By device: ext4 file systems.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ext4: Option<BTreeMap<String, Ext4Facts>>,
    /// Files and folders below `/etc` that everyone may change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub world_writable: Option<Vec<String>>,
    /// Private keys below `/etc` that others than their owner and group may read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readable_keys: Option<Vec<String>>,
    /// Folders for everyone in which users may remove each other's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_sticky_bit: Option<Vec<String>>,
}

/// How a place is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountFacts {
    /// Its type.
    pub kind: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Device files are of no effect.
    pub nodev: bool,
    /// Set-user-id bits are of no effect.
    pub nosuid: bool,
    /// Programs cannot be started from it.
    pub noexec: bool,
}

/// Facts about a card or disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DiskFacts {
    /// `SD`, `MMC`, or empty for others.
    pub kind: String,
    /// It hangs on USB.
    pub usb: bool,
    /// At most this many percent of its life are used, in steps of ten; 110 is more than all. eMMC alone tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life_used_percent: Option<u64>,
    /// Its reserve of spare blocks is running out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reserve_low: Option<bool>,
}

/// Facts about an ext4 file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ext4Facts {
    /// Errors since they were last cleared.
    pub errors: u64,
    /// GiB written since it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_gib: Option<u64>,
}

pub(super) fn storage_facts(storage: &FileSystem) -> (String, StorageFacts) {
    let used = u128::from(storage.total.saturating_sub(storage.free));
    let usable = used + u128::from(storage.available);
    let used_percent = (used * 100).div_ceil(usable.max(1));
    let inodes = storage.inodes.zip(storage.inodes_free).filter(|(inodes, _)| *inodes > 0);
    let facts = StorageFacts {
        kind: storage.kind.clone(),
        read_only: storage.read_only,
        used_percent: u64::try_from(used_percent).unwrap_or(100),
        inodes_used_percent: inodes.map(|(all, free)| {
            let used = u128::from(all.saturating_sub(free));
            u64::try_from((used * 100).div_ceil(u128::from(all))).unwrap_or(100)
        }),
    };
    (storage.mount.clone(), facts)
}

pub(super) fn media(seen: &Option<Storage>, unknown: &mut Unknown) -> Option<MediaFacts> {
    let seen = seen.as_ref()?;
    let needs = "CAP_SYS_PTRACE, to see what the first process has mounted";
    let mounts = take(&seen.mounts, &["/media/mounts", "/media/root_read_only"], needs, unknown);
    let swaps = take(&seen.swaps, &["/media/swap", "/media/swap_on_card"], "", unknown);
    let disks = take(&seen.disks, &["/media/disks"], "", unknown);
    let ext4 = take(&seen.ext4, &["/media/ext4"], "", unknown);
    let etc = take(&seen.etc, &["/media/world_writable", "/media/readable_keys"], "root", unknown);
    if let Some(etc) = etc
        && !etc.hidden.is_empty()
    {
        let words = format!("{} could not be looked into; needs root", etc.hidden.join(", "));
        for (place, known) in
            [("/media/world_writable", &etc.world_writable), ("/media/readable_keys", &etc.readable_keys)]
        {
            if known.is_empty() {
                unknown.because(place, &words);
            }
        }
    }
    // One that lies open is a fact, whatever could not be seen beside it.
    let paths = |files: &[FileState], whole: bool| {
        (whole || !files.is_empty()).then(|| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>())
    };
    let whole = etc.is_some_and(|etc| etc.hidden.is_empty());
    Some(MediaFacts {
        root_read_only: mounts.and_then(|mounts| {
            let root = mounts.iter().find(|mount| mount.point == "/");
            root.map(|root| root.options.iter().any(|option| option == "ro"))
        }),
        mounts: mounts.map(|mounts| mounts.iter().map(mount_facts).collect()),
        swap: swaps.map(|swaps| swaps.iter().any(|swap| !compressed(swap))),
        swap_on_card: swaps.map(|swaps| on_card(swaps, mounts.map(Vec::as_slice).unwrap_or_default())),
        disks: disks.map(|disks| disks.iter().map(disk_facts).collect()),
        ext4: ext4.map(|all| {
            let facts = |one: &Ext4| {
                let written_gib = one.written_kib.map(|kib| kib / (1024 * 1024));
                (one.device.clone(), Ext4Facts { errors: one.errors, written_gib })
            };
            all.iter().map(facts).collect()
        }),
        world_writable: etc.and_then(|etc| paths(&etc.world_writable, whole)),
        readable_keys: etc.and_then(|etc| paths(&etc.readable_keys, whole)),
        without_sticky_bit: sticky(&seen.shared, unknown),
    })
}

fn mount_facts(mount: &Mount) -> (String, MountFacts) {
    let has = |name: &str| mount.options.iter().any(|option| option == name);
    let facts = MountFacts {
        kind: mount.kind.clone(),
        read_only: has("ro"),
        nodev: has("nodev"),
        nosuid: has("nosuid"),
        noexec: has("noexec"),
    };
    (mount.point.clone(), facts)
}

fn compressed(swap: &str) -> bool {
    swap.contains("/zram")
}

/// A swap partition of a card, or a file on a file system of one.
fn on_card(swaps: &[String], mounts: &[Mount]) -> Vec<String> {
    let on_card = |swap: &&String| {
        if swap.starts_with("/dev/") {
            return swap.starts_with("/dev/mmcblk");
        }
        let around = mounts.iter().filter(|mount| swap.starts_with(mount.point.as_str()));
        let nearest = around.max_by_key(|mount| mount.point.len());
        nearest.is_some_and(|mount| mount.source.starts_with("/dev/mmcblk"))
    };
    swaps.iter().filter(on_card).cloned().collect()
}

/// `0x01 0x0b` (JESD84-B51, `DEVICE_LIFE_TIME_EST_TYP_A` and `_B`); 0 is "not defined".
fn disk_facts(disk: &Disk) -> (String, DiskFacts) {
    let hexadecimal = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let steps = |text: &String| text.split_whitespace().filter_map(hexadecimal).max().filter(|steps| *steps > 0);
    let reserve = disk.pre_eol.as_deref().and_then(hexadecimal).filter(|word| *word > 0);
    let facts = DiskFacts {
        kind: disk.kind.clone(),
        usb: disk.usb,
        life_used_percent: disk.life_time.as_ref().and_then(steps).map(|steps| steps.min(11) * 10),
        reserve_low: reserve.map(|word| word > 1),
    };
    (disk.name.clone(), facts)
}

fn sticky(shared: &[Look<FileState>], unknown: &mut Unknown) -> Option<Vec<String>> {
    let mut without = Vec::new();
    let mut whole = true;
    for look in shared {
        match look {
            Look::Seen(folder) => {
                let bits = folder.bits().unwrap_or(0);
                if bits & 0o002 != 0 && bits & 0o1000 == 0 {
                    without.push(folder.path.clone());
                }
            }
            Look::Failed(failure) if failure.kind == crate::look::FailureKind::NotFound => {}
            Look::Failed(failure) => {
                unknown.because("/media/without_sticky_bit", failure);
                whole = false;
            }
        }
    }
    (whole || !without.is_empty()).then_some(without)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_system(total: u64, free: u64, available: u64, inodes: Option<(u64, u64)>) -> StorageFacts {
        let seen = FileSystem {
            mount: "/".into(),
            kind: "ext4".into(),
            total,
            free,
            available,
            read_only: false,
            inodes: inodes.map(|(all, _)| all),
            inodes_free: inodes.map(|(_, free)| free),
        };
        storage_facts(&seen).1
    }

    #[test]
    fn storage_is_in_percent_and_never_divides_by_zero() {
        let used = |total, free, available| file_system(total, free, available, None).used_percent;
        assert_eq!(used(200, 50, 50), 75);
        assert_eq!(used(200, 150, 50), 50, "what is reserved for root counts neither way");
        assert_eq!(used(0, 0, 0), 0);
        assert_eq!(used(u64::MAX, 0, 0), 100);
        let inodes = |all, free| file_system(1, 1, 1, Some((all, free))).inodes_used_percent;
        assert_eq!((inodes(1000, 999), inodes(1000, 0), inodes(0, 0)), (Some(1), Some(100), None));
    }

    #[test]
    fn wear_is_what_the_card_estimates() {
        let disk = |life: &str, pre: &str| {
            let (life_time, pre_eol) = (Some(life.to_owned()), Some(pre.to_owned()));
            let disk =
                Disk { name: "mmcblk0".into(), kind: "MMC".into(), life_time, pre_eol, removable: false, usb: false };
            let facts = disk_facts(&disk).1;
            (facts.life_used_percent, facts.reserve_low)
        };
        assert_eq!(disk("0x01 0x03", "0x01"), (Some(30), Some(false)));
        assert_eq!(disk("0x0b 0x0b", "0x03"), (Some(110), Some(true)));
        assert_eq!(disk("0x00 0x00", "0x00"), (None, None));
        assert_eq!(disk("garbage", ""), (None, None));
    }

    #[test]
    fn swap_on_a_card_is_found_by_the_file_system_it_lies_on() {
        let mount = |point: &str, source: &str| Mount {
            point: point.into(),
            kind: "ext4".into(),
            source: source.into(),
            options: vec![],
        };
        let mounts = [mount("/", "/dev/mmcblk0p2"), mount("/mnt/ssd", "/dev/sda1")];
        let swaps: Vec<String> =
            ["/var/swap", "/mnt/ssd/swap", "/dev/zram0", "/dev/mmcblk0p3"].map(str::to_owned).to_vec();
        assert_eq!(on_card(&swaps, &mounts), ["/var/swap", "/dev/mmcblk0p3"]);
    }
}
