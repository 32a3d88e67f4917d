//! What must appear in nothing that Permyx says or keeps: what the clients of these tests plant in
//! their requests, and tokens and keys, which are known by their form.

use std::fmt::Display;
use std::sync::LazyLock;

use memchr::memmem::Finder;

/// A shopper's address, card, session and credential: they go with every request of [`super::http`].
pub const EMAIL: &str = "pl4nted.shopper@mail.example";
pub const CARD: &str = "4242424242424242";
pub const COOKIE: &str = "pl4nted-cookie-7c1f52";
pub const AUTHORIZATION: &str = "pl4nted-bearer-51d09b";

const LINES: [&str; 3] = [
    "Cookie: shopper=pl4nted-cookie-7c1f52",
    "Authorization: Bearer pl4nted-bearer-51d09b",
    "X-Buyer: pl4nted.shopper@mail.example 4242424242424242",
];

/// Header lines with secrets, for a request that has these lines: its own cookie or credential stays alone.
pub fn lines(headers: &[&str]) -> Vec<&'static str> {
    let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
    LINES.into_iter().filter(|line| headers.iter().all(|header| name(header) != name(line))).collect()
}

/// A secret that was found, and not what it is.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: &'static str,
    /// [`AROUND`] characters from before and behind it, with it masked.
    pub around: String,
}

/// How much of its surroundings is told, half of it on each side.
const AROUND: usize = 40;

/// A kind, how it begins, and how long the secret is that begins there: 0, if it only looks like one.
type Form = (&'static str, &'static str, fn(&[u8]) -> usize);

const FORMS: [Form; 14] = [
    ("e-mail address", "pl4nted.shopper", |text| run(text, |b| is_base64url(b) || b"@%.".contains(&b))),
    // The buyers of the real merchants' software.
    ("e-mail address", "@example.test", |_| "@example.test".len()),
    ("cookie", "pl4nted-cookie", |text| run(text, is_base64url)),
    ("credential", "pl4nted-bearer", |text| run(text, is_base64url)),
    ("card number", CARD, card),
    ("card number", "4242 4242 4242 4242", card),
    ("card number", "4242-4242-4242-4242", card),
    ("card number", "4111111111111111", card),
    ("card number", "5555555555554444", card),
    ("card number", "378282246310005", card),
    ("token", "eyJ", token),
    ("API key", "permyx_", api_key),
    ("private key", "PRIVATE KEY-----", |_| "PRIVATE KEY-----".len()),
    ("private key", "\"d", private_member),
];

static FINDERS: LazyLock<Vec<(Finder, Form)>> =
    LazyLock::new(|| FORMS.iter().map(|form| (Finder::new(form.1), *form)).collect());

/// The signature of an RS256 token: 256 bytes in base64url.
const SIGNATURE: usize = 342;
/// Any run of that length holds two bytes that are so far apart, whatever it begins with.
const STRIDE: usize = SIGNATURE / 2;

/// Looks for a secret of any kind.
pub fn find(text: &[u8]) -> Option<Found> {
    let formed = FINDERS.iter().find_map(|(finder, (kind, _, length))| {
        let mut places = finder.find_iter(text).map(|at| (at, length(&text[at..])));
        places.find(|(_, length)| *length > 0).map(|(at, length)| (*kind, at, length))
    });
    let (kind, at, length) = formed.or_else(|| signature(text))?;
    let (before, behind) = (&text[at.saturating_sub(AROUND / 2)..at], &text[at + length..]);
    let behind = &behind[..behind.len().min(AROUND / 2)];
    let around = format!("{}<{kind}>{}", String::from_utf8_lossy(before), String::from_utf8_lossy(behind));
    Some(Found { kind, around: around.escape_debug().to_string() })
}

/// Fails where a secret stands in this text. A test that fails already is left to say why.
#[track_caller]
pub fn refuse(place: impl Display, text: &[u8]) {
    if !std::thread::panicking()
        && let Some(Found { kind, around }) = find(text)
    {
        panic!("a secret ({kind}) is in {place}: {around}");
    }
}

fn run(text: &[u8], is: fn(u8) -> bool) -> usize {
    text.iter().position(|b| !is(*b)).unwrap_or(text.len())
}

fn is_base64url(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'-' || b == b'_'
}

fn card(text: &[u8]) -> usize {
    run(text, |b| b.is_ascii_digit() || b == b' ' || b == b'-')
}

/// Three parts of base64url, or what begins as the header of a token does.
fn token(text: &[u8]) -> usize {
    let length = run(text, |b| is_base64url(b) || b == b'.');
    // `{"alg"`, `{"typ"` and `{"kid"`.
    let begins = [b"eyJhbGci", b"eyJ0eXAi", b"eyJraWQi"].iter().any(|header| text.starts_with(*header));
    let parts: Vec<_> = text[..length].split(|b| *b == b'.').collect();
    if begins || (parts.len() == 3 && parts.iter().all(|part| part.len() > 3)) { length } else { 0 }
}

/// The private member of a JWK (RFC 7518 §6.3.2.1), whether or not its quotes are escaped.
fn private_member(text: &[u8]) -> usize {
    let name = 2 + run(&text[2..], |b| b"\\\": ".contains(&b));
    let value = run(&text[name..], is_base64url);
    if text[..name].contains(&b':') && value >= 40 { name + value } else { 0 }
}

/// `permyx_<role>_<43 characters of base64url>`, or the published one of a demo.
fn api_key(text: &[u8]) -> usize {
    let name = b"permyx_".len();
    let role = run(&text[name..], |b| b.is_ascii_lowercase());
    let key = &text[(name + role + 1).min(text.len())..];
    let length = run(key, is_base64url);
    // Names of metrics have no capitals, and words between the underscores.
    let is_random = length >= 40 && key[..length].iter().any(u8::is_ascii_uppercase);
    if is_random || key.starts_with(b"YOUR_KEY") { name + role + 1 + length } else { 0 }
}

/// A signature without the rest of its token. The modulus of a public key is as long, and is public.
fn signature(text: &[u8]) -> Option<(&'static str, usize, usize)> {
    let is_in = |at: usize| text.get(at).is_some_and(|b| is_base64url(*b));
    let mut at = 0;
    while at < text.len() {
        if !(is_in(at) && is_in(at + STRIDE)) {
            at += STRIDE;
            continue;
        }
        let start = text[..at].iter().rposition(|b| !is_base64url(*b)).map_or(0, |before| before + 1);
        let length = run(&text[start..], is_base64url);
        let is_random = text[start..start + length].iter().any(u8::is_ascii_uppercase);
        if length == SIGNATURE && is_random && !text[..start].ends_with(b"\"n\":\"") {
            return Some(("signature", start, length));
        }
        at = (start + length).max(at + STRIDE);
    }
    None
}
