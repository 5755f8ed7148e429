//! Reads one HTTP/1.1 answer (RFC 9112) from a peer that may be anything: byte by byte if need be, bounded in everything.
//!
//! A head that is none, is too long, has too many fields or comes after too many interim answers is a [`Failure`] with its
//! reason. Once the head is whole the answer counts; what is then wrong with the body (cut short, endless, its framing
//! broken) is told beside it. At most [`MAX_BODY`] bytes of a body are kept, for `marks` to look at and then to be
//! dropped. Nothing here reads or writes a connection, and nothing here panics on any bytes.

use gatepost_evidence::look::{Failure, FailureKind};

/// The most bytes before the body, interim answers included.
pub const MAX_HEAD: usize = 32 * 1024;
/// The most bytes of a body that are kept.
pub const MAX_BODY: usize = 16 * 1024;
/// The most fields of one head.
const MAX_FIELDS: usize = 128;
/// The most interim answers (1xx) before the one that counts.
const MAX_INTERIM: u32 = 8;
/// The most bytes of a line that gives the size of a chunk.
const MAX_CHUNK_LINE: usize = 256;

/// Status and fields of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Fields in the order they came; names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// The first field called `name`, which is in lower case.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_slice())
    }
}

/// How far an answer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Its head is not whole yet.
    Head,
    /// Its head is whole, its body is not.
    Body,
    /// It is whole, or as much of it as is kept.
    Whole,
}

/// Reads one answer from pieces of any size.
#[derive(Debug)]
pub struct Reader {
    /// Bytes that are not understood yet.
    rest: Vec<u8>,
    /// Bytes before the body so far.
    before: usize,
    interim: u32,
    bodiless: bool,
    head: Option<Head>,
    framing: Framing,
    body: Vec<u8>,
}

/// Where the body ends (RFC 9112, section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Here.
    Done,
    /// After so many bytes.
    Length(u64),
    /// In chunks; so many bytes of this one and its line end are left, or its size comes next.
    Chunk(Option<u64>),
    /// With the connection.
    Close,
}

impl Reader {
    /// A reader for the answer to HEAD (`bodiless`) or to another method.
    #[must_use]
    pub fn new(bodiless: bool) -> Self {
        Self { rest: Vec::new(), before: 0, interim: 0, bodiless, head: None, framing: Framing::Done, body: Vec::new() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// What is wrong with the head; or, once [`Self::head`] is there, with the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Progress, Failure> {
        self.rest.extend_from_slice(bytes);
        if self.head.is_none() && !self.read_head()? {
            return Ok(Progress::Head);
        }
        self.read_body()
    }

    /// The peer has ended the connection.
    ///
    /// # Errors
    /// What is missing.
    pub fn closed(&mut self) -> Result<(), Failure> {
        let closed = |detail: &str| Err(Failure::new(FailureKind::Closed, detail));
        match (&self.head, self.framing) {
            (None, _) if self.rest.is_empty() && self.before == 0 => {
                closed("the peer closed the connection without an answer")
            }
            (None, _) => closed("the peer closed the connection within the head of its answer"),
            (Some(_), Framing::Done | Framing::Close) => Ok(()),
            (Some(_), Framing::Length(left)) => Err(Failure::new(
                FailureKind::Closed,
                format_args!("the peer closed the connection {left} bytes before the end that it had announced"),
            )),
            (Some(_), Framing::Chunk(_)) => closed("the peer closed the connection before the last chunk"),
        }
    }

    /// The head, once it is whole.
    #[must_use]
    pub fn head(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// What was kept of the body so far.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Whether the head is whole now.
    fn read_head(&mut self) -> Result<bool, Failure> {
        loop {
            let start = &self.rest[..self.rest.len().min(5)];
            if start != &b"HTTP/"[..start.len()] {
                return Err(protocol(format_args!("the answer is not HTTP/1; it begins with {}", self.begin())));
            }
            let Some(end) = end_of_head(&self.rest) else {
                if self.before + self.rest.len() > MAX_HEAD {
                    return Err(Failure::new(
                        FailureKind::TooLarge,
                        format_args!("the head of the answer has more than {MAX_HEAD} bytes"),
                    ));
                }
                return Ok(false);
            };
            self.before += end;
            if self.before > MAX_HEAD {
                return Err(Failure::new(
                    FailureKind::TooLarge,
                    format_args!("the head of the answer has more than {MAX_HEAD} bytes"),
                ));
            }
            let head = parse(&self.rest[..end])?;
            self.rest.drain(..end);
            if (100..200).contains(&head.status) {
                // 101 would change the protocol, which nobody asked for (RFC 9110, section 15.2.2).
                if head.status == 101 {
                    return Err(protocol("the peer switched protocols without being asked"));
                }
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(protocol(format_args!("more than {MAX_INTERIM} interim answers came first")));
                }
                if self.rest.is_empty() {
                    return Ok(false);
                }
                continue;
            }
            let framing = framing(&head, self.bodiless);
            self.head = Some(head);
            self.framing = framing?;
            return Ok(true);
        }
    }

    fn begin(&self) -> String {
        self.rest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }

    fn read_body(&mut self) -> Result<Progress, Failure> {
        loop {
            match self.framing {
                Framing::Done => {
                    self.rest.clear();
                    return Ok(Progress::Whole);
                }
                Framing::Close => {
                    let all = self.rest.len();
                    self.keep(all)?;
                    return Ok(Progress::Body);
                }
                Framing::Length(left) => {
                    let taken = left.min(self.rest.len() as u64);
                    self.keep(usize::try_from(taken).unwrap_or(usize::MAX))?;
                    self.framing = match left - taken {
                        0 => Framing::Done,
                        left => Framing::Length(left),
                    };
                    if self.framing != Framing::Done {
                        return Ok(Progress::Body);
                    }
                }
                Framing::Chunk(None) => {
                    let end = match self.rest.iter().position(|byte| *byte == b'\n') {
                        Some(end) if end <= MAX_CHUNK_LINE => end,
                        None if self.rest.len() <= MAX_CHUNK_LINE => return Ok(Progress::Body),
                        _ => return Err(protocol("the line with the size of a chunk does not end")),
                    };
                    let size = chunk_size(&self.rest[..end])?;
                    self.rest.drain(..=end);
                    // What may follow the last chunk (trailers) is of no use here.
                    self.framing = if size == 0 { Framing::Done } else { Framing::Chunk(Some(size)) };
                }
                Framing::Chunk(Some(left)) => {
                    let taken = left.min(self.rest.len() as u64);
                    self.keep(usize::try_from(taken).unwrap_or(usize::MAX))?;
                    let left = left - taken;
                    if left > 0 {
                        self.framing = Framing::Chunk(Some(left));
                        return Ok(Progress::Body);
                    }
                    // The line end behind a chunk.
                    let end = self.rest.iter().take(2).position(|byte| *byte == b'\n');
                    match end {
                        Some(end) => {
                            self.rest.drain(..=end);
                            self.framing = Framing::Chunk(None);
                        }
                        None if self.rest.len() >= 2 => return Err(protocol("a chunk is longer than its size")),
                        None => {
                            self.framing = Framing::Chunk(Some(0));
                            return Ok(Progress::Body);
                        }
                    }
                }
            }
        }
    }

    /// Moves `count` bytes to the body.
    fn keep(&mut self, count: usize) -> Result<(), Failure> {
        let count = count.min(self.rest.len());
        let room = MAX_BODY - self.body.len();
        self.body.extend(self.rest.drain(..count).take(room));
        match count > room {
            true => {
                self.framing = Framing::Done;
                Err(Failure::new(FailureKind::TooLarge, format_args!("the body has more than {MAX_BODY} bytes")))
            }
            false => Ok(()),
        }
    }
}

fn protocol(detail: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Protocol, detail)
}

