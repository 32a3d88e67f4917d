//! What a GraphQL request would do, on the documents of a real shop and on hostile ones.

use std::time::Duration;

use super::*;
use crate::model::document;
use crate::model::json::read_object;

mod dressed;

const VENDURE: &str = r#"
commit = ["addPaymentToOrder"]
amend = ["addItemToOrder", "setOrderShippingMethod", 'transitionOrderToState(state: "ArrangingPayment")']
"#;
const ORDER: &str = "fragment O on Order { id code state active currencyCode subTotalWithTax totalWithTax totalQuantity
 lines { id quantity unitPriceWithTax productVariant { id sku name } } }";
const PAY: &str = "mutation Pay($i: PaymentInput!) { addPaymentToOrder(input: $i) { ...O ... on ErrorResult { errorCode message } } }";

fn vendure() -> Operations {
    let (doc, mut problems) = document::read::<OperationsDoc>(VENDURE);
    let operations = doc.compile(&mut problems);
    assert_eq!(problems, []);
    operations
}

fn commit(key: &str) -> Does {
    Does::Commit { key: key.to_owned(), renamed: false }
}

/// Judges a body.
fn of(body: &serde_json::Value) -> Does {
    vendure().judge(&read_object(body.to_string().as_bytes()).unwrap(), None)
}

/// Judges a text without a name and variables.
fn does(text: &str) -> Does {
    of(&serde_json::json!({ "query": text }))
}

fn is_unrecognised(does: &Does) -> bool {
    matches!(does, Does::Unrecognised(_))
}

macro_rules! unrecognised {
    ($($text:expr),+ $(,)?) => { $( let text = $text; assert!(is_unrecognised(&does(&text)), "{text}: {:?}", does(&text)); )+ };
}

#[test]
fn the_steps_of_a_real_purchase_are_told_apart() {
    let step = |name: &str, text: String, variables: serde_json::Value| {
        of(&serde_json::json!({ "operationName": name, "query": text, "variables": variables }))
    };
    let none = serde_json::json!({});
    let search = "query Variants { products { items { id name variants { id sku currencyCode priceWithTax } } } }";
    assert_eq!(step("Variants", search.into(), none.clone()), Does::Read);
    let add = "mutation Add($v: ID!, $q: Int!) { addItemToOrder(productVariantId: $v, quantity: $q) { ...O ... on ErrorResult { errorCode } } }";
    let line = serde_json::json!({ "v": "1", "q": 2 });
    assert_eq!(step("Add", format!("{add} {ORDER}"), line), Does::Amend);
    let go = "mutation Go($s: String!) { transitionOrderToState(state: $s) { ...O ... on OrderStateTransitionError { errorCode transitionError } } }";
    let to = |state: &str| step("Go", format!("{go} {ORDER}"), serde_json::json!({ "s": state }));
    assert_eq!(to("ArrangingPayment"), Does::Amend);
    assert!(is_unrecognised(&to("PaymentAuthorized")));
    let payment = serde_json::json!({ "i": { "method": "dummy", "metadata": {} } });
    assert_eq!(step("Pay", format!("{PAY} {ORDER}"), payment), commit("addPaymentToOrder"));
    let who = "mutation Who($i: CreateCustomerInput!) { setCustomerForOrder(input: $i) { ...O } }";
    assert!(is_unrecognised(&step("Who", format!("{who} {ORDER}"), none)));
    assert_eq!(does("{activeOrder{code currencyCode totalWithTax lines{quantity unitPriceWithTax}}}"), Does::Read);
}

#[test]
fn a_commit_is_found_under_any_dress() {
    for (text, key) in [
        ("mutation{addPaymentToOrder{id}}", "addPaymentToOrder"),
        ("mutation { addItemToOrder: addPaymentToOrder { id } }", "addItemToOrder"),
        ("mutation { __typename ... { ... on Mutation { p: addPaymentToOrder } } }", "p"),
        (
            "mutation { ...A } fragment A on Mutation { ...B } fragment B on Mutation { addPaymentToOrder }",
            "addPaymentToOrder",
        ),
        (
            "mutation { # addItemToOrder\r\n addPaymentToOrder(x: \"} # \\\"\", y: [\"\", {a: 1.5e3}])\n}#",
            "addPaymentToOrder",
        ),
        (
            "mutation query($on: Int = 0, $fragment: [In!]! = []) { addPaymentToOrder(a: \"\"\"\n x\n \"\"\") }",
            "addPaymentToOrder",
        ),
    ] {
        assert_eq!(does(text), commit(key), "{text}");
    }
}

