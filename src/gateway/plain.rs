//! A plain request under way, on the caller's connection: its body is read and its answer written by ourselves, without
//! the state that pingora keeps for whatever a request may turn out to be (docs/adr/019).

use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use pingora::protocols::{Shutdown, Stream};
use pingora::{Error, ErrorType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::body::CALLER_SILENCE;
use super::patience::within;
use super::plain_head::Head;
use super::reply::{Reply, Told};
use super::request::Request;
use super::socket::CALLER_TAKES;

/// Time to read the rest of a body that is refused anyway.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// Room for a request as agents send it, token and all.
pub(super) const READ_SIZE: usize = 4096;
/// Pieces that join what is held; longer ones leave by themselves.
const JOINS: usize = 4096;

/// See the module.
pub(super) struct Plain<'c> {
    stream: &'c mut Stream,
    /// What came and was not taken yet: the rest of this request, and what follows it.
    came: &'c mut BytesMut,
    head: Box<Head>,
    /// Bytes of the body that were not read.
    left: usize,
    peer: SocketAddr,
    answer: Reply,
    /// Another request may follow.
    keeps: bool,
    /// The caller took nothing, or is gone: nothing more is said to it.
    is_lost: bool,
}

impl<'c> Plain<'c> {
    /// `keeps`: whether the connection is kept for another request.
    pub(super) fn new(
        stream: &'c mut Stream,
        came: &'c mut BytesMut,
        head: Box<Head>,
        peer: SocketAddr,
        keeps: bool,
    ) -> Self {
        let (left, keeps) = (head.body, keeps && head.keeps);
        Self { stream, came, head, left, peer, answer: Reply::default(), keeps, is_lost: false }
    }

    pub(super) fn request(&self) -> &Request {
        &self.head.request
    }

    pub(super) fn request_mut(&mut self) -> &mut Request {
        &mut self.head.request
    }

    pub(super) fn raw(&self) -> Bytes {
        self.head.raw.clone()
    }

    pub(super) fn head_length(&self) -> u64 {
        self.head.raw.len() as u64
    }

    pub(super) fn body_length(&self) -> u64 {
        self.head.body as u64
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub(super) fn is_bodiless(&self) -> bool {
        self.head.body == 0
    }

    pub(super) fn is_read(&self) -> bool {
        self.left == 0
    }

    pub(super) fn answered(&self) -> Option<u16> {
        self.answer.status()
    }

    pub(super) fn sent(&self) -> usize {
        self.answer.sent()
    }

    pub(super) fn close_after(&mut self) {
        self.keeps = false;
    }

    /// The next piece of the body; `None` at its end.
    pub(super) async fn read(&mut self) -> pingora::Result<Option<Bytes>> {
        if self.left == 0 {
            return Ok(None);
        }
        if self.came.is_empty() {
            self.came.reserve(self.left.min(READ_SIZE));
            match within(CALLER_SILENCE, self.stream.read_buf(self.came)).await {
                Ok(Ok(0)) => return Err(down(ErrorType::ConnectionClosed, "the body ended too soon")),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Error::because(ErrorType::ReadError, "reading a body", error).into_down()),
                Err(_) => return Err(down(ErrorType::ReadTimedout, "reading a body")),
            }
        }
        let piece = self.came.split_to(self.left.min(self.came.len())).freeze();
        self.left -= piece.len();
        Ok(Some(piece))
    }

    /// The whole body, if all of it is here and none was read.
    pub(super) fn at_hand(&mut self) -> Option<Bytes> {
        let whole = self.left == self.head.body && self.left <= self.came.len();
        whole.then(|| self.came.split_to(std::mem::take(&mut self.left)).freeze())
    }

