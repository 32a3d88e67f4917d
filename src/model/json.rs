//! A strict JSON reader for bytes that strangers sent.
//!
//! It refuses what readers disagree about: duplicate names (after unescaping), a byte order mark,
//! invalid UTF-8, lone surrogates, control characters, trailing text, deep nesting. Numbers keep
//! their literal text, so money never passes through a float. Grammar: RFC 8259.

mod plain;
pub mod write;

use std::borrow::Cow;

pub use self::plain::plain_length;

/// Deepest nesting of arrays and objects.
pub const DEPTH_MAX: usize = 32;

/// Members whose names are compared one by one, without a set.
const COMPARED: usize = 24;

/// A JSON value that borrows from the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    /// The literal text of a number.
    Number(&'a str),
    String(Cow<'a, str>),
    Array(Vec<Value<'a>>),
    Object(Object<'a>),
}

/// Members in the order they stood, each name once.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

/// Why a text is refused. The place is a byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("the text is not UTF-8")]
    NotUtf8,
    #[error("unexpected end of text")]
    End,
    #[error("unexpected character at byte {0}")]
    Unexpected(usize),
    #[error("a member name stands twice in one object, at byte {0}")]
    DuplicateName(usize),
    #[error("a string is not valid at byte {0}")]
    BadString(usize),
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    #[error("not a JSON object")]
    NotAnObject,
}

/// Reads exactly one JSON object with nothing but white space around it.
pub fn read_object(bytes: &[u8]) -> Result<Object<'_>, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|_| JsonError::NotUtf8)?;
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0 };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    match (value, reader.peek()) {
        (Value::Object(object), None) => Ok(object),
        (_, Some(_)) => Err(JsonError::Unexpected(reader.at)),
        (_, None) => Err(JsonError::NotAnObject),
    }
}

impl<'a> Object<'a> {
    /// An object of these members; `None` when a name stands twice.
    #[must_use]
    pub fn of(members: Vec<(Cow<'a, str>, Value<'a>)>) -> Option<Self> {
        let mut names = std::collections::HashSet::with_capacity(members.len());
        let each_once = members.iter().all(|(name, _)| names.insert(name.as_ref()));
        each_once.then_some(Self(members))
    }

    /// The member with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value<'a>)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// True when some reader takes two names of one object for the same, here or anywhere below: one
    /// that does not mind case, or that ends a name at NUL.
    #[must_use]
    pub fn has_case_twins(&self) -> bool {
        self.names_have_twins() || self.0.iter().any(|(_, value)| value.has_case_twins())
    }

