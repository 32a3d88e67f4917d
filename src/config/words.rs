//! Words of the configuration as values. What cannot be read is told with its place and a fix, and a
//! default stands in for it, so that all problems are found at once.

use std::net::SocketAddr;

use crate::model::document::{At, Problem};

/// Where problems are collected.
pub(super) type Found<'f> = &'f mut Vec<Problem>;

pub(super) fn address(text: Option<&At<String>>, default_port: u16, found: Found<'_>) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], default_port));
    let Some(text) = text else { return default };
    text.parse().unwrap_or_else(|_| {
        found.push(
            text.problem(
                format!("`{}` is not an address", **text),
                format!("write it like \"127.0.0.1:{default_port}\""),
            ),
        );
        default
    })
}

pub(super) fn number(
    value: Option<&At<i64>>,
    default: usize,
    range: std::ops::RangeInclusive<usize>,
    found: Found<'_>,
) -> usize {
    let Some(value) = value else { return default };
    match usize::try_from(**value).ok().filter(|number| range.contains(number)) {
        Some(number) => number,
        None => {
            let fix = format!("write a number from {} to {}", range.start(), range.end());
            found.push(value.problem(format!("{} is out of range", **value), fix));
            default
        }
    }
}

/// Names become metric labels and parts of paths: short and plain.
pub(super) fn named(text: Option<&At<String>>, default: &str, found: Found<'_>) -> String {
    let Some(text) = text else { return default.to_owned() };
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        found.push(text.problem(format!("`{}` is not a name", **text), "use 1 to 64 of a-z, 0-9, `-` and `_`"));
    }
    text.value.clone()
}
