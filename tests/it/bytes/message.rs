//! A request as it is sent, a request as it arrived, and the model: what must arrive of what was sent.

use std::collections::BTreeMap;

use crate::support::merchant::Recorded;

use super::dice::Dice;

/// Fields by their names in small letters, each with its spellings and values in order.
type Fields = BTreeMap<String, Vec<(String, Vec<u8>)>>;

/// Who sends it to the merchant: the exchange of an execution, or pingora.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    Exchange,
    Pingora,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    None,
    Length,
    Chunked,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub method: &'static str,
    pub target: Vec<u8>,
    /// Without those of the framing.
    pub fields: Vec<(String, Vec<u8>)>,
    pub framing: Framing,
    pub body: Vec<u8>,
}

impl Request {
    pub fn field(&mut self, name: impl Into<String>, value: impl AsRef<[u8]>) {
        self.fields.push((name.into(), value.as_ref().to_vec()));
    }

    /// The bytes of it, in head and body.
    pub fn bytes(&self, dice: &mut Dice) -> (Vec<u8>, Vec<u8>) {
        let mut fields = self.fields.clone();
        let framing = match self.framing {
            Framing::None => None,
            Framing::Length => Some((dice.recased("Content-Length"), self.body.len().to_string().into_bytes())),
            Framing::Chunked => Some((dice.recased("Transfer-Encoding"), dice.recased("chunked").into_bytes())),
        };
        let at = dice.roll(fields.len() + 1);
        fields.splice(at..at, framing);
        let mut head = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1\r\n"].concat();
        for (name, value) in &fields {
            let (before, after) = (dice.pick(&["", " ", " ", "\t "]), dice.pick(&["", "", " \t"]));
            head.extend([name.as_bytes(), b":", before.as_bytes(), value, after.as_bytes(), b"\r\n"].concat());
        }
        head.extend(b"\r\n");
        let body = if self.framing == Framing::Chunked { chunked(dice, &self.body) } else { self.body.clone() };
        (head, body)
    }

    /// What the merchant must get of it, apart from what we add.
    pub fn must_arrive(&self, lane: Lane) -> Message {
        let mut fields = by_name(&self.fields);
        let connection = fields.remove("connection").unwrap_or_default();
        let named = connection.iter().flat_map(|(_, value)| value.split(|byte| *byte == b','));
        let named = named.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase());
        let hop = ["keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "upgrade"];
        let met = if lane == Lane::Exchange { Some("expect") } else { None };
        for name in named.chain(hop.into_iter().chain(met).map(str::to_owned)) {
            fields.remove(&name);
        }
        fields.retain(|name, _| !name.replace('_', "-").starts_with("permyx-"));
        let line = [self.method.as_bytes(), b" ", &self.target, b" HTTP/1.1"].concat();
        Message { line, fields, body: self.body.clone() }
    }
}

/// The body in chunks of odd sizes, their lengths in odd spellings.
fn chunked(dice: &mut Dice, body: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), body);
    let most = dice.pick(&[1 + body.len() / 20, 7000, 1 << 20]);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((1 + dice.roll(most)).min(rest.len()));
        let size = chunk.len();
        let size = [format!("{size:x}"), format!("{size:X}"), format!("00{size:x}")][dice.roll(3)].clone();
        out.extend([size.as_bytes(), b"\r\n", chunk, b"\r\n"].concat());
        rest = after;
    }
    out.extend(b"0\r\n\r\n");
    out
}

fn by_name(fields: &[(String, Vec<u8>)]) -> Fields {
    let mut map = Fields::new();
    for (name, value) in fields {
        map.entry(name.to_ascii_lowercase()).or_default().push((name.clone(), value.clone()));
    }
    map
}

/// A request without what belongs to one connection, and without what we say.
#[derive(PartialEq, Eq)]
pub struct Message {
    pub line: Vec<u8>,
    pub fields: Fields,
    pub body: Vec<u8>,
}

/// What arrived, taken apart.
pub struct Arrived {
    pub message: Message,
    pub framing: Vec<String>,
    /// What stands in our name.
    pub ours: BTreeMap<String, String>,
}

impl Arrived {
    pub fn of(recorded: &Recorded) -> Self {
        let bytes = &recorded.bytes;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let (head, body) = (&bytes[..end], &bytes[end + 4..]);
        let mut lines = lines(head);
        let line = lines.remove(0).to_vec();
        let fields = lines.into_iter().map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap();
            (String::from_utf8(line[..colon].to_vec()).unwrap(), line[colon + 1..].trim_ascii().to_vec())
        });
        let mut fields = by_name(&fields.collect::<Vec<_>>());
        let lengths = fields.remove("content-length").unwrap_or_default();
        let codings = fields.remove("transfer-encoding").unwrap_or_default();
        let body = if codings.is_empty() { body.to_vec() } else { unchunked(body) };
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        let framing = lengths.iter().chain(&codings).map(|(_, value)| text(value).to_ascii_lowercase()).collect();
        let mut ours = BTreeMap::new();
        for (name, values) in fields.extract_if(.., |name, _| name.replace('_', "-").starts_with("permyx-")) {
            assert_eq!(values.len(), 1, "{name} stands twice");
            ours.insert(name, text(&values[0].1));
        }
        Self { message: Message { line, fields, body }, framing, ours }
    }
}

fn lines(head: &[u8]) -> Vec<&[u8]> {
    let (mut lines, mut rest) = (Vec::new(), head);
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    lines
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        let chunk = &rest[end + 2..];
        if size == 0 {
            assert_eq!(chunk, b"\r\n", "something follows the last chunk");
            return body;
        }
        body.extend(&chunk[..size]);
        rest = chunk[size..].strip_prefix(b"\r\n").unwrap();
    }
}

/// Escaped and cut, so that a failure can be read.
pub fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > 3000 { "…" } else { "" };
    format!("{}{more}", bytes[..bytes.len().min(3000)].escape_ascii())
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "  {}", shown(&self.line))?;
        for (name, value) in self.fields.values().flatten() {
            writeln!(f, "  {name}: {}", shown(value))?;
        }
        write!(f, "  {} bytes: {}", self.body.len(), shown(&self.body))
    }
}
