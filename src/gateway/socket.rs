//! A caller's connection, with or without TLS. It keeps the head of a short answer back, so that head and body
//! leave in one write, and gives the head of a request a time in which to come.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::phase::{HeadScan, Phase};

/// Heads and bodies that are waited for. Answers of merchants to a purchase are shorter.
const ROOM: usize = 2048;

/// Time for the whole head of a request, from its first byte. A caller on a bad line needs a second or two.
pub(super) const HEAD: Duration = Duration::from_secs(10);
/// Longest wait for a caller to take a byte.
pub(super) const CALLER_TAKES: Duration = Duration::from_secs(30);

/// What is spoken on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    Http1,
    Http2,
}

/// See the module. Only the head of a short answer of a known length is held back, until the next write or
/// flush: an answer that comes piece by piece leaves piece by piece.
#[derive(Debug)]
pub struct Socket<S> {
    inner: S,
    /// What was written and has not left yet.
    held: Vec<u8>,
    clock: HeadClock,
    taking: TakeClock,
}

/// The time in which the head of a request has to come.
#[derive(Debug)]
struct HeadClock {
    phase: Phase,
    head: HeadScan,
    /// In which wait its first byte came, and when.
    began: Option<(u32, Instant)>,
    rings: Option<Pin<Box<Sleep>>>,
    /// Another protocol: not for this clock.
    is_off: bool,
}

impl HeadClock {
    fn heard(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || self.is_off {
            return;
        }
        self.phase.heard(&mut self.head, bytes);
        self.begin();
    }

    /// Unless it runs already.
    fn begin(&mut self) {
        if let Some(wait) = self.phase.wait()
            && self.began.is_none_or(|(began_in, _)| began_in != wait)
        {
            (self.began, self.rings) = (Some((wait, Instant::now())), None);
        }
    }

    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let began = self.began.filter(|(began_in, _)| !self.is_off && self.phase.wait() == Some(*began_in));
        let Some((_, began)) = began else { return Poll::Pending };
        let rings = self.rings.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(began + HEAD)));
        ready!(rings.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request came too slowly")))
    }
}

/// The time in which a caller has to take a byte, or the end of a connection. Whoever writes may wait less long.
#[derive(Debug, Default)]
struct TakeClock(Option<Pin<Box<Sleep>>>);

impl TakeClock {
    fn limit<T>(&mut self, cx: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.0 = None;
            return step;
        }
        let rings = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep(CALLER_TAKES)));
        ready!(rings.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the caller takes nothing")))
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    pub fn over(inner: S, phase: Phase, speaks: Speaks) -> Self {
        let is_off = speaks == Speaks::Http2;
        let clock = HeadClock { phase, head: HeadScan::default(), began: None, rings: None, is_off };
        Self { inner, held: Vec::new(), clock, taking: TakeClock::default() }
    }

    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Sends what is held, and as much of `bytes` as leaves with it.
    fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while !self.held.is_empty() {
            let both = [io::IoSlice::new(&self.held), io::IoSlice::new(bytes)];
            let sent = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, &both))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_held = sent.min(self.held.len());
            self.held.drain(..of_held);
            if sent > of_held {
                return Poll::Ready(Ok(sent - of_held));
            }
        }
        if bytes.is_empty() { Poll::Ready(Ok(0)) } else { Pin::new(&mut self.inner).poll_write(cx, bytes) }
    }
}

/// True of the head of an answer, and nothing behind it, whose body is short, and told to be.
fn can_wait(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    if bytes.len() > ROOM || !bytes.starts_with(b"HTTP/1.") || !bytes.ends_with(b"\r\n\r\n") {
        return false;
    }
    let length = bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    let length = length.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok());
    length.is_some_and(|length| (1..=ROOM).contains(&length))
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        match Pin::new(&mut self.inner).poll_read(cx, into) {
            Poll::Pending => self.clock.poll_too_late(cx),
            read => {
                self.clock.heard(into.filled().get(before..).unwrap_or_default());
                read
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.is_empty() && can_wait(bytes) {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        let sent = self.poll_send(cx, bytes);
        self.taking.limit(cx, sent)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match self.poll_send(cx, &[]) {
            Poll::Ready(Ok(_)) => Pin::new(&mut self.inner).poll_flush(cx),
            other => other.map_ok(drop),
        };
        self.taking.limit(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = match self.poll_send(cx, &[]) {
            Poll::Ready(Ok(_)) => Pin::new(&mut self.inner).poll_shutdown(cx),
            other => other.map_ok(drop),
        };
        self.taking.limit(cx, ended)
    }
}

#[async_trait]
impl<S: Shutdown + AsyncWrite + Unpin + Send> Shutdown for Socket<S> {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::flush(self).await;
        Shutdown::shutdown(&mut self.inner).await;
    }
}

impl<S: UniqueID> UniqueID for Socket<S> {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl<S: Ssl> Ssl for Socket<S> {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.inner.selected_alpn_proto()
    }
}

/// What is spoken is known before: see [`Speaks`].
impl<S> Peek for Socket<S> {}

impl<S: GetTimingDigest> GetTimingDigest for Socket<S> {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.inner.get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.inner.get_write_pending_time()
    }
}

