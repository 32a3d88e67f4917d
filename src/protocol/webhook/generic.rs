//! Our own shape, for shops of any other kind (docs/orders.md). Names are strict: a mistake is told.

use super::members::Members;
use super::{Delivery, Happened, NotANotice, OrderLine, OrderNotice, channel};
use crate::model::money::Currency;

pub(super) fn read(delivery: &Delivery<'_>) -> Result<OrderNotice, NotANotice> {
    let body = &delivery.body;
    let happened = match body.text("happened")? {
        Some("created") => Happened::Created,
        Some("updated") => Happened::Updated,
        Some("cancelled") => Happened::Cancelled,
        Some("refunded") => Happened::Refunded,
        _ => return Err(body.wrong("happened", "must be `created`, `updated`, `cancelled` or `refunded`")),
    };
    let currency = body.currency("currency")?.ok_or_else(|| body.wrong("currency", "is missing"))?;
    Ok(OrderNotice {
        state: body.word("state")?,
        total: body.major("total", currency)?,
        lines: body.lines("lines", |item| line(delivery, item, currency))?,
        time: Some(body.time("time")?.ok_or_else(|| body.wrong("time", "is missing"))?),
        refs: delivery.refs([body.id("cartId")?, body.id("checkoutId")?, body.id("sessionId")?]),
        carried: body.carried(),
        signals: vec![
            channel::sales_channel(body.text("channel")?),
            channel::utm_source(body.text("utmSource")?),
            channel::referrer(body.text("referrer")?),
        ],
        ..OrderNotice::new(happened, body.required_id("orderId")?)
    })
}

fn line(delivery: &Delivery<'_>, item: &Members<'_, '_>, currency: Currency) -> Result<OrderLine, NotANotice> {
    let id = item.required_id("variant")?;
    Ok(OrderLine {
        variant: delivery.naming.variant(&id),
        quantity: item.quantity("quantity")?,
        prices: item.major("price", currency)?.into_iter().collect(),
    })
}
