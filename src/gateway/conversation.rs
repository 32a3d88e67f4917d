//! The connection of a caller: its requests, one after the other, and the rests between them, in which it takes no more
//! than its socket. Plain requests are ours, any other is pingora's (docs/adr/019).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::proxy::HttpProxy;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::Gateway;
use super::patience::within;
use super::phase::Phase;
use super::plain::{Plain, READ_SIZE};
use super::plain_head::{Found, Head, find};
use super::proxied::Proxied;
use super::socket::{HEAD, Socket};
use super::tcp::Tcp;

/// Longest time that a connection is kept without a request.
pub(super) const IDLE: Duration = Duration::from_secs(60);
/// Time for callers to take their answers when all executions are over, and for a request that has begun, or is the first
/// one of its connection, to come when the process is told to stop.
pub(super) const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// After so long without a request a connection gives back all that it needs to serve one.
const PAUSE: Duration = Duration::from_millis(20);
/// What is read first of a connection that cannot be waited for by its socket alone.
const LITTLE: usize = 64;
/// Requests on one connection before it is closed.
pub(super) const REQUESTS_PER_CONNECTION: u32 = 100_000;
/// How a connection begins that speaks HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How soon a preface is looked at again that did not come whole: doubled each time, up to the last.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_MAX: Duration = Duration::from_secs(1);

/// Waits for the first byte of a connection, and says whether it begins as HTTP/2 does. Nothing is taken.
pub(super) async fn begins_as_http2(socket: &TcpStream) -> io::Result<bool> {
    // A socket that is new counts as readable until it was tried.
    timeout(IDLE, socket.peek(&mut [0])).await??;
    timeout(HEAD, async {
        let (mut first, mut pause) = ([0; PREFACE.len()], AGAIN);
        loop {
            let read = socket.peek(&mut first).await?;
            let begins = first.get(..read).is_some_and(|head| PREFACE.starts_with(head));
            if !begins || read == 0 || read == PREFACE.len() {
                return Ok(begins && read > 0);
            }
            // What is here would be told of again and again.
            sleep(pause).await;
            pause = (2 * pause).min(AGAIN_MAX);
        }
    })
    .await?
}

/// A connection of HTTP/1.
pub(super) struct Conversation {
    gateway: Arc<Gateway>,
    pingora: Arc<HttpProxy<Proxied>>,
    phase: Phase,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
    /// How many requests may still come.
    left: u32,
}

/// What came next on a connection.
enum Next {
    Plain(Box<Head>),
    Other,
    /// Nothing, for a while.
    Pause,
}

impl Conversation {
    pub(super) fn new(
        gateway: Arc<Gateway>,
        pingora: Arc<HttpProxy<Proxied>>,
        phase: Phase,
        peer: SocketAddr,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { gateway, pingora, phase, peer, stop, left: REQUESTS_PER_CONNECTION }
    }

    /// Serves its requests until either side has enough.
    pub(super) async fn hold(mut self, mut stream: Stream) {
        loop {
            let mut came = BytesMut::new();
            if !matches!(timeout(IDLE, rest(&mut stream, &mut came, &mut self.stop)).await, Ok(true)) {
                return;
            }
            match Box::pin(self.serve(stream, came)).await {
                Some(back) => stream = back,
                None => return,
            }
        }
    }

    /// Serves one request after the other until there is a pause. The connection, if it is left.
    async fn serve(&mut self, mut stream: Stream, mut came: BytesMut) -> Option<Stream> {
        loop {
            match self.next(&mut stream, &mut came).await? {
                Next::Plain(head) => {
                    self.left = self.left.saturating_sub(1);
                    let keeps = self.left > 0 && !*self.stop.borrow();
                    let plain = Plain::new(&mut stream, &mut came, head, self.peer, keeps);
                    if !self.gateway.serve(plain).await {
                        return None;
                    }
                }
                Next::Other => stream = Box::pin(self.pass(stream, std::mem::take(&mut came))).await?,
                Next::Pause => return Some(stream),
            }
        }
    }

