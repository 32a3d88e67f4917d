//! Whether bytes are the canonical JSON of RFC 8785, of which we use a part: no number has a
//! fraction or an exponent, and none is beyond 2⁵³ − 1, because others read those differently. One
//! pass looks at the form and picks up what the checks need.

use std::cmp::Ordering;

use super::facts::Facts;

/// Deepest nesting of arrays and objects.
pub(super) const DEPTH_MAX: usize = 32;
/// Largest whole number that every reader of JSON keeps.
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// What is wrong, and at which byte of the leaf.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fault {
    pub byte: usize,
    pub what: &'static str,
}

/// A value as far as it is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    /// As it is written between its quotes.
    Text(&'a str),
    Number(u64),
    Object,
    Other,
}

impl<'a> Scalar<'a> {
    pub fn text(&self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

/// Reads one event.
pub(super) fn read(bytes: &[u8]) -> Result<Facts<'_>, Fault> {
    let not_utf8 = |error: std::str::Utf8Error| Fault { byte: error.valid_up_to(), what: "it is not UTF-8" };
    let text = std::str::from_utf8(bytes).map_err(not_utf8)?;
    let mut scan = Scan { text, bytes, at: 0, facts: Facts::default() };
    if scan.peek() != Some(b'{') {
        return scan.fault("an event is one JSON object, without anything around it");
    }
    scan.object(1, Inside::Event)?;
    if scan.at != bytes.len() {
        return scan.fault("something stands behind the event");
    }
    match scan.facts.missing() {
        Some(_) => Err(Fault { byte: 0, what: "a member that every event has is missing or of another kind" }),
        None => Ok(scan.facts),
    }
}

/// Which object is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Event,
    Data,
    Another,
}

struct Scan<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    facts: Facts<'a>,
}

type Scanned<T> = Result<T, Fault>;

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn fault<T>(&self, what: &'static str) -> Scanned<T> {
        Err(Fault { byte: self.at, what })
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Scanned<()> {
        if self.peek() != Some(byte) {
            return self.fault(what);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize, inside: Inside) -> Scanned<Scalar<'a>> {
        match self.peek() {
            Some(b'"') => self.string().map(Scalar::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'{') => self.object(depth + 1, inside).map(|()| Scalar::Object),
            Some(b'[') => self.array(depth + 1).map(|()| Scalar::Other),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'n') => self.word("null"),
            _ => self.fault("here begins no value"),
        }
    }

    fn object(&mut self, depth: usize, inside: Inside) -> Scanned<()> {
        self.open(depth)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        let mut before = None;
        loop {
            let begins = self.at;
            if self.peek() != Some(b'"') {
                return self.fault("here begins no member");
            }
            let name = self.string()?;
            if before.is_some_and(|before| order(before, name) != Ordering::Less) {
                return Err(Fault { byte: begins, what: "the members are not in order, or one stands twice" });
            }
            before = Some(name);
            self.expect(b':', "a name is followed by `:` alone")?;
            let below = if inside == Inside::Event && name == "data" { Inside::Data } else { Inside::Another };
            let value = self.value(depth, below)?;
            match inside {
                Inside::Event => self.facts.take(name, &value),
                Inside::Data => self.facts.data.take(name, &value),
                Inside::Another => {}
            }
            if self.ends(b'}')? {
                return Ok(());
            }
        }
    }

    fn array(&mut self, depth: usize) -> Scanned<()> {
        self.open(depth)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.value(depth, Inside::Another)?;
            if self.ends(b']')? {
                return Ok(());
            }
        }
    }

    fn open(&mut self, depth: usize) -> Scanned<()> {
        if depth > DEPTH_MAX {
            return self.fault("it is nested deeper than 32 levels");
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the end stands here, or the comma before the next.
    fn ends(&mut self, end: u8) -> Scanned<bool> {
        let next = self.peek();
        if next != Some(b',') && next != Some(end) {
            return self.fault("a value is followed by `,` or the end alone");
        }
        self.at += 1;
        Ok(next == Some(end))
    }

    fn word(&mut self, word: &str) -> Scanned<Scalar<'a>> {
        if !self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word.as_bytes())) {
            return self.fault("here begins no value");
        }
        self.at += word.len();
        Ok(Scalar::Other)
    }

    fn number(&mut self) -> Scanned<Scalar<'a>> {
        let begins = self.at;
        let is_negative = self.peek() == Some(b'-');
        self.at += usize::from(is_negative);
        let digits = self.at;
        let mut value: u64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.fault("a number has a fraction or an exponent");
        }
        let has_zeroes = self.bytes.get(digits) == Some(&b'0') && (self.at - digits > 1 || is_negative);
        if self.at == digits || has_zeroes {
            return Err(Fault { byte: begins, what: "a number is not written as RFC 8785 says" });
        }
        if value > NUMBER_MAX {
            return Err(Fault { byte: begins, what: "a number is beyond 2^53-1" });
        }
        Ok(if is_negative { Scalar::Other } else { Scalar::Number(value) })
    }

    /// The text between the quotes.
    fn string(&mut self) -> Scanned<&'a str> {
        self.at += 1;
        let begins = self.at;
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| *byte < b' ' || *byte == b'"' || *byte == b'\\');
            self.at += plain.unwrap_or(rest.len());
            match self.peek() {
                Some(b'"') => {
                    let text = self.text.get(begins..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.fault("a control character is not escaped"),
                None => return self.fault("a text does not end"),
            }
        }
    }

    /// Only what must be escaped is, and in its shortest form.
    fn escape(&mut self) -> Scanned<()> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        let length = match rest {
            [b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
            [b'u', b'0', b'0', high @ (b'0' | b'1'), low @ (b'0'..=b'9' | b'a'..=b'f'), ..] => {
                let has_own = *high == b'0' && matches!(low, b'8' | b'9' | b'a' | b'c' | b'd');
                if has_own { 0 } else { 6 }
            }
            _ => 0,
        };
        if length == 0 {
            return self.fault("an escape is not written as RFC 8785 says");
        }
        self.at += length;
        Ok(())
    }
}

