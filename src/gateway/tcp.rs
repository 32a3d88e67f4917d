//! A caller's socket without TLS, as pingora wants one. It has no buffers, and can be waited for without any.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora::protocols::l4::socket::SocketAddr as Peer;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;

/// See the module.
#[derive(Debug)]
pub struct Tcp {
    stream: TcpStream,
    digest: Arc<SocketDigest>,
}

/// By this a request knows who it is from.
pub fn digest(socket: &TcpStream, peer: SocketAddr) -> SocketDigest {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let _ = digest.peer_addr.set(Some(Peer::Inet(peer)));
    digest
}

impl Tcp {
    pub fn of(stream: TcpStream, digest: SocketDigest) -> Self {
        Self { stream, digest: Arc::new(digest) }
    }

    /// Waits until something comes. False where that is the end.
    pub async fn comes(&self) -> bool {
        match self.stream.ready(Interest::READABLE).await {
            // Who says no more may have said something before.
            Ok(ready) if ready.is_read_closed() => self.stream.peek(&mut [0]).await.is_ok_and(|read| read > 0),
            Ok(_) => true,
            Err(_) => false,
        }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Tcp {
    async fn shutdown(&mut self) {
        // Who is gone already needs no end.
        let _ = AsyncWriteExt::shutdown(&mut self.stream).await;
    }
}

impl UniqueID for Tcp {
    fn id(&self) -> UniqueIDType {
        self.stream.as_raw_fd()
    }
}

impl GetSocketDigest for Tcp {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(self.digest.clone())
    }
}

impl GetProxyDigest for Tcp {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        None
    }
}

impl GetTimingDigest for Tcp {
    /// Nobody asks.
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl Ssl for Tcp {}
impl Peek for Tcp {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn pair() -> (Tcp, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, peer) = listener.accept().await.unwrap();
        let digest = digest(&ours, peer);
        (Tcp::of(ours, digest), theirs)
    }

    #[tokio::test]
    async fn an_end_is_told_from_a_last_word() {
        let (ours, mut theirs) = pair().await;
        theirs.write_all(b"last").await.unwrap();
        AsyncWriteExt::shutdown(&mut theirs).await.unwrap();
        assert!(ours.comes().await);
        let (ours, theirs) = pair().await;
        // As one that was read to its end before: a new one counts as readable until it was tried.
        assert!(ours.stream.try_read(&mut [0]).is_err());
        drop(theirs);
        assert!(!ours.comes().await);
    }
}
