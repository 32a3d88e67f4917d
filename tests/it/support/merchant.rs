//! A merchant that does what a test tells it and records, byte for byte, what reached it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::secrets::{CARD, COOKIE, EMAIL};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Which connection carried it, counted from 0.
    pub connection: usize,
    /// Which request of its connection it is, counted from 0.
    pub nth: usize,
    /// Exactly what was received.
    pub bytes: Vec<u8>,
    /// False when the connection ended within the request.
    pub complete: bool,
}

impl Recorded {
    /// `POST /checkout HTTP/1.1`
    pub fn request_line(&self) -> String {
        self.head().lines().next().unwrap_or_default().to_owned()
    }

    pub fn head(&self) -> String {
        String::from_utf8_lossy(&self.bytes[..self.head_len()]).into_owned()
    }

    pub fn body(&self) -> &[u8] {
        &self.bytes[self.head_len()..]
    }

    /// The values of all header lines with this name.
    pub fn header(&self, name: &str) -> Vec<String> {
        let lines = self.head();
        let lines = lines.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).collect()
    }

    fn head_len(&self) -> usize {
        head_len(&self.bytes).unwrap_or(self.bytes.len())
    }
}

/// What the merchant does once it has read a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Sends these bytes and keeps the connection.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes the connection: a cut-off answer, or one without a length.
    Cut(Vec<u8>),
    /// Closes the connection without a byte.
    Close,
    /// Says nothing until the merchant stops.
    Hang,
}

impl Reply {
    /// An answer with a JSON body.
    pub fn json(status: u16, body: &str) -> Self {
        Self::Bytes(answer(status, body))
    }

    /// The first `keep` bytes of an answer, then the end of the connection.
    pub fn json_cut_after(keep: usize, status: u16, body: &str) -> Self {
        let mut bytes = answer(status, body);
        bytes.truncate(keep);
        Self::Cut(bytes)
    }

    /// What a one-shot shop answers to a purchase: the order, and what is between it and the buyer.
    pub fn sold() -> Self {
        let order = r#"{"orderId":"ord_1","status":"confirmed","total":29.99,"currency":"USD""#;
        Self::json(200, &format!(r#"{order},"buyer":{{"email":"{EMAIL}","card":"{CARD}","session":"{COOKIE}"}}}}"#))
    }

    /// As [`Self::sold`], but a connection that already carried a request is closed instead: what a
    /// peer does that gave up an idle connection at the very moment it was used again.
    pub fn sold_unless_reused(request: &Recorded) -> Self {
        if request.nth > 0 { Self::Close } else { Self::sold() }
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into()
}

type Script = dyn Fn(&Recorded) -> Reply + Send + Sync;

/// The merchant; it stops when the value is dropped.
pub struct Merchant {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<Script>,
    /// Stops reading and closes after this many bytes of a connection.
    read_at_most: usize,
    recorded: Mutex<Vec<Recorded>>,
    news: Condvar,
    stopped: AtomicBool,
}

impl Merchant {
    /// Answers every purchase.
    pub fn selling() -> Self {
        Self::start(|_| Reply::sold())
    }

    /// Answers as the script says, which sees each request once it is complete.
    pub fn start(script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_reading(usize::MAX, script)
    }

    /// As [`Self::start`], but closes each connection once it has read `read_at_most` bytes.
    pub fn start_reading(read_at_most: usize, script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), read_at_most, script)
    }

    /// Answers every purchase, at an address where nobody listened until now.
    pub fn selling_at(address: SocketAddr) -> Self {
        Self::start_on(TcpListener::bind(address).unwrap(), usize::MAX, |_| Reply::sold())
    }

    fn start_on(
        listener: TcpListener,
        read_at_most: usize,
        script: impl Fn(&Recorded) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            read_at_most,
            recorded: Mutex::default(),
            news: Condvar::new(),
            stopped: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:…`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Everything that arrived so far, in order of arrival.
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorded().clone()
    }

    /// Waits until `count` requests have arrived.
    pub fn wait_for(&self, count: usize) -> Vec<Recorded> {
        let few = |recorded: &mut Vec<Recorded>| recorded.len() < count;
        let waited = self.shared.news.wait_timeout_while(self.shared.recorded(), PATIENCE, few);
        let (recorded, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{} of {count} requests arrived", recorded.len());
        recorded.clone()
    }
}

impl Drop for Merchant {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the thread that accepts; the others see `stopped` within a tick.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn recorded(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.recorded.lock().unwrap()
    }

    fn record(&self, request: Recorded) {
        self.recorded().push(request);
        self.news.notify_all();
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for (connection, stream) in listener.incoming().enumerate() {
        if shared.is_stopped() {
            return;
        }
        let shared = Arc::clone(shared);
        std::thread::spawn(move || serve(connection, &stream.unwrap(), &shared));
    }
}

fn serve(connection: usize, mut stream: &TcpStream, shared: &Shared) {
    let (mut unread, mut room) = (Vec::new(), shared.read_at_most);
    for nth in 0.. {
        let complete = loop {
            if let Some(length) = message_len(&unread) {
                break Some(length);
            }
            if !fill(stream, &mut unread, &mut room, shared) {
                break None;
            }
        };
        let Some(length) = complete else {
            if !unread.is_empty() {
                shared.record(Recorded { connection, nth, bytes: unread, complete: false });
            }
            return;
        };
        let request = Recorded { connection, nth, bytes: unread.drain(..length).collect(), complete: true };
        let reply = (shared.script)(&request);
        shared.record(request);
        match reply {
            Reply::Bytes(bytes) if stream.write_all(&bytes).is_ok() => {}
            Reply::Bytes(_) | Reply::Close => return,
            Reply::Cut(bytes) => return stream.write_all(&bytes).unwrap_or_default(),
            Reply::Hang => return hang(stream, shared),
        }
    }
}

/// Reads once, waiting for bytes until the merchant stops. False when there will be no more.
fn fill(mut stream: &TcpStream, unread: &mut Vec<u8>, room: &mut usize, shared: &Shared) -> bool {
    let mut buffer = [0; 16 * 1024];
    let most = buffer.len().min(*room);
    if most == 0 {
        return false;
    }
    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
    while !shared.is_stopped() {
        match stream.read(&mut buffer[..most]) {
            Ok(count) => {
                *room -= count;
                unread.extend_from_slice(&buffer[..count]);
                return count > 0;
            }
            Err(why) if matches!(why.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return false,
        }
    }
    false
}

/// Holds the connection open and silent; what still arrives is read and dropped.
fn hang(stream: &TcpStream, shared: &Shared) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while Instant::now() < deadline && fill(stream, &mut Vec::new(), &mut usize::MAX.clone(), shared) {}
}

fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

/// Length of the request at the front, once all of it is there.
fn message_len(bytes: &[u8]) -> Option<usize> {
    let head_len = head_len(bytes)?;
    let head = String::from_utf8_lossy(&bytes[..head_len]).to_ascii_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let whole = if value("transfer-encoding").is_some() {
        head_len + chunked_len(&bytes[head_len..])?
    } else {
        head_len + value("content-length").map_or(0, |length| length.parse().unwrap_or(0))
    };
    (bytes.len() >= whole).then_some(whole)
}

fn chunked_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
        let size = String::from_utf8_lossy(&bytes[at..at + line]).into_owned();
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        at += line + 2 + size + 2;
        if bytes.len() < at {
            return None;
        }
        if size == 0 {
            return Some(at);
        }
    }
}
