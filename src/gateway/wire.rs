//! HTTP/1.1 as spoken with the merchant in an exchange: one request in one write, and an answer
//! read piece by piece. Strict in what ends an answer, because that decides what is burned.

use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::protocol::media::Media;

use super::fields::{Fields, Found};

/// Longest head of an answer, and most fields in it.
#[derive(Debug, Clone, Copy)]
pub struct HeadMax {
    bytes: usize,
    fields: usize,
}

impl HeadMax {
    /// Of an answer that is judged.
    pub const JUDGED: Self = Self { bytes: 64 * 1024, fields: 128 };
    /// Of one that is only passed on.
    pub const PASSED_ON: Self = Self { bytes: 256 * 1024, fields: FIELDS_MAX };
}

const FIELDS_MAX: usize = 256;
/// Longest line that frames a chunk, and all trailers together.
const CHUNK_LINE_MAX: usize = 1024;
const TRAILERS_MAX: usize = 16 * 1024;
const READ_SIZE: usize = 16 * 1024;
/// Informational answers that may come before the real one.
const INTERIM_MAX: usize = 16;

/// Why an answer did not come whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerFault {
    #[error("the merchant closed the connection")]
    Closed,
    #[error("the merchant did not answer in time")]
    TimedOut,
    #[error("the connection to the merchant failed")]
    Failed,
    #[error("the merchant's answer is not valid HTTP")]
    Malformed,
    #[error("the gateway stopped before the merchant answered")]
    CutShort,
}

/// Head of an answer.
#[derive(Debug)]
pub struct AnswerHead {
    pub status: u16,
    pub reason: Option<String>,
    pub fields: Fields,
    framing: Framing,
    keep_alive: bool,
}

impl AnswerHead {
    /// What it says of its body.
    #[must_use]
    pub fn media(&self) -> Media {
        self.fields.media()
    }

    /// True when `Connection` names this header: it is for us and goes no further.
    #[must_use]
    pub fn nominates(&self, name: &[u8]) -> bool {
        connection_options(&self.fields).any(|option| option.eq_ignore_ascii_case(name))
    }

    /// True of an informational answer, which another one follows.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// How long the body is, if the head tells.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(length) => Some(length),
            Framing::Done => Some(0),
            Framing::Chunked(_) | Framing::UntilClose => None,
        }
    }

    /// True when the length of the body is not told in the head.
    #[must_use]
    pub fn is_unbounded(&self) -> bool {
        self.length().is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked(Chunk),
    UntilClose,
    Done,
}

