//! Python programs, each in a virtual environment of its own: the verifier here, `sslyze` in [`crate::agreement`].
//!
//! An environment stands in `target/` and is made once, from a pinned list such as `tests/python/requirements.txt`; that
//! needs `python3` with `venv`, and the package index. A changed list makes it anew.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::agent::{Finished, run};
use crate::process::{command, installed};

/// The longest that making the environment may take.
const LIMIT: Duration = Duration::from_secs(300);

/// `tests/python/verify_envelope.py` and a Python that can run it.
pub struct Verifier {
    python: PathBuf,
    script: PathBuf,
}

impl Verifier {
    /// The verifier, after its environment was made if need be.
    ///
    /// # Errors
    /// When there is no Python, or a package cannot be had; pip's words are in the error.
    pub fn ready() -> Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
        let python = environment("python", &sources.join("requirements.txt"))?;
        Ok(Self { python, script: sources.join("verify_envelope.py") })
    }

    /// Verifies `files` against the public key in `key`: exit code 0 when all are good, 1 when one is not.
    ///
    /// # Errors
    /// When the verifier does not run.
    pub fn verify(&self, key: &Path, options: &[&str], files: &[&Path]) -> Result<Finished> {
        let mut command = command(&self.python);
        command.arg("-I").arg(&self.script).arg("--key").arg(key).args(options).args(files);
        run(command, LIMIT)
    }
}

impl Verifier {
    /// Verifies an evidence bundle with `tests/python/verify_bundle.py`.
    ///
    /// # Errors
    /// When the verifier does not run.
    pub fn verify_bundle(&self, options: &[&str], bundle: &Path) -> Result<Finished> {
        let mut command = command(&self.python);
        command.arg("-I").arg(self.script.with_file_name("verify_bundle.py")).args(options).arg(bundle);
        run(command, LIMIT)
    }
}

/// The Python of an environment in `target/<name>` with the packages that the file `requirements` pins, made if need be.
///
/// # Errors
/// When there is no Python, or a package cannot be had; pip's words are in the error.
pub fn environment(name: &str, requirements: &Path) -> Result<PathBuf> {
    let wanted = fs::read_to_string(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let place = target()?.join(name);
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    // One maker at a time, whichever process it is in.
    let lock = fs::File::create(place.join("lock")).context("the lock of the Python environment cannot be made")?;
    let _locked = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .context("the Python environment cannot be locked")?;
    let stamp = place.join("made-from");
    let python = place.join("bin/python");
    if !python.exists() || fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
        // Emptied by hand, since `--clear` would take the lock away as well.
        for part in ["bin", "lib", "lib64", "include", "pyvenv.cfg"] {
            remove(&place.join(part))?;
        }
        let mut make = command(&installed("python3", "python3 python3-venv")?);
        make.args(["-m", "venv"]).arg(&place);
        run(make, LIMIT)?.expect_code(0).context("python3 -m venv; is python3-venv installed?")?;
        let mut install = command(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
        run(install, LIMIT)?
            .expect_code(0)
            .with_context(|| format!("pip cannot install {}", requirements.display()))?;
        fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    Ok(python)
}

/// Removes a file, a link or a folder with what is in it, if it is there.
fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

/// The target folder that this program was built into.
fn target() -> Result<PathBuf> {
    let this = std::env::current_exe().context("where this program stands is unknown")?;
    this.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("{} does not stand in a target folder of cargo", this.display()))
}