    /// Reads until it is known what comes next; `None` where nothing does.
    async fn next(&mut self, stream: &mut Stream, came: &mut BytesMut) -> Option<Next> {
        if came.is_empty() {
            match timeout(PAUSE, rest(stream, came, &mut self.stop)).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(_) => return Some(Next::Pause),
            }
        }
        let mut late = None;
        loop {
            match find(came, self.gateway.settings.body_max) {
                Found::Plain(head) => return Some(Next::Plain(head)),
                Found::Other => return Some(Next::Other),
                Found::Begun if came.is_empty() => {}
                Found::Begun => late = late.or_else(|| Some(Instant::now() + HEAD)),
            }
            came.reserve(READ_SIZE);
            let read = match late {
                // Something was told to be here; where it was not, that is known now.
                None => match within(PAUSE, stream.read_buf(came)).await {
                    Err(_) => return Some(Next::Pause),
                    read => read,
                },
                Some(late) => tokio::select! {
                    biased;
                    read = timeout_at(late, stream.read_buf(came)) => read,
                    () = stopped(&mut self.stop) => return None,
                },
            };
            match read {
                Ok(Ok(0)) if came.is_empty() => return None,
                // Cut off: whoever reads it says so.
                Ok(Ok(0)) => return Some(Next::Other),
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => return None,
            }
        }
    }

    /// Leaves a request to pingora, and those behind it for as long as it may have read of them. The connection,
    /// if it is left and nothing of the next one was read.
    async fn pass(&mut self, stream: Stream, came: BytesMut) -> Option<Stream> {
        let mut connection = HttpSession::new(stream);
        connection.set_pipelining_enabled(true);
        connection.set_pipelined_prefix(came);
        let mut session = ServerSession::H1(connection);
        session.set_keepalive((!*self.stop.borrow()).then_some(IDLE.as_secs()));
        session.set_keepalive_reuses_remaining(Some(self.left));
        loop {
            let (stream, settings) = self.pingora.process_new_http(session, &self.stop).await?.consume();
            session = ServerSession::new_http1(stream);
            if let Some(settings) = settings {
                settings.apply_to_session(&mut session);
            }
            if session.get_keepalive().is_some() {
                // Where pingora waits for the next one. By itself it would wait for ever.
                session.set_keepalive(Some(IDLE.as_secs()));
            }
            self.left = session.get_keepalive_reuses_remaining().unwrap_or(self.left);
            match session {
                ServerSession::H1(connection) if self.phase.is_between() => return Some(connection.into_inner()),
                other => session = other,
            }
        }
    }
}

/// Resolves when what was on its way had its time, after the process was told to stop.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
    sleep(LAST_ANSWERS).await;
}

/// Waits for the next request. False where there is none to wait for.
async fn rest(stream: &mut Stream, came: &mut BytesMut, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        biased;
        comes = comes(stream, came) => comes,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// Waits until something comes, and takes none of it, or, where it can only be had decrypted, very little.
async fn comes(stream: &mut Stream, came: &mut BytesMut) -> bool {
    match stream.as_ref().as_any().downcast_ref::<Socket<Tcp>>() {
        Some(socket) => socket.inner().comes().await,
        None => {
            *came = BytesMut::with_capacity(LITTLE);
            stream.read_buf(came).await.is_ok_and(|read| read > 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    async fn begun(with: &[u8]) -> io::Result<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut theirs = TcpStream::connect(listener.local_addr()?).await?;
        let (ours, _) = listener.accept().await?;
        theirs.write_all(with).await?;
        begins_as_http2(&ours).await
    }

    #[tokio::test]
    async fn http2_is_known_by_its_whole_preface() {
        assert!(begun(PREFACE).await.unwrap());
        assert!(begun(&[PREFACE, &[0; 9][..]].concat()).await.unwrap());
        for other in [&b"G"[..], b"PROPFIND / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n", b"\r\n"] {
            assert!(!begun(other).await.unwrap());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_has_a_minute_and_who_begins_a_preface_less() {
        for (said, patience) in [(&b""[..], IDLE), (b"PRI * H", HEAD)] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (ours, _) = listener.accept().await.unwrap();
            theirs.write_all(said).await.unwrap();
            // It is there before the clock of this test moves.
            if !said.is_empty() {
                ours.readable().await.unwrap();
            }
            let began = Instant::now();
            assert_eq!(begins_as_http2(&ours).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(began.elapsed().as_secs(), patience.as_secs());
        }
    }

    #[tokio::test]
    async fn a_preface_that_comes_in_pieces_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let asked = tokio::spawn(async move { begins_as_http2(&ours).await });
        for piece in PREFACE.chunks(5) {
            theirs.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert!(asked.await.unwrap().unwrap());
    }
}
