//! Reads Mosquitto's configuration files as Mosquitto does (mosquitto.conf(5)), without judging them; what they come to is
//! resolved from the evidence.
//!
//! Directives come out in the order the broker reads them, `include_dir` followed, each with its file and line. Passwords
//! and pre-shared keys are replaced before they leave this file, and so is every line that is not a directive: a wrong path
//! must not carry some other file into evidence. What is named but can not be read is listed, never left out in silence.

mod files;
pub mod lines;
pub mod passwords;
mod running;

use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::gateway_config_guardrails::{Broker, Directive};
use gatepost_evidence::look::{Failure, FailureKind};

use super::host::root::Root;
use lines::{MAX_VALUE_CHARS, directives, load_order};
pub use running::started;

/// Where Debian's broker is configured.
pub const DEFAULT_PATH: &str = "/etc/mosquitto/mosquitto.conf";
/// The most files that are read, the first included.
pub const MAX_FILES: usize = 200;
/// The most directives that are recorded.
pub const MAX_DIRECTIVES: usize = 20_000;
/// The most bytes of paths, names and values that are recorded, so that they fit into a signed run.
pub const MAX_TEXT_BYTES: usize = 192 * 1024;

/// As [`read`], with what else there is to see: owners and modes of the files, how passwords are kept, the installed release,
/// and the brokers that run on `host`.
///
/// # Errors
/// As [`read`].
pub fn look(root: &Path, path: &Path, host: &Path) -> Result<Broker, Failure> {
    let mut broker = read(root, path)?;
    let (root, host) = (Root::new(root), Root::new(host));
    broker.release = Some(running::release(&host).into());
    broker.files = files::named(&root, &broker);
    broker.processes = Some(running::processes(&host).into());
    let user = broker.directives.iter().rev().find(|directive| directive.key == "user");
    let user = user.map_or("mosquitto", |directive| directive.value.trim());
    broker.user = Some(user_id(&host, user).into());
    Ok(broker)
}

fn user_id(host: &Root, name: &str) -> Result<u32, Failure> {
    let accounts = super::host::accounts::accounts(host)?;
    accounts.into_iter().find(|account| account.name == name).map(|account| account.uid).ok_or_else(|| {
        Failure::new(
            FailureKind::NotFound,
            format_args!("the account {name}, which the broker would run as, does not exist"),
        )
    })
}

/// A file's text, read twice: what changes in between is read again, and is a failed look when it does not come to rest.
fn steady(root: &Root, path: &Path) -> Result<String, Failure> {
    let mut before = root.read(path)?;
    for _ in 0..3 {
        let now = root.read(path)?;
        if now == before {
            return Ok(String::from_utf8_lossy(&now).into_owned());
        }
        before = now;
    }
    Err(Failure::new(FailureKind::Error, format_args!("{} changes while it is read", path.display())))
}

/// Reads `path` and the files it includes, all of them below `root` (`/` for the running machine).
///
/// # Errors
/// When `path` itself can not be read. Included files that can not be read are in [`Broker::unreadable`].
pub fn read(root: &Path, path: &Path) -> Result<Broker, Failure> {
    let root = Root::new(root);
    let text = steady(&root, path)?;
    let name = path.display().to_string();
    let mut reading = Reading { root, files: 1, bytes: 0, directives: Vec::new(), unreadable: BTreeMap::new() };
    reading.file(&name, &text, true);
    Ok(Broker { path: name, directives: reading.directives, unreadable: reading.unreadable, ..Broker::default() })
}

struct Reading {
    root: Root,
    files: usize,
    bytes: usize,
    directives: Vec<Directive>,
    unreadable: BTreeMap<String, Failure>,
}

impl Reading {
    /// Only the first file may include others; Mosquitto passes over `include_dir` elsewhere, so there are no loops.
    fn file(&mut self, name: &str, text: &str, first: bool) {
        for (number, key, value) in directives(text) {
            self.bytes += name.len() + key.len() + value.len();
            if self.directives.len() == MAX_DIRECTIVES || self.bytes > MAX_TEXT_BYTES {
                let detail = format!(
                    "the configuration has more than {MAX_DIRECTIVES} directives or {MAX_TEXT_BYTES} bytes; \
                     it was read up to line {number} of this file"
                );
                self.unreadable.insert(name.to_owned(), Failure::new(FailureKind::TooLarge, detail));
                return;
            }
            if value.chars().count() == MAX_VALUE_CHARS {
                let detail =
                    format!("the value in line {number} of this file is cut after {MAX_VALUE_CHARS} characters");
                self.unreadable.insert(name.to_owned(), Failure::new(FailureKind::TooLarge, detail));
            }
            let included = (first && key == "include_dir").then(|| value.clone());
            self.directives.push(Directive { file: name.to_owned(), line: number, key, value });
            if let Some(folder) = included {
                self.folder(&folder);
            }
        }
    }

