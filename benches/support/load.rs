//! The load side: callers on connections that stay open, and the merchant behind the proxy, on one
//! thread. Where it never sleeps, the proxy pays for no wake-up of another processor, which costs more
//! than a request on a virtual machine.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

const ORDER: &str = r#"{"orderId":"ord_01J9ZK3V7R2M","status":"confirmed","total":29.99,"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1}]}"#;
/// Keys of the callers' sockets are below it.
const LISTENER: Token = Token(1 << 20);
/// Nothing came for so long: the proxy does not answer.
const STALLED: Duration = Duration::from_secs(10);
const READ: usize = 64 * 1024;

/// Requests that are ready to be written, one behind the other.
#[derive(Default)]
pub struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    pub fn push(&mut self, request: &[u8]) {
        self.bytes.extend_from_slice(request);
        self.ends.push(self.bytes.len());
    }

    pub fn count(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, n: usize) -> &[u8] {
        let from = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[from..self.ends[n]]
    }
}

/// How a load is offered.
#[derive(Clone, Copy)]
pub struct Offer {
    pub connections: usize,
    /// Requests a second; without it every connection sends as soon as it has its answer.
    pub rate: Option<f64>,
    /// Whether the load side never sleeps.
    pub spins: bool,
}

/// What came of a load.
#[derive(Default)]
pub struct Report {
    pub statuses: BTreeMap<u16, usize>,
    /// Requests that reached the merchant.
    pub arrived: usize,
    pub reconnects: usize,
    pub wall: Duration,
    /// Sorted. At a rate they count from the moment at which a request was due.
    pub latencies: Vec<Duration>,
}

impl Report {
    pub fn latency(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * share) as usize).copied().unwrap_or_default()
    }

    pub fn answered(&self, status: u16) -> usize {
        self.statuses.get(&status).copied().unwrap_or(0)
    }
}

struct Conversation {
    socket: TcpStream,
    inbox: Vec<u8>,
}

impl Conversation {
    fn new(socket: TcpStream) -> Self {
        let _ = socket.set_nodelay(true);
        Self { socket, inbox: Vec::with_capacity(4096) }
    }

    /// False where the other side is gone.
    fn say(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                Err(_) => return false,
            }
        }
        true
    }

    /// False where the other side is gone.
    fn hear(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(count) => {
                    self.inbox.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Takes a whole message away, and says what stood in it.
    fn message(&mut self, parse: impl FnOnce(&[u8]) -> Option<Heard>) -> Option<Heard> {
        let heard = parse(&self.inbox)?;
        self.inbox.drain(..heard.length);
        Some(heard)
    }
}

struct Heard {
    length: usize,
    status: u16,
    closes: bool,
}

/// The merchant, and the callers of one proxy.
pub struct Load {
    poll: Poll,
    listener: TcpListener,
    merchant: HashMap<Token, Conversation>,
    next: usize,
    answer: Vec<u8>,
    buffer: Vec<u8>,
}

impl Load {
    pub fn start() -> Self {
        let poll = Poll::new().unwrap();
        let mut listener = TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
        let length = ORDER.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{ORDER}");
        let (merchant, buffer) = (HashMap::new(), vec![0; READ]);
        Self { poll, listener, merchant, next: LISTENER.0 + 1, answer: answer.into_bytes(), buffer }
    }

    pub fn merchant(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// Sends all requests, and answers what comes of them.
    pub fn send(&mut self, to: SocketAddr, requests: &Requests, offer: Offer) -> Report {
        let mut callers = Callers::of(to, offer.connections, &self.poll);
        let (mut report, mut events) = (Report::default(), Events::with_capacity(512));
        let (begun, mut sent, mut heard) = (Instant::now(), 0, Instant::now());
        let mut answered = 0;
        while answered < requests.count() {
            while sent < requests.count()
                && let Some(caller) = callers.idle.front().copied()
            {
                let due = offer.rate.map(|rate| begun + Duration::from_secs_f64(sent as f64 / rate));
                if due.is_some_and(|due| due > Instant::now()) {
                    break;
                }
                callers.idle.pop_front();
                callers.ask(caller, requests.get(sent), due, &self.poll, &mut report);
                sent += 1;
            }
            let patience = if offer.spins || offer.rate.is_some() { Duration::ZERO } else { STALLED };
            self.poll.poll(&mut events, Some(patience)).unwrap();
            if !events.is_empty() {
                heard = Instant::now();
            }
            assert!(heard.elapsed() < STALLED, "no answer for {STALLED:?}, {answered} came before");
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    token if token.0 > LISTENER.0 => report.arrived += self.serve(token),
                    token => answered += callers.hear(token.0, &mut self.buffer, &self.poll, &mut report),
                }
            }
        }
        report.wall = begun.elapsed();
        report.latencies.sort_unstable();
        report
    }

    fn accept(&mut self) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let token = Token(self.next);
            self.next += 1;
            self.poll.registry().register(&mut socket, token, Interest::READABLE).unwrap();
            self.merchant.insert(token, Conversation::new(socket));
        }
    }

    /// Answers the requests of one connection. Says how many they were.
    fn serve(&mut self, token: Token) -> usize {
        let Some(conversation) = self.merchant.get_mut(&token) else { return 0 };
        let open = conversation.hear(&mut self.buffer);
        let mut served = 0;
        while conversation.message(request).is_some() {
            served += 1;
            conversation.say(&self.answer);
        }
        if !open {
            self.merchant.remove(&token);
        }
        served
    }
}

