//! Shopify: `orders/create`, `orders/updated`, `orders/paid`, `orders/cancelled` and
//! `refunds/create` (shopify.dev, REST Admin resources Order and Refund).

use super::members::{Members, carried_in};
use super::{Delivery, Happened, NotANotice, OrderLine, OrderNotice, channel};
use crate::model::money::Currency;

/// How an order is named where a checkout answers with a global id.
const GLOBAL: &str = "gid://shopify/Order/";

pub(super) fn read(delivery: &Delivery<'_>) -> Result<OrderNotice, NotANotice> {
    let body = &delivery.body;
    // A refund is a resource of its own and names its order.
    if body.get("order_id").is_some() {
        return refund(body);
    }
    let cancelled = body.time("cancelled_at")?;
    let state = body.word("financial_status")?;
    let (created, updated) = (body.time("created_at")?, body.time("updated_at")?);
    let money_back = matches!(state.as_deref(), Some("refunded" | "partially_refunded"));
    let (happened, time) = match cancelled {
        Some(time) => (Happened::Cancelled, Some(time)),
        None if money_back => (Happened::Refunded, updated),
        None if updated > created => (Happened::Updated, updated),
        None => (Happened::Created, created),
    };
    let currency = body.currency("currency")?.ok_or_else(|| body.wrong("currency", "is missing"))?;
    let attributes = body.list("note_attributes")?.unwrap_or_default();
    Ok(OrderNotice {
        state,
        total: body.major("total_price", currency)?,
        lines: body.lines("line_items", |item| line(delivery, item, currency))?,
        time,
        refs: delivery.refs([body.id("cart_token")?, body.id("checkout_token")?, body.id("checkout_id")?]),
        carried: carried_in(&attributes, "name"),
        signals: vec![
            channel::sales_channel(body.text("source_name")?),
            channel::utm_of(body.text("landing_site")?),
            channel::referrer(body.text("referring_site")?),
        ],
        ..OrderNotice::new(happened, order_id(body, "id")?)
    })
}

fn refund(body: &Members<'_, '_>) -> Result<OrderNotice, NotANotice> {
    let time = body.time("created_at")?;
    Ok(OrderNotice { time, ..OrderNotice::new(Happened::Refunded, order_id(body, "order_id")?) })
}

fn order_id(body: &Members<'_, '_>, name: &str) -> Result<String, NotANotice> {
    let id = body.required_id(name)?;
    Ok(id.strip_prefix(GLOBAL).map(str::to_owned).unwrap_or(id))
}

fn line(delivery: &Delivery<'_>, item: &Members<'_, '_>, currency: Currency) -> Result<OrderLine, NotANotice> {
    Ok(OrderLine {
        variant: item.id("variant_id")?.and_then(|id| delivery.naming.variant(&id)),
        quantity: item.quantity("quantity")?,
        prices: item.major("price", currency)?.into_iter().collect(),
    })
}
