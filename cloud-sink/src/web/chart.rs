//! The findings of the latest runs as bars: an inline SVG, drawn here and placed by the template.

use gatepost_rules::pack::Severity;

use super::words::Words as _;
use crate::view::RunLine;

/// Runs shown.
const RUNS: usize = 36;
/// Width of the drawing when it is full; few runs take less.
const FULL: u64 = 1000;
/// Height of the tallest bar.
const TALLEST: u64 = 96;
/// Room above the bars for their numbers.
const TOP: u64 = 18;

/// A chart.
#[derive(Debug)]
pub struct Chart {
    /// Width of the drawing.
    pub width: u64,
    /// Height of the drawing.
    pub height: u64,
    /// Where the bars stand.
    pub floor: u64,
    /// Width of a bar.
    pub bar: u64,
    /// One per run, oldest first.
    pub bars: Vec<Bar>,
}

/// One run.
#[derive(Debug)]
pub struct Bar {
    /// The run.
    pub seq: u64,
    /// Its middle.
    pub middle: u64,
    /// Its left edge.
    pub left: u64,
    /// What stands above it: a number, or a sign that it is not judged.
    pub label: String,
    /// Where that stands.
    pub label_at: u64,
    /// Pieces from the floor up.
    pub pieces: Vec<Piece>,
    /// Whether it is the baseline.
    pub baseline: bool,
    /// Everything in words.
    pub words: String,
}

/// Failing rows of one severity.
#[derive(Debug)]
pub struct Piece {
    /// The class that fills it.
    pub class: &'static str,
    /// Its upper edge.
    pub top: u64,
    /// Its height.
    pub height: u64,
}

/// The chart of `runs`, which are newest first.
#[must_use]
pub fn chart(runs: &[RunLine], baseline: Option<u64>) -> Chart {
    let shown = &runs[..runs.len().min(RUNS)];
    let most = shown.iter().filter_map(|run| run.findings).max().unwrap_or(0).max(4);
    let floor = TOP + TALLEST;
    let place = (FULL / (shown.len() as u64).max(1)).clamp(26, 54);
    let scale = Scale { place, bar: place * 2 / 3, most, floor };
    let bars = shown.iter().rev().zip(0..).map(|(run, nth)| bar(run, nth, &scale, baseline)).collect();
    Chart { width: shown.len() as u64 * place + 16, height: floor + 34, floor, bar: scale.bar, bars }
}

struct Scale {
    place: u64,
    bar: u64,
    most: u64,
    floor: u64,
}

fn bar(run: &RunLine, nth: u64, scale: &Scale, baseline: Option<u64>) -> Bar {
    let Scale { place, bar, most, floor } = *scale;
    let left = nth * place + 8;
    let mut top = floor;
    let mut pieces = Vec::new();
    if let Some(posture) = &run.posture {
        for severity in [Severity::Critical, Severity::High, Severity::Medium, Severity::Low] {
            let count = posture.failing.get(&severity).copied().unwrap_or(0);
            if count > 0 {
                let height = (count * TALLEST / most).max(3);
                top = top.saturating_sub(height);
                pieces.push(Piece { class: severity.class(), top, height });
            }
        }
    }
    let label = run.findings.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let stands = match run.findings {
        Some(count) => super::words::counted(&count, "finding", "findings"),
        None => "not judged".to_owned(),
    };
    let baseline = baseline == Some(run.seq);
    let words = format!("Run {}: {stands}{}", run.seq, if baseline { ", the baseline" } else { "" });
    Bar {
        seq: run.seq,
        middle: left + bar / 2,
        left,
        label,
        label_at: top.saturating_sub(5).max(10),
        pieces,
        baseline,
        words,
    }
}
