//! A caller's socket that keeps the head of a short answer back, so that head and body leave in one write.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::stream::Stream as Tcp;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Heads and bodies that are waited for. Answers of merchants to a purchase are shorter.
const ROOM: usize = 2048;

/// See the module. Only the head of a short answer of a known length is held back, until the next write or
/// flush: an answer that comes piece by piece leaves piece by piece.
#[derive(Debug)]
pub struct Socket {
    inner: Tcp,
    /// What was written and has not left yet.
    held: Vec<u8>,
}

impl Socket {
    pub fn over(inner: Tcp) -> Self {
        Self { inner, held: Vec::new() }
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

/// True of the head of an answer whose body is short, and told to be.
fn can_wait(bytes: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length:";
    if bytes.len() > ROOM || !bytes.starts_with(b"HTTP/1.") {
        return false;
    }
    let length = bytes.split(|byte| *byte == b'\n').find_map(|line| {
        let (name, value) = line.split_at_checked(NAME.len())?;
        name.eq_ignore_ascii_case(NAME).then_some(value)
    });
    let length = length.and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok());
    length.is_some_and(|length| (1..=ROOM).contains(&length))
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.held.is_empty() && can_wait(bytes) {
            self.held.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        self.poll_send(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, &[]))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, &[]))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        let _ = tokio::io::AsyncWriteExt::flush(self).await;
        Shutdown::shutdown(&mut self.inner).await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Socket {}

#[async_trait]
impl Peek for Socket {
    async fn try_peek(&mut self, into: &mut [u8]) -> io::Result<bool> {
        self.inner.try_peek(into).await
    }
}

impl GetTimingDigest for Socket {
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

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-Length: 4\r\n\r\n";

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        (Socket::over(Tcp::from(ours)), theirs)
    }

    #[tokio::test]
    async fn the_head_of_a_short_answer_leaves_with_the_first_piece_of_its_body() {
        let (mut ours, mut theirs) = pair().await;
        ours.write_all(HEAD).await.unwrap();
        assert_eq!(ours.held, HEAD);
        ours.write_all(b"ab").await.unwrap();
        assert!(ours.held.is_empty());
        ours.write_all(b"cd").await.unwrap();
        let mut heard = vec![0; HEAD.len() + 4];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [HEAD, b"abcd"].concat());
        ours.write_all(HEAD).await.unwrap();
        ours.flush().await.unwrap();
        let mut heard = vec![0; HEAD.len()];
        theirs.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, HEAD);
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
}
