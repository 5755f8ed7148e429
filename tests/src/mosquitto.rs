//! Which Mosquitto the tests run: this machine's own, Debian 12's 2.0.11; or, with [`SUITE`] in the environment, that of another
//! release of Debian, unpacked into the target folder by `tests/container/mosquitto.sh`.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail, ensure};

use crate::kept::{by_script, kept, store};
use crate::process::{LIMIT, command, installed};

/// The variable that names a release of Debian whose Mosquitto is to be tested: one of [`SUITES`].
pub const SUITE: &str = "GATEPOST_MOSQUITTO";
/// The releases, and what their Mosquitto has to be: Debian's testing moves on.
const SUITES: [(&str, &str); 2] = [("trixie", "2.0.21"), ("forky", "2.1.")];

const SCRIPT: &str = include_str!("../container/mosquitto.sh");

static FOUND: LazyLock<Result<(PathBuf, String)>> = LazyLock::new(|| {
    let binary = find()?;
    let mut help = command(&binary);
    help.arg("-h");
    let said = crate::agent::run(help, LIMIT)?.stdout;
    let release = said.split_once("mosquitto version ").and_then(|(_, rest)| rest.split_whitespace().next());
    let release = release.with_context(|| format!("{} does not tell its version: {said}", binary.display()))?;
    if let Ok(suite) = std::env::var(SUITE) {
        let expected =
            SUITES.iter().find(|(name, _)| *name == suite).context("GATEPOST_MOSQUITTO is no known release")?.1;
        ensure!(release.starts_with(expected), "{suite} has Mosquitto {release}, and the tests know {expected}");
    }
    Ok((binary, release.to_owned()))
});

/// Its program.
///
/// # Errors
/// When it is not installed, or cannot be fetched.
pub fn broker() -> Result<PathBuf> {
    found().map(|(binary, _)| binary.clone())
}

/// Its release, such as `2.0.11`.
///
/// # Errors
/// As [`broker`].
pub fn release() -> Result<&'static str> {
    found().map(|(_, release)| release.as_str())
}

/// Where its own plugins are, from 2.1 on.
///
/// # Errors
/// As [`broker`].
pub fn plugins() -> Result<PathBuf> {
    let usr = broker()?.ancestors().nth(2).map(Path::to_owned).context("the broker stands in no usr/sbin")?;
    Ok(usr.join(format!("lib/{}-linux-gnu/mosquitto", std::env::consts::ARCH)))
}

/// Whether it is of the line 2.1, which reads its files differently and has other defaults.
///
/// # Errors
/// When [`broker`] fails, or it is of a line that the tests do not know.
pub fn is_two_one() -> Result<bool> {
    match release()? {
        release if release.starts_with("2.0.") => Ok(false),
        release if release.starts_with("2.1.") => Ok(true),
        other => bail!("the tests know Mosquitto 2.0 and 2.1, and this is {other}"),
    }
}

fn found() -> Result<&'static (PathBuf, String)> {
    FOUND.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn find() -> Result<PathBuf> {
    let Some(suite) = std::env::var_os(SUITE) else { return installed("mosquitto", "mosquitto") };
    let suite = suite.into_string().ok().context("GATEPOST_MOSQUITTO is no text")?;
    installed("mmdebstrap", "mmdebstrap")?;
    installed("patchelf", "patchelf")?;
    let (folder, _lock) = store()?;
    let root = kept(&folder, &format!("{SCRIPT}{suite}"), |place| {
        by_script(SCRIPT, place, &suite).context("tests/container/mosquitto.sh")
    })?;
    Ok(root.join("usr/sbin/mosquitto"))
}