    /// Reads what is left of the body.
    pub(super) async fn drain(&mut self) -> pingora::Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        let all = async {
            while self.read().await?.is_some() {}
            Ok(())
        };
        timeout(DRAIN, all).await.unwrap_or_else(|_| Err(down(ErrorType::ReadTimedout, "reading the rest of a body")))
    }

    /// Resolves when the caller leaves. Who has sent its next request already is not asked.
    pub(super) async fn leaves(&mut self) -> Box<Error> {
        if !self.came.is_empty() {
            return pending().await;
        }
        if self.came.capacity() == 0 {
            self.came.reserve(READ_SIZE);
        }
        match self.stream.read_buf(self.came).await {
            Ok(0) => down(ErrorType::ConnectionClosed, "before the answer was told"),
            Ok(_) => pending().await,
            Err(error) => Error::because(ErrorType::ReadError, "while it waited", error).into_down(),
        }
    }

    /// Writes a head. `fields` spells the end-to-end fields, those that frame the body among them.
    pub(super) async fn write_head(
        &mut self,
        told: &Told<'_>,
        fields: impl FnOnce(&mut Vec<u8>),
    ) -> pingora::Result<()> {
        if self.answer.status().is_some() {
            return Err(Error::explain(ErrorType::InternalError, "an answer has one head"));
        }
        if (100..200).contains(&told.status) {
            self.answer.interim(told, fields);
            return self.send(&[]).await;
        }
        // What is left of the request would be taken for another.
        self.keeps &= self.left == 0;
        self.answer.head(told, fields, self.head.request.method == Method::HEAD, self.keeps);
        if self.answer.waits() { Ok(()) } else { self.send(&[]).await }
    }

    /// Writes a piece of the body, and its end.
    pub(super) async fn write_body(&mut self, piece: &[u8], is_last: bool) -> pingora::Result<()> {
        let piece = self.answer.open(piece);
        if piece.len() <= JOINS {
            self.answer.join(piece);
        } else {
            self.send(piece).await?;
        }
        self.answer.close(piece, is_last);
        self.send(&[]).await
    }

    /// Sends what is held, and `more` behind it.
    async fn send(&mut self, more: &[u8]) -> pingora::Result<()> {
        let held = self.answer.leaving();
        if held.is_empty() && more.is_empty() {
            return Ok(());
        }
        let stream = &mut self.stream;
        let sending = async {
            stream.write_all(&held).await?;
            stream.write_all(more).await?;
            stream.flush().await
        };
        let sent = taken(sending).await;
        self.is_lost |= sent.is_err();
        sent
    }

    /// Ends the request. True if the connection is left for another one.
    pub(super) async fn finish(mut self) -> bool {
        if self.keeps && self.answer.is_over() && self.drain().await.is_ok() {
            return true;
        }
        if !self.is_lost && self.send(&[]).await.is_ok() {
            let _ = within(DRAIN, Shutdown::shutdown(&mut **self.stream)).await;
        }
        false
    }
}

async fn taken(sending: impl Future<Output = std::io::Result<()>>) -> pingora::Result<()> {
    match within(CALLER_TAKES, sending).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Error::because(ErrorType::WriteError, "writing an answer", error).into_down()),
        Err(_) => Err(down(ErrorType::WriteTimedout, "writing an answer")),
    }
}