#[test]
fn the_operation_is_chosen_as_a_server_chooses_it() {
    let text = "query Q { me } mutation Pay { addPaymentToOrder } mutation Add { addItemToOrder } subscription S { x }";
    let named = |name: serde_json::Value| of(&serde_json::json!({ "query": text, "operationName": name }));
    assert_eq!(named("Pay".into()), commit("addPaymentToOrder"));
    assert_eq!(named("Q".into()), Does::Read);
    assert_eq!(named("Add".into()), Does::Amend);
    for odd in ["S".into(), "pay".into(), "".into(), " Pay".into(), 1.into(), serde_json::Value::Null] {
        assert!(is_unrecognised(&named(odd)));
    }
    let single = |name: serde_json::Value| of(&serde_json::json!({ "query": "query Q { me }", "operationName": name }));
    assert_eq!(single(serde_json::Value::Null), Does::Read);
    assert!(is_unrecognised(&single("Other".into())));
    unrecognised!(
        "query Q { me } mutation Q { addPaymentToOrder }",
        "{ me } { me }",
        "{ me } query Q { me }",
        "fragment F on Query { me }",
        "",
        "subscription { x }",
        "type Query { a: Int }",
        "{ me } extend type Query { a: Int }",
    );
}

#[test]
fn nothing_stands_beside_a_commit() {
    unrecognised!(
        "mutation { addPaymentToOrder addItemToOrder }",
        "mutation { a: addPaymentToOrder b: addPaymentToOrder }",
        "mutation { addPaymentToOrder addPaymentToOrder }",
        "mutation { addPaymentToOrder removeAllOrderLines }",
        "mutation { ...A ...A } fragment A on Mutation { addPaymentToOrder }",
        "mutation { ...A } fragment A on Mutation { addPaymentToOrder ...A }",
        "mutation { ...A } fragment A on Mutation { addItemToOrder ...B } fragment B on Mutation { addPaymentToOrder }",
        "mutation { addPaymentToOrder addPaymentToOrder: __typename }",
        "mutation { __typename }",
        "mutation { addPaymentToorder }",
    );
}

#[test]
fn what_decides_while_it_runs_is_unrecognised() {
    unrecognised!(
        "mutation { addPaymentToOrder @skip(if: false) }",
        "mutation { addItemToOrder @include(if: true) }",
        "mutation { ... @include(if: true) { addPaymentToOrder } }",
        "mutation { ...A @skip(if: false) } fragment A on Mutation { addPaymentToOrder }",
        "mutation { ...A } fragment A on Mutation @x { addPaymentToOrder }",
        "mutation @live { addPaymentToOrder }",
        "mutation { ... on Query { addPaymentToOrder } }",
        "mutation { ...A } fragment A on mutation { addPaymentToOrder }",
        "mutation { ...A addPaymentToOrder }",
    );
}

#[test]
fn a_text_that_servers_read_differently_is_unrecognised() {
    unrecognised!(
        "mutation { addPaymentToOrder # x\r}",
        "mutation { addPaymentToOrder(a: \"\"\"\\\"\"\"\"\"\") }",
        "mutation { addItemToOrder(a: [\"\"\"  \"]) addPaymentToOrder(a: [\" \"\"\"]) }",
        "mutation { addPaymentToOrder # \u{2028} }\n}",
        "\u{feff}mutation { addPaymentToOrder }",
        "mutation { addPaymentToOrder\u{a0}}",
        "mutation { addPaymentToOrder(a: \"\\u{41}\") }",
        "mutation { addPaymentToOrder(a: \"\\uD83D\") }",
        "mutation { addPaymentToOrder(a: \"\\x\") }",
        "mutation { addPaymentToOrder(a: \"\n\") }",
        "mutation { addPaymentToOrder(a) }",
        "mutation { addPaymentToOrder(a: {b}) }",
        "mutation { addPaymentToOrder() }",
        "mutation { addPaymentToOrder {} }",
        "mutation() { addPaymentToOrder }",
        "mutation { addPaymentToOrder(a: 1b: 2) }",
        "\"about\" mutation { addPaymentToOrder }",
        "mutation { addPaymentToOrder } }",
        "mutation { addPaymentToOrder",
        "mutation { ... on on Mutation { addPaymentToOrder } }",
        "fragment F($x: Int) on Mutation { x } mutation { addPaymentToOrder }",
    );
    assert_eq!(does("mutation { addPaymentToOrder(a: \"\\uD83D\\uDE00 \u{e9}\") }"), commit("addPaymentToOrder"));
}

