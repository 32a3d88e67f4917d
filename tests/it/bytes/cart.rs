//! Purchases, and the many ways in which one body says the same.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::support::gateway::Purchase;

use super::dice::Dice;

const VARIANTS: [&str; 4] = ["shopify:variant:123456", "mug_blue", "sku/7.a-B", "v:0"];
const PRICES: [(&str, &[&str]); 4] = [
    ("29.99 USD", &["29.99", "29.990", "2999e-2", "0.2999E+2", "29.9900000000000000000000000000000000000"]),
    ("5.00 USD", &["5", "5.0", "5e0", "500e-2", "0.05e+02"]),
    ("0.10 USD", &["0.1", "0.10", "1e-1", "10E-2"]),
    ("0.00 USD", &["0", "0.0", "-0", "0e5"]),
];
const TEXTS: [&str; 6] = ["", "two words", "é ü ſ", "\u{1F600}", "\"quoted\" \\ / <b>", "line\nfeed\t\u{1}"];

/// What is bought: different variants of one store.
pub fn purchases(dice: &mut Dice, store: &'static str, most: usize) -> Vec<Purchase> {
    let mut variants = VARIANTS;
    dice.shuffle(&mut variants);
    let count = if dice.chance(70) { 1 } else { 1 + dice.roll(most) };
    let line = |variant| {
        let (quantity, price) = (i64::try_from(1 + dice.roll(3)).unwrap(), dice.pick(&PRICES).0);
        Purchase { variant, quantity, price, ..Purchase::mug(store) }
    };
    variants[..count].iter().copied().map(line).collect()
}

/// A JSON cart of these lines.
pub fn json(dice: &mut Dice, lines: &[Purchase]) -> String {
    let mut items: Vec<_> = lines.iter().map(|line| item(dice, line)).collect();
    dice.shuffle(&mut items);
    let mut members = vec![("items", list(dice, &items)), ("currency", text(dice, "USD"))];
    members.extend(others(dice));
    let object = object(dice, members);
    format!("{}{object}{}", space(dice), space(dice))
}

fn item(dice: &mut Dice, line: &Purchase) -> String {
    let count = line.quantity;
    let spelled = [format!("{count}"), format!("{count}.0"), format!("{count}e0"), format!("{count}0E-1")];
    let mut members = vec![
        ("variant", text(dice, line.variant)),
        ("quantity", spelled[dice.roll(spelled.len())].clone()),
        ("price", price(dice, line).to_owned()),
    ];
    members.extend(others(dice));
    object(dice, members)
}

fn price(dice: &mut Dice, line: &Purchase) -> &'static str {
    let (_, spelled) = PRICES.iter().find(|(price, _)| *price == line.price).unwrap();
    dice.pick(spelled)
}

/// Members that bind nobody.
fn others(dice: &mut Dice) -> Vec<(&'static str, String)> {
    let mut members = Vec::new();
    for name in ["note", "__proto__", "naïve", "total"] {
        if dice.chance(20) {
            let said = dice.pick(&TEXTS);
            let value = match dice.roll(4) {
                0 => text(dice, said),
                1 => dice.pick(&["null", "true", "1e400", "-0.0", "[]", "{}"]).to_owned(),
                2 => format!("[{}1{}]", "[".repeat(20), "]".repeat(20)),
                _ => format!("{{\"a\":{}}}", text(dice, said)),
            };
            members.push((name, value));
        }
    }
    members
}

fn object(dice: &mut Dice, mut members: Vec<(&str, String)>) -> String {
    dice.shuffle(&mut members);
    let pair = |(name, value): &(&str, String)| {
        let name = text(dice, name);
        format!("{}{name}{}:{}{value}{}", space(dice), space(dice), space(dice), space(dice))
    };
    format!("{{{}}}", members.iter().map(pair).collect::<Vec<_>>().join(","))
}

fn list(dice: &mut Dice, items: &[String]) -> String {
    format!("[{}{}]", space(dice), items.join(&format!("{},", space(dice))))
}

fn space(dice: &mut Dice) -> &'static str {
    dice.pick(&["", "", "", " ", "\n", "\t ", "\r\n"])
}

fn text(dice: &mut Dice, text: &str) -> String {
    let (mut out, escapes) = (String::from("\""), dice.pick(&[0, 0, 10, 100]));
    for letter in text.chars() {
        if letter >= ' ' && !matches!(letter, '"' | '\\') && !dice.chance(escapes) {
            out.push(letter);
            continue;
        }
        for unit in letter.encode_utf16(&mut [0; 2]) {
            let _ = if dice.chance(50) { write!(out, "\\u{unit:04x}") } else { write!(out, "\\u{unit:04X}") };
        }
    }
    out + "\""
}

/// A form of this one line.
pub fn form(dice: &mut Dice, line: &Purchase) -> String {
    let (count, note) = (line.quantity.to_string(), dice.pick(&TEXTS));
    let price = price(dice, line);
    let mut fields =
        vec![("variant", line.variant), ("quantity", &count), ("price", price), ("currency", "USD"), ("note é", note)];
    dice.shuffle(&mut fields);
    let field = |(name, value): &(&str, &str)| format!("{}={}", escaped(dice, name), escaped(dice, value));
    fields.iter().map(field).collect::<Vec<_>>().join("&")
}

fn escaped(dice: &mut Dice, text: &str) -> String {
    let escapes = dice.pick(&[0, 10, 100]);
    let letter = |byte: u8| match byte {
        b' ' if dice.chance(50) => "+".to_owned(),
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' if !dice.chance(escapes) => {
            char::from(byte).to_string()
        }
        byte if dice.chance(50) => format!("%{byte:02x}"),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}

/// The cart with a member of noise, so that it has exactly this length.
pub fn padded(dice: &mut Dice, cart: &str, length: usize) -> String {
    let (start, end) = ("{\"noise\":\"", "\",");
    let inner = cart.trim_start().strip_prefix('{').unwrap();
    let room = length.checked_sub(start.len() + end.len() + inner.len()).unwrap();
    let noise: String = (0..room).map(|_| char::from(b'a' + u8::try_from(dice.roll(26)).unwrap())).collect();
    format!("{start}{noise}{end}{inner}")
}

/// A body in this content coding.
pub fn coded(coding: &str, plain: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" => finished(GzEncoder::new(Vec::new(), Compression::fast()), plain),
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => plain.to_vec(),
    }
}

/// The body, packed by this encoder.
pub fn finished(mut encoder: GzEncoder<Vec<u8>>, plain: &[u8]) -> Vec<u8> {
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}