    fn folder(&mut self, folder: &str) {
        let path = Path::new(folder);
        if !path.is_absolute() {
            let detail = "a relative include_dir depends on the folder the broker was started in; make it absolute";
            self.unreadable.insert(folder.to_owned(), Failure::new(FailureKind::Error, detail));
            return;
        }
        let mut names = match self.root.list(path) {
            Ok(names) => names,
            Err(failure) => {
                self.unreadable.insert(folder.to_owned(), failure);
                return;
            }
        };
        names.retain(|name| name.len() > ".conf".len() && name.ends_with(".conf"));
        names.sort_by(|a, b| load_order(a, b));
        for name in names {
            let path = path.join(name);
            let name = path.display().to_string();
            if self.files == MAX_FILES {
                let detail =
                    format!("more than {MAX_FILES} files are included; this one and those after it were not read");
                self.unreadable.insert(name, Failure::new(FailureKind::TooLarge, detail));
                return;
            }
            self.files += 1;
            match steady(&self.root, &path) {
                Ok(text) => self.file(&name, &text, false),
                Err(failure) => {
                    self.unreadable.insert(name, failure);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gatepost_evidence::check::gateway_config_guardrails::broker::REDACTED;

    use super::lines::{NO_DIRECTIVE, directive};
    use super::*;

    fn snapshot(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn read_first(folder: &tempfile::TempDir) -> Broker {
        read(folder.path(), Path::new("/m.conf")).unwrap()
    }

    #[test]
    fn directives_keep_their_order_file_and_line() {
        let folder = snapshot(&[
            ("m.conf", "# top\n\nlistener 8883  ::1 \n  include_dir /conf.d\npersistence true\n"),
            ("conf.d/b.conf", "allow_anonymous false\r\n"),
            ("conf.d/A.conf", "include_dir /conf.d\n"),
            ("conf.d/a.conf", "certfile /etc/a b.pem\n"),
            ("conf.d/.conf", "port 1\n"),
            ("conf.d/note.conf.bak", "port 2\n"),
        ]);
        let broker = read_first(&folder);
        let lines: Vec<_> = broker
            .directives
            .iter()
            .map(|directive| format!("{}:{} {}={}", directive.file, directive.line, directive.key, directive.value))
            .collect();
        assert_eq!(
            lines,
            [
                "/m.conf:3 listener=8883  ::1",
                "/m.conf:4 include_dir=/conf.d",
                "/conf.d/A.conf:1 include_dir=/conf.d",
                "/conf.d/a.conf:1 certfile=/etc/a b.pem",
                "/conf.d/b.conf:1 allow_anonymous=false",
                "/m.conf:5 persistence=true",
            ]
        );
        assert!(broker.unreadable.is_empty());
    }

    #[test]
    fn files_load_in_the_order_of_the_manual() {
        let mut names = ["b.conf", "A.conf", "01.conf", "a.conf", "B.conf", "00.conf", "ab.conf", "AA.conf"];
        names.sort_by(|a, b| load_order(a, b));
        assert_eq!(names, ["00.conf", "01.conf", "A.conf", "AA.conf", "a.conf", "ab.conf", "B.conf", "b.conf"]);
    }

    /// The real broker, stopped by an option it does not know once it has read everything before that.
    #[test]
    fn mosquitto_itself_loads_the_same_files_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let included = folder.path().join("conf.d");
        std::fs::create_dir(&included).unwrap();
        for name in ["b", "A", "01", "a", "B", "ab", "AA", "a-b", "a_b", ".a", ""] {
            // Inside an included file, Mosquitto passes over `include_dir`: this one would never end.
            let text = format!("include_dir {}\n", included.display());
            std::fs::write(included.join(format!("{name}.conf")), text).unwrap();
        }
        std::fs::write(included.join("a.conf~"), "unknown\n").unwrap();
        let path = folder.path().join("m.conf");
        std::fs::write(&path, format!("include_dir {}\nunknown_option 1\n", included.display())).unwrap();

        let output = std::process::Command::new("mosquitto")
            .env("PATH", "/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
            .args([std::ffi::OsStr::new("-v"), "-c".as_ref(), path.as_os_str()])
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains("unknown_option"), "{words}");
        let truth: Vec<_> =
            words.lines().filter_map(|line| line.split_once("Loading config file ")).map(|(_, file)| file).collect();
        let broker = read(Path::new("/"), &path).unwrap();
        let files: Vec<_> = broker.directives.iter().map(|directive| directive.file.as_str()).collect();
        assert_eq!(files[1..files.len() - 1], truth);
    }

    #[test]
    fn no_secret_gets_through() {
        let folder = snapshot(&[(
            "m.conf",
            "remote_password hunter2\npassword hunter2\nbridge_psk hunter2\npassword\thunter2\nREMOTE_PASSWORD hunter2\nPassword_File hunter2\n\
             bridge_tls_engine_kpass_sha1 hunter2\nauth_opt_pg_pass hunter2\nplugin_opt_dsn host=a pw=hunter2\nauth_opt_password /hunter2\n\
             root:$6$hunter2:19000\nhunter2=x\nbridge_identity gw\npassword_file /etc/mosquitto/passwd\n\
             psk_hint gate\nplugin_opt_config_file /var/lib/d.json\nuse_identity_as_username true\n",
        )]);
        let broker = read_first(&folder);
        assert!(!format!("{broker:?}").contains("hunter2"), "{broker:?}");
        let value = |key: &str| &broker.directives.iter().find(|directive| directive.key == key).unwrap().value;
        assert_eq!(value("remote_password"), REDACTED);
        assert_eq!(value("bridge_identity"), "gw");
        assert_eq!(value("password_file"), "/etc/mosquitto/passwd");
        assert_eq!(value("psk_hint"), "gate");
        assert_eq!(value("plugin_opt_config_file"), "/var/lib/d.json");
        assert_eq!(value(NO_DIRECTIVE), REDACTED);
        assert_eq!(directive("listener 1883\t::1").unwrap().1, "1883\u{FFFD}::1", "a tab parts no words");
        assert_eq!(broker.directives.len(), 17);
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        let folder = snapshot(&[
            ("m.conf", "include_dir /gone\ninclude_dir relative.d\ninclude_dir /conf.d\n"),
            ("conf.d/a.conf/file", ""),
            ("conf.d/b.conf", "persistence true"),
        ]);
        let broker = read_first(&folder);
        assert_eq!(broker.unreadable["/gone"].kind, FailureKind::NotFound);
        assert!(broker.unreadable["relative.d"].detail.contains("make it absolute"));
        assert_eq!(broker.unreadable["/conf.d/a.conf"].detail, "/conf.d/a.conf is not a regular file");
        assert_eq!(broker.directives.last().unwrap().value, "true");
        let missing = read(folder.path(), Path::new("/none.conf")).unwrap_err();
        assert_eq!(missing.kind, FailureKind::NotFound);
    }

    #[test]
    fn too_much_is_cut_and_says_so() {
        let many = "topic a/b out 1\n".repeat(MAX_DIRECTIVES + 1);
        let broker = read_first(&snapshot(&[("m.conf", &many)]));
        assert_eq!(broker.unreadable["/m.conf"].kind, FailureKind::TooLarge);
        assert!(broker.directives.len() <= MAX_DIRECTIVES);

        let long = format!("topic {}\n", "x".repeat(900_000));
        let broker = read_first(&snapshot(&[("m.conf", &long)]));
        assert_eq!(broker.directives[0].value.chars().count(), MAX_VALUE_CHARS);
        assert_eq!(broker.unreadable["/m.conf"].kind, FailureKind::TooLarge);

        let folder = snapshot(&[("m.conf", "include_dir /d\n")]);
        std::fs::create_dir(folder.path().join("d")).unwrap();
        for number in 0..MAX_FILES + 10 {
            std::fs::write(folder.path().join(format!("d/{number:04}.conf")), "").unwrap();
        }
        let broker = read_first(&folder);
        assert_eq!(broker.unreadable.keys().collect::<Vec<_>>(), ["/d/0199.conf"]);
    }

    #[test]
    fn a_fifo_a_huge_file_and_one_without_permission_are_failed_looks_at_once() {
        let folder = snapshot(&[("m.conf", "include_dir /d\n"), ("d/c.conf", "persistence true")]);
        let huge = std::fs::File::create(folder.path().join("d/a.conf")).unwrap();
        huge.set_len(100 * 1024 * 1024).unwrap();
        nix::unistd::mkfifo(&folder.path().join("d/b.conf"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let closed = folder.path().join("d/d.conf");
        std::fs::write(&closed, "").unwrap();
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
        let broker = read_first(&folder);
        assert_eq!(broker.unreadable["/d/a.conf"].kind, FailureKind::TooLarge);
        assert_eq!(broker.unreadable["/d/b.conf"].detail, "/d/b.conf is not a regular file");
        // Root may read anything.
        let expected = (!nix::unistd::geteuid().is_root()).then_some(FailureKind::Denied);
        assert_eq!(broker.unreadable.get("/d/d.conf").map(|failure| failure.kind), expected);
        assert_eq!(broker.directives.last().unwrap().value, "true");
    }

    #[test]
    fn a_file_that_does_not_come_to_rest_is_a_failed_look() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let folder = snapshot(&[("m.conf", "")]);
        let path = folder.path().join("m.conf");
        let (ended, writing) = (AtomicBool::new(false), std::sync::Barrier::new(2));
        let found = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0_u64.. {
                    // Replaced as a whole, so that every look finds all of some version.
                    std::fs::write(path.with_extension("new"), format!("max_queued_messages {number}\n")).unwrap();
                    std::fs::rename(path.with_extension("new"), &path).unwrap();
                    if number == 0 {
                        writing.wait();
                    }
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            writing.wait();
            let found: Vec<_> = (0..200).map(|_| read(folder.path(), Path::new("/m.conf"))).collect();
            ended.store(true, Ordering::Relaxed);
            found
        });
        // One version or none, and never a mixture.
        for broker in found {
            match broker {
                Ok(broker) => assert_eq!(broker.directives.len(), 1),
                Err(failure) => assert!(failure.detail.contains("changes while it is read"), "{failure}"),
            }
        }
    }

    #[test]
    fn the_look_tells_owners_modes_release_and_account() {
        let folder = snapshot(&[
            ("m.conf", "acl_file /acl\npassword_file /passwd\nkeyfile relative.pem\nuser broker\n"),
            ("acl", ""),
            ("passwd", "a:$6$x$y\n"),
            ("etc/passwd", "broker:x:77:77::/:/bin/false\n"),
        ]);
        let broker = look(folder.path(), Path::new("/m.conf"), folder.path()).unwrap();
        assert_eq!(broker.user.unwrap().seen(), Some(&77));
        assert_eq!(broker.files.keys().collect::<Vec<_>>(), ["/acl", "/m.conf", "/passwd", "relative.pem"]);
        // Owners in a snapshot's folder are those of whoever unpacked it.
        assert!(broker.files["/acl"].state.failure().unwrap().detail.contains("does not say who owns"));
        let passwords = broker.files["/passwd"].passwords.as_ref().unwrap().seen().unwrap();
        assert_eq!(passwords.schemes["sha512"], 1);
        assert!(broker.files["relative.pem"].state.failure().unwrap().detail.contains("make it absolute"));
        assert_eq!(broker.release.unwrap().failure().unwrap().kind, FailureKind::NotFound);
        let live = look(Path::new("/"), &folder.path().join("m.conf"), folder.path()).unwrap();
        let own = &live.files[&folder.path().join("m.conf").display().to_string()];
        assert_eq!(own.state.seen().unwrap().uid, nix::unistd::geteuid().as_raw());
    }

    #[test]
    fn any_bytes_are_survived() {
        let folder = tempfile::tempdir().unwrap();
        let junk: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        std::fs::write(folder.path().join("m.conf"), junk).unwrap();
        let broker = read_first(&folder);
        assert!(broker.directives.iter().all(|directive| directive.key == NO_DIRECTIVE), "{:?}", broker.directives[0]);
    }
}
