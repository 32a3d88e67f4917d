//! Events in words. A sentence says who did what and what follows from it, so that it can be read
//! aloud to somebody who does not know the codes.

use crate::evidence::{Body, Data, LineSeen};
use crate::model::event::EventKind;
use crate::model::reason::ReasonCode;

/// Lines of an order that a sentence names.
const LINES_TOLD: usize = 3;

/// A text of others without what could move a cursor or turn the direction of writing.
#[must_use]
pub fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

/// What an event says.
pub fn sentence(body: &Body<'_>) -> String {
    let data = &body.data;
    let Some(kind) = body.kind() else { return format!("An event of a newer version: {}.", plain(body.name())) };
    match kind {
        EventKind::ExecutionAuthorized => format!("Permyx authorised {}.", purchase(data)),
        EventKind::ExecutionDenied => denied(data),
        EventKind::ExecutionExpired => "The token was presented after it had expired. Refused.".to_owned(),
        EventKind::ExecutionReplayDetected => {
            "The token was presented again. Refused, because a token is good for one purchase.".to_owned()
        }
        EventKind::ExecutionRetried => {
            format!("The same call came again and was told what became of the first{}.", because(data))
        }
        EventKind::ExecutionReserved => reserved(data),
        EventKind::ExecutionValidated => validated(data),
        EventKind::ExecutionReleased => released(data),
        EventKind::ExecutionIndeterminate => format!(
            "The request was sent to the store and no complete answer came back{}. It is never sent again, and the \
             token stays used up.",
            because(data)
        ),
        EventKind::ExecutionObserved => observed(data),
        EventKind::ExecutionBypassed => {
            format!("The request passed unjudged, as the policy wants during an outage{}.", because(data))
        }
        EventKind::ExecutionResolved => resolved(data),
        EventKind::OrderObserved => order(data),
        EventKind::OrderCorrelated => correlated(data, ""),
        EventKind::OrderUnmatched => unmatched(data),
        EventKind::OrderCorrelationRevised => correlated(data, "By what became known since: "),
        EventKind::OrderCancelled => format!("The store cancelled order {}.", order_id(data)),
        EventKind::OrderRefunded => format!("The store gave money back for order {}.", order_id(data)),
        EventKind::AttributionIngested => attribution(data),
        EventKind::OrderDrifted => {
            "The merchant ordered something else than what was authorised and read just before.".to_owned()
        }
        EventKind::PolicyActivated => "A policy came into force.".to_owned(),
        EventKind::PolicyRejected => format!("A changed policy was not taken{}.", because(data)),
        EventKind::KeyCreated => "A signing key was made.".to_owned(),
        EventKind::KeyRetired => "A signing key was retired.".to_owned(),
        EventKind::AgentKeyCreated => "An API key was made.".to_owned(),
        EventKind::AgentKeyRevoked => "An API key was revoked.".to_owned(),
        EventKind::RevocationAdded => revocation(data, "was revoked"),
        EventKind::RevocationLifted => revocation(data, "is no longer revoked"),
        EventKind::LedgerEpochChanged => {
            format!("The ledger may have forgotten: tokens from before are refused{}.", because(data))
        }
        EventKind::EvidenceGap => format!("Evidence is missing here{}.", because(data)),
        EventKind::EvidenceLogOpened => "A log began; it holds the last checkpoint of the one before.".to_owned(),
        EventKind::EvidenceExported => {
            let by = data.by.as_deref().map(|by| format!(" by {}", plain(by))).unwrap_or_default();
            format!("Evidence was exported{by}.")
        }
        EventKind::SystemAdministered => format!("The running program was administered{}.", because(data)),
        EventKind::SystemStarted => "The program started.".to_owned(),
        EventKind::SystemStopped => "The program stopped.".to_owned(),
    }
}

/// `1 × V at 29.90 USD for agent ak_1`.
fn purchase(data: &Data<'_>) -> String {
    let variant = data.variant_id.as_deref().map_or_else(|| "a purchase".to_owned(), plain);
    let quantity = data.quantity.map(|quantity| format!("{quantity} × ")).unwrap_or_default();
    let price = data.price.as_deref().map(|price| format!(" at {}", plain(price))).unwrap_or_default();
    format!("{quantity}{variant}{price}{}", for_agent(data))
}

