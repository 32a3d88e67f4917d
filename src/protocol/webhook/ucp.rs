//! UCP: the order as a business sends it to a platform, a snapshot of its state
//! (`schemas/shopping/order.json`, docs/specification/order.md).
//!
//! UCP signs with keys of the business (RFC 9421). A merchant that tells us of its own orders shares a
//! secret with us instead: the headers of Standard Webhooks, two of which UCP has too.

use super::acp::{has_adjustment, ordered, total};
use super::members::Members;
use super::{Delivery, Happened, NotANotice, OrderLine, OrderNotice, channel};
use crate::model::money::Currency;

pub(super) fn read(delivery: &Delivery<'_>) -> Result<OrderNotice, NotANotice> {
    let body = &delivery.body;
    let happened = if has_adjustment(body, &["cancellation"])? {
        Happened::Cancelled
    } else if has_adjustment(body, &["refund", "return", "credit"])? {
        Happened::Refunded
    } else {
        Happened::Created
    };
    let currency = body.currency("currency")?;
    let attribution = body.object("attribution")?;
    let source = attribution.map(|attribution| attribution.text("campaign_source")).transpose()?.flatten();
    Ok(OrderNotice {
        total: currency.map(|currency| total(body, currency)).transpose()?.flatten(),
        lines: body.lines("line_items", |item| line(delivery, item, currency))?,
        time: body.time("created_time")?,
        refs: delivery.refs([body.id("checkout_id")?]),
        carried: body.object("metadata")?.and_then(|metadata| metadata.carried()),
        // The protocol is the channel: nothing else sells by it.
        signals: vec![channel::protocol("ucp"), channel::utm_source(source)],
        ..OrderNotice::new(happened, body.required_id("id")?)
    })
}

fn line(delivery: &Delivery<'_>, line: &Members<'_, '_>, currency: Option<Currency>) -> Result<OrderLine, NotANotice> {
    let item = line.required_object("item")?;
    let price = currency.map(|currency| item.minor("price", currency)).transpose()?.flatten();
    Ok(OrderLine {
        variant: item.id("id")?.and_then(|id| delivery.naming.variant(&id)),
        quantity: ordered(line, "original")?,
        prices: price.into_iter().collect(),
    })
}
