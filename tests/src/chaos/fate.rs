//! What the network makes of one exchange between agent and sink.

use std::fmt;

/// What the network makes of one exchange between agent and sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Passes,
    /// There is no connection.
    Refused,
    /// The request is lost.
    RequestLost,
    /// The sink gets so many hundredths of the request, the agent nothing.
    RequestCut(u64),
    /// The sink gets the request only later, when the agent has given up.
    RequestLate,
    /// The sink gets it twice, one after the other; the agent gets the first answer, or the second.
    RequestTwice {
        /// The second.
        second: bool,
    },
    /// The sink gets it twice at the same time.
    RequestTwiceAtOnce,
    /// The answer is lost.
    ReplyLost,
    /// The agent gets so many hundredths of the answer.
    ReplyCut(u64),
    /// The agent gets so many hundredths of the answer, and is told that this is all.
    ReplyShortened(u64),
    /// The agent gets the answer twice.
    ReplyTwice,
    /// The agent gets the answer to an earlier upload; the sink has got the request, or not.
    ReplyOld {
        /// It has.
        forwarded: bool,
        /// How many answers ago, from 1; the first there was, if there were not as many.
        back: u64,
    },
    /// The sink's answer comes, but for what it says of each line: all are refused.
    AllRefused,
    /// Somebody on the way answers with this status and reason, in the shape that a sink's refusal has.
    AsASink(u16, &'static str),
    /// Somebody on the way answers with this status.
    Busy(u16),
    /// Somebody on the way answers with a page.
    Portal,
    /// The agent is killed when the sink has answered, and gets so many hundredths of the answer.
    AgentKilled(u64),
    /// The sink is killed when it has got so many hundredths of the request.
    SinkKilled(u64),
    /// The answer is held back until the step says otherwise.
    Held,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Passes => f.write_str("passes"),
            Self::Refused => f.write_str("connection refused"),
            Self::RequestLost => f.write_str("request lost"),
            Self::RequestCut(part) => write!(f, "request cut at {part} %"),
            Self::RequestLate => f.write_str("request comes late"),
            Self::RequestTwice { second } => {
                write!(f, "request comes twice, {} answer goes back", if *second { "second" } else { "first" })
            }
            Self::RequestTwiceAtOnce => f.write_str("request comes twice at once"),
            Self::ReplyLost => f.write_str("answer lost"),
            Self::ReplyCut(part) => write!(f, "answer cut at {part} %"),
            Self::ReplyShortened(part) => write!(f, "answer shortened to {part} %"),
            Self::ReplyTwice => f.write_str("answer comes twice"),
            Self::ReplyOld { forwarded: true, back } => write!(f, "an earlier answer comes instead, {back} ago"),
            Self::ReplyOld { forwarded: false, back } => {
                write!(f, "an earlier answer comes, {back} ago, the request is lost")
            }
            Self::AllRefused => f.write_str("somebody makes a refusal of every line's answer"),
            Self::AsASink(status, reason) => write!(f, "somebody answers as a sink would: {status} {reason}"),
            Self::Busy(status) => write!(f, "somebody answers {status}"),
            Self::Portal => f.write_str("somebody answers with a page"),
            Self::AgentKilled(part) => write!(f, "SIGKILL of the agent at {part} % of the answer"),
            Self::SinkKilled(part) => write!(f, "SIGKILL of the sink at {part} % of the request"),
            Self::Held => f.write_str("answer held back"),
        }
    }
}
