//! Reads Mosquitto's configuration files as Mosquitto does (mosquitto.conf(5)), without judging them.
//!
//! Directives come out in the order the broker reads them, `include_dir` followed, each with its file and line. Passwords
//! and pre-shared keys are replaced before they leave this file, and so is every line that is not a directive: a wrong path
//! must not carry some other file into evidence. What is named but can not be read is listed, never left out in silence.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::Path;

use gatepost_evidence::check::gateway_config_guardrails::{Broker, Directive};
use gatepost_evidence::look::{Failure, FailureKind};

use super::host::root::Root;

/// Where Debian's broker is configured.
pub const DEFAULT_PATH: &str = "/etc/mosquitto/mosquitto.conf";
/// The most files that are read, the first included.
pub const MAX_FILES: usize = 200;
/// The most directives that are recorded.
pub const MAX_DIRECTIVES: usize = 20_000;
/// The most bytes of paths, names and values that are recorded, so that they fit into a signed run.
pub const MAX_TEXT_BYTES: usize = 192 * 1024;
/// The most characters of one value that are recorded.
const MAX_VALUE_CHARS: usize = 500;
/// What stands in a secret's place.
const REDACTED: &str = "(redacted)";
/// The name recorded for a line that is not a directive.
const NO_DIRECTIVE: &str = "(not a directive)";

/// Reads `path` and the files it includes, all of them below `root` (`/` for the running machine).
///
/// # Errors
/// When `path` itself can not be read. Included files that can not be read are in [`Broker::unreadable`].
pub fn read(root: &Path, path: &Path) -> Result<Broker, Failure> {
    let root = Root::new(root);
    let text = root.read_text(path)?;
    let name = path.display().to_string();
    let mut reading = Reading { root, files: 1, bytes: 0, directives: Vec::new(), unreadable: BTreeMap::new() };
    reading.file(&name, &text, true);
    Ok(Broker { path: name, directives: reading.directives, unreadable: reading.unreadable })
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
        for (line, number) in text.lines().zip(1..) {
            let Some((key, value)) = directive(line) else { continue };
            self.bytes += name.len() + key.len() + value.len();
            if self.directives.len() == MAX_DIRECTIVES || self.bytes > MAX_TEXT_BYTES {
                let detail = format!(
                    "the configuration has more than {MAX_DIRECTIVES} directives or {MAX_TEXT_BYTES} bytes; \
                     it was read up to line {number} of this file"
                );
                self.unreadable.insert(name.to_owned(), Failure::new(FailureKind::TooLarge, detail));
                return;
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
            match self.root.read_text(&path) {
                Ok(text) => self.file(&name, &text, false),
                Err(failure) => {
                    self.unreadable.insert(name, failure);
                }
            }
        }
    }
}

/// Name and value of one line, redacted; none for blank lines and comments.
fn directive(line: &str) -> Option<(String, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (key, value) = line.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((line, ""));
    let value = value.trim();
    let is_name = key.len() <= 64 && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !is_name {
        return Some((NO_DIRECTIVE.into(), REDACTED.into()));
    }
    let value = match () {
        () if value.is_empty() => String::new(),
        () if is_secret(key, value) => REDACTED.into(),
        () => value.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_VALUE_CHARS).collect(),
    };
    Some((key.to_owned(), value))
}

/// Whether `value` may be a secret. What a plugin's options mean is its own affair, so only paths and switches are kept.
fn is_secret(key: &str, value: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if ["auth_opt_", "plugin_opt_"].iter().any(|prefix| key.starts_with(prefix)) {
        return !(value.starts_with('/') || matches!(value, "true" | "false"));
    }
    let named_like_one =
        ["password", "passwd", "passphrase", "psk", "kpass", "secret", "token"].iter().any(|word| key.contains(word));
    named_like_one && !matches!(key.as_str(), "password_file" | "psk_file" | "psk_hint")
}

/// The order Mosquitto loads included files in: by letter, and of the same letter upper case before lower case.
fn load_order(a: &str, b: &str) -> Ordering {
    let mut letters = a.bytes().zip(b.bytes());
    let differing = letters.find(|(a, b)| a != b);
    match differing {
        Some((a, b)) => a.to_ascii_uppercase().cmp(&b.to_ascii_uppercase()).then(a.cmp(&b)),
        None => a.len().cmp(&b.len()),
    }
}

#[cfg(test)]
mod tests {
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
            "remote_password hunter2\npassword hunter2\nbridge_psk hunter2\npassword\thunter2\nREMOTE_PASSWORD hunter2\n\
             bridge_tls_engine_kpass_sha1 hunter2\nauth_opt_pg_pass hunter2\nplugin_opt_dsn host=a pw=hunter2\n\
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
        assert_eq!(broker.directives.len(), 15);
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

        let folder = snapshot(&[("m.conf", "include_dir /d\n")]);
        std::fs::create_dir(folder.path().join("d")).unwrap();
        for number in 0..MAX_FILES + 10 {
            std::fs::write(folder.path().join(format!("d/{number:04}.conf")), "").unwrap();
        }
        let broker = read_first(&folder);
        assert_eq!(broker.unreadable.keys().collect::<Vec<_>>(), ["/d/0199.conf"]);
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