/// The order of names: by their UTF-16 code units, once escapes are undone.
fn order(left: &str, right: &str) -> Ordering {
    let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii() && byte != b'\\');
    if is_plain(left) && is_plain(right) {
        return left.cmp(right);
    }
    unescaped(left).encode_utf16().cmp(unescaped(right).encode_utf16())
}

/// A text as it reads, from how it is written between its quotes.
pub(super) fn unescaped(written: &str) -> String {
    let read = || serde_json::from_str(&format!("\"{written}\"")).ok();
    let plain = !written.contains('\\');
    if plain { written.to_owned() } else { read().unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str =
        r#""id":"1","pmxprev":"p","sequence":"00000000000000000001","source":"/a","time":"t","type":"x"}"#;

    fn with(data: &str) -> Result<(), Fault> {
        let text = format!("{{\"correlationid\":\"c\",\"data\":{data},{REST}");
        read(text.as_bytes()).map(|_| ())
    }

    #[test]
    fn the_one_spelling_is_taken() {
        for data in [
            "{}",
            r#"{"a":[],"b":[1,-1,0,true,false,null],"c":{"d":{}}}"#,
            r#"{"a":"\"\\\b\f\n\r\t\u0000\u001f\u000b/é€😀"}"#,
            r#"{"a":9007199254740991}"#,
            // By UTF-16 units U+1F600 comes before U+FB33, by code points behind.
            "{\"\u{1F600}\":1,\"\u{FB33}\":2}",
        ] {
            assert_eq!(with(data), Ok(()), "{data}");
        }
    }

    #[test]
    fn every_other_spelling_is_refused() {
        for data in [
            "{ }",
            r#"{"a":1,}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":120.00}"#,
            r#"{"a":1e2}"#,
            r#"{"a":-0}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":99999999999999999999999999}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":"\u000a"}"#,
            r#"{"a":"\u001F"}"#,
            r#"{"a":"\ud83d\ude00"}"#,
            "{\"a\":\"\n\"}",
            "{\"\u{FB33}\":2,\"\u{1F600}\":1}",
            r#"{"a":nul}"#,
            "[]",
        ] {
            assert!(with(data).is_err(), "{data}");
        }
        let deep = |levels: usize| format!("{}{}", "{\"a\":".repeat(levels), "[]") + &"}".repeat(levels);
        assert_eq!(with(&deep(DEPTH_MAX - 2)), Ok(()));
        assert!(with(&deep(DEPTH_MAX - 1)).is_err());
        assert!(read(b"").is_err() && read(b"\xff").is_err() && read(b"{}").is_err());
    }

    proptest::proptest! {
        /// Whoever writes with serde, sorted, writes canonical bytes; a changed byte is never a panic.
        #[test]
        fn any_bytes_are_judged_without_panic(text in "[\\PC\"\\\\]{0,40}", at: proptest::sample::Index, byte: u8) {
            let data = serde_json::to_string(&std::collections::BTreeMap::from([("a", text)])).unwrap();
            proptest::prop_assert_eq!(with(&data), Ok(()));
            let mut bytes = format!("{{\"correlationid\":\"c\",\"data\":{data},{REST}").into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
