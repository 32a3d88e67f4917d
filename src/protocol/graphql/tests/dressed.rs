//! Texts printed from a small tree are judged as the tree says, however they are dressed.

use proptest::prelude::*;

use super::*;

/// What a root selection can be.
#[derive(Clone, Debug)]
enum Selection {
    Field { alias: Option<&'static str>, name: &'static str, given: &'static str },
    Inline { typed: bool, inside: Vec<Selection> },
    Spread { inside: Vec<Selection> },
}

use Selection::{Field, Inline, Spread};

const NAMES: [&str; 6] =
    ["addPaymentToOrder", "addItemToOrder", "transitionOrderToState", "setCustomerForOrder", "__typename", "on"];
const ALIASES: [&str; 5] = ["addPaymentToOrder", "addItemToOrder", "__typename", "x", "fragment"];
/// Arguments, each with the tokens that a printer must not part.
const GIVEN: [&str; 7] = [
    "",
    "( state : \"ArrangingPayment\" )",
    "( other : [ 1 -2.5e3 true null E $v ] state : $arranging )",
    "( state : $v )",
    "( state : \"}addPaymentToOrder{#\\\"\\u00e9é\" )",
    "( state : { state : \"ArrangingPayment\" } )",
    "( state : \"\"\"#ArrangingPayment\"\"\" )",
];
const HOLDING: [&str; 2] = [GIVEN[1], GIVEN[2]];
const TRIVIA: [&str; 8] = [" ", "\n", "\r\n", "\t,", ", ,", " # } addPaymentToOrder { \" é\n", "#\n", " #\"\"\"\r\n\t"];

fn selection() -> impl Strategy<Value = Selection> {
    let alias = prop::option::of(prop::sample::select(&ALIASES[..]));
    // Half of the fields commit, so that a lone commit is no rare tree.
    let name = prop_oneof![Just(NAMES[0]), prop::sample::select(&NAMES[..])];
    let field = (alias, name, prop::sample::select(&GIVEN[..]));
    let field = field.prop_map(|(alias, name, given)| Field { alias, name, given });
    field.prop_recursive(5, 12, 2, |inner| {
        let inside = prop::collection::vec(inner, 1..3);
        prop_oneof![
            (any::<bool>(), inside.clone()).prop_map(|(typed, inside)| Inline { typed, inside }),
            inside.prop_map(|inside| Spread { inside }),
        ]
    })
}

fn root() -> impl Strategy<Value = Vec<Selection>> {
    prop_oneof![prop::collection::vec(selection(), 1..2), prop::collection::vec(selection(), 1..4)]
}

/// The root fields: name, response key, arguments.
fn fields(selections: &[Selection]) -> Vec<(&'static str, &'static str, &'static str)> {
    let each = selections.iter().flat_map(|selection| match selection {
        Field { alias, name, given } => vec![(*name, alias.unwrap_or(name), *given)],
        Inline { inside, .. } | Spread { inside } => fields(inside),
    });
    each.collect()
}

/// What the tree says; `None` is unrecognised.
fn expected(selections: &[Selection]) -> Option<Does> {
    let all = fields(selections);
    let named = |name: &str| all.iter().filter(|field| field.0 == name).count();
    let real = all.len() - named("__typename");
    if let (1, Some((_, key, _))) = (real, all.iter().find(|field| field.0 == "addPaymentToOrder")) {
        return (all.iter().filter(|field| field.1 == *key).count() == 1).then(|| commit(key));
    }
    let amends = |(name, _, given): &&(&str, &str, &str)| {
        *name == "addItemToOrder" || *name == "transitionOrderToState" && HOLDING.contains(given)
    };
    (real > 0 && all.iter().filter(amends).count() == real).then_some(Does::Amend)
}

/// Prints words; the fragments go to their own list.
fn print(selections: &[Selection], words: &mut Vec<String>, fragments: &mut Vec<Vec<String>>) {
    for selection in selections {
        let mut say = |text: &str| words.extend(text.split_whitespace().map(str::to_owned));
        match selection {
            Field { alias, name, given } => {
                alias.iter().for_each(|alias| say(&format!("{alias} :")));
                say(&format!("{name} {given} {{ id ... on ErrorResult {{ errorCode }} }}"));
            }
            Inline { typed, inside } => {
                say(if *typed { "... on Mutation {" } else { "... {" });
                print(inside, words, fragments);
                words.push("}".to_owned());
            }
            Spread { inside } => {
                let mut fragment = Vec::new();
                print(inside, &mut fragment, fragments);
                say(&format!("... F{}", fragments.len()));
                let head = format!("fragment F{} on Mutation {{", fragments.len());
                fragment.splice(0..0, head.split(' ').map(str::to_owned));
                fragment.push("}".to_owned());
                fragments.push(fragment);
            }
        }
    }
}

/// A body that runs the selections as the mutation `M`.
#[derive(Clone, Debug)]
struct Dress {
    trivia: Vec<usize>,
    has_name: bool,
    beside: bool,
    fragments_first: bool,
}

fn dress() -> impl Strategy<Value = Dress> {
    let parts = (prop::collection::vec(0..TRIVIA.len(), 1..40), any::<bool>(), any::<bool>(), any::<bool>());
    parts.prop_map(|(trivia, has_name, beside, fragments_first)| Dress { trivia, has_name, beside, fragments_first })
}

impl Dress {
    fn text(&self, selections: &[Selection]) -> String {
        let name = if self.has_name || self.beside { "M" } else { "" };
        let head = format!("mutation {name} ( $v : String = \"No\" $arranging : String ! ) {{");
        let mut words: Vec<_> = head.split_whitespace().map(str::to_owned).collect();
        let mut fragments = Vec::new();
        print(selections, &mut words, &mut fragments);
        words.push("}".to_owned());
        let at = if self.fragments_first { 0 } else { words.len() };
        words.splice(at..at, fragments.concat());
        if self.beside {
            let others = "query Q { me } mutation N { addPaymentToOrder addItemToOrder } subscription S { s }";
            words.splice(0..0, others.split(' ').map(str::to_owned));
        }
        self.joined(&words)
    }

