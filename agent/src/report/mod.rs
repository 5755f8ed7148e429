//! What a person reads on the gateway: a run or a delta as text, in the width and the colours the terminal has.
//!
//! Everything that came from a peer or a file is stripped of control characters before it is printed.

mod delta;
mod run;

pub use delta::delta;
pub use run::run;

use anstyle::{AnsiColor, Style};
use gatepost_rules::decision::{Decision, PostureState};
use gatepost_rules::pack::Severity;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const WARN: Style = AnsiColor::Yellow.on_default();

fn severity(severity: Severity) -> Style {
    match severity {
        Severity::Critical | Severity::High => BAD,
        Severity::Medium => WARN,
        Severity::Low => BOLD,
    }
}

fn posture(state: PostureState) -> (&'static str, Style) {
    match state {
        PostureState::Exposed => ("EXPOSED", BAD),
        PostureState::Unproven => ("UNPROVEN", WARN),
        PostureState::Hardened => ("HARDENED", GOOD),
    }
}

fn decision(decision: Decision) -> &'static str {
    match decision {
        Decision::FixFirst => "fix first",
        Decision::Continue => "continue",
        Decision::Pause => "pause: there is too little evidence to say",
    }
}

fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// `text` without control characters and without those that turn the direction of writing, so that nothing a peer said can
/// drive the terminal or show one thing as another.
#[must_use]
pub fn clean(text: &str) -> String {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

/// As [`clean`], line by line.
#[must_use]
pub fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

fn width() -> usize {
    textwrap::termwidth().clamp(40, 110)
}

/// A line that names what follows.
pub(crate) fn heading(out: &mut String, text: &str) {
    out.push_str(&format!("{}\n", paint(BOLD, clean(text))));
}

/// `text` wrapped under a label in a column of its own.
pub(crate) fn labelled(out: &mut String, label: &str, text: &str) {
    let first = format!("      {label:<12}");
    let options = textwrap::Options::new(width()).initial_indent(&first).subsequent_indent("                  ");
    for line in textwrap::wrap(&clean(text), options) {
        out.push_str(&line);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_peer_said_drives_the_terminal() {
        let said = "a\u{1b}[2J\u{9b}31m\u{7f}\r\u{202e}b\nc\u{2067}";
        let lines = clean_lines(said);
        assert_eq!(lines.lines().count(), 2);
        assert!(!lines.contains(['\u{1b}', '\u{9b}', '\u{7f}', '\r', '\u{202e}', '\u{2067}']), "{lines:?}");
        assert!(!clean(said).contains('\n'));
        assert_eq!(clean("Zürich 工場"), "Zürich 工場");
    }
}
