//! The envelope: which text, which operation and which variables a server would take.

use super::Odd;
use crate::model::json::{Object, Value};

/// The members of a request by GraphQL over HTTP. Some servers take them from the URL, too.
const MEMBERS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

pub(super) struct Request<'b> {
    pub text: &'b str,
    /// `None`: the only operation of the text.
    pub operation: Option<&'b str>,
    pub variables: Variables<'b>,
}

/// The variables that the request gives.
#[derive(Clone, Copy)]
pub(super) struct Variables<'b>(Option<&'b Object<'b>>);

impl<'b> Request<'b> {
    pub(super) fn read(body: &'b Object<'_>, query: Option<&str>) -> Result<Self, Odd> {
        // A server that does not mind case takes `OperationName` for the name of the operation.
        if body.iter().any(|(name, _)| !MEMBERS.contains(&name)) {
            return Err("a member beside query, operationName, variables and extensions");
        }
        if query.is_some_and(names_a_member) {
            return Err("a part of the request in the URL");
        }
        match body.get("extensions") {
            None | Some(Value::Null) => {}
            Some(Value::Object(object)) if object.iter().all(|(name, value)| is_a_name(name, value)) => {}
            Some(_) => return Err("extensions"),
        }
        let text = body.get("query").and_then(Value::as_str).ok_or("no query text")?;
        let operation = match body.get("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) if !name.is_empty() => Some(name.as_ref()),
            Some(_) => return Err("operationName is no name"),
        };
        let variables = match body.get("variables") {
            None | Some(Value::Null) => None,
            Some(Value::Object(object)) => Some(object),
            Some(_) => return Err("variables is no object"),
        };
        Ok(Self { text, operation, variables: Variables(variables) })
    }
}

/// The name of the client's library, which Apollo's clients send unless told otherwise. Every other
/// extension may change what is done.
fn is_a_name(extension: &str, value: &Value<'_>) -> bool {
    let says = |(name, value): (&str, &Value<'_>)| matches!(name, "name" | "version") && value.as_str().is_some();
    extension == "clientLibrary" && value.as_object().is_some_and(|library| library.iter().all(says))
}

impl<'b> Variables<'b> {
    pub(super) fn get(self, name: &str) -> Option<&'b Value<'b>> {
        self.0?.get(name)
    }
}

/// True when some server takes a parameter of this query string for a member of the request:
/// `query`, `?query`, `%71uery`, `query[]`, `Query`.
fn names_a_member(query: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = decoded(pair.split('=').next().unwrap_or_default());
        let name = name.split(|byte| matches!(byte, b'[' | b'.' | 0)).next().unwrap_or_default();
        let name = name.trim_ascii_start().strip_prefix(b"?").unwrap_or(name).trim_ascii();
        MEMBERS.iter().any(|member| name.eq_ignore_ascii_case(member.as_bytes()))
    })
}

/// `%71uery+` → `query `. What is no escape stays.
fn decoded(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(digit(*high) << 4 | digit(*low));
                rest = after;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}
