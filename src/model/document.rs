//! TOML documents that people write: every problem at once, each with its line and a fix.

use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Most problems that one reading reports.
const PROBLEMS_MAX: usize = 50;

/// One thing that is wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Byte offset into the text; `None` when the problem has no place.
    pub offset: Option<usize>,
    pub message: String,
    pub fix: String,
}

impl Problem {
    #[must_use]
    pub fn new(offset: Option<usize>, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { offset, message: message.into(), fix: fix.into() }
    }
}

/// Everything that is wrong with one file, ready to be shown with the lines it is about.
#[derive(Debug, Clone)]
pub struct Problems {
    file: String,
    text: String,
    list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl Problems {
    #[must_use]
    pub fn new(file: &Path, text: &str, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| problem.offset);
        list.truncate(PROBLEMS_MAX);
        Self { file: file.display().to_string(), text: text.to_owned(), list }
    }

    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// `file:line: message; fix` on one line, for logs.
    #[must_use]
    pub fn one_line(&self) -> String {
        let lines: Vec<_> = self.list.iter().map(|p| format!("{}: {}; {}", self.place(p), p.message, p.fix)).collect();
        lines.join(" | ")
    }

    /// `file:line`, or the file where the problem has no place.
    #[must_use]
    pub fn place(&self, problem: &Problem) -> String {
        match problem.offset {
            Some(offset) => format!("{}:{}", self.file, line_of(&self.text, offset).0),
            None => self.file.clone(),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}: {}", self.place(problem), problem.message)?;
            if let Some(offset) = problem.offset {
                let (number, line) = line_of(&self.text, offset);
                writeln!(f, "  {number} | {line}")?;
            }
            write!(f, "  fix: {}", problem.fix)?;
        }
        Ok(())
    }
}

/// The 1-based number and the text of the line that holds this byte.
#[must_use]
pub fn line_of(text: &str, offset: usize) -> (usize, &str) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let number = before.matches('\n').count() + 1;
    (number, text.lines().nth(number - 1).unwrap_or_default())
}

/// A value together with where it stands, for problems that only later steps can see.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct At<T> {
    pub value: T,
    pub offset: usize,
}

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> At<T> {
    #[must_use]
    pub fn problem(&self, message: impl Into<String>, fix: impl Into<String>) -> Problem {
        Problem::new(Some(self.offset), message, fix)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(d)?;
        let offset = spanned.span().start;
        Ok(Self { value: spanned.into_inner(), offset })
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}

/// Reads a document. What cannot be read is left out and reported, and reading goes on: so all
/// members of `T` have defaults, and one mistake never hides the next.
pub fn read<T: DeserializeOwned + Default>(text: &str) -> (T, Vec<Problem>) {
    let (parsed, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<_> = errors.iter().map(|e| syntax_problem(e, text)).collect();
    if !problems.is_empty() {
        return (T::default(), problems);
    }
    let mut bad: Vec<Range<usize>> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let mut table = parsed.clone();
        bad.iter().for_each(|place| {
            remove(table.get_mut(), place);
        });
        match T::deserialize(toml::de::Deserializer::from(table)) {
            Ok(value) => return (value, problems),
            Err(error) => {
                problems.push(typed_problem(&error));
                match error.span() {
                    Some(span) if !bad.contains(&span) => bad.push(span),
                    _ => break,
                }
            }
        }
    }
    (T::default(), problems)
}

fn syntax_problem(error: &toml::de::Error, text: &str) -> Problem {
    let place = error.span().map(|span| span.start.min(text.len()));
    Problem::new(place, error.message(), "write this line as TOML (https://toml.io)")
}

fn typed_problem(error: &toml::de::Error) -> Problem {
    let message = error.message();
    let offset = error.span().map(|span| span.start);
    let names: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let fix =
        match (message.starts_with("unknown field") || message.starts_with("unknown variant"), names.split_first()) {
            (true, Some((wrong, known))) => nearest(wrong, known),
            _ => "see `permyx config schema` for the form of this value".to_owned(),
        };
    let head = message.split(", expected").next().unwrap_or(message);
    Problem::new(offset, if fix.starts_with("see") { message } else { head }, fix)
}

fn nearest(wrong: &str, known: &[&str]) -> String {
    let likeness = |name: &&str| strsim::jaro_winkler(wrong, name);
    let best = known.iter().copied().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best.filter(|name| likeness(name) > 0.8) {
        Some(name) => format!("did you mean `{name}`?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("allowed here: {}", known.join(", ")),
    }
}

/// Takes out the innermost entry whose key or value stands at `place`.
fn remove(table: &mut DeTable<'_>, place: &Range<usize>) -> bool {
    let inside = |span: Range<usize>| span.start <= place.start && place.end <= span.end;
    for (_, value) in table.iter_mut() {
        let removed = match value.get_mut() {
            DeValue::Table(inner) => remove(inner, place),
            DeValue::Array(items) => items.iter_mut().any(|item| match item.get_mut() {
                DeValue::Table(inner) => remove(inner, place),
                _ => false,
            }),
            _ => false,
        };
        if removed {
            return true;
        }
    }
    let found = table.iter().find(|(key, value)| inside(key.span()) || inside(value.span()));
    let key = found.map(|(key, _)| key.clone());
    key.is_some_and(|key| table.remove(&key).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Default, Debug)]
    #[serde(deny_unknown_fields, default)]
    struct Outer {
        name: Option<String>,
        limits: Inner,
        list: Vec<Inner>,
    }

    #[derive(Deserialize, Default, Debug)]
    #[serde(deny_unknown_fields, default)]
    struct Inner {
        max_quantity: Option<At<u32>>,
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_line() {
        let text = "nam = \"x\"\n[limits]\nmax_qantity = 1\nmax_quantity = \"two\"\n[[list]]\nzzz = 1\n";
        let (_, problems) = read::<Outer>(text);
        let shown = Problems::new(Path::new("p.toml"), text, problems).to_string();
        let expected = "p.toml:1: unknown field `nam`\n  1 | nam = \"x\"\n  fix: did you mean `name`?\n\
            p.toml:3: unknown field `max_qantity`\n  3 | max_qantity = 1\n  fix: did you mean `max_quantity`?\n\
            p.toml:4: invalid type: string \"two\", expected u32\n  4 | max_quantity = \"two\"\n  fix: see `permyx config schema` for the form of this value\n\
            p.toml:6: unknown field `zzz`\n  6 | zzz = 1\n  fix: allowed here: max_quantity";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_broken_line_is_named() {
        let (_, problems) = read::<Outer>("name = \n[limits\n");
        let mut places: Vec<_> = problems.iter().map(|p| p.offset).collect();
        places.sort();
        assert_eq!(places, [Some(7), Some(15)]);
    }

    #[test]
    fn a_good_document_keeps_the_places() {
        let (outer, problems) = read::<Outer>("[limits]\nmax_quantity = 3\n");
        assert!(problems.is_empty());
        let at = outer.limits.max_quantity.unwrap();
        assert_eq!((*at, at.offset), (3, 24));
    }
}
