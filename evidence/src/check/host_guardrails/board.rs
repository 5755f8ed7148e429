//! The board: what a Raspberry Pi tells of its power, heat, clock, watchdog and boot chain. Other boards tell less of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::take;
use crate::check::{Seen, Unknown};
use crate::look::{Failure, FailureKind, Look};

/// What was seen of the board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// What the device tree calls it; `not_found` on machines without one.
    pub model: Look<String>,
    /// The firmware's flags of under-voltage, capped frequency, throttling and heat: now (bits 0 to 3) and since boot (16 to
    /// 19), in hexadecimal.
    pub throttled: Look<String>,
    /// `in0_lcrit_alarm` of the sensor `rpi_volt`.
    pub voltage_alarm: Look<String>,
    /// Of the hottest zone, in thousandths of a degree Celsius.
    pub temperature: Look<String>,
    /// When the bootloader was built: `chosen/bootloader/build-timestamp`.
    pub bootloader_built: Look<Timestamp>,
    /// `chosen/bootloader/signed`: what of the boot chain is checked.
    pub bootloader_signed: Look<u32>,
    /// `chosen/power/max_current` in milliamperes: what the power supply promised.
    pub supply_milliamperes: Look<u32>,
    /// A clock that goes on without power: its name.
    pub clock: Look<String>,
    /// `battery_voltage` of the Pi 5's clock in microvolts.
    pub clock_battery: Look<String>,
    /// The first watchdog's `state`.
    pub watchdog: Look<String>,
    /// `RuntimeWatchdogSec=` of systemd.
    pub watchdog_asked: Look<Option<String>>,
    /// UEFI's Secure Boot is on; `not_found` on machines without UEFI.
    pub secure_boot: Look<bool>,
}

/// Facts about the board.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BoardFacts {
    /// What the device tree calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// It is a Raspberry Pi.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raspberry_pi: Option<bool>,
    /// It is a Raspberry Pi 5, which has a clock and a power supply that says what it can give.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raspberry_pi_5: Option<bool>,
    /// The supply voltage is or was too low since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under_voltage: Option<bool>,
    /// The processor is or was slowed down since boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled: Option<bool>,
    /// Whole degrees Celsius of the hottest zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<i64>,
    /// Whole days since the bootloader was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bootloader_age_days: Option<i64>,
    /// The boot chain is checked by signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_signed: Option<bool>,
    /// What the power supply promised, in milliamperes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supply_milliamperes: Option<u64>,
    /// There is a clock that goes on without power, battery aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<bool>,
    /// The clock's battery in millivolts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_battery_millivolts: Option<u64>,
    /// There is a watchdog.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog: Option<bool>,
    /// The watchdog restarts the machine when it hangs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watchdog_armed: Option<bool>,
}

pub(super) fn facts(seen: &Option<Board>, at: &Seen, unknown: &mut Unknown) -> Option<BoardFacts> {
    let seen = seen.as_ref()?;
    let model = match &seen.model {
        Look::Failed(Failure { kind: FailureKind::NotFound, .. }) => Some(String::new()),
        look => take(look, &["/board/model", "/board/raspberry_pi", "/board/raspberry_pi_5"], "", unknown).cloned(),
    };
    let raspberry_pi = model.as_deref().map(|model| model.starts_with("Raspberry Pi"));
    let model_5 = model
        .as_deref()
        .map(|model| ["Raspberry Pi 5", "Raspberry Pi Compute Module 5"].iter().any(|five| model.starts_with(five)));
    let throttled = hexadecimal(&seen.throttled);
    let alarm = number(&seen.voltage_alarm);
    if throttled.is_none() {
        told(&seen.throttled, &["/board/throttled"], unknown);
        if alarm.is_none() {
            told(&seen.throttled, &["/board/under_voltage"], unknown);
        }
    }
    let temperature = number(&seen.temperature);
    if temperature.is_none() {
        told(&seen.temperature, &["/board/temperature"], unknown);
    }
    let built = take(&seen.bootloader_built, &["/board/bootloader_age_days"], "", unknown);
    if let (Some(_), Some(reason)) = (built, at.distrust) {
        unknown.because("/board/bootloader_age_days", reason);
    }
    let age = built.filter(|_| at.clock_believed()).map(|built| (at.at.as_second() - built.as_second()) / 86_400);
    let signed = match (&seen.bootloader_signed, &seen.secure_boot) {
        (Look::Seen(flags), _) => Some(*flags & 1 != 0),
        (_, Look::Seen(on)) => Some(*on),
        (failed, _) => {
            told(failed, &["/board/boot_signed"], unknown);
            None
        }
    };
    let battery = number(&seen.clock_battery);
    if battery.is_none() {
        told(&seen.clock_battery, &["/board/clock_battery_millivolts"], unknown);
    }
    let present = |look: &Look<String>| match look {
        Look::Seen(_) => Some(true),
        Look::Failed(Failure { kind: FailureKind::NotFound, .. }) => Some(false),
        Look::Failed(_) => None,
    };
    let (clock, watchdog) = (present(&seen.clock), present(&seen.watchdog));
    if clock.is_none() {
        told(&seen.clock, &["/board/clock"], unknown);
    }
    if watchdog.is_none() {
        told(&seen.watchdog, &["/board/watchdog", "/board/watchdog_armed"], unknown);
    }
    Some(BoardFacts {
        raspberry_pi,
        raspberry_pi_5: model_5,
        model: model.filter(|model| !model.is_empty()),
        under_voltage: match (throttled, alarm) {
            (Some(bits), alarm) => Some(bits & 0x1_0001 != 0 || alarm == Some(1)),
            (None, alarm) => alarm.map(|alarm| alarm == 1),
        },
        throttled: throttled.map(|bits| bits & 0xe_000e != 0),
        temperature: temperature.map(|thousandths| thousandths.div_euclid(1000)),
        bootloader_age_days: age,
        boot_signed: signed,
        supply_milliamperes: take(&seen.supply_milliamperes, &["/board/supply_milliamperes"], "", unknown)
            .map(|milliamperes| u64::from(*milliamperes)),
        clock,
        clock_battery_millivolts: battery.and_then(|microvolts| u64::try_from(microvolts / 1000).ok()),
        watchdog_armed: watchdog.map(|_| {
            let asked = seen.watchdog_asked.seen().and_then(Option::as_deref);
            seen.watchdog.seen().is_some_and(|state| state == "active")
                || asked.is_some_and(|asked| !matches!(asked, "0" | "off" | "infinity"))
        }),
        watchdog,
    })
}

