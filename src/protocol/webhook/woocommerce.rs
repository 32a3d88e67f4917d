//! WooCommerce: topics `order.created`, `order.updated` and `order.deleted` (REST API v3, resource
//! Order; order attribution is stored in `meta_data`).

use super::members::{Members, carried_in, named};
use super::{Delivery, Happened, NotANotice, OrderLine, OrderNotice, channel};
use crate::model::money::{Currency, Price};
use crate::model::signal::Signal;
use crate::model::time::Timestamp;

pub(super) fn read(delivery: &Delivery<'_>) -> Result<OrderNotice, NotANotice> {
    let body = &delivery.body;
    let state = body.word("status")?;
    let (created, updated) = (time(body, "date_created_gmt")?, time(body, "date_modified_gmt")?);
    // A deleted order is told of by its id alone.
    let happened = match state.as_deref() {
        None | Some("cancelled" | "failed" | "trash") => Happened::Cancelled,
        Some("refunded") => Happened::Refunded,
        Some(_) if updated > created => Happened::Updated,
        Some(_) => Happened::Created,
    };
    let meta = body.list("meta_data")?.unwrap_or_default();
    let currency = body.currency("currency")?;
    if state.is_some() && currency.is_none() {
        return Err(body.wrong("currency", "is missing"));
    }
    Ok(OrderNotice {
        total: currency.map(|currency| body.major("total", currency)).transpose()?.flatten(),
        lines: match currency {
            Some(currency) => body.lines("line_items", |item| line(delivery, item, currency))?,
            None => None,
        },
        time: if happened == Happened::Created { created } else { updated.or(created) },
        refs: delivery.refs([body.id("order_key")?, body.id("cart_hash")?]),
        carried: carried_in(&meta, "key"),
        signals: signals(&meta),
        state,
        ..OrderNotice::new(happened, body.required_id("id")?)
    })
}

/// Times in UTC, written without a zone.
fn time(body: &Members<'_, '_>, name: &str) -> Result<Option<Timestamp>, NotANotice> {
    let Some(text) = body.text(name)? else { return Ok(None) };
    let time = Timestamp::parse(&format!("{}Z", text.trim_end_matches('Z')));
    time.map(Some).ok_or_else(|| body.wrong(name, "must be a time like 2026-11-25T10:00:00"))
}

/// Where order attribution is switched off, that nothing is told says nothing.
fn signals(meta: &[Members<'_, '_>]) -> Vec<Signal> {
    let told = |name: &str| named(meta, "key", &format!("_wc_order_attribution_{name}"));
    let on = told("source_type").is_some();
    let channel = channel::off("sales_channel");
    if !on {
        return vec![channel, channel::off("utm_source"), channel::off("referrer")];
    }
    vec![channel, channel::utm_source(told("utm_source")), channel::referrer(told("referrer"))]
}

fn line(delivery: &Delivery<'_>, item: &Members<'_, '_>, currency: Currency) -> Result<OrderLine, NotANotice> {
    let variation = item.id("variation_id")?.filter(|id| id != "0");
    let id = variation.map_or_else(|| item.id("product_id"), |id| Ok(Some(id)))?;
    let quantity = item.quantity("quantity")?;
    let (net, tax) = (item.major("subtotal", currency)?, item.major("subtotal_tax", currency)?);
    let gross = net.zip(tax).filter(|(_, tax)| tax.minor() > 0).and_then(|(net, tax)| net.plus(tax));
    Ok(OrderLine {
        variant: id.and_then(|id| delivery.naming.variant(&id)),
        quantity,
        prices: [net, gross].into_iter().flatten().filter_map(|sum| unit(sum, quantity)).collect(),
    })
}

/// The unit price of a sum that divides evenly.
fn unit(sum: Price, quantity: u32) -> Option<Price> {
    let quantity = i64::from(quantity);
    let even = quantity > 0 && sum.minor() % quantity == 0;
    even.then(|| Price::of_minor(sum.minor() / quantity, sum.currency())).flatten()
}
