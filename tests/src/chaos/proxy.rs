//! The network between agent and sink: a proxy that knows where an HTTP message begins and ends, and spoils each exchange as
//! it was told.
//!
//! Exchanges are taken one at a time, in the order of their connections, so that the n-th fate is that of the n-th exchange;
//! only while an answer is held back others go on.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use gatepost_evidence::wire::RUNS_PATH;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::PATIENCE;
use super::fate::Fate;

#[derive(Default)]
struct State {
    fates: VecDeque<Fate>,
    /// How often fates were expected: what an exchange of an earlier command does to the agent must not meet a later one.
    turn: u64,
    agent: Option<u32>,
    sink: Option<u32>,
    sink_killed: bool,
    late: Vec<Vec<u8>>,
    /// What the sink answered to uploads, the latest last.
    replies: Vec<Vec<u8>>,
    story: Vec<String>,
    spoiled: usize,
    /// An answer is held back.
    held: bool,
    /// The agent's command that is being waited for has ended.
    ended: bool,
    over: bool,
}

impl State {
    /// The answer that was the latest but so many.
    fn earlier(&self, back: u64) -> Option<Vec<u8>> {
        let at = self.replies.len().saturating_sub(usize::try_from(back).unwrap_or(usize::MAX));
        self.replies.get(at).cloned()
    }
}

/// What the proxy's thread and the test share.
#[derive(Default)]
pub struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells that the agent's command has ended.
    pub(super) fn agent_ended(&self) {
        self.state().ended = true;
        self.news.notify_all();
    }
}

/// The proxy.
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    sink: SocketAddr,
    accepting: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before the sink at `sink`.
    ///
    /// # Errors
    /// When there is no port.
    pub fn start(sink: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port for the proxy")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let inside = Arc::clone(&shared);
        let accepting = std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                if inside.state().over {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let fate = inside.state().fates.pop_front().unwrap_or(Fate::Passes);
                let shared = Arc::clone(&inside);
                let one = std::thread::spawn(move || take(&shared, stream, sink, fate));
                if fate == Fate::Held {
                    // Others go on meanwhile.
                    held.push(one);
                } else {
                    let _ = one.join();
                }
            }
            held.into_iter().for_each(|one| drop(one.join()));
        });
        Ok(Self { shared, address, sink, accepting: Some(accepting) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the proxy's thread shares.
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }

    /// The fates of the exchanges to come, by the agent's process `agent`, which is there until its end is told.
    pub(super) fn expect(&self, fates: &[Fate]) {
        let mut state = self.shared.state();
        state.fates = fates.iter().copied().collect();
        (state.agent, state.ended) = (None, false);
        state.turn += 1;
        self.shared.news.notify_all();
    }

    /// Which process is the agent.
    pub(super) fn agent_is(&self, id: u32) {
        self.shared.state().agent = Some(id);
        self.shared.news.notify_all();
    }

    /// Which process is the sink, if it runs.
    pub(super) fn sink_is(&self, id: Option<u32>) {
        self.shared.state().sink = id;
    }

    /// Whether it killed the sink since it was asked last.
    pub(super) fn has_killed_the_sink(&self) -> bool {
        std::mem::take(&mut self.shared.state().sink_killed)
    }

    /// Waits until an answer is held back (true), or the agent has ended.
    pub(super) fn wait_held(&self) -> bool {
        let waiting = |state: &mut State| !state.held && !state.ended;
        let state = self.shared.news.wait_while(self.shared.state(), waiting);
        state.unwrap_or_else(PoisonError::into_inner).held
    }

    /// Lets go of the answer that is held back.
    pub(super) fn let_go(&self) {
        self.shared.state().held = false;
        self.shared.news.notify_all();
    }

    /// Brings the sink what comes late; gives how many requests that were.
    pub(super) fn deliver(&self) -> usize {
        let late = std::mem::take(&mut self.shared.state().late);
        for request in &late {
            // Nobody waits for the answer, and the sink may be away.
            let _ = ask(self.sink, request);
        }
        late.len()
    }

    /// What became of the exchanges since it was asked last.
    pub(super) fn story(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state().story)
    }

    /// How many exchanges did not pass.
    pub(super) fn spoiled(&self) -> usize {
        self.shared.state().spoiled
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            (state.over, state.held) = (true, false);
        }
        self.shared.news.notify_all();
        // Wakes the thread, which sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn take(shared: &Shared, stream: TcpStream, sink: SocketAddr, fate: Fate) {
    let came = match exchange(shared, stream, sink, fate) {
        Ok(came) => came,
        Err(error) => format!("broke off: {error}"),
    };
    let mut state = shared.state();
    state.spoiled += usize::from(fate != Fate::Passes);
    state.story.push(format!("{fate}: {came}"));
}