fn hexadecimal(look: &Look<String>) -> Option<u64> {
    u64::from_str_radix(look.seen()?.trim().trim_start_matches("0x"), 16).ok()
}

fn number(look: &Look<String>) -> Option<i64> {
    look.seen()?.trim().parse().ok()
}

fn told<T: std::fmt::Debug>(look: &Look<T>, places: &[&str], unknown: &mut Unknown) {
    let words = match look {
        Look::Failed(failure) => failure.to_string(),
        Look::Seen(value) => format!("{value:?} is not a number"),
    };
    places.iter().for_each(|place| unknown.because(*place, &words));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        fn none<T>() -> Look<T> {
            Look::Failed(Failure::new(FailureKind::NotFound, "none"))
        }
        Board {
            model: none(),
            throttled: none(),
            voltage_alarm: none(),
            temperature: none(),
            bootloader_built: none(),
            bootloader_signed: none(),
            supply_milliamperes: none(),
            clock: none(),
            clock_battery: none(),
            watchdog: none(),
            watchdog_asked: Look::Seen(None),
            secure_boot: none(),
        }
    }

    fn of(board: Board) -> BoardFacts {
        let at = Seen { at: "2026-03-01T10:00:00Z".parse().unwrap(), distrust: None };
        facts(&Some(board), &at, &mut Unknown::default()).unwrap()
    }

    #[test]
    fn a_pi_tells_its_power_and_boot_chain() {
        let told = of(Board {
            model: Look::Seen("Raspberry Pi 5 Model B Rev 1.0".into()),
            throttled: Look::Seen("50000".into()),
            temperature: Look::Seen("61250\n".into()),
            bootloader_built: Look::Seen("2025-03-01T10:00:00Z".parse().unwrap()),
            bootloader_signed: Look::Seen(0),
            supply_milliamperes: Look::Seen(3000),
            clock: Look::Seen("rpi-rtc".into()),
            clock_battery: Look::Seen("2912000".into()),
            watchdog: Look::Seen("inactive".into()),
            ..board()
        });
        assert_eq!((told.raspberry_pi_5, told.under_voltage, told.throttled), (Some(true), Some(true), Some(true)));
        assert_eq!((told.temperature, told.bootloader_age_days, told.boot_signed), (Some(61), Some(365), Some(false)));
        assert_eq!((told.clock_battery_millivolts, told.watchdog_armed), (Some(2912), Some(false)));
        let asked = of(Board {
            watchdog: Look::Seen("inactive".into()),
            watchdog_asked: Look::Seen(Some("15s".into())),
            ..board()
        });
        assert_eq!(asked.watchdog_armed, Some(true));
    }

    #[test]
    fn another_machine_says_so_and_odd_words_are_unknown() {
        let told = of(board());
        assert_eq!((told.raspberry_pi, told.watchdog, told.under_voltage), (Some(false), Some(false), None));
        let mut unknown = Unknown::default();
        let at = Seen { at: "1970-01-02T10:00:00Z".parse().unwrap(), distrust: Some("never set") };
        let odd = Board {
            throttled: Look::Seen("zz".into()),
            bootloader_built: Look::Seen("2025-03-01T10:00:00Z".parse().unwrap()),
            ..board()
        };
        let told = facts(&Some(odd), &at, &mut unknown).unwrap();
        assert_eq!((told.throttled, told.bootloader_age_days), (None, None));
        assert_eq!(unknown.reason("/board/throttled"), Some("\"zz\" is not a number"));
        assert_eq!(unknown.reason("/board/bootloader_age_days"), Some("never set"));
    }
}