fn for_agent(data: &Data<'_>) -> String {
    data.agent_id.map(|agent| format!(" for agent {}", plain(agent))).unwrap_or_default()
}

fn on_route(data: &Data<'_>) -> String {
    data.route.as_deref().map(|route| format!(" on route {}", plain(route))).unwrap_or_default()
}

fn because(data: &Data<'_>) -> String {
    data.cause.as_deref().map(|cause| format!(" ({})", plain(cause))).unwrap_or_default()
}

/// ` (ChatGPT-User)`.
fn named(data: &Data<'_>) -> String {
    data.agent_name.as_deref().map(|name| format!(" ({})", plain(name))).unwrap_or_default()
}

fn denied(data: &Data<'_>) -> String {
    let what = match data.stage {
        Some("authorize") => format!("Permyx did not authorise {}", purchase(data)),
        Some("validate") => "The token was presented for validation and refused".to_owned(),
        _ => format!("The request{} was refused", on_route(data)),
    };
    format!("{what}: {}.", reason(data.reason_code).or(data.cause.as_deref().map(plain)).unwrap_or_default())
}

fn revocation(data: &Data<'_>, what: &str) -> String {
    let subject = data.subject.as_deref().map(plain).unwrap_or_default();
    let by = data.by.as_deref().map(|by| format!(" by {}", plain(by))).unwrap_or_default();
    format!("{subject} {what}{by}{}.", because(data))
}

/// What a reason code means.
fn reason(code: Option<&str>) -> Option<String> {
    let code = code?;
    let known = ReasonCode::ALL.into_iter().find(|reason| reason.as_str() == code);
    Some(known.map_or_else(|| plain(code), |reason| reason.message().to_owned()))
}

fn reserved(data: &Data<'_>) -> String {
    let unverified = match data.cause.as_deref() {
        Some("price:unverified") => " No catalog confirms the price.",
        _ => "",
    };
    format!(
        "What is being bought is what was authorised{}, and the token is reserved for it.{unverified}",
        on_route(data)
    )
}

fn validated(data: &Data<'_>) -> String {
    if data.stage == Some("validate") {
        return "The token was used up by a call of validate.".to_owned();
    }
    let answered = data
        .http_status
        .map(|status| format!("The store answered {status}"))
        .unwrap_or("The store answered".to_owned());
    let meaning = match data.cause.as_deref() {
        Some("committed") => ": the purchase is made".to_owned(),
        Some("pending") => ": it has not decided yet".to_owned(),
        Some("failed") => ": no purchase was made, as far as its answer tells".to_owned(),
        Some("answer_truncated") => ", and its answer broke off".to_owned(),
        Some("answer_encoded") => ", and its answer was compressed and not read".to_owned(),
        _ => because(data),
    };
    let gone = if data.client_gone { " The caller had left by then." } else { "" };
    format!("{answered}{meaning}. The token is used up.{gone}")
}

fn released(data: &Data<'_>) -> String {
    let what = match data.cause.as_deref() {
        Some("not_sent") => "The store could not be reached and nothing was sent to it".to_owned(),
        Some("not_executed") => "The store answered that it executed nothing".to_owned(),
        _ => format!("Nothing was executed{}", because(data)),
    };
    format!("{what}. The token is unused.")
}

fn observed(data: &Data<'_>) -> String {
    let caller = match (data.token_id, data.agent_signal) {
        (Some(_), _) => format!("A request with a token{}", for_agent(data)),
        (None, Some("ua")) => format!("A request without a token, from what calls itself an agent{}", named(data)),
        (None, Some("signature")) => "A request without a token, which claims an agent's signature".to_owned(),
        (None, _) => "A request without a token".to_owned(),
    };
    let passed = format!("{caller}, passed{}.", on_route(data));
    match (data.would_deny, data.enforcement) {
        (Some("NO_TOKEN"), _) | (None, Some("enforce")) => passed,
        (Some(_), _) => {
            let reason = reason(data.would_deny).unwrap_or_default();
            format!("{passed} Enforcement would have refused it: {reason}.")
        }
        (None, _) => format!("{passed} Enforcement would have let it pass too."),
    }
}