/// Does one exchange; says what came of it.
fn exchange(shared: &Shared, mut agent: TcpStream, sink: SocketAddr, fate: Fate) -> io::Result<String> {
    let turn = shared.state().turn;
    agent.set_read_timeout(Some(PATIENCE))?;
    if fate == Fate::Refused {
        return Ok("no connection".into());
    }
    let request = read_message(&mut agent)?;
    let first = String::from_utf8_lossy(&request).lines().next().unwrap_or_default().to_owned();
    let is_upload = first.contains(RUNS_PATH);
    let reply = match fate {
        Fate::RequestLost => return Ok(first),
        Fate::RequestLate => {
            shared.state().late.push(request);
            return Ok(first);
        }
        Fate::Busy(status) => {
            let answer = format!(
                "HTTP/1.1 {status} Busy\r\nRetry-After: 1\r\nLocation: /elsewhere\r\nContent-Length: 4\r\n\r\nbusy"
            );
            agent.write_all(answer.as_bytes())?;
            return Ok(first);
        }
        Fate::Portal => {
            let page = "<html>Please sign in to this network.</html>";
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
            agent.write_all(answer.as_bytes())?;
            return Ok(first);
        }
        Fate::AsASink(status, reason) => {
            let problem = json!({ "reason": reason, "detail": "so somebody says" }).to_string();
            let answer = format!("HTTP/1.1 {status} No\r\nContent-Length: {}\r\n\r\n{problem}", problem.len());
            agent.write_all(answer.as_bytes())?;
            return Ok(first);
        }
        Fate::ReplyOld { forwarded: false, .. } => None,
        Fate::RequestCut(part) => {
            let mut stream = connect(sink)?;
            stream.write_all(&request[..share(request.len(), part)])?;
            return Ok(first);
        }
        Fate::SinkKilled(part) => {
            let mut stream = connect(sink)?;
            stream.write_all(&request[..share(request.len(), part)])?;
            let mut state = shared.state();
            if let Some(id) = state.sink {
                end(id)?;
                state.sink_killed = true;
            }
            return Ok(first);
        }
        Fate::RequestTwice { second } => {
            let (one, two) = (ask(sink, &request)?, ask(sink, &request)?);
            Some(if second { two } else { one })
        }
        Fate::RequestTwiceAtOnce => std::thread::scope(|scope| {
            let other = scope.spawn(|| ask(sink, &request));
            let one = ask(sink, &request);
            // The one that the agent does not wait for may fail.
            drop(other.join());
            one.map(Some)
        })?,
        _ => Some(ask(sink, &request)?),
    };
    let old = match fate {
        Fate::ReplyOld { back, .. } if is_upload => shared.state().earlier(back),
        _ => None,
    };
    if is_upload && let Some(reply) = &reply {
        shared.state().replies.push(reply.clone());
    }
    let status = |reply: &[u8]| String::from_utf8_lossy(reply).lines().next().unwrap_or_default().to_owned();
    let came = format!("{first} -> {}", reply.as_deref().map_or_else(|| "not asked".to_owned(), status));
    let reply = match (fate, reply) {
        (Fate::ReplyOld { .. }, _) => match old {
            Some(old) => old,
            None => return Ok(came),
        },
        (Fate::ReplyLost, _) | (_, None) => return Ok(came),
        (Fate::ReplyShortened(part), Some(reply)) => shortened(&reply, part),
        (Fate::ReplyTwice, Some(reply)) => reply.repeat(2),
        (Fate::AllRefused, Some(reply)) => all_refused(&reply).unwrap_or(reply),
        (_, Some(reply)) => reply,
    };
    match fate {
        Fate::ReplyCut(part) => agent.write_all(&reply[..share(reply.len(), part)])?,
        Fate::AgentKilled(part) => {
            agent.write_all(&reply[..share(reply.len(), part)])?;
            let waits = |state: &mut State| state.agent.is_none() && !state.over && state.turn == turn;
            let state = shared.news.wait_while(shared.state(), waits).unwrap_or_else(PoisonError::into_inner);
            // It is not reaped before it has ended, and it waits for the rest.
            if let Some(id) = state.agent.filter(|_| state.turn == turn) {
                end(id)?;
            }
        }
        Fate::Held => {
            let mut state = shared.state();
            state.held = true;
            shared.news.notify_all();
            drop(shared.news.wait_while(state, |state| state.held));
            agent.write_all(&reply)?;
        }
        _ => agent.write_all(&reply)?,
    }
    // The whole of it is to arrive; closing with something unread would reset the connection.
    agent.shutdown(Shutdown::Write)?;
    agent.read_to_end(&mut Vec::new())?;
    Ok(came)
}

