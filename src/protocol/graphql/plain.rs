//! The words of a document, before its grammar: refuses what old and new servers cut into words
//! differently, and what would nest too deep for the parser's stack.
//!
//! Grammar: GraphQL September 2025, section 2.1.

use super::Odd;

/// Deepest nesting of brackets of all kinds.
pub(super) const DEPTH_MAX: usize = 64;

const ODD_STRING: Odd = "a string that servers read differently";

/// Passes a text whose strings are closed and well escaped, whose comments end where all agree, and
/// that is ASCII elsewhere.
pub(super) fn check(text: &str) -> Result<(), Odd> {
    if text.chars().any(is_odd) || text.replace("\r\n", "\n").contains('\r') {
        return Err("a character that servers read differently");
    }
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string(rest)?,
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '{' | '[' | '(' if depth == DEPTH_MAX => return Err("nested too deep"),
            '{' | '[' | '(' => {
                depth += 1;
                1
            }
            '}' | ']' | ')' => {
                depth = depth.checked_sub(1).ok_or("a bracket that closes nothing")?;
                1
            }
            'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => 1,
            ' ' | '\t' | '\r' | '\n' | ',' | '!' | '$' | '.' | ':' | '=' | '@' | '+' | '-' => 1,
            _ => return Err("a character that stands in no operation"),
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(())
}

/// Line ends of old drafts, byte order marks and control characters.
fn is_odd(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') || (c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
}

/// The length of the string at the start of `text`, with its quotes.
fn string(text: &str) -> Result<usize, Odd> {
    match text.strip_prefix("\"\"\"") {
        Some(block) => block_string(block).map(|length| length + 3),
        None => quoted(text),
    }
}

/// A block string is only known to servers since 2018; before, it was three strings. One without
/// quotes and backslashes has the same end for both.
fn block_string(text: &str) -> Result<usize, Odd> {
    let end = text.find(['"', '\\']).ok_or(ODD_STRING)?;
    let closed = text.get(end..).is_some_and(|rest| rest.starts_with("\"\"\""));
    if closed { Ok(end + 3) } else { Err(ODD_STRING) }
}

fn quoted(text: &str) -> Result<usize, Odd> {
    let mut chars = text.char_indices().skip(1).map(|(at, c)| (at, Some(c)));
    let mut next = || chars.next().unwrap_or((text.len(), None));
    loop {
        match next() {
            (at, Some('"')) => return Ok(at + 1),
            (_, None | Some('\n' | '\r')) => return Err(ODD_STRING),
            (_, Some('\\')) => match next().1 {
                Some('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => {}
                Some('u') => unicode(|| next().1).ok_or(ODD_STRING)?,
                _ => return Err(ODD_STRING),
            },
            (_, Some(_)) => {}
        }
    }
}

/// Four digits, or those of a pair of surrogates: `d83d\ude00`.
fn unicode(mut next: impl FnMut() -> Option<char>) -> Option<()> {
    let mut unit = |prefix: &str| {
        prefix.chars().try_for_each(|c| (next()? == c).then_some(()))?;
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | next()?.to_digit(16)?))
    };
    match unit("")? {
        0xd800..=0xdbff => (0xdc00..=0xdfff).contains(&unit("\\u")?).then_some(()),
        0xdc00..=0xdfff => None,
        _ => Some(()),
    }
}