/// Behind the empty line that ends a head. A line may end in LF alone (RFC 9112, section 2.2).
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let next = from + found + 1;
        match &bytes[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => from = next,
        }
    }
    None
}

fn parse(bytes: &[u8]) -> Result<Head, Failure> {
    let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let first = lines.next().unwrap_or_default();
    let status = status(first)
        .ok_or_else(|| protocol(format_args!("{:?} is not a status line", text(&first[..first.len().min(60)]))))?;
    let mut fields = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        if fields.len() == MAX_FIELDS {
            return Err(Failure::new(
                FailureKind::TooLarge,
                format_args!("the head of the answer has more than {MAX_FIELDS} fields"),
            ));
        }
        fields.push(field(line).ok_or_else(|| protocol("a line in the head of the answer is not a field"))?);
    }
    Ok(Head { status, fields })
}

/// `HTTP/1.1 202 Accepted` (RFC 9112, section 4).
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let [b'0'..=b'9', b' ', code @ ..] = rest else { return None };
    let (code, reason) = code.split_at_checked(3)?;
    if !reason.is_empty() && reason[0] != b' ' {
        return None;
    }
    let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
    (100..600).contains(&code).then_some(code)
}

/// A name in lower case and its value (RFC 9112, section 5). Folded lines are not taken, as servers must not send them.
fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) || value.iter().any(|byte| matches!(byte, 0 | b'\r')) {
        return None;
    }
    Some((text(name).to_ascii_lowercase(), value.trim_ascii().to_vec()))
}

fn framing(head: &Head, bodiless: bool) -> Result<Framing, Failure> {
    if bodiless || matches!(head.status, 204 | 304) {
        return Ok(Framing::Done);
    }
    if let Some(coding) = head.field("transfer-encoding") {
        let last = text(coding).to_ascii_lowercase();
        return Ok(if last.ends_with("chunked") { Framing::Chunk(None) } else { Framing::Close });
    }
    let mut length = None;
    for (_, value) in head.fields.iter().filter(|(name, _)| name == "content-length") {
        let given: Option<u64> = text(value).parse().ok().filter(|_| value.iter().all(u8::is_ascii_digit));
        match (given, length) {
            (Some(given), None) => length = Some(given),
            (Some(given), Some(known)) if given == known => {}
            (Some(_), Some(_)) => return Err(protocol("content-length is given twice, and differs")),
            (None, _) => return Err(protocol("content-length is not a number")),
        }
    }
    Ok(match length {
        Some(0) => Framing::Done,
        Some(length) => Framing::Length(length),
        None => Framing::Close,
    })
}

fn chunk_size(line: &[u8]) -> Result<u64, Failure> {
    let line = text(line);
    let size = line.split(';').next().unwrap_or_default().trim();
    let good = !size.is_empty() && size.len() <= 15 && size.bytes().all(|byte| byte.is_ascii_hexdigit());
    let size = if good { u64::from_str_radix(size, 16).ok() } else { None };
    size.ok_or_else(|| protocol("the size of a chunk is not a number"))
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
