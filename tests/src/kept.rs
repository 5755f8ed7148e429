//! What takes long to make and comes over the network, made once: folders in the target folder, by the hash of what they are
//! made from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use gatepost_evidence::id::Digest;

use crate::agent::run;
use crate::process::command;

/// How long it may take to make one: packages come over the network.
pub(crate) const MAKING: Duration = Duration::from_secs(1800);

/// The place of all these folders, and a lock: two tests at once make each of them once.
pub(crate) fn store() -> Result<(PathBuf, fs::File)> {
    let test = std::env::current_exe().context("where this program stands is unknown")?;
    let target = test.ancestors().nth(3).context("this program stands in no target folder")?;
    let folder = target.join("containers");
    fs::create_dir_all(&folder)?;
    let lock = fs::File::create(folder.join("lock"))?;
    lock.lock().context("the lock of the containers")?;
    Ok((folder, lock))
}

/// The folder that `make` made, by the hash of what it is made from; made under another name first.
pub(crate) fn kept(folder: &Path, from: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let name = Digest::of(from.as_bytes()).short();
    let place = folder.join(&name);
    if !place.exists() {
        let unfinished = folder.join(format!("{name}.unfinished"));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        make(&unfinished)?;
        fs::rename(&unfinished, &place)?;
    }
    Ok(place)
}

/// Runs a script of `tests/container`, which makes `place` of the Debian release `suite`.
pub(crate) fn by_script(script: &str, place: &Path, suite: &str) -> Result<()> {
    let file = place.with_extension("sh");
    fs::write(&file, script)?;
    let mut sh = command(Path::new("/bin/sh"));
    sh.arg(&file).arg(place).arg(suite);
    run(sh, MAKING)?.expect_code(0)?;
    Ok(())
}
