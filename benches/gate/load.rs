//! The load side: a merchant that counts, and callers on connections that stay open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::proxies::Proxy;

const ORDER: &str = r#"{"orderId":"ord_1","status":"confirmed","total":29.99,"currency":"USD"}"#;
pub const BODY: &str =
    r#"{"currency":"USD","items":[{"variant":"shopify:variant:123456","quantity":1,"price":29.99}]}"#;

/// Answers every request with an order.
pub struct Merchant {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
}

impl Merchant {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, count) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counting = count.clone();
        thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let count = counting.clone();
                thread::spawn(move || serve(socket, &count));
            }
        });
        Self { address, count }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

fn serve(mut socket: TcpStream, count: &AtomicUsize) {
    socket.set_nodelay(true).unwrap();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{ORDER}", ORDER.len());
    let mut buffer = Vec::new();
    while read_message(&mut socket, &mut buffer).is_some() {
        count.fetch_add(1, Ordering::SeqCst);
        if socket.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads one message with a Content-Length and leaves what follows in the buffer.
fn read_message(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some(head) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
            let length =
                text.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok());
            let end = head + 4 + length.unwrap_or(0);
            if buffer.len() >= end {
                return Some(buffer.drain(..end).collect());
            }
        }
        let mut piece = [0; 16 * 1024];
        match socket.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(count) => buffer.extend_from_slice(&piece[..count]),
        }
    }
}

/// Requests that are ready to be written.
pub struct Requests {
    to: SocketAddr,
    requests: Vec<Vec<u8>>,
}

impl Requests {
    pub fn for_proxy(proxy: &Proxy, count: usize) -> Self {
        let tokens = proxy.tokens(count);
        let request = |token: Option<&String>| {
            let token = token.map(|token| format!("Permyx-Execution-Token: {token}\r\n")).unwrap_or_default();
            format!(
                "POST /checkout HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n{token}Content-Length: {}\r\n\r\n{BODY}",
                BODY.len()
            )
            .into_bytes()
        };
        Self { to: proxy.address(), requests: (0..count).map(|n| request(tokens.get(n))).collect() }
    }

    /// Sends all of them over so many connections, each waiting for its answers.
    pub fn send(&mut self, connections: usize) -> Vec<Duration> {
        let share = self.requests.len().div_ceil(connections);
        let to = self.to;
        thread::scope(|scope| {
            let callers: Vec<_> = self.requests.chunks(share).map(|part| scope.spawn(move || call(to, part))).collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
        })
    }
}

fn call(to: SocketAddr, requests: &[Vec<u8>]) -> Vec<Duration> {
    let mut socket = TcpStream::connect(to).unwrap();
    socket.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    let send = |request: &Vec<u8>| {
        let sent = Instant::now();
        socket.write_all(request).unwrap();
        let answer = read_message(&mut socket, &mut buffer).expect("the connection stays open");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        sent.elapsed()
    };
    requests.iter().map(send).collect()
}