struct Caller {
    conversation: Conversation,
    /// When its request was sent or due; none while it is idle.
    asked: Option<Instant>,
}

struct Callers {
    to: SocketAddr,
    all: Vec<Caller>,
    idle: VecDeque<usize>,
}

impl Callers {
    fn of(to: SocketAddr, count: usize, poll: &Poll) -> Self {
        let all = (0..count).map(|n| Caller { conversation: connect(to, n, poll), asked: None }).collect();
        Self { to, all, idle: (0..count).collect() }
    }

    fn ask(&mut self, n: usize, request: &[u8], due: Option<Instant>, poll: &Poll, report: &mut Report) {
        let caller = &mut self.all[n];
        caller.asked = Some(due.unwrap_or_else(Instant::now));
        if !caller.conversation.say(request) {
            // It was closed while it was idle.
            report.reconnects += 1;
            caller.conversation = connect(self.to, n, poll);
            assert!(caller.conversation.say(request), "a fresh connection is closed");
        }
    }

    /// Says how many answers came.
    fn hear(&mut self, n: usize, buffer: &mut [u8], poll: &Poll, report: &mut Report) -> usize {
        let caller = &mut self.all[n];
        let open = caller.conversation.hear(buffer);
        let heard = caller.conversation.message(answer);
        let closed = !open || heard.as_ref().is_some_and(|heard| heard.closes);
        let lost = !open && heard.is_none() && caller.asked.is_some();
        if closed {
            report.reconnects += 1;
            caller.conversation = connect(self.to, n, poll);
        }
        if heard.is_none() && !lost {
            return 0;
        }
        let Some(asked) = caller.asked.take() else { return 0 };
        *report.statuses.entry(heard.map_or(0, |heard| heard.status)).or_default() += 1;
        report.latencies.push(asked.elapsed());
        self.idle.push_back(n);
        1
    }
}

fn connect(to: SocketAddr, n: usize, poll: &Poll) -> Conversation {
    let socket = std::net::TcpStream::connect(to).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut socket = TcpStream::from_std(socket);
    poll.registry().register(&mut socket, Token(n), Interest::READABLE).unwrap();
    Conversation::new(socket)
}

fn request(bytes: &[u8]) -> Option<Heard> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let head = request.parse(bytes).expect("the merchant understands a request").is_complete();
    head.then(|| whole(bytes, request.headers, 0)).flatten()
}

fn answer(bytes: &[u8]) -> Option<Heard> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut answer = httparse::Response::new(&mut headers);
    let head = answer.parse(bytes).expect("the caller understands an answer").is_complete();
    head.then(|| whole(bytes, answer.headers, answer.code.unwrap_or(0))).flatten()
}

/// The message, if all of its body is here. Every body in this bench has a length.
fn whole(bytes: &[u8], headers: &[httparse::Header<'_>], status: u16) -> Option<Heard> {
    let value = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    assert!(value("transfer-encoding").is_none(), "a message without a length");
    let text = |header: &httparse::Header<'_>| std::str::from_utf8(header.value).unwrap_or_default().to_owned();
    let body: usize = value("content-length").map_or(0, |header| text(header).parse().expect("a length"));
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let closes = value("connection").is_some_and(|header| text(header).eq_ignore_ascii_case("close"));
    (bytes.len() >= head + body).then_some(Heard { length: head + body, status, closes })
}
