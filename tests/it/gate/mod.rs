//! The promises of the gate: what was authorised may be bought, once, and nothing else; whoever
//! looks from either side sees what the gateway says and nobody else's word for it.

mod golden;
mod headers;
mod observe;
mod purchase;

use std::sync::LazyLock;

use serde_json::Value;

use crate::support::gateway::{Gateway, Guard};
use crate::support::http::Answer;
use crate::support::merchant::{Merchant, Recorded, Reply};

/// The host on which nothing is enforced.
const OPEN_HOST: &str = "open.example";

const AGENTS_ONLY: &str = "mode = \"enforce\"\ntokenless = \"require\"\n";

/// One gateway for all tests of this module: each looks at its own requests by their traces.
struct Stand {
    gateway: &'static Gateway,
    merchant: Merchant,
}

static STAND: LazyLock<Stand> = LazyLock::new(|| {
    let merchant = Merchant::start(answer);
    let enforcing = |name| Guard { host: "shop.example", ..Guard::enforcing(name, merchant.url()) };
    let guards = [
        enforcing("shop"),
        enforcing("elsewhere"),
        Guard { policy: AGENTS_ONLY, ..enforcing("agents") },
        Guard {
            policy: "mode = \"enforce\"\ncurrency = \"USD\"\n[limits]\nmax_item_price = \"20.00 USD\"\n",
            ..enforcing("cheap")
        },
        Guard { preset: "ucp", ..enforcing("ucp") },
        Guard { preset: "acp", ..enforcing("acp") },
        Guard { preset: "vendure", policy: AGENTS_ONLY, ..enforcing("graphql") },
        Guard { preset: "oneshot-form", policy: AGENTS_ONLY, ..enforcing("form") },
        Guard { host: OPEN_HOST, policy: "mode = \"observe\"\n", ..enforcing("seen") },
    ];
    let gateway = Gateway::start(&guards, &format!("fallback = \"{}\"", merchant.url())).shared();
    Stand { gateway, merchant }
});

/// Sells, and answers other paths as the first word of their query says.
fn answer(request: &Recorded) -> Reply {
    let line = request.request_line();
    let forged =
        "HTTP/1.1 200 OK\r\nPermyx-Decision: allowed\r\nPermyx_Trace: trc_forged\r\nContent-Length: 2\r\n\r\n{}";
    match line.split_once('?').map(|(_, rest)| rest.split([' ', '&']).next().unwrap()) {
        Some("teapot") => {
            Reply::Bytes(b"HTTP/1.1 418 I'm a teapot\r\nX-Tea: Earl Grey\r\nContent-Length: 5\r\n\r\nno ()".into())
        }
        Some("forge") => Reply::Bytes(forged.into()),
        _ => Reply::sold(),
    }
}

impl Stand {
    /// What the merchant got of the request that was answered like this.
    fn arrived(&self, answer: &Answer) -> Vec<Recorded> {
        let trace = trace(answer);
        self.merchant.recorded().into_iter().filter(|request| request.header("permyx-trace") == [trace]).collect()
    }

    /// The one event of this kind that the request left.
    fn event(&self, answer: &Answer, kind: &str) -> Value {
        let events = self.gateway.events_of(trace(answer));
        let mut of_kind = events.iter().filter(|event| event["data"]["eventType"] == kind);
        let event = of_kind.next().unwrap_or_else(|| panic!("no {kind} in {events:?}")).clone();
        assert_eq!(of_kind.next(), None, "{kind} twice");
        event
    }
}

fn trace(answer: &Answer) -> &str {
    answer.header("permyx-trace").unwrap_or_else(|| panic!("no trace on {answer:?}"))
}

/// The published reason code of a refusal; every shape of it agrees with every other.
fn refused(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    let body = answer.json();
    let code = body["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!(answer.header("permyx-decision"), Some(format!("denied; reason={code}").as_str()));
    assert_eq!((body["traceId"].as_str(), body["allowed"].as_bool()), (answer.header("permyx-trace"), Some(false)));
    assert_eq!((&body["tokenConsumed"], &body["decision"]), (&Value::Bool(false), &Value::from("denied")));
    if status == 403 {
        assert_eq!(body["reasonCode"], code.as_str());
    }
    code
}