fn end(id: u32) -> io::Result<()> {
    let id = i32::try_from(id).map_err(io::Error::other)?;
    kill(Pid::from_raw(id), Signal::SIGKILL).map_err(io::Error::from)
}

fn share(whole: usize, part: u64) -> usize {
    whole * usize::try_from(part).unwrap_or(0) / 100
}

fn connect(sink: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(sink)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Brings the sink a request, and its whole answer back.
fn ask(sink: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(sink)?;
    stream.write_all(request)?;
    read_message(&mut stream)
}

/// Where the head of a message ends, and how long its body is.
fn measure(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
    if text.contains("transfer-encoding") {
        return Err(io::Error::other("a chunked message, which this proxy does not know"));
    }
    Ok(Some((head + 4, field("content-length:").unwrap_or(0))))
}

/// One HTTP message, whole.
fn read_message(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some((head, body)) = measure(&bytes)?
            && bytes.len() >= head + body
        {
            return Ok(bytes);
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A message whose body is a part of this one's, and that says so.
fn shortened(message: &[u8], part: u64) -> Vec<u8> {
    let Ok(Some((head, body))) = measure(message) else { return message.to_vec() };
    let kept = share(body, part);
    with_body(&message[..head], &message[head..head + kept])
}

/// A message with the fields of `head` but for the length, which is that of `body`.
fn with_body(head: &[u8], body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let others =
        text.lines().filter(|line| !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:"));
    let head: String = others.map(|line| format!("{line}\r\n")).collect();
    [format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

/// The same answer to an upload, in which every line is refused; none if it is something else.
fn all_refused(message: &[u8]) -> Option<Vec<u8>> {
    let (head, body) = measure(message).ok()??;
    let mut answers: Value = serde_json::from_slice(&message[head..head + body]).ok()?;
    let refusal = json!({ "status": "rejected", "reason": "fork", "detail": "so somebody says" });
    answers.get_mut("answers")?.as_array_mut()?.fill(refusal);
    Some(with_body(&message[..head], answers.to_string().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";

    #[test]
    fn a_message_is_measured_by_its_head() {
        assert_eq!(measure(REPLY).unwrap(), Some((39, 10)));
        assert_eq!(measure(b"GET / HTTP/1.1\r\n\r\n").unwrap(), Some((18, 0)));
        assert_eq!(measure(b"GET / HTTP/1.1\r\n").unwrap(), None);
        assert!(measure(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn a_shortened_message_is_a_whole_one() {
        let short = shortened(REPLY, 30);
        assert_eq!(measure(&short).unwrap(), Some((38, 3)));
        assert!(short.starts_with(b"HTTP/1.1 200") && short.ends_with(b"\r\n\r\n012"));
    }

    #[test]
    fn an_answer_in_which_all_is_refused_is_whole_but_for_that() {
        let body = r#"{"answers":[{"status":"accepted"},{"status":"duplicate"}],"checkpoint":"c"}"#;
        let message = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let made = all_refused(message.as_bytes()).unwrap();
        let (head, length) = measure(&made).unwrap().unwrap();
        assert_eq!(made.len(), head + length);
        let said: Value = serde_json::from_slice(&made[head..]).unwrap();
        assert_eq!((&said["answers"][1]["reason"], &said["checkpoint"]), (&json!("fork"), &json!("c")));
        assert_eq!(all_refused(REPLY), None);
    }
}
