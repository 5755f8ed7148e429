//! The board: the device tree's words, sensors and watchdogs in sysfs. What sysfs does not have of a Raspberry Pi's firmware,
//! vcgencmd(1) is asked.

use std::path::Path;

use gatepost_evidence::check::host_guardrails::board::Board;
use gatepost_evidence::look::{Failure, FailureKind, Look};
use jiff::Timestamp;

use super::root::Root;
use super::{helper, if_there, systemd_options};

const TREE: &str = "/proc/device-tree";
/// The Pi 5's clock (`rpi-rtc`).
const CLOCK: &str = "/sys/class/rtc/rtc0";

/// What is to be seen of the board.
#[must_use]
pub fn board(root: &Root) -> Board {
    let word = |path: &str| Look::from(root.word(Path::new(path)));
    let tree = |path: &str| format!("{TREE}/{path}");
    let model: Look<String> = word(&tree("model"));
    let raspberry_pi = model.seen().is_some_and(|model| model.starts_with("Raspberry Pi"));
    Board {
        throttled: if raspberry_pi { throttled(root).into() } else { absent("no firmware of a Raspberry Pi") },
        voltage_alarm: voltage_alarm(root).into(),
        temperature: temperature(root).into(),
        bootloader_built: number(root, &tree("chosen/bootloader/build-timestamp"))
            .and_then(|seconds| {
                Timestamp::from_second(i64::from(seconds))
                    .map_err(|error| Failure::new(FailureKind::Unparseable, error))
            })
            .into(),
        bootloader_signed: number(root, &tree("chosen/bootloader/signed")).into(),
        supply_milliamperes: number(root, &tree("chosen/power/max_current")).into(),
        clock: word(&format!("{CLOCK}/name")),
        clock_battery: clock_battery(root).into(),
        watchdog: watchdog(root).into(),
        watchdog_asked: systemd_options(root, "system.conf")
            .map(|options| options.get("RuntimeWatchdogSec").cloned())
            .into(),
        secure_boot: secure_boot(root).into(),
        model,
    }
}

fn absent<T>(words: &str) -> Look<T> {
    Look::Failed(Failure::new(FailureKind::NotFound, words))
}

/// Four bytes of the device tree, in its own byte order.
fn number(root: &Root, path: &str) -> Result<u32, Failure> {
    let bytes = root.beginning(Path::new(path), 64)?;
    let bytes: [u8; 4] = bytes
        .as_slice()
        .try_into()
        .map_err(|_| Failure::new(FailureKind::Unparseable, format_args!("{path} has {} bytes, not 4", bytes.len())))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The firmware's flags: from sysfs where the kernel has them, else from vcgencmd.
fn throttled(root: &Root) -> Result<String, Failure> {
    let platform = Path::new("/sys/devices/platform");
    for name in if_there(root.list(platform))?.unwrap_or_default().iter().filter(|name| name.starts_with("soc")) {
        for inner in if_there(root.list(&platform.join(name)))?.unwrap_or_default() {
            if inner.ends_with("firmware") {
                let path = platform.join(name).join(inner).join("get_throttled");
                if let Some(word) = if_there(root.word(&path))? {
                    return Ok(word);
                }
            }
        }
    }
    let text = helper::ask(root, "vcgencmd", &["/usr/bin/vcgencmd"], &["get_throttled"])?;
    text.trim()
        .strip_prefix("throttled=")
        .map(super::shorten)
        .ok_or_else(|| Failure::new(FailureKind::Unparseable, "vcgencmd does not print throttled="))
}

/// The alarm of the sensor `rpi_volt`.
fn voltage_alarm(root: &Root) -> Result<String, Failure> {
    let folder = Path::new("/sys/class/hwmon");
    for name in root.list(folder)? {
        let sensor = folder.join(name);
        if if_there(root.word(&sensor.join("name")))?.as_deref() == Some("rpi_volt") {
            return root.word(&sensor.join("in0_lcrit_alarm"));
        }
    }
    Err(Failure::new(FailureKind::NotFound, "there is no sensor rpi_volt"))
}

/// Of the hottest zone.
fn temperature(root: &Root) -> Result<String, Failure> {
    let folder = Path::new("/sys/class/thermal");
    let mut hottest = None;
    for name in root.list(folder)?.iter().filter(|name| name.starts_with("thermal_zone")) {
        // A zone that is off has no temperature.
        let Ok(Some(word)) = if_there(root.word(&folder.join(name).join("temp"))) else { continue };
        hottest = hottest.max(word.parse::<i64>().ok());
    }
    let hottest = hottest.map(|value| value.to_string());
    hottest.ok_or_else(|| Failure::new(FailureKind::NotFound, "no zone tells its temperature"))
}

fn clock_battery(root: &Root) -> Result<String, Failure> {
    for place in ["battery_voltage", "device/battery_voltage"] {
        if let Some(word) = if_there(root.word(&Path::new(CLOCK).join(place)))? {
            return Ok(word);
        }
    }
    Err(Failure::new(FailureKind::NotFound, "the clock does not tell its battery's voltage"))
}

fn watchdog(root: &Root) -> Result<String, Failure> {
    let state = Path::new("/sys/class/watchdog/watchdog0/state");
    match if_there(root.word(state))? {
        Some(word) => Ok(word),
        // A kernel without the attribute still has the device.
        None if root.exists(Path::new("/sys/class/watchdog/watchdog0"))? => Ok("unknown".into()),
        None => Err(Failure::new(FailureKind::NotFound, "there is no watchdog")),
    }
}

/// The fifth byte of the variable `SecureBoot` (UEFI specification, section 3.3): the first four are attributes.
fn secure_boot(root: &Root) -> Result<bool, Failure> {
    let path = Path::new("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
    let bytes = root.beginning(path, 16)?;
    match bytes.as_slice() {
        [_, _, _, _, on] => Ok(*on == 1),
        _ => Err(Failure::new(
            FailureKind::Unparseable,
            format_args!("{} has {} bytes, not 5", path.display(), bytes.len()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::snapshot;
    use super::*;

    #[test]
    fn the_device_tree_and_sysfs_are_read() {
        let folder = snapshot(&[
            ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
            ("proc/device-tree/chosen/bootloader/build-timestamp", "\u{0}\u{0}\u{1}\u{0}"),
            ("proc/device-tree/chosen/bootloader/signed", "\0"),
            ("sys/devices/platform/soc@107c000000/107c000000.firmware/x", ""),
            ("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n"),
            ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
            ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
            ("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n"),
            ("sys/class/thermal/thermal_zone0/temp", "51000\n"),
            ("sys/class/thermal/thermal_zone1/temp", "62000\n"),
            ("sys/class/thermal/thermal_zone2/temp", "garbage\n"),
            ("sys/class/rtc/rtc0/name", "rpi-rtc\n"),
            ("sys/class/watchdog/watchdog0/state", "active\n"),
        ]);
        let board = board(&Root::new(folder.path()));
        assert_eq!(board.model.seen().unwrap(), "Raspberry Pi 5 Model B Rev 1.0");
        assert_eq!(board.bootloader_built.seen().unwrap().as_second(), 256);
        assert_eq!(board.bootloader_signed.failure().unwrap().kind, FailureKind::Unparseable);
        assert_eq!(board.supply_milliamperes.failure().unwrap().kind, FailureKind::NotFound);
        assert_eq!(
            (board.throttled.seen().unwrap().as_str(), board.voltage_alarm.seen().unwrap().as_str()),
            ("50005", "1")
        );
        assert_eq!(board.temperature.seen().unwrap(), "62000");
        assert_eq!(board.watchdog.seen().unwrap(), "active");
    }
}