#[test]
fn the_envelope_is_the_plain_one() {
    let good = serde_json::json!({ "query": "{ me }", "operationName": null, "variables": null, "extensions": {} });
    assert_eq!(of(&good), Does::Read);
    let mut named = good.clone();
    named["extensions"] = serde_json::json!({ "clientLibrary": { "name": "@apollo/client", "version": "4.1.8" } });
    assert_eq!(of(&named), Does::Read);
    for (member, value) in [
        ("extensions", serde_json::json!({ "clientLibrary": { "name": "x" }, "persistedQuery": {} })),
        ("extensions", serde_json::json!({ "clientLibrary": { "name": "x", "query": "{ me }" } })),
        ("extensions", serde_json::json!({ "clientLibrary": { "name": ["x"] } })),
        ("extensions", serde_json::json!({ "clientlibrary": { "name": "x" } })),
        ("extensions", serde_json::json!({ "persistedQuery": { "version": 1, "sha256Hash": "ab" } })),
        ("extensions", serde_json::json!([])),
        ("variables", serde_json::json!([])),
        ("variables", serde_json::json!("{}")),
        ("query", serde_json::json!(null)),
        ("query", serde_json::json!(["{ me }"])),
        ("OperationName", serde_json::json!("Pay")),
        ("Query", serde_json::json!("mutation { addPaymentToOrder }")),
        ("id", serde_json::json!("abc")),
        ("documentId", serde_json::json!(null)),
    ] {
        let mut body = good.clone();
        body[member] = value;
        assert!(is_unrecognised(&of(&body)), "{body}");
    }
    assert!(is_unrecognised(&of(&serde_json::json!({ "extensions": {} }))));
}