    fn names_have_twins(&self) -> bool {
        let is_plain = |name: &str| name.bytes().all(|byte| matches!(byte, 1..=0x7f));
        if self.0.len() <= COMPARED && self.0.iter().all(|(name, _)| is_plain(name)) {
            let same = |(at, (name, _)): (usize, &(Cow<'_, str>, _))| {
                self.0.iter().take(at).any(|(other, _)| other.eq_ignore_ascii_case(name))
            };
            return self.0.iter().enumerate().any(same);
        }
        let mut folded = std::collections::HashSet::with_capacity(self.0.len());
        !self.0.iter().all(|(name, _)| folded.insert(folded_name(name)))
    }

    fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

impl<'a> Value<'a> {
    fn has_case_twins(&self) -> bool {
        match self {
            Self::Object(object) => object.has_case_twins(),
            Self::Array(items) => items.iter().any(Self::has_case_twins),
            _ => false,
        }
    }

    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_number(&self) -> Option<&'a str> {
        match self {
            Self::Number(text) => Some(text),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    #[must_use]
    pub fn as_object(&self) -> Option<&Object<'a>> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// A short text for a diff: what a number or a code may be as it stands, the rest by its kind.
    #[must_use]
    pub fn summary(&self) -> Cow<'_, str> {
        match self {
            Self::Null => "null".into(),
            Self::Bool(flag) => if *flag { "true" } else { "false" }.into(),
            Self::Number(text) if is_telling(text) => Cow::Borrowed(text),
            Self::String(text) if is_telling(text) => Cow::Borrowed(text),
            Self::Number(_) => "a very long number".into(),
            Self::String(text) => format!("a text of {} bytes", text.len()).into(),
            Self::Array(_) => "an array".into(),
            Self::Object(_) => "an object".into(),
        }
    }
}

/// True for what may be repeated to whoever reads a refusal or a record. A caller may have put a secret where
/// a fact should be: a card number has 13 digits at least (ISO/IEC 7812-1), an e-mail address an `@`.
fn is_telling(text: &str) -> bool {
    const LONGEST: usize = 12;
    text.len() <= LONGEST && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-., ".contains(&b))
}

/// Through capitals, because the fold of some readers takes `ſ` for `s` and the Kelvin sign for `k`.
fn folded_name(name: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default();
    name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn unexpected(&self) -> JsonError {
        if self.at >= self.bytes.len() { JsonError::End } else { JsonError::Unexpected(self.at) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1).map(Value::Object),
            Some(b'[') => self.array(depth + 1).map(Value::Array),
            Some(b'"') => self.string().map(Value::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.unexpected())
        }
    }

    fn object(&mut self, depth: usize) -> Result<Object<'a>, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        let mut object = Object::default();
        let mut names = Names::default();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(object);
        }
        loop {
            self.skip_space();
            let place = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.unexpected());
            }
            let name = self.string()?;
            if !names.is_new(&name, &object) {
                return Err(JsonError::DuplicateName(place));
            }
            self.skip_space();
            self.expect(b':')?;
            self.skip_space();
            let value = self.value(depth)?;
            object.0.push((name, value));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(object);
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Vec<Value<'a>>, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(items);
        }
        loop {
            self.skip_space();
            items.push(self.value(depth)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(items);
                }
                _ => return Err(self.unexpected()),
            }
        }
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.unexpected()),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.slice(start, self.at)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.unexpected()) }
    }

    fn slice(&self, start: usize, end: usize) -> Result<&'a str, JsonError> {
        self.text.get(start..end).ok_or(JsonError::BadString(start))
    }

    fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.at += 1;
        let start = self.at;
        self.at += plain_length(self.bytes.get(start..).unwrap_or_default());
        match self.peek() {
            Some(b'"') => {
                let text = self.slice(start, self.at)?;
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.escaped_string(start).map(Cow::Owned),
            Some(_) => Err(JsonError::BadString(self.at)),
            None => Err(JsonError::End),
        }
    }

    fn escaped_string(&mut self, start: usize) -> Result<String, JsonError> {
        let mut out = String::from(self.slice(start, self.at)?);
        loop {
            let plain = self.at;
            while matches!(self.peek(), Some(b) if b != b'"' && b != b'\\' && b > 0x1f) {
                self.at += 1;
            }
            out.push_str(self.slice(plain, self.at)?);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(JsonError::BadString(self.at)),
                None => return Err(JsonError::End),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let place = self.at;
        self.at += 1;
        let kind = self.peek().ok_or(JsonError::End)?;
        self.at += 1;
        match kind {
            b'"' => Ok('"'),
            b'\\' => Ok('\\'),
            b'/' => Ok('/'),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'n' => Ok('\n'),
            b'r' => Ok('\r'),
            b't' => Ok('\t'),
            b'u' => self.unicode_escape(place),
            _ => Err(JsonError::BadString(place)),
        }
    }

    fn unicode_escape(&mut self, place: usize) -> Result<char, JsonError> {
        let high = self.hex4(place)?;
        let code = if (0xd800..0xdc00).contains(&high) {
            let follows = self.bytes.get(self.at..self.at + 2) == Some(b"\\u");
            if !follows {
                return Err(JsonError::BadString(place));
            }
            self.at += 2;
            let low = self.hex4(place)?;
            if !(0xdc00..0xe000).contains(&low) {
                return Err(JsonError::BadString(place));
            }
            0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)
        } else {
            high
        };
        char::from_u32(code).ok_or(JsonError::BadString(place))
    }

    fn hex4(&mut self, place: usize) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(JsonError::End)?;
        self.at += 4;
        digits.iter().try_fold(0, |code, &byte| {
            let digit = char::from(byte).to_digit(16).ok_or(JsonError::BadString(place))?;
            Ok(code << 4 | digit)
        })
    }
}

/// Finds a second use of a name: by looking while there are few, by a set once there are many, so
/// that an object of ten thousand members costs no square.
#[derive(Default)]
struct Names(std::collections::HashSet<String>);

impl Names {
    const FEW: usize = 16;

    fn is_new(&mut self, name: &str, object: &Object<'_>) -> bool {
        if object.0.len() < Self::FEW {
            return !object.has(name);
        }
        if self.0.is_empty() {
            self.0.extend(object.0.iter().map(|(key, _)| key.to_string()));
        }
        self.0.insert(name.to_owned())
    }
}

#[cfg(test)]
mod tests;
