//! An answer of HTTP/1.1 as bytes: its head spelled, its body framed. Nothing is sent here.

use std::io::Write;

use bytes::BufMut;
use http::StatusCode;
use pingora::protocols::http::date::get_cached_date;

/// Bodies that the head waits for.
const SHORT: u64 = 2048;
/// Room for a head.
const HEAD_ROOM: usize = 1024;

/// What was told of an answer, and is still to be sent.
#[derive(Default)]
pub(super) struct Reply {
    status: Option<u16>,
    framing: Framing,
    /// What is spelled and has not left.
    held: Vec<u8>,
    /// Bytes of its body that were spelled.
    sent: usize,
    is_over: bool,
}

impl Reply {
    /// Of the answer itself, once it was told.
    pub(super) fn status(&self) -> Option<u16> {
        self.status
    }

    pub(super) fn sent(&self) -> usize {
        self.sent
    }

    /// True when all that was announced was told.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// An informational head, which another one follows.
    pub(super) fn interim(&mut self, told: &Told<'_>, fields: impl FnOnce(&mut Vec<u8>)) {
        self.line(told);
        fields(&mut self.held);
        self.held.extend_from_slice(b"\r\n");
    }

    /// The head. `fields` spells the end-to-end fields, those that frame the body among them; `to_head`: the method
    /// asks for no body; `keeps`: whether the connection is kept.
    pub(super) fn head(&mut self, told: &Told<'_>, fields: impl FnOnce(&mut Vec<u8>), to_head: bool, keeps: bool) {
        self.line(told);
        let out = &mut self.held;
        fields(out);
        if !told.is_dated {
            put(out, [b"Date: ", get_cached_date().as_bytes(), b"\r\n"]);
        }
        put(out, [b"Connection: ", if keeps { b"keep-alive" } else { b"close" }, b"\r\n\r\n"]);
        let bodiless = to_head || matches!(told.status, 204 | 304);
        self.framing = if bodiless { Framing::Length(0) } else { told.framing };
        (self.status, self.is_over) = (Some(told.status), self.framing == Framing::Length(0));
    }

    fn line(&mut self, told: &Told<'_>) {
        self.held.reserve(HEAD_ROOM);
        let known = StatusCode::from_u16(told.status).unwrap_or_default();
        let reason = told.reason.or_else(|| known.canonical_reason()).unwrap_or_default();
        put(&mut self.held, [b"HTTP/1.1 ", known.as_str().as_bytes(), b" ", reason.as_bytes(), b"\r\n"]);
    }

    /// True of a head that can wait for its body: one write takes both.
    pub(super) fn waits(&self) -> bool {
        matches!(self.framing, Framing::Length(1..=SHORT))
    }

    /// What has to leave now.
    pub(super) fn leaving(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// A piece that leaves with what is held.
    pub(super) fn join(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// Before a piece of the body: as much of it as belongs to the answer.
    pub(super) fn open<'p>(&mut self, piece: &'p [u8]) -> &'p [u8] {
        let piece = match self.framing {
            Framing::Length(left) => piece.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(piece),
            Framing::Chunked => {
                if !piece.is_empty() {
                    // INVARIANT: a `Vec` takes all of it.
                    let _ = write!(self.held, "{:x}\r\n", piece.len());
                }
                piece
            }
        };
        self.sent += piece.len();
        piece
    }

    /// Behind the piece.
    pub(super) fn close(&mut self, piece: &[u8], is_last: bool) {
        match &mut self.framing {
            Framing::Length(left) => {
                *left -= piece.len() as u64;
                self.is_over = *left == 0;
            }
            Framing::Chunked => {
                if !piece.is_empty() {
                    self.held.extend_from_slice(b"\r\n");
                }
                if is_last {
                    self.held.extend_from_slice(b"0\r\n\r\n");
                    self.is_over = true;
                }
            }
        }
    }
}

/// How the body of an answer ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

/// The head of an answer, but for its end-to-end fields.
pub(super) struct Told<'t> {
    pub(super) status: u16,
    pub(super) reason: Option<&'t str>,
    pub(super) framing: Framing,
    /// False where the fields tell no date.
    pub(super) is_dated: bool,
}

/// Writes these one behind the other.
pub(super) fn put<const N: usize>(out: &mut impl BufMut, parts: [&[u8]; N]) {
    parts.into_iter().for_each(|part| out.put_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(told: &Told<'_>, to_head: bool, pieces: &[&str]) -> (String, bool) {
        let mut reply = Reply::default();
        reply.head(told, |out| put(out, [b"X: 1\r\n"]), to_head, true);
        for piece in pieces.iter().copied().chain([""]) {
            let piece = reply.open(piece.as_bytes());
            reply.join(piece);
            reply.close(piece, piece.is_empty());
        }
        (String::from_utf8(reply.leaving()).unwrap(), reply.is_over())
    }

    #[test]
    fn a_body_is_framed_as_it_was_announced() {
        let told = |status, framing| Told { status, reason: None, framing, is_dated: true };
        let head = |line: &str| format!("HTTP/1.1 {line}\r\nX: 1\r\nConnection: keep-alive\r\n\r\n");
        let (ok, whole) = (head("200 OK"), Framing::Length(5));
        for (told, to_head, pieces, text, is_over) in [
            (told(200, whole), false, &["hel", "lo"][..], format!("{ok}hello"), true),
            (told(200, whole), false, &["hello, and more"], format!("{ok}hello"), true),
            (told(200, whole), false, &["hell"], format!("{ok}hell"), false),
            (told(200, whole), false, &[], ok.clone(), false),
            (told(200, whole), true, &["hello"], ok.clone(), true),
            (told(204, whole), false, &["hello"], head("204 No Content"), true),
            (told(304, Framing::Chunked), false, &["hello"], head("304 Not Modified"), true),
            (told(299, Framing::Length(0)), false, &["hello"], head("299 "), true),
            (
                told(200, Framing::Chunked),
                false,
                &["hello", "!"],
                format!("{ok}5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
                true,
            ),
        ] {
            assert_eq!(spelled(&told, to_head, pieces), (text, is_over), "{} {:?}", told.status, told.framing);
        }
        let own = Told { reason: Some("Fine"), ..told(200, whole) };
        assert!(spelled(&own, false, &[]).0.starts_with("HTTP/1.1 200 Fine\r\n"));
    }

    #[test]
    fn a_date_is_told_where_nobody_told_one() {
        let told = Told { status: 200, reason: None, framing: Framing::Length(0), is_dated: false };
        assert!(spelled(&told, false, &[]).0.contains("\r\nDate: "));
    }

    #[test]
    fn only_the_head_of_a_short_body_waits() {
        for (framing, waits) in [
            (Framing::Length(1), true),
            (Framing::Length(SHORT), true),
            (Framing::Length(SHORT + 1), false),
            (Framing::Length(0), false),
            (Framing::Chunked, false),
        ] {
            let mut reply = Reply::default();
            reply.head(&Told { status: 200, reason: None, framing, is_dated: true }, |_| {}, false, true);
            assert_eq!(reply.waits(), waits, "{framing:?}");
        }
    }
}
