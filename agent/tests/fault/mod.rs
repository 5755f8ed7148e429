//! A disk that fails, between a child process and its files: the library `shim.c`, built with `cc`, and a model of what a disk
//! keeps when the power goes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

pub const EIO: u32 = 5;
pub const ENOSPC: u32 = 28;

static SHIM: LazyLock<PathBuf> = LazyLock::new(|| {
    let shim = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fault-{}.so", std::process::id()));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault/shim.c");
    let built = Command::new("cc").args(["-O1", "-shared", "-fPIC", "-o"]).arg(&shim).arg(source).arg("-ldl").status();
    assert!(built.expect("a C compiler is needed").success());
    shim
});

/// Runs the test `child` of this very binary on `folder`; `work` says which sort.
pub fn work(folder: &Path, work: &str, environment: &[(&str, String)]) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact", "--nocapture", "--test-threads=1"]);
    child.env("SPOOL_FOLDER", folder).env("SPOOL_WORK", work);
    child.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
    child.output().unwrap()
}

/// The same with a disk on which operation `at` fails, none for 0; says whether it was met.
pub fn faulty(folder: &Path, sort: &str, at: u64, errno: u32, log: Option<&Path>) -> (Output, bool) {
    let mut environment = vec![
        ("LD_PRELOAD", SHIM.display().to_string()),
        ("FAULT_FOLDER", folder.display().to_string()),
        ("FAULT_AT", at.to_string()),
        ("FAULT_ERRNO", errno.to_string()),
    ];
    environment.extend(log.map(|log| ("FAULT_LOG", log.display().to_string())));
    let output = work(folder, sort, &environment);
    let met = String::from_utf8_lossy(&output.stderr).contains("fault at");
    (output, met)
}

/// A file that nobody else may read, as the agent writes them.
pub fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A disk that knows what was synced: files by number, and the names that lead to them.
#[derive(Clone, Default)]
pub struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, new) => {
                bytes.resize(bytes.len().max(offset + new.len()), 0);
                bytes[*offset..offset + new.len()].copy_from_slice(new);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }
}

impl Disk {
    /// One that has these files, synced.
    pub fn with(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let content = |bytes: &Vec<u8>| Content { now: bytes.clone(), synced: bytes.clone(), since: Vec::new() };
        let names: BTreeMap<_, _> = files.keys().cloned().zip(0..).collect();
        Self { files: files.values().map(content).collect(), names: names.clone(), synced_names: names }
    }

    fn change(&mut self, name: &str, change: Change) {
        let file = &mut self.files[self.names[name]];
        change.apply(&mut file.now);
        file.since.push(change);
    }

    /// Does the next operation of the log; gives back what was printed, if that is what it is.
    pub fn step<'a>(&mut self, log: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = log.iter().position(|&byte| byte == b'\n').unwrap();
        let line = std::str::from_utf8(&log[..end]).unwrap();
        *log = &log[end + 1..];
        let number = |word: &str| word.parse::<usize>().unwrap();
        let mut take = |length: usize| {
            let (bytes, rest) = log.split_at(length);
            *log = rest;
            bytes
        };
        match line.split(' ').collect::<Vec<_>>().as_slice() {
            ["P", length] => return Some(take(number(length))),
            ["C", name] => {
                self.names.insert((*name).to_owned(), self.files.len());
                self.files.push(Content::default());
            }
            ["W", name, offset, length] => {
                let bytes = take(number(length)).to_vec();
                self.change(name, Change::Write(number(offset), bytes));
            }
            ["T", name, length] => self.change(name, Change::Truncate(number(length))),
            ["S", "."] => self.synced_names = self.names.clone(),
            ["S", name] => {
                let file = &mut self.files[self.names[*name]];
                (file.synced, file.since) = (file.now.clone(), Vec::new());
            }
            ["R", from, to] => {
                let file = self.names.remove(*from).unwrap();
                self.names.insert((*to).to_owned(), file);
            }
            ["U", name] => drop(self.names.remove(*name)),
            other => panic!("the log says {other:?}"),
        }
        None
    }

    /// What is there after the power came back.
    pub fn lay_down(&self, folder: &Path, left: Left, random: &mut u64) {
        let mut toss = || {
            *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *random >> 63 == 1
        };
        let names = match left {
            Left::OnlySynced => &self.synced_names,
            Left::Everything => &self.names,
            Left::SomeOfTheRest => {
                if toss() {
                    &self.names
                } else {
                    &self.synced_names
                }
            }
        };
        for (name, file) in names {
            let file = &self.files[*file];
            let mut bytes = file.synced.clone();
            for change in &file.since {
                if left == Left::Everything || (left == Left::SomeOfTheRest && toss()) {
                    change.apply(&mut bytes);
                }
            }
            write(&folder.join(name), &bytes);
        }
    }
}

/// What a loss of power leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// A disk that keeps only what was synced.
    OnlySynced,
    /// A process that was killed.
    Everything,
    /// Most disks: of what was not synced, some.
    SomeOfTheRest,
}