impl Framing {
    /// What is left when so many bytes more were taken.
    fn without(self, taken: usize) -> Self {
        match self {
            Self::Length(length) if length == taken as u64 => Self::Done,
            Self::Length(length) => Self::Length(length - taken as u64),
            other => other,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Chunk {
    Size,
    Data(u64),
    /// The line end behind the data.
    End,
    Trailers,
}

/// A connection on which a request was sent.
pub struct Incoming {
    stream: Stream,
    to: SocketAddr,
    head_max: HeadMax,
    buffer: BytesMut,
    silence: Duration,
    /// Informational answers so far.
    interim: usize,
    framing: Framing,
    keep_alive: bool,
}

impl Incoming {
    /// `silence` is the longest wait for the next byte.
    #[must_use]
    pub fn new(stream: Stream, to: SocketAddr, silence: Duration, head_max: HeadMax) -> Self {
        Self {
            stream,
            to,
            head_max,
            buffer: BytesMut::new(),
            silence,
            interim: 0,
            framing: Framing::Done,
            keep_alive: false,
        }
    }

    /// True while not one byte of an answer came.
    #[must_use]
    pub fn is_mute(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Reads the head of the final answer; informational ones before it are dropped.
    pub async fn head(&mut self, method: &Method) -> Result<AnswerHead, AnswerFault> {
        loop {
            let head = self.next_head(method).await?;
            if !head.is_interim() {
                return Ok(head);
            }
        }
    }

    /// Reads the next head, be it an informational one or that of the final answer.
    pub async fn next_head(&mut self, method: &Method) -> Result<AnswerHead, AnswerFault> {
        let head = loop {
            if let Some(head) = parse_head(&mut self.buffer, method, self.head_max)? {
                break head;
            }
            self.fill().await?;
        };
        if head.is_interim() {
            self.interim += 1;
            // A change of protocols was not asked for: there is no answer to come.
            return if head.status == 101 || self.interim > INTERIM_MAX {
                Err(AnswerFault::Malformed)
            } else {
                Ok(head)
            };
        }
        (self.framing, self.keep_alive) = (head.framing.without(0), head.keep_alive);
        Ok(head)
    }

    /// The next piece of the body; `None` at its proper end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, AnswerFault> {
        loop {
            if let Some(piece) = self.take_buffered()? {
                return Ok(Some(piece));
            }
            if self.framing == Framing::Done {
                return Ok(None);
            }
            match self.fill().await {
                Err(AnswerFault::Closed) if self.framing == Framing::UntilClose => self.framing = Framing::Done,
                other => other?,
            }
        }
    }

    /// True when it is known that all of the answer is here.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.framing == Framing::Done
    }

    /// The connection, if another request may be sent on it.
    #[must_use]
    pub fn reusable(self) -> Option<(Stream, SocketAddr)> {
        let is_clean = self.keep_alive && self.framing == Framing::Done && self.buffer.is_empty();
        is_clean.then_some((self.stream, self.to))
    }

    async fn fill(&mut self) -> Result<(), AnswerFault> {
        self.buffer.reserve(READ_SIZE);
        let read = tokio::time::timeout(self.silence, self.stream.read_buf(&mut self.buffer)).await;
        match read {
            Err(_) => Err(AnswerFault::TimedOut),
            Ok(Ok(0)) => Err(AnswerFault::Closed),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(AnswerFault::Closed),
            Ok(Err(_)) => Err(AnswerFault::Failed),
        }
    }

    /// Body bytes that are already here, moving on through the framing.
    fn take_buffered(&mut self) -> Result<Option<Bytes>, AnswerFault> {
        loop {
            match self.framing {
                Framing::Done => return Ok(None),
                Framing::UntilClose => return Ok(self.take_up_to(u64::MAX)),
                Framing::Length(left) => {
                    let Some(piece) = self.take_up_to(left) else { return Ok(None) };
                    self.framing = self.framing.without(piece.len());
                    return Ok(Some(piece));
                }
                Framing::Chunked(Chunk::Data(left)) => {
                    let Some(piece) = self.take_up_to(left) else { return Ok(None) };
                    let left = left - piece.len() as u64;
                    self.framing = Framing::Chunked(if left == 0 { Chunk::End } else { Chunk::Data(left) });
                    return Ok(Some(piece));
                }
                Framing::Chunked(step) => {
                    let Some(next) = self.chunk_step(step)? else { return Ok(None) };
                    self.framing = next;
                }
            }
        }
    }

    fn take_up_to(&mut self, most: u64) -> Option<Bytes> {
        let length = usize::try_from(most).unwrap_or(usize::MAX).min(self.buffer.len());
        (length > 0).then(|| self.buffer.split_to(length).freeze())
    }

    fn chunk_step(&mut self, step: Chunk) -> Result<Option<Framing>, AnswerFault> {
        match step {
            Chunk::Size => match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.advance(used);
                    Ok(Some(Framing::Chunked(if size == 0 { Chunk::Trailers } else { Chunk::Data(size) })))
                }
                Ok(httparse::Status::Partial) if self.buffer.len() <= CHUNK_LINE_MAX => Ok(None),
                _ => Err(AnswerFault::Malformed),
            },
            Chunk::End => match self.buffer.get(..2) {
                Some(b"\r\n") => {
                    self.buffer.advance(2);
                    Ok(Some(Framing::Chunked(Chunk::Size)))
                }
                Some(_) => Err(AnswerFault::Malformed),
                None => Ok(None),
            },
            Chunk::Trailers => self.trailers(),
            Chunk::Data(_) => Ok(None),
        }
    }

    /// Trailers are read and dropped.
    fn trailers(&mut self) -> Result<Option<Framing>, AnswerFault> {
        let end = match self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            _ if self.buffer.starts_with(b"\r\n") => 2,
            Some(at) => at + 4,
            None if self.buffer.len() <= TRAILERS_MAX => return Ok(None),
            None => return Err(AnswerFault::Malformed),
        };
        self.buffer.advance(end);
        Ok(Some(Framing::Done))
    }
}

fn parse_head(buffer: &mut BytesMut, method: &Method, most: HeadMax) -> Result<Option<AnswerHead>, AnswerFault> {
    let mut headers = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut answer, buffer, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length <= most.bytes => length,
        Ok(httparse::Status::Partial) if buffer.len() <= most.bytes => return Ok(None),
        _ => return Err(AnswerFault::Malformed),
    };
    if answer.headers.len() > most.fields {
        return Err(AnswerFault::Malformed);
    }
    let status = answer.code.filter(|code| (100..1000).contains(code)).ok_or(AnswerFault::Malformed)?;
    let (version, reason) = (answer.version, answer.reason.filter(|reason| !reason.is_empty()).map(ToOwned::to_owned));
    let fields = Found::of(buffer, answer.headers).within(buffer.split_to(length).freeze());
    let (framing, clean) = framing(&fields, status, method)?;
    let keep_alive = clean && version == Some(1) && framing != Framing::UntilClose && !says_close(&fields);
    Ok(Some(AnswerHead { status, reason, fields, framing, keep_alive }))
}

