//! The connection of a caller: its requests, one after the other, and the rests between them, in which it takes no more
//! than its socket. What happens to a request is pingora's.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora::apps::HttpServerApp;
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::proxy::HttpProxy;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::Gateway;
use super::socket::{HEAD, Phase, Socket};
use super::tcp::Tcp;

/// Longest time that a connection is kept without a request.
pub(super) const IDLE: Duration = Duration::from_secs(60);
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

/// Serves the requests of HTTP/1 until either side has enough.
pub(super) async fn converse(
    app: &Arc<HttpProxy<Gateway>>,
    stream: Stream,
    phase: &Phase,
    stop: &mut watch::Receiver<bool>,
) {
    let mut session = ServerSession::new_http1(stream);
    session.set_keepalive((!*stop.borrow()).then_some(IDLE.as_secs()));
    session.set_keepalive_reuses_remaining(Some(REQUESTS_PER_CONNECTION));
    loop {
        let Some(kept) = app.process_new_http(session, stop).await else { return };
        let (stream, settings) = kept.consume();
        if phase.is_between() && !rest(&stream, stop).await {
            return;
        }
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        if session.get_keepalive().is_some() {
            // Where pingora waits for the next one. By itself it would wait for ever.
            session.set_keepalive(Some(IDLE.as_secs()));
        }
    }
}

/// Waits for the next request. False where there is none to wait for.
async fn rest(stream: &Stream, stop: &mut watch::Receiver<bool>) -> bool {
    // What TLS has read may be of the next request: that waits in pingora.
    let Some(socket) = stream.as_ref().as_any().downcast_ref::<Socket<Tcp>>() else { return true };
    tokio::select! {
        biased;
        came = timeout(IDLE, socket.inner().comes()) => came.unwrap_or(false),
        _ = stop.wait_for(|stop| *stop) => false,
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
            let began = tokio::time::Instant::now();
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