    /// The words with white space, commas and comments between them. The parser takes no comma
    /// behind `...` or before `:`, where nobody writes one.
    fn joined(&self, words: &[String]) -> String {
        let mut trivia = self.trivia.iter().cycle();
        let mut text = String::new();
        for (word, next) in words.iter().zip(words.iter().skip(1).chain([&String::new()])) {
            let between = TRIVIA[*trivia.next().unwrap()];
            let takes_no_comma = word == "..." || next == ":";
            text += word;
            text += if takes_no_comma && between.contains(',') { " " } else { between };
        }
        text
    }

    fn body(&self, text: &str) -> serde_json::Value {
        let mut body = serde_json::json!({ "query": text, "variables": { "arranging": "ArrangingPayment" } });
        if self.has_name || self.beside {
            body["operationName"] = if self.beside { "M".into() } else { serde_json::Value::Null };
        }
        body
    }
}

/// One change of a text: where, how many characters go, what comes.
fn change() -> impl Strategy<Value = (prop::sample::Index, usize, String)> {
    let word = prop_oneof![
        "[-{}()\\[\\]\"\\\\#.:!$@|&=,\\r\\n0-9a-zA-Z_\u{feff}\u{2028}é ]{0,3}",
        Just("\"\"\"".to_owned()),
        Just("\\u".to_owned()),
        Just("...".to_owned()),
        Just("addPaymentToOrder".to_owned()),
    ];
    (any::<prop::sample::Index>(), 0..4_usize, word)
}

fn changed(text: &str, changes: &[(prop::sample::Index, usize, String)]) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for (at, length, word) in changes {
        let start = at.index(chars.len() + 1);
        let end = (start + length).min(chars.len());
        chars.splice(start..end, word.chars());
    }
    chars.into_iter().collect()
}

proptest! {
    #[test]
    fn a_text_is_judged_as_its_tree_says(selections in root(), dress in dress()) {
        let body = dress.body(&dress.text(&selections));
        match expected(&selections) {
            Some(expected) => prop_assert_eq!(of(&body), expected, "{}", body),
            None => prop_assert!(is_unrecognised(&of(&body)), "{}", body),
        }
    }

    #[test]
    fn no_text_makes_a_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let text = String::from_utf8_lossy(&text);
        does(&text);
        let of_url = vendure().judge(&read_object(b"{}").unwrap(), Some(&text));
        prop_assert!(is_unrecognised(&of_url));
    }

    #[test]
    fn no_spoiled_text_makes_a_panic(
        selections in root(), dress in dress(), changes in prop::collection::vec(change(), 1..6),
    ) {
        let text = changed(&dress.text(&selections), &changes);
        let does = of(&dress.body(&text));
        let hides = !text.contains("addPaymentToOrder") && matches!(does, Does::Commit { .. });
        prop_assert!(!hides, "{}", text);
    }
}