#[test]
fn the_url_brings_no_part_of_the_request() {
    let judge = |query: &str| vendure().judge(&read_object(br#"{"query":"{ me }"}"#).unwrap(), Some(query));
    for fine in ["", "languageCode=en&x", "q=query", "a=query=1", "queries=1", "%zz=1&%=2&%4", "=query", "x%00query=1"]
    {
        assert_eq!(judge(fine), Does::Read, "{fine}");
    }
    for odd in [
        "query={me}",
        "a=b&%71uery=x",
        "query",
        "Query=1",
        "+query=1",
        "%20query+=1",
        "query[]=1",
        "query%5B%5D=1",
        "?query=1",
        "a;query=1",
        "operationName=Pay",
        "variables=%7B%7D",
        "extensions=",
        "variables[s]=x",
        "query%00=1",
        "%6fperationname=x",
    ] {
        assert!(is_unrecognised(&judge(odd)), "{odd}");
    }
}

#[test]
fn a_condition_holds_only_when_it_is_known_to() {
    let go = |head: &str, value: &str, variables: &str| {
        let text = format!("mutation{head} {{ transitionOrderToState{value} {{ id }} }}");
        of(
            &serde_json::json!({ "query": text, "variables": serde_json::from_str::<serde_json::Value>(variables).unwrap() }),
        )
    };
    let good = [
        ("", "(state: \"ArrangingPayment\")", "null"),
        ("", "(state: \"Arranging\\u0050ayment\", other: 1)", "{}"),
        ("", "(state: \"\"\"\n   ArrangingPayment\n\"\"\")", "{}"),
        ("($s: String!)", "(state: $s)", r#"{"s":"ArrangingPayment"}"#),
        ("($s: String = \"ArrangingPayment\")", "(state: $s)", r#"{"x":"Other"}"#),
        ("($s: String = \"Other\")", "(state: $s)", r#"{"s":"Arranging\u0050ayment"}"#),
    ];
    for (head, value, variables) in good {
        assert_eq!(go(head, value, variables), Does::Amend, "{head} {value} {variables}");
    }
    let arranging = r#"{"s":"ArrangingPayment"}"#;
    for (head, value, variables) in [
        ("", "", "{}"),
        ("", "(state: \"arrangingPayment\")", "{}"),
        ("", "(state: \"ArrangingPayment \")", "{}"),
        ("", "(state: ArrangingPayment)", "{}"),
        ("", "(state: [\"ArrangingPayment\"])", "{}"),
        ("", "(state: null)", "{}"),
        ("", "(State: \"ArrangingPayment\")", "{}"),
        ("", "(state: \"ArrangingPayment\", state: \"PaymentSettled\")", "{}"),
        ("", "(state: $s)", arranging),
        ("($s: String!)", "(state: $s)", "{}"),
        ("($s: String!)", "(state: $S)", arranging),
        ("($s: [String!])", "(state: $s)", arranging),
        ("($s: String, $s: String)", "(state: $s)", arranging),
        ("($s: String @x)", "(state: $s)", arranging),
        ("($s: String = \"ArrangingPayment\")", "(state: $s)", r#"{"s":null}"#),
        ("($s: String = \"ArrangingPayment\")", "(state: $s)", r#"{"s":"PaymentSettled"}"#),
        ("($s: String = \"PaymentSettled\")", "(state: $s)", "{}"),
        ("($s: String)", "(state: $s)", r#"{"s":["ArrangingPayment"]}"#),
    ] {
        assert!(is_unrecognised(&go(head, value, variables)), "{head} {value} {variables}");
    }
}

#[test]
fn an_answer_whose_fields_are_renamed_is_marked() {
    let renamed = |text: &str| match does(text) {
        Does::Commit { renamed, .. } => renamed,
        other => panic!("{text}: {other:?}"),
    };
    assert!(renamed("mutation { addPaymentToOrder { ... on Order { errorCode: code } } }"));
    assert!(renamed("mutation { addPaymentToOrder { ...O } } fragment O on Order { lines { errorCode: id } }"));
    assert!(!renamed("mutation { p: addPaymentToOrder { code } }"));
    assert!(!renamed("mutation { ...A } fragment A on Mutation { p: addPaymentToOrder { code } }"));
}

#[test]
fn a_mistake_in_a_preset_is_told_with_its_line() {
    let text = "commit = [\"pay(a: \\\"x\\\")\", \"a b\", \"done\"]\namend = [\"done\", \"f(a: 1)\", \"x: f\", \"f { g }\", \"f @a\", \"ok\"]\n";
    let (doc, mut problems) = document::read::<OperationsDoc>(text);
    doc.compile(&mut problems);
    let places: Vec<_> =
        problems.iter().map(|problem| text.get(problem.offset.unwrap()..).unwrap().get(..3).unwrap()).collect();
    assert_eq!(places, ["\"pa", "\"a ", "\"do", "\"f(", "\"x:", "\"f ", "\"f "], "{problems:?}");
    let (doc, mut problems) = document::read::<OperationsDoc>("comit = []\n");
    doc.compile(&mut problems);
    assert_eq!(problems.len(), 2, "{problems:?}");
}

/// A bomb takes neither the stack of a small thread nor its time.
#[test]
fn a_bomb_is_refused_on_a_small_stack() {
    let shapes: [(&str, &str); 16] = [
        ("", "["),
        ("", "{"),
        ("", "("),
        ("", "{a"),
        ("", "{...{"),
        ("", "{...on A{"),
        ("query($a:", "["),
        ("{a(b:", "["),
        ("{a(b:", "{c:"),
        ("query($a:I=", "[{c:"),
        ("mutation ", "{a(b:[{c:"),
        ("{a", "@b"),
        ("{a", " \"\""),
        ("{", "#\n"),
        ("{", "a,"),
        ("{", "...a "),
    ];
    let run = move || {
        for (head, unit) in shapes {
            for size in [64 << 10, 1 << 20] {
                let text = format!("{head}{}", unit.repeat(size / unit.len()));
                let body = format!("{{\"query\":{}}}", serde_json::Value::from(text));
                let body = read_object(body.as_bytes()).unwrap();
                let started = std::time::Instant::now();
                let does = vendure().judge(&body, None);
                let took = started.elapsed();
                assert!(is_unrecognised(&does) && took < Duration::from_secs(5), "{head}{unit}: {took:?}");
            }
        }
        let deep = |open: &str, inside: &str, close: &str, n: usize| open.repeat(n) + inside + &close.repeat(n);
        let of_depth = |n| {
            let (list, of_type) = (deep("[", "1", "]", n - 2), deep("[", "I", "]", n - 1));
            does(&format!("query($a: {of_type}) {{ a(b: {list}) {} }}", deep("{a ", "a", "}", n - 1)))
        };
        assert_eq!(of_depth(plain::DEPTH_MAX), Does::Read);
        assert!(is_unrecognised(&of_depth(plain::DEPTH_MAX + 1)));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}
