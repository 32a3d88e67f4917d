//! One connection to one server: opened, looked over, and never repaired. It carries many commands
//! at once; each has a deadline of its own, and the first that is missed ends the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::clock::Clock;

use super::options::{Access, Address};
use super::scripts::Script;
use super::trouble::Trouble;
use super::vet::{Server, Unsafe, vet};

/// Most bytes that a server may send without completing one answer.
const UNFINISHED_MAX: usize = 4 << 20;
/// As many bytes wait for no more commands.
const TOGETHER: usize = 64 * 1024;
/// Commands that may wait in one connection. Beyond it a caller waits, within its deadline.
const WAITING_MAX: usize = 4096;

/// Why there is no connection.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum NoLine {
    #[error("{address}: {trouble}")]
    Trouble { address: Address, trouble: Trouble },
    #[error("{address}: {why}")]
    Unsafe { address: Address, why: Unsafe },
}

impl NoLine {
    pub(super) fn trouble(&self) -> Trouble {
        match self {
            Self::Trouble { trouble, .. } => *trouble,
            Self::Unsafe { .. } => Trouble::Unsafe,
        }
    }
}

/// An open connection to a server that was looked over.
pub(super) struct Line {
    wire: Wire,
    pub(super) address: Address,
    pub(super) server: Server,
}

/// A connection before anything was said.
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Connects, and encrypts where that is asked for.
pub(super) async fn dial(address: &Address, access: &Access) -> Result<Stream, Trouble> {
    let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|_| Trouble::Down)?;
    tcp.set_nodelay(true).map_err(|_| Trouble::Down)?;
    // What was not sent when a connection is given up is not to arrive later.
    tcp.set_zero_linger().map_err(|_| Trouble::Down)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &access.tls {
        let name = rustls::pki_types::ServerName::try_from(address.host.clone()).map_err(|_| Trouble::Denied)?;
        let stream = tokio_rustls::TlsConnector::from(tls.clone()).connect(name, tcp).await;
        return stream.map(|stream| Stream::Tls(Box::new(stream))).map_err(|_| Trouble::Denied);
    }
    #[cfg(not(feature = "tls"))]
    let _ = access;
    Ok(Stream::Plain(tcp))
}

/// An open connection to whoever answers.
pub(super) struct Wire {
    connection: MultiplexedConnection,
    unfinished: Arc<AtomicUsize>,
    driver: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Wire {
    /// Connects and signs in, within `patience`.
    pub(super) async fn open(address: &Address, access: &Access, patience: Duration) -> Result<Self, Trouble> {
        tokio::time::timeout(patience, Self::connect(address, access)).await.unwrap_or(Err(Trouble::TimedOut))
    }

    async fn connect(address: &Address, access: &Access) -> Result<Self, Trouble> {
        let login = access.login()?;
        match dial(address, access).await? {
            Stream::Plain(stream) => Self::over(stream, &login).await,
            #[cfg(feature = "tls")]
            Stream::Tls(stream) => Self::over(*stream, &login).await,
        }
    }

    async fn over<S>(stream: S, login: &RedisConnectionInfo) -> Result<Self, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let unfinished = Arc::new(AtomicUsize::new(0));
        let bounded = Bounded { stream, unfinished: unfinished.clone(), waited: false };
        // Deadlines are ours: they cover the wait for a place in the pipeline too.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(WAITING_MAX)
            .set_write_backpressure_boundary(TOGETHER);
        let opened = MultiplexedConnection::new_with_config(login, bounded, config).await;
        let (connection, driver) = opened.map_err(|error| Trouble::from(&error))?;
        Ok(Self { connection, unfinished, driver: tokio::spawn(driver) })
    }

    /// Sends a command and waits for its answer, at most `patience`.
    pub(super) async fn ask(&self, command: &Cmd, patience: Duration) -> Result<Value, Trouble> {
        let mut connection = self.connection.clone();
        self.answered(tokio::time::timeout(patience, connection.send_packed_command(command)).await)
    }

    /// Sends several commands in one write and waits for all answers.
    pub(super) async fn ask_all(&self, commands: &Pipeline, patience: Duration) -> Result<Vec<Value>, Trouble> {
        let mut connection = self.connection.clone();
        let count = commands.len();
        let sent = connection.send_packed_commands(commands, 0, count);
        self.answered(tokio::time::timeout(patience, sent).await)
    }