fn down(kind: ErrorType, what: &'static str) -> Box<Error> {
    Error::explain(kind, what).into_down()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::plain_head::{Found, find};
    use crate::gateway::reply::Framing;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (Box::new(pingora::protocols::l4::stream::Stream::from(ours)), theirs)
    }

    /// A connection on which these bytes came: one plain request, and what is behind it.
    struct Asked {
        ours: Stream,
        theirs: TcpStream,
        came: BytesMut,
        head: Option<Box<Head>>,
    }

    impl Asked {
        async fn with(bytes: &str) -> Self {
            let (ours, theirs) = pair().await;
            let mut came = BytesMut::from(bytes);
            let Found::Plain(head) = find(&mut came, 1 << 16) else { panic!("{bytes} is plain") };
            Self { ours, theirs, came, head: Some(head) }
        }

        fn plain(&mut self) -> Plain<'_> {
            let peer = "192.0.2.1:1".parse().unwrap();
            Plain::new(&mut self.ours, &mut self.came, self.head.take().unwrap(), peer, true)
        }

        /// All that was said to the caller, once the connection is over.
        async fn heard(self) -> String {
            let Self { ours, mut theirs, .. } = self;
            drop(ours);
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            String::from_utf8(heard).unwrap()
        }
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";

    fn told(status: u16, framing: Framing) -> Told<'static> {
        Told { status, reason: None, framing, is_dated: true }
    }

    #[tokio::test]
    async fn an_answer_comes_as_it_was_written_whatever_its_length() {
        for length in [0, 1, 2048, JOINS, JOINS + 1, 1 << 17] {
            let mut asked = Asked::with(GET).await;
            let body = "x".repeat(length);
            let mut theirs = std::mem::replace(&mut asked.theirs, pair().await.1);
            let heard = tokio::spawn(async move {
                let mut heard = String::new();
                theirs.read_to_string(&mut heard).await.map(|_| heard)
            });
            let mut plain = asked.plain();
            plain.write_head(&told(200, Framing::Length(length as u64)), |_| {}).await.unwrap();
            plain.write_body(body.as_bytes(), true).await.unwrap();
            assert_eq!(plain.sent(), length);
            assert!(plain.finish().await);
            drop(asked);
            assert_eq!(
                heard.await.unwrap().unwrap(),
                format!("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n{body}")
            );
        }
    }

    #[tokio::test]
    async fn an_answer_that_broke_off_ends_the_connection() {
        let mut asked = Asked::with(GET).await;
        let mut plain = asked.plain();
        plain.write_head(&told(200, Framing::Length(4)), |_| {}).await.unwrap();
        assert!(!plain.finish().await);
        assert_eq!(asked.heard().await, "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n");
    }

    #[tokio::test]
    async fn an_informational_answer_goes_before_the_real_one() {
        let mut asked = Asked::with(GET).await;
        let mut plain = asked.plain();
        plain.write_head(&told(103, Framing::Length(0)), |out| out.extend_from_slice(b"Link: a\r\n")).await.unwrap();
        assert_eq!(plain.answered(), None);
        plain.write_head(&told(204, Framing::Length(0)), |_| {}).await.unwrap();
        assert!(plain.write_head(&told(200, Framing::Length(0)), |_| {}).await.is_err(), "there was an answer");
        assert!(plain.finish().await);
        let heard =
            "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n";
        assert_eq!(asked.heard().await, heard);
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_and_no_further() {
        let mut asked = Asked::with(&format!("{POST}bo")).await;
        asked.theirs.write_all(b"dy").await.unwrap();
        let mut plain = asked.plain();
        assert_eq!(plain.read().await.unwrap().unwrap(), "bo");
        assert!(!plain.is_read());
        assert_eq!(plain.read().await.unwrap().unwrap(), "dy");
        assert!(plain.is_read());
        assert_eq!(plain.read().await.unwrap(), None);
        let mut asked = Asked::with(&format!("{POST}bodyGET")).await;
        assert_eq!(asked.plain().read().await.unwrap().unwrap(), "body");
        assert_eq!(asked.came, "GET");
        let mut asked = Asked::with(&format!("{POST}bodyGET")).await;
        let mut plain = asked.plain();
        assert_eq!(plain.at_hand().unwrap(), "body");
        assert!(plain.is_read());
        assert_eq!(asked.came, "GET");
        let mut asked = Asked::with(&format!("{POST}bod")).await;
        assert_eq!(asked.plain().at_hand(), None);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_none() {
        let mut asked = Asked::with(&format!("{POST}bo")).await;
        asked.theirs.shutdown().await.unwrap();
        let mut plain = asked.plain();
        assert_eq!(plain.read().await.unwrap().unwrap(), "bo");
        assert_eq!(plain.read().await.unwrap_err().etype(), &ErrorType::ConnectionClosed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let mut asked = Asked::with(POST).await;
        assert_eq!(asked.plain().read().await.unwrap_err().etype(), &ErrorType::ReadTimedout);
        let mut asked = Asked::with(POST).await;
        let began = tokio::time::Instant::now();
        assert_eq!(asked.plain().drain().await.unwrap_err().etype(), &ErrorType::ReadTimedout);
        assert_eq!(began.elapsed().as_secs(), DRAIN.as_secs());
    }

    /// What is left of its body would be taken for the next request.
    #[tokio::test]
    async fn who_is_answered_before_all_was_read_is_told_to_close() {
        let mut asked = Asked::with(POST).await;
        let mut plain = asked.plain();
        plain.write_head(&told(413, Framing::Length(0)), |_| {}).await.unwrap();
        assert!(!plain.finish().await);
        assert_eq!(asked.heard().await, "HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\n\r\n");
    }

    /// Nor its end: it would not take that either.
    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_waited_for_once() {
        let mut asked = Asked::with(GET).await;
        let began = tokio::time::Instant::now();
        let mut plain = asked.plain();
        let endless = vec![b'x'; 1 << 26];
        assert!(plain.write_head(&told(200, Framing::Length(1 << 26)), |_| {}).await.is_ok());
        assert_eq!(plain.write_body(&endless, true).await.unwrap_err().etype(), &ErrorType::WriteTimedout);
        assert!(!plain.finish().await);
        assert_eq!(began.elapsed().as_secs(), CALLER_TAKES.as_secs());
    }

    #[tokio::test]
    async fn a_caller_that_leaves_is_told_from_one_that_goes_on() {
        let mut asked = Asked::with(GET).await;
        asked.theirs.write_all(b"GET").await.unwrap();
        let mut plain = asked.plain();
        for _ in 0..2 {
            assert!(timeout(Duration::from_millis(20), plain.leaves()).await.is_err());
        }
        assert_eq!(asked.came, "GET");
        let mut asked = Asked::with(GET).await;
        asked.theirs.shutdown().await.unwrap();
        assert_eq!(asked.plain().leaves().await.etype(), &ErrorType::ConnectionClosed);
    }
}