/// How the body ends (RFC 9112 §6.3), and whether that was told without contradiction.
fn framing(fields: &Fields, status: u16, method: &Method) -> Result<(Framing, bool), AnswerFault> {
    if *method == Method::HEAD || matches!(status, 100..200 | 204 | 304) {
        return Ok((Framing::Done, true));
    }
    let mut codings = fields.all("transfer-encoding");
    if let Some(coding) = codings.next() {
        if codings.next().is_some() || !coding.eq_ignore_ascii_case(b"chunked") {
            return Err(AnswerFault::Malformed);
        }
        return Ok((Framing::Chunked(Chunk::Size), !fields.has("content-length")));
    }
    let mut lengths = fields.all("content-length");
    let Some(length) = lengths.next() else { return Ok((Framing::UntilClose, true)) };
    if lengths.any(|other| other != length) {
        return Err(AnswerFault::Malformed);
    }
    let digits = std::str::from_utf8(length).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse().ok()).ok_or(AnswerFault::Malformed)?;
    Ok((Framing::Length(length), true))
}

fn says_close(fields: &Fields) -> bool {
    connection_options(fields).any(|option| option.eq_ignore_ascii_case(b"close"))
}

fn connection_options(fields: &Fields) -> impl Iterator<Item = &[u8]> {
    fields.all("connection").flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii)
}

/// How far a write got before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Nothing,
    /// Something may have reached the merchant.
    Something,
}

/// Writes the whole request. An error says whether a single byte may have left: of an encrypted
/// stream nobody knows, because it may have sent a record before it says that it failed.
pub async fn write_all(stream: &mut Stream, request: &[u8], encrypted: bool) -> Result<(), Written> {
    let mut rest = request;
    while !rest.is_empty() {
        let untouched = rest.len() == request.len() && !encrypted;
        let so_far = if untouched { Written::Nothing } else { Written::Something };
        match stream.write(rest).await {
            Ok(0) | Err(_) => return Err(so_far),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
        }
    }
    stream.flush().await.map_err(|_| Written::Something)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> Incoming {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        server.write_all(answer).await.unwrap();
        drop(server);
        let stream: Stream = Box::new(pingora::protocols::l4::stream::Stream::from(client));
        Incoming::new(stream, listener.local_addr().unwrap(), Duration::from_secs(5), HeadMax::JUDGED)
    }

    async fn read(answer: &[u8]) -> (Result<AnswerHead, AnswerFault>, Result<Vec<u8>, AnswerFault>, bool) {
        let mut incoming = answered(answer).await;
        let head = incoming.head(&Method::POST).await;
        let mut body = Vec::new();
        let body = loop {
            match incoming.piece().await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break Ok(body),
                Err(fault) => break Err(fault),
            }
        };
        (head, body, incoming.reusable().is_some())
    }

    #[tokio::test]
    async fn an_answer_ends_where_its_framing_says() {
        let cases: [(&[u8], &[u8], bool); 6] = [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", true),
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: v\r\n\r\n",
                b"abc",
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc", false),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 None\r\n\r\n", b"", true),
            (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\na", b"a", false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabc", b"a", false),
        ];
        for (answer, expected, reusable) in cases {
            let (head, body, again) = read(answer).await;
            assert!(head.is_ok(), "{}", String::from_utf8_lossy(answer));
            assert_eq!((body.unwrap().as_slice(), again), (expected, reusable), "{}", String::from_utf8_lossy(answer));
        }
    }

    /// Then its connection is given back before the caller has the last of it.
    #[tokio::test]
    async fn that_an_answer_is_over_is_known_with_its_last_piece() {
        for (answer, with_head, with_piece) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"[..], false, true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", false, false),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, true),
            (b"HTTP/1.1 204 None\r\n\r\n", true, true),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", false, false),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false, false),
        ] {
            let mut incoming = answered(answer).await;
            incoming.head(&Method::POST).await.unwrap();
            let told = String::from_utf8_lossy(answer);
            assert_eq!(incoming.is_over(), with_head, "{told}");
            assert!(incoming.piece().await.is_ok(), "{told}");
            assert_eq!(incoming.is_over(), with_piece, "{told}");
        }
    }

    #[tokio::test]
    async fn fields_are_told_as_they_came() {
        let answer =
            b"HTTP/1.1 200 OK\r\nX-Empty:\r\nX-Blank:   \r\nx-a:  1, 2 \r\nX-A: \xff\r\nContent-Length: 0\r\n\r\n";
        let head = read(answer).await.0.unwrap();
        let told: Vec<_> = head.fields.iter().collect();
        let came: [(&[u8], &[u8]); 5] =
            [(b"X-Empty", b""), (b"X-Blank", b""), (b"x-a", b"1, 2"), (b"X-A", b"\xff"), (b"Content-Length", b"0")];
        assert_eq!(told, came);
    }

    #[tokio::test]
    async fn a_cut_answer_is_not_a_whole_one() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        ] {
            assert_eq!(read(answer).await.1, Err(AnswerFault::Closed));
        }
        assert_eq!(read(b"HTTP/1.1 200 OK\r\nContent-Len").await.0.unwrap_err(), AnswerFault::Closed);
        assert_eq!(read(b"").await.0.unwrap_err(), AnswerFault::Closed);
    }

    #[tokio::test]
    async fn an_ambiguous_answer_is_none() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc",
            b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            b"nonsense\r\n\r\n",
        ] {
            assert_eq!(read(answer).await.0.unwrap_err(), AnswerFault::Malformed);
        }
    }
}