    fn answered<T>(
        &self,
        answer: Result<Result<T, redis::RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Trouble> {
        let answer = answer.map_err(|_| Trouble::TimedOut)?;
        self.unfinished.store(0, Ordering::Relaxed);
        answer.map_err(|error| Trouble::from(&error))
    }
}

impl Line {
    /// Opens a connection, looks the server over, and teaches it the scripts.
    pub(super) async fn open(
        address: &Address,
        access: &Access,
        clock: &Clock,
        patience: Duration,
    ) -> Result<Self, NoLine> {
        let failed = |trouble| NoLine::Trouble { address: address.clone(), trouble };
        let wire = Wire::open(address, access, patience).await.map_err(failed)?;
        let server = look_over(&wire, address, access, clock, patience).await?;
        let mut lessons = redis::pipe();
        for script in Script::ALL {
            lessons.cmd("SCRIPT").arg("LOAD").arg(script.text());
        }
        for learned in wire.ask_all(&lessons, patience).await.map_err(failed)? {
            parsed::<String>(learned).map_err(failed)?;
        }
        Ok(Self { wire, address: address.clone(), server })
    }

    pub(super) async fn ask(&self, command: &Cmd, patience: Duration) -> Result<Value, Trouble> {
        self.wire.ask(command, patience).await
    }

    pub(super) async fn ask_all(&self, commands: &Pipeline, patience: Duration) -> Result<Vec<Value>, Trouble> {
        self.wire.ask_all(commands, patience).await
    }

    /// Looks again: what was safe may have been changed, and the server may be another one now.
    pub(super) async fn look_again(&self, access: &Access, clock: &Clock, patience: Duration) -> Result<(), NoLine> {
        let server = look_over(&self.wire, &self.address, access, clock, patience).await?;
        if server == self.server {
            return Ok(());
        }
        Err(NoLine::Trouble { address: self.address.clone(), trouble: Trouble::Broken })
    }
}

async fn look_over(
    wire: &Wire,
    address: &Address,
    access: &Access,
    clock: &Clock,
    patience: Duration,
) -> Result<Server, NoLine> {
    let failed = |trouble| NoLine::Trouble { address: address.clone(), trouble };
    let mut questions = redis::pipe();
    questions.cmd("INFO").cmd("TIME");
    let asked = clock.now();
    let answers = wire.ask_all(&questions, patience).await.map_err(failed)?;
    let [info, time] = answers.as_slice() else { return Err(failed(Trouble::Garbled)) };
    let info: String = parsed(info.clone()).map_err(failed)?;
    let (seconds, micros): (i64, i64) = parsed(time.clone()).map_err(failed)?;
    // Its clock was read between our two looks at ours: the middle of them is compared.
    let ours = (asked.millis() + clock.now().millis()) / 2;
    let off_ms = seconds * 1000 + micros / 1000 - ours;
    access.clock_ahead.tell(off_ms);
    vet(&info, access.durability, off_ms).map_err(|why| NoLine::Unsafe { address: address.clone(), why })
}

/// An answer as a value of ours. An error that stands in a pipeline is an error.
pub(super) fn parsed<T: redis::FromRedisValue>(value: Value) -> Result<T, Trouble> {
    let value = value.extract_error().map_err(|error| Trouble::from(&error))?;
    redis::from_redis_value(value).map_err(|_| Trouble::Garbled)
}

/// A stream whose other end cannot fill our memory with an answer that never ends, and on which the
/// commands of all requests that are ready in the same turn of a thread leave in one write.
struct Bounded<S> {
    stream: S,
    unfinished: Arc<AtomicUsize>,
    /// True once a write has let the others who are ready go first.
    waited: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        if self.unfinished.fetch_add(read, Ordering::Relaxed) + read > UNFINISHED_MAX {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without end")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if buf.len() < TOGETHER && !std::mem::replace(&mut self.waited, true) {
            // To the end of the queue: by then they have added their commands.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        // What is left of it goes at once.
        self.waited = written.as_ref().is_ok_and(|written| *written < buf.len());
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
