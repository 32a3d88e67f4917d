//! HTTP/1.1 over a plain socket: it sends exactly the bytes it is given, right or wrong, and reads
//! one answer after the other.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::{PATIENCE, leaks, secrets};

/// One answer, head and body, with any chunking taken off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case, in the order they stood.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header that stands once; a second one fails the test.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let value = values.next();
        assert_eq!(values.next(), None, "`{name}` stands twice");
        value
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why} in {self:?}"))
    }
}

/// Status and headers.
pub type Head = (u16, Vec<(String, String)>);

/// One open connection.
pub struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address, PATIENCE).unwrap()
    }

    /// To a peer that may not be there; every wait on it ends after `patience`.
    pub fn try_open(address: SocketAddr, patience: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream, unread: Vec::new() })
    }

    /// The same connection for another thread, to write while this one reads.
    pub fn writer(&self) -> Self {
        Self { address: self.address, stream: self.stream.try_clone().unwrap(), unread: Vec::new() }
    }

    /// Sends these bytes as they are. That the peer no longer reads is no failure: it may have
    /// answered already.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Says that nothing more will be sent.
    pub fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next answer; an interim one (`100 Continue`) counts as one. `None` when the peer closed
    /// the connection before it said anything more.
    pub fn answer(&mut self) -> Option<Answer> {
        self.answer_to("GET").unwrap_or_else(|why| panic!("no complete answer: {why}"))
    }

    /// The next answer to a request with this method: one to HEAD has no body.
    pub fn answer_to(&mut self, method: &str) -> io::Result<Option<Answer>> {
        let Some((status, headers)) = self.head()? else { return Ok(None) };
        let body = match body_length(method, status, &headers) {
            Length::Known(length) => self.take(length)?,
            Length::Chunked => self.take_chunks()?,
            Length::ToTheEnd => {
                while self.fill()? {}
                std::mem::take(&mut self.unread)
            }
        };
        if status >= 400 {
            secrets::refuse(format_args!("an answer with status {status}"), &body);
        }
        Ok(Some(Answer { status, headers, body }))
    }

    /// The head of the next answer, where its body is read with [`Self::chunk`].
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let Some(length) = self.read_until_head()? else { return Ok(None) };
        let head: Vec<u8> = self.unread.drain(..length).collect();
        parse_head(&head).map(Some)
    }

    /// The next chunk of a body; `None` behind the last.
    pub fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let size = self.take_line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            while !self.take_line()?.is_empty() {}
            return Ok(None);
        }
        let chunk = self.take(size)?;
        self.take_line()?;
        Ok(Some(chunk))
    }

    /// True when the peer closes the connection without another byte.
    pub fn is_closed_by_peer(&mut self) -> bool {
        !self.wait_for_bytes()
    }

    /// Waits for the first bytes of an answer.
    pub fn wait_for_bytes(&mut self) -> bool {
        !self.unread.is_empty() || self.fill().unwrap_or(false)
    }

    fn read_until_head(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            if !self.fill()? {
                return if self.unread.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.unread.drain(..length).collect())
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|two| two == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk()? {
            body.extend(chunk);
        }
        Ok(body)
    }

    /// Reads once; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = match self.stream.read(&mut buffer) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionReset => 0,
            other => other?,
        };
        self.unread.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        leaks::hung_up(self.address);
    }
}

enum Length {
    Known(usize),
    Chunked,
    ToTheEnd,
}

fn body_length(method: &str, status: u16, headers: &[(String, String)]) -> Length {
    let value = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if method == "HEAD" || status < 200 || status == 204 || status == 304 {
        return Length::Known(0);
    }
    if value("transfer-encoding").is_some() {
        return Length::Chunked;
    }
    match value("content-length") {
        Some(length) => Length::Known(length.parse().unwrap()),
        None => Length::ToTheEnd,
    }
}

fn parse_head(head: &[u8]) -> io::Result<Head> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
        Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, headers.collect::<io::Result<_>>()?))
}

/// Sends these bytes on a connection of their own and reads one answer.
pub fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Option<Answer> {
    let mut connection = Connection::open(address);
    connection.send(bytes);
    connection.answer()
}

/// The bytes of a well-formed request. `headers` are whole lines (`Name: value`); secrets of the
/// caller's stand beside them ([`secrets::lines`]).
pub fn request(method: &str, target: &str, headers: &[&str], body: &str) -> Vec<u8> {
    request_to("shop.example", method, target, headers, body)
}

/// As [`request`], to this host.
pub fn request_to(host: &str, method: &str, target: &str, headers: &[&str], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
    for header in headers.iter().copied().chain(secrets::lines(headers)) {
        text.push_str(header);
        text.push_str("\r\n");
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

pub fn get(address: SocketAddr, target: &str) -> Answer {
    exchange(address, request("GET", target, &[], "")).unwrap()
}

pub fn post(address: SocketAddr, target: &str, headers: &[&str], body: &str) -> Answer {
    exchange(address, request("POST", target, headers, body)).unwrap()
}
