//! The timeline as a drawing: an inline SVG that stretches with the page, so all text stands around it as HTML.
//!
//! Two lanes, time from left to right: a mark above when a run was made, one below when it arrived. What happened is a shape:
//! a wedge from many runs to one arrival, a bar through both lanes where nothing happened, hatching where runs are gone. The
//! list beside it says the same in words.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::timeline::{Event, Timeline, What};

/// Width of the drawing in its own units; it is stretched to the page.
pub const WIDTH: i64 = 1000;
/// Height of the drawing, in pixels.
pub const HEIGHT: i64 = 120;
/// The upper lane: when runs were made.
const MADE: (i64, i64) = (8, 40);
/// The lower lane: when they arrived.
const ARRIVED: (i64, i64) = (80, 112);
/// Days, at most; the window may touch one more than it is long.
const DAYS: i64 = 8;

/// A drawing.
#[derive(Debug)]
pub struct Drawing {
    /// What happened, in the order of painting.
    pub shapes: Vec<Shape>,
    /// The marks of both lanes, as one path.
    pub marks: String,
    /// Where days begin.
    pub midnights: Vec<i64>,
    /// What stands below: each day in a word or two.
    pub days: Vec<String>,
    /// Where now is.
    pub now: i64,
    /// Everything in a sentence.
    pub words: String,
    /// Which kinds of shapes there are, for the legend.
    pub legend: Vec<(&'static str, &'static str)>,
}

/// A shape.
#[derive(Debug)]
pub struct Shape {
    /// The class that fills it.
    pub class: &'static str,
    /// Its path.
    pub path: String,
    /// What it says when pointed at.
    pub words: String,
}

/// Draws `timeline`.
#[must_use]
pub fn draw(timeline: &Timeline) -> Drawing {
    let day = SignedDuration::from_hours(24);
    let mut days = Vec::new();
    let mut next = timeline.from;
    while next <= timeline.to && (days.len() as i64) < DAYS {
        days.push(next);
        next = next.checked_add(day).unwrap_or(Timestamp::MAX);
    }
    let scale = Scale { from: timeline.from, seconds: (days.len().max(1) as i64) * 86_400 };
    let mut shapes: Vec<_> = timeline.events.iter().rev().filter_map(|event| shape(event, timeline, &scale)).collect();
    // A wedge is wide: what lies within it must not be under it.
    shapes.sort_by_key(|shape| shape.class != "offline");
    let legend = [
        ("offline", "offline: made in time, arrived late"),
        ("silent", "silent: no runs"),
        ("evicted", "gone: made, never arrived"),
        ("unaccounted", "unaccounted for"),
    ];
    Drawing {
        marks: marks(timeline, &scale),
        midnights: days.iter().skip(1).map(|day| scale.at(*day)).collect(),
        days: days.iter().map(|day| day.to_zoned(TimeZone::UTC).strftime("%-d %b").to_string()).collect(),
        now: scale.at(timeline.to),
        words: words(timeline, days.len()),
        legend: legend.into_iter().filter(|(class, _)| shapes.iter().any(|shape| shape.class == *class)).collect(),
        shapes,
    }
}

struct Scale {
    from: Timestamp,
    seconds: i64,
}

impl Scale {
    fn at(&self, time: Timestamp) -> i64 {
        let seconds = time.as_second() - self.from.as_second();
        (seconds.clamp(0, self.seconds) * WIDTH + self.seconds / 2) / self.seconds
    }
}

/// Each run once in each lane; runs that fall on the same unit are one mark.
fn marks(timeline: &Timeline, scale: &Scale) -> String {
    let mut marks = String::new();
    for ((top, bottom), lane) in [(MADE, true), (ARRIVED, false)] {
        let at = timeline.runs.iter().map(|run| if lane { run.started_at } else { run.received_at });
        let mut at: Vec<_> = at.filter(|at| *at >= timeline.from).map(|at| scale.at(at)).collect();
        at.sort_unstable();
        at.dedup();
        at.iter().for_each(|x| marks.push_str(&format!("M{x} {top}V{bottom}")));
    }
    marks
}

fn shape(event: &Event, timeline: &Timeline, scale: &Scale) -> Option<Shape> {
    let end = event.to.unwrap_or(timeline.to);
    if end < timeline.from {
        return None;
    }
    let (left, right) = (scale.at(event.from.unwrap_or(timeline.from)), scale.at(end));
    // Never too narrow to be seen.
    let wide = (right - left).max(3);
    let bar = |top: i64, bottom: i64| format!("M{left} {top}h{wide}V{bottom}h-{wide}z");
    let (class, path) = match event.what {
        What::Offline { first, last, .. } => {
            let made = timeline.runs.iter().filter(|run| (first..=last).contains(&run.seq)).map(|run| run.started_at);
            let (begin, until) = (made.clone().min()?, made.max()?);
            let (begin, until) = (scale.at(begin), scale.at(until).max(scale.at(begin) + 3));
            let ((upper, top), (bottom, floor)) = (MADE, ARRIVED);
            let (right, left) = (right + 2, right - 2);
            let arrival = format!("L{right} {bottom}V{floor}H{left}V{bottom}");
            ("offline", format!("M{begin} {upper}H{until}V{top}{arrival}L{begin} {top}z"))
        }
        What::Silent => ("silent", bar(0, HEIGHT)),
        What::Evicted { .. } => ("evicted", bar(MADE.0, MADE.1)),
        What::Unaccounted { .. } => ("unaccounted", bar(MADE.0, MADE.1)),
    };
    Some(Shape { class, path, words: event.text.clone() })
}

fn words(timeline: &Timeline, days: usize) -> String {
    let days = if days == 1 { "The last day".to_owned() } else { format!("The last {days} days") };
    let runs = match timeline.runs.len() {
        1 => "1 run".to_owned(),
        count => format!("{count} runs"),
    };
    match timeline.events.len() {
        0 => format!("{days}: {runs}, all made and delivered in time."),
        _ => format!("{days}: {runs}, and what is listed below."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::store::runs::Times;
    use crate::timeline::timeline;

    #[test]
    fn an_outage_is_a_wedge_within_the_drawing() {
        let at = |hours: i64| Timestamp::from_second(1_772_323_200 + hours * 3600).unwrap();
        let run = |seq: i64, arrived: i64| Times {
            seq: seq.unsigned_abs(),
            started_at: at(seq),
            received_at: at(arrived) + SignedDuration::from_secs(5),
        };
        let runs: Vec<_> = (1..=6).map(|seq| run(seq, seq)).chain((7..=78).map(|seq| run(seq, 78))).collect();
        let hour = SignedDuration::from_hours(1);
        let drawing = draw(&timeline(&runs, &Account::default(), Some(hour), at(79)));
        assert_eq!(drawing.days, ["1 Mar", "2 Mar", "3 Mar", "4 Mar"]);
        assert_eq!(drawing.midnights, [250, 500, 750]);
        assert_eq!(drawing.shapes.len(), 1);
        assert_eq!(drawing.shapes[0].class, "offline");
        assert_eq!(drawing.shapes[0].path, "M73 8H813V40L815 80V112H811V80L73 40z");
        assert_eq!(drawing.legend.len(), 1);
        assert_eq!(drawing.words, "The last 4 days: 78 runs, and what is listed below.");
        // 78 marks above, 6 and one below.
        assert_eq!(drawing.marks.matches('M').count(), 78 + 7);
        let nothing = draw(&timeline(&[], &Account::default(), None, at(5)));
        assert_eq!((nothing.marks.as_str(), nothing.shapes.len(), nothing.days.len()), ("", 0, 1));
    }
}
