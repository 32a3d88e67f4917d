//! Where a value stands in a document: a JSON Pointer (RFC 6901) that may also pick the one element
//! of an array by a member of it, as in `/totals/[type=total]/amount`.

use std::borrow::Cow;

use serde::Deserialize;

use crate::model::json::Value;

/// One way into a document.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Step {
    /// A member of an object, or an index into an array.
    Name(String),
    /// The one element whose member is this text.
    Where { member: String, text: String },
}

impl Pointer {
    /// Reads a pointer; `""` is the document itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        let not = |why: &str| format!("`{text}` is not a JSON Pointer: {why}");
        let mut parts = text.split('/');
        if parts.next() != Some("") {
            return Err(not("start it with `/` (RFC 6901)"));
        }
        let steps = parts.map(|part| Step::parse(part).ok_or_else(|| not("write `[member=text]` within brackets")));
        Ok(Self { text: text.to_owned(), steps: steps.collect::<Result<_, _>>()? })
    }

    /// The document itself.
    #[must_use]
    pub fn document() -> Self {
        Self { text: String::new(), steps: Vec::new() }
    }

    /// The value that stands there.
    #[must_use]
    pub fn find<'v, 'a>(&self, document: &'v Value<'a>) -> Option<&'v Value<'a>> {
        self.steps.iter().try_fold(document, |value, step| step.of(value))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pointer with `{name}` replaced in every step that is exactly that.
    #[must_use]
    pub fn with(&self, name: &str, text: &str) -> Cow<'_, Self> {
        let is_it = |step: &Step| matches!(step, Step::Name(have) if have == name);
        if !self.steps.iter().any(is_it) {
            return Cow::Borrowed(self);
        }
        let fill = |step: &Step| if is_it(step) { Step::Name(text.to_owned()) } else { step.clone() };
        Cow::Owned(Self { text: self.text.clone(), steps: self.steps.iter().map(fill).collect() })
    }
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Step {
    fn parse(text: &str) -> Option<Self> {
        let Some(inner) = text.strip_prefix('[') else {
            return Some(Self::Name(text.replace("~1", "/").replace("~0", "~")));
        };
        let (member, text) = inner.strip_suffix(']')?.split_once('=')?;
        (!member.is_empty()).then(|| Self::Where { member: member.to_owned(), text: text.to_owned() })
    }

    fn of<'v, 'a>(&self, value: &'v Value<'a>) -> Option<&'v Value<'a>> {
        match (self, value) {
            (Self::Name(name), Value::Object(object)) => object.get(name),
            (Self::Name(name), Value::Array(items)) => items.get(index(name)?),
            (Self::Where { member, text }, Value::Array(items)) => {
                let mut found = items.iter().filter(|item| {
                    let have = item.as_object().and_then(|object| object.get(member));
                    have.and_then(Value::as_str) == Some(text)
                });
                // Two of a kind: which one counts is not ours to say.
                found.next().filter(|_| found.next().is_none())
            }
            _ => None,
        }
    }
}

fn index(name: &str) -> Option<usize> {
    let canonical = name == "0" || !name.starts_with('0');
    (canonical && name.bytes().all(|b| b.is_ascii_digit())).then(|| name.parse().ok()).flatten()
}

/// The places where one fact may stand. All that are there have to say the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(from = "OneOrMany<Pointer>")]
pub struct Places(pub Vec<Pointer>);

impl Places {
    /// The values that are there.
    pub fn find<'p, 'v: 'p, 'a>(&'p self, document: &'v Value<'a>) -> impl Iterator<Item = &'v Value<'a>> + 'p {
        self.0.iter().filter_map(|pointer| pointer.find(document))
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A value, or a list of values.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a JSON Pointer, or a list of them")]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

impl From<OneOrMany<Pointer>> for Places {
    fn from(list: OneOrMany<Pointer>) -> Self {
        Self(list.into_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::json::read_object;

    #[test]
    fn a_pointer_finds_members_elements_and_the_one_of_a_kind() {
        let text = r#"{"a":{"b/c":[1,2,{"d":4}]},"totals":[{"type":"tax","n":1},{"type":"total","n":2},{"type":"x"},{"type":"x"}]}"#;
        let document = Value::Object(read_object(text.as_bytes()).unwrap());
        let number = |pointer: &str| Pointer::parse(pointer).unwrap().find(&document).and_then(Value::as_number);
        assert_eq!(number("/a/b~1c/1"), Some("2"));
        assert_eq!(number("/a/b~1c/2/d"), Some("4"));
        assert_eq!(number("/a/b~1c/01"), None);
        assert_eq!(number("/nope"), None);
        assert_eq!(number("/totals/[type=total]/n"), Some("2"));
        assert_eq!(number("/totals/[type=x]"), None);
        assert_eq!(number("/a/[type=total]"), None);
        assert_eq!(Pointer::parse("").unwrap().find(&document), Some(&document));
    }

    #[test]
    fn what_is_no_pointer_is_told() {
        for bad in ["a", "a/b", "/[x]", "/[=y]", "/[x=y"] {
            assert!(Pointer::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_placeholder_is_filled_as_a_name() {
        let pointer = Pointer::parse("/data/{key}").unwrap();
        let pointer = pointer.with("{key}", "a/b");
        let document = Value::Object(read_object(br#"{"data":{"a/b":true}}"#).unwrap());
        assert_eq!(pointer.find(&document), Some(&Value::Bool(true)));
    }
}
