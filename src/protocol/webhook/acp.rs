//! ACP: `order_create` and `order_update`, as a merchant sends them to an agent's platform
//! (`openapi.agentic_checkout_webhook.yaml`, versions 2025-09-29 to 2026-04-17).

use super::members::Members;
use super::{Carried, Delivery, Happened, NotANotice, OrderLine, OrderNotice, channel};
use crate::model::money::{Currency, Price};

pub(super) fn read(delivery: &Delivery<'_>) -> Result<OrderNotice, NotANotice> {
    let body = &delivery.body;
    let created = match body.text("type")? {
        Some("order_create") => true,
        Some("order_update") => false,
        _ => return Err(body.wrong("type", "must be `order_create` or `order_update`")),
    };
    let data = body.required_object("data")?;
    let state = data.word("status")?;
    let money_back = has_adjustment(&data, &["refund", "return", "credit"])? || !list(&data, "refunds")?.is_empty();
    let happened = match state.as_deref() {
        Some("canceled" | "cancelled") => Happened::Cancelled,
        _ if money_back => Happened::Refunded,
        _ if created => Happened::Created,
        _ => Happened::Updated,
    };
    let session = data.required_id("checkout_session_id")?;
    let currency = data.currency("currency")?;
    // Before 2026-04-17 an order has no other name than its session's.
    let order = data.id("id")?.unwrap_or_else(|| session.clone());
    Ok(OrderNotice {
        state,
        total: currency.map(|currency| total(&data, currency)).transpose()?.flatten(),
        lines: data.lines("line_items", |item| line(delivery, item, currency))?,
        refs: delivery.refs([Some(session)]),
        carried: carried(&data)?,
        // The protocol is the channel: nothing else sells by it.
        signals: vec![channel::protocol("acp")],
        ..OrderNotice::new(happened, order)
    })
}

fn list<'o, 'a>(data: &Members<'o, 'a>, name: &str) -> Result<Vec<Members<'o, 'a>>, NotANotice> {
    Ok(data.list(name)?.unwrap_or_default())
}

/// Whether there is an adjustment of one of these kinds that came into force.
pub(super) fn has_adjustment(order: &Members<'_, '_>, kinds: &[&str]) -> Result<bool, NotANotice> {
    for adjustment in list(order, "adjustments")? {
        let in_force = adjustment.text("status")?.is_none_or(|status| status == "completed");
        if in_force && adjustment.text("type")?.is_some_and(|kind| kinds.contains(&kind)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The entry `total` of the totals, in minor units.
pub(super) fn total(order: &Members<'_, '_>, currency: Currency) -> Result<Option<Price>, NotANotice> {
    for entry in list(order, "totals")? {
        if entry.text("type")? == Some("total") {
            return entry.minor("amount", currency);
        }
    }
    Ok(None)
}

fn carried(data: &Members<'_, '_>) -> Result<Option<Carried>, NotANotice> {
    let noted = data.object("metadata")?.and_then(|metadata| metadata.carried());
    Ok(noted.or(data.text("client_reference_id")?.and_then(Carried::parse)))
}

fn line(delivery: &Delivery<'_>, item: &Members<'_, '_>, currency: Option<Currency>) -> Result<OrderLine, NotANotice> {
    let mut id = None;
    for name in ["variant_id", "product_id", "id"] {
        id = id.or(item.id(name)?);
    }
    let price = currency.map(|currency| item.minor("unit_price", currency)).transpose()?.flatten();
    Ok(OrderLine {
        variant: id.and_then(|id| delivery.naming.variant(&id)),
        quantity: ordered(item, "ordered")?,
        prices: price.into_iter().collect(),
    })
}

/// A quantity: a number, or an object that also tells what came of it.
pub(super) fn ordered(item: &Members<'_, '_>, first: &str) -> Result<u32, NotANotice> {
    if item.get("quantity").is_some_and(|quantity| quantity.as_object().is_none()) {
        return item.quantity("quantity");
    }
    let quantity = item.required_object("quantity")?;
    let name = if quantity.get(first).is_some() { first } else { "total" };
    quantity.quantity(name)
}