fn order_id(data: &Data<'_>) -> String {
    data.order_id.as_deref().map(plain).unwrap_or_default()
}

fn resolved(data: &Data<'_>) -> String {
    match data.order_id {
        Some(_) => format!("It is known now how that ended: the store made order {}.", order_id(data)),
        None => format!("It is known now how that ended{}.", because(data)),
    }
}

/// `Order 1001 is this purchase: proven, 100 %.`
fn correlated(data: &Data<'_>, since: &str) -> String {
    let order = order_id(data);
    let sure = sureness(data.level, data.order_confidence);
    match data.level {
        Some("contradicted") => {
            let flags: Vec<_> = data.flags.iter().map(|flag| contradiction(flag)).collect();
            format!("{since}Order {order} names this purchase and is not what was authorised: {}.", flags.join("; "))
        }
        Some("proven") => format!("{since}Order {order} is this purchase: {sure}."),
        Some("none") | None => format!("{since}Order {order} has no execution that it could be."),
        Some(_) => format!("{since}Order {order} seems to be this purchase: {sure}."),
    }
}

fn unmatched(data: &Data<'_>) -> String {
    let agent = match data.level {
        Some("none") | None => "and nothing says that an agent made it".to_owned(),
        level => format!("an agent seems to have made it elsewhere: {}", sureness(level, data.order_confidence)),
    };
    format!("Order {} has no execution that it could be, {agent}.", order_id(data))
}

/// `strong, 90 %`.
pub(super) fn sureness(level: Option<&str>, points: Option<u16>) -> String {
    let points = points.map(|points| format!(", {}", percent(points))).unwrap_or_default();
    format!("{}{points}", level.map(plain).unwrap_or_default())
}

/// What a flag of a judgement means.
pub(super) fn contradiction(flag: &str) -> String {
    match flag {
        "total_above_authorised" => "it costs more than was authorised".to_owned(),
        "token_of_another_order" => "the token bought another order".to_owned(),
        "items_differ" => "other items or quantities were ordered".to_owned(),
        "currency_differs" => "it is in another currency".to_owned(),
        other => plain(other),
    }
}

fn attribution(data: &Data<'_>) -> String {
    let off = !data.signals.is_empty() && data.signals.iter().all(|signal| signal.state == "feature_off");
    match data.channel.as_deref() {
        Some(channel) => format!("The order seems to come from {}.", plain(channel)),
        None if off => "The store does not record where its orders come from.".to_owned(),
        None => "Nothing that the store says of the order's origin names an agent.".to_owned(),
    }
}

/// Basis points in words: `95 %`, `2.5 %`.
fn percent(points: u16) -> String {
    match points % 100 {
        0 => format!("{} %", points / 100),
        rest => format!("{}.{} %", points / 100, format!("{rest:02}").trim_end_matches('0')),
    }
}

fn order(data: &Data<'_>) -> String {
    let id = order_id(data);
    let status = data.order_status.as_deref().map(|status| format!(", status {}", plain(status))).unwrap_or_default();
    let total = data.order_total.as_deref().map(|total| format!(", total {}", plain(total))).unwrap_or_default();
    if data.stage == Some("webhook") {
        return format!("The store told of order {id}{status}{total}{}.", ordered(data));
    }
    format!("The store gave order {id}{status}{total}.")
}

/// `: 1 × V at 29.90 USD, 2 × W`.
fn ordered(data: &Data<'_>) -> String {
    let line = |line: &LineSeen| {
        let variant = line.variant_id.as_deref().map_or_else(|| "something of no catalog".to_owned(), plain);
        let price = line.prices.first().map(|price| format!(" at {}", plain(price))).unwrap_or_default();
        format!("{} × {variant}{price}", line.quantity)
    };
    let lines = data.lines.as_deref().unwrap_or_default();
    let told: Vec<_> = lines.iter().take(LINES_TOLD).map(line).collect();
    let all = data.count.unwrap_or(lines.len() as u64);
    let more = all.saturating_sub(told.len() as u64);
    match (told.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!(": {}", told.join(", ")),
        (false, more) => format!(": {} and {more} more", told.join(", ")),
    }
}
