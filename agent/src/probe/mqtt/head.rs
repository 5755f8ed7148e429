//! The head of an answer of HTTP/1.1 (RFC 9112): its status and its fields, and nothing of a body.
//!
//! Pure, and bounded by [`MAX_HEAD`].

use gatepost_evidence::look::{Failure, FailureKind};

use crate::probe::wire::hex;

/// The longest head that is read.
pub const MAX_HEAD: usize = 8 * 1024;

/// A head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Names in lower case, and values without the space around them.
    fields: Vec<(String, String)>,
}

impl Head {
    /// The head that `bytes` begin with, and its length; none while it is not all there.
    ///
    /// # Errors
    /// When it is no head, or too long.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let begin = &bytes[..bytes.len().min(5)];
        if !b"HTTP/".starts_with(begin) && !bytes.starts_with(b"HTTP/") {
            return Err(not_http(bytes));
        }
        let head = &bytes[..bytes.len().min(MAX_HEAD)];
        let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
            if bytes.len() < MAX_HEAD {
                return Ok(None);
            }
            let detail = format!("the head of the answer did not end within {MAX_HEAD} bytes");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        };
        let text = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| {
            let mut words = line.split(' ');
            words.next().filter(|version| version.starts_with("HTTP/1."))?;
            words.next()?.parse().ok().filter(|status| (100..1000).contains(status))
        });
        let status = status.ok_or_else(|| not_http(bytes))?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        Ok(Some((Self { status, fields: lines.filter_map(field).collect() }, end + 4)))
    }

    /// The first value of the field `name`, which is in lower case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

fn not_http(bytes: &[u8]) -> Failure {
    let begin = hex(&bytes[..bytes.len().min(16)]);
    Failure::new(FailureKind::Protocol, format_args!("the answer is not HTTP; it begins with {begin}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_it_is_whole() {
        let text = b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate:  Basic \r\nX: y\r\n\r\nbody";
        for count in 0..text.len() - 4 {
            assert_eq!(Head::read(&text[..count]).unwrap(), None, "{count}");
        }
        let (head, length) = Head::read(text).unwrap().unwrap();
        assert_eq!((head.status, length), (401, text.len() - 4));
        assert_eq!((head.value("www-authenticate"), head.value("y")), (Some("Basic"), None));
    }

    #[test]
    fn what_is_no_head_is_told_at_once() {
        for bytes in
            [&b"\x20\x02"[..], b"SSH-2.0", b"HTTQ", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 9\r\n\r\n", b"HTTP/1.1\r\n\r\n"]
        {
            assert_eq!(Head::read(bytes).unwrap_err().kind, FailureKind::Protocol, "{bytes:?}");
        }
        // Even one that ends, so that it makes no difference in which pieces it came.
        let endless = [&b"HTTP/1.1 200 OK\r\n"[..], &vec![b'x'; MAX_HEAD], b"\r\n\r\n"].concat();
        assert_eq!(Head::read(&endless).unwrap_err().kind, FailureKind::TooLarge);
    }
}