impl<S: GetProxyDigest> GetProxyDigest for Socket<S> {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl<S: GetSocketDigest> GetSocketDigest for Socket<S> {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::net::{TcpListener, TcpStream};

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-Length: 4\r\n\r\n";

    async fn pair() -> (Socket<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (Socket::over(ours, Phase::default(), Speaks::Http1), theirs)
    }

    #[tokio::test]
    async fn the_head_of_a_short_answer_leaves_with_the_first_piece_of_its_body() {
        let (mut ours, mut theirs) = pair().await;
        ours.write_all(ANSWER).await.unwrap();
        assert_eq!(ours.held, ANSWER);
        ours.write_all(b"ab").await.unwrap();
        assert!(ours.held.is_empty());
        ours.write_all(b"cd").await.unwrap();
        let mut heard = vec![0; ANSWER.len() + 4];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [ANSWER, b"abcd"].concat());
        ours.write_all(ANSWER).await.unwrap();
        ours.flush().await.unwrap();
        let mut heard = vec![0; ANSWER.len()];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, ANSWER);
    }

    #[test]
    fn nothing_else_waits() {
        let head = |fields: &str| can_wait(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n").as_bytes());
        assert!(head("Content-Length: 2048"));
        for fields in ["Content-Length: 0", "Content-Length: 2049", "Transfer-Encoding: chunked", "X: 1"] {
            assert!(!head(fields), "{fields}");
        }
        assert!(!head(&format!("Content-Length: 4\r\nX: {}", "x".repeat(ROOM))));
        assert!(!can_wait(b"data: HTTP/1.1\r\ncontent-length: 4\r\n"));
    }

    fn duplex() -> (Socket<DuplexStream>, DuplexStream, Phase) {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let phase = Phase::default();
        (Socket::over(ours, phase.clone(), Speaks::Http1), theirs, phase)
    }

    /// Reads until there is nothing more, and says why.
    async fn all(mut ours: Socket<DuplexStream>) -> Option<io::ErrorKind> {
        let mut bytes = Vec::new();
        ours.read_to_end(&mut bytes).await.err().map(|error| error.kind())
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_is_given_up_in_time() {
        // Empty lines before a head are passed over by who reads it, and are no head.
        for (at_once, then) in
            [("GET / HTTP/1.1\r\nHost: a\r\n", "X"), ("\r\n\r\nGET / HTTP/1.1\r\n", "\r"), ("G", "E")]
        {
            let (ours, mut theirs, _) = duplex();
            let began = Instant::now();
            let reading = tokio::spawn(all(ours));
            theirs.write_all(at_once.as_bytes()).await.unwrap();
            while !reading.is_finished() {
                let _ = theirs.write_all(then.as_bytes()).await;
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert!(began.elapsed() <= HEAD + Duration::from_secs(2));
            }
            assert_eq!(reading.await.unwrap(), Some(io::ErrorKind::TimedOut), "{at_once:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_pauses_and_other_protocols_have_no_such_clock() {
        let (mut ours, mut theirs, phase) = duplex();
        let slow = Duration::from_secs(60);
        let mut bytes = [0; 256];
        let silence = async |ours: &mut Socket<DuplexStream>| {
            assert!(tokio::time::timeout(slow, ours.read(&mut [0; 256])).await.is_err());
        };
        silence(&mut ours).await;
        theirs.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
        assert!(ours.read(&mut bytes).await.unwrap() > 0);
        assert!(tokio::time::timeout(HEAD / 2, ours.read(&mut bytes)).await.is_err());
        theirs.write_all(b"\r\n").await.unwrap();
        assert!(ours.read(&mut bytes).await.unwrap() > 0);
        phase.clone().scope(async { Phase::begin(None, || None) }).await;
        silence(&mut ours).await;
        theirs.write_all(b"body").await.unwrap();
        assert!(ours.read(&mut bytes).await.unwrap() > 0);
        silence(&mut ours).await;
        phase.clone().scope(async { Phase::end() }).await;
        silence(&mut ours).await;
        // A request that came whole, of which nothing more was read.
        theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(ours.read(&mut bytes).await.unwrap() > 0);
        phase
            .scope(async {
                Phase::begin(None, || None);
                Phase::end();
            })
            .await;
        silence(&mut ours).await;
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut ours = Socket::over(ours, Phase::default(), Speaks::Http2);
        theirs.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        assert!(ours.read(&mut bytes).await.unwrap() > 0);
        silence(&mut ours).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_takes_nothing_is_given_up_in_time() {
        let (ours, theirs) = tokio::io::duplex(16);
        let mut ours = Socket::over(ours, Phase::default(), Speaks::Http1);
        let began = Instant::now();
        assert_eq!(ours.write_all(&[b'x'; 64]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed(), CALLER_TAKES);
        drop(theirs);
    }
}
