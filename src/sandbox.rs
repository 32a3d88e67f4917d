//! Floor 7: the sandbox merchant of `permyx dev`, a small shop with a one-shot checkout. It is the
//! witness of every promise: what it counts as executed is what really reached a merchant.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use parking_lot::Mutex;
use serde_json::json;
use tokio::net::TcpListener;

use crate::model::ids::TraceId;
use crate::model::intent::Quantity;
use crate::model::json::{JsonError, Object, Value, read_object};
use crate::model::money::{Currency, Decimal, Price};

/// What is for sale: variant, title, unit price.
pub const ITEMS: [(&str, &str, &str); 3] = [
    ("shopify:variant:123456", "Enamel mug, blue", "29.99 USD"),
    ("shopify:variant:234567", "Linen apron", "54.50 USD"),
    ("shopify:variant:345678", "Coffee grinder", "189.00 USD"),
];
/// Most lines of one cart.
const LINES_MAX: usize = 20;
/// Most bytes of a body; a longer one is 413.
const BODY_MAX: usize = 1 << 20;
/// Orders that are remembered, the latest; older ones are still counted.
const ORDERS_KEPT: usize = 10_000;
/// Traces that `/stats` lists, the latest.
const TRACES_SHOWN: usize = 100;
/// How long open connections may take to end once the shop closes.
const GRACE: Duration = Duration::from_secs(2);

/// The shop: what it sells and what it sold. Everything is kept in memory and within bounds.
pub struct Sandbox {
    items: Vec<Item>,
    /// A different word in each run, so that no two orders of a day have one id.
    run: String,
    book: Mutex<Book>,
}

struct Item {
    variant: &'static str,
    title: &'static str,
    price: Price,
}

/// The order book. One lock, held for a push: order ids are given in the order of execution.
#[derive(Default)]
struct Book {
    executed: u64,
    refused: u64,
    /// The latest orders, oldest first; the last one is number `executed`.
    latest: VecDeque<Order>,
}

struct Order {
    body: Arc<str>,
    trace: Option<TraceId>,
}

/// Why the shop does not sell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Refused {
    #[error("the body must be one JSON object: {0}")]
    NotJson(#[from] JsonError),
    #[error("`{0}` is missing or has the wrong form")]
    Member(&'static str),
    #[error("`items` must hold 1 to {LINES_MAX} lines")]
    Lines,
    #[error("`quantity` must be a whole number from 1 to {max}", max = Quantity::MAX)]
    Quantity,
    #[error("there is no such item; GET /items lists what is for sale")]
    NoSuchItem,
    #[error("the price of `{variant}` is {price}")]
    PriceChanged { variant: &'static str, price: Price },
    #[error("the total is out of range")]
    Total,
}

impl Sandbox {
    /// A new shop with an empty order book.
    pub fn router() -> Router {
        Router::new()
            .route("/items", get(list_items))
            .route("/checkout", post(checkout))
            .route("/orders/{id}", get(show_order))
            .route("/stats", get(show_stats))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(Arc::new(Self::open()))
    }

    /// Serves a new shop until `shutdown` is done; then open connections have [`GRACE`] to end.
    pub async fn serve(listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let (closing, closed) = tokio::sync::oneshot::channel::<()>();
        let stop = async move {
            shutdown.await;
            drop(closing);
        };
        let listener = listener.tap_io(|io| {
            // Without it a small answer may wait for the peer's acknowledgement.
            let _ = io.set_nodelay(true);
        });
        let serving = axum::serve(listener, Self::router()).with_graceful_shutdown(stop).into_future();
        let patience = async move {
            let _ = closed.await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            served = serving => served,
            () = patience => Ok(()),
        }
    }

    fn open() -> Self {
        let item = |&(variant, title, price): &_| Some(Item { variant, title, price: Price::parse_text(price)? });
        let run = uuid::Uuid::new_v4().simple().to_string().chars().take(8).collect();
        Self { items: ITEMS.iter().filter_map(item).collect(), run, book: Mutex::default() }
    }

    /// Sells what the body asks for, all of it or nothing.
    fn sell(&self, body: &[u8], trace: Option<TraceId>) -> Result<Arc<str>, Refused> {
        match self.read_cart(body) {
            Ok(cart) => Ok(self.enter(&cart, trace)),
            Err(why) => {
                self.book.lock().refused += 1;
                Err(why)
            }
        }
    }

    fn read_cart(&self, body: &[u8]) -> Result<Cart<'_>, Refused> {
        let body = read_object(body)?;
        let currency = text(body.get("currency")).and_then(Currency::parse).ok_or(Refused::Member("currency"))?;
        let lines = body.get("items").and_then(Value::as_array).ok_or(Refused::Member("items"))?;
        if !(1..=LINES_MAX).contains(&lines.len()) {
            return Err(Refused::Lines);
        }
        let lines = lines.iter().map(|line| self.read_line(line, currency)).collect::<Result<Vec<_>, _>>()?;
        let total = lines
            .iter()
            .try_fold(0_i64, |sum, line| sum.checked_add(line.item.price.times(line.quantity.get())?.minor()));
        let total = total.and_then(|minor| Price::of_minor(minor, currency)).ok_or(Refused::Total)?;
        Ok(Cart { lines, total })
    }

    /// A line is sold only at the price of the list: the client's price binds, it does not decide.
    fn read_line(&self, line: &Value<'_>, currency: Currency) -> Result<Line<'_>, Refused> {
        let line = line.as_object().ok_or(Refused::Member("items"))?;
        let variant = text(line.get("variant")).ok_or(Refused::Member("variant"))?;
        let quantity = number(line, "quantity").and_then(Quantity::parse).ok_or(Refused::Quantity)?;
        let price = number(line, "price").and_then(Decimal::parse).ok_or(Refused::Member("price"))?;
        let item = self.items.iter().find(|item| item.variant == variant).ok_or(Refused::NoSuchItem)?;
        if Price::of_major(price, currency) != Some(item.price) {
            return Err(Refused::PriceChanged { variant: item.variant, price: item.price });
        }
        Ok(Line { item, quantity })
    }

    /// Executes: from here on the purchase has happened.
    fn enter(&self, cart: &Cart<'_>, trace: Option<TraceId>) -> Arc<str> {
        let mut book = self.book.lock();
        book.executed += 1;
        let body: Arc<str> = format!(r#"{{"orderId":"ord_{}_{}",{cart}}}"#, self.run, book.executed).into();
        if book.latest.len() == ORDERS_KEPT {
            book.latest.pop_front();
        }
        book.latest.push_back(Order { body: Arc::clone(&body), trace });
        body
    }

    fn order(&self, id: &str) -> Option<Arc<str>> {
        let number: u64 = id.strip_prefix("ord_")?.strip_prefix(&self.run)?.strip_prefix('_')?.parse().ok()?;
        let book = self.book.lock();
        let age = usize::try_from(book.executed.checked_sub(number)?).ok()?;
        let place = book.latest.len().checked_sub(age + 1)?;
        book.latest.get(place).map(|order| Arc::clone(&order.body))
    }
}

impl Book {
    /// `mostPerTrace` is 1 as long as no request was sent twice; it counts the remembered orders.
    fn stats(&self) -> serde_json::Value {
        let mut traces: BTreeMap<String, u64> = BTreeMap::new();
        for trace in self.latest.iter().filter_map(|order| order.trace) {
            *traces.entry(trace.to_string()).or_default() += 1;
        }
        let most = traces.values().copied().max().unwrap_or(0);
        // Trace ids sort by time, so the last keys are the latest traces.
        let older = traces.len().saturating_sub(TRACES_SHOWN);
        let latest: BTreeMap<_, _> = traces.into_iter().skip(older).collect();
        json!({ "executed": self.executed, "refused": self.refused, "mostPerTrace": most, "byTrace": latest })
    }
}

struct Cart<'s> {
    lines: Vec<Line<'s>>,
    total: Price,
}

struct Line<'s> {
    item: &'s Item,
    quantity: Quantity,
}

/// The members of an order. Amounts are written from their minor units, and every text is one of
/// ours, so nothing needs escaping.
impl fmt::Display for Cart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (total, currency) = (self.total.major(), self.total.currency());
        write!(f, r#""status":"confirmed","total":{total},"currency":"{currency}","items":["#)?;
        for (n, Line { item, quantity }) in self.lines.iter().enumerate() {
            let (comma, price) = (if n > 0 { "," } else { "" }, item.price.major());
            write!(f, r#"{comma}{{"variant":"{}","quantity":{quantity},"price":{price}}}"#, item.variant)?;
        }
        f.write_str("]")
    }
}

impl Refused {
    /// 400 for a cart that cannot be read, 422 for one that is not sold.
    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson(_) | Self::Member(_) | Self::Lines | Self::Quantity => StatusCode::BAD_REQUEST,
            Self::NoSuchItem | Self::PriceChanged { .. } | Self::Total => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::NotJson(_) | Self::Member(_) | Self::Lines | Self::Quantity => "bad_request",
            Self::NoSuchItem => "no_such_item",
            Self::PriceChanged { .. } => "price_changed",
            Self::Total => "total_out_of_range",
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = json!({ "error": { "code": self.code(), "message": self.to_string() } });
        answer(self.status(), body.to_string())
    }
}

async fn list_items(State(shop): State<Arc<Sandbox>>) -> Response {
    let item = |Item { variant, title, price }: &Item| {
        let (amount, currency) = (price.major(), price.currency());
        format!(r#"{{"variant":"{variant}","title":"{title}","price":{amount},"currency":"{currency}"}}"#)
    };
    let items: Vec<_> = shop.items.iter().map(item).collect();
    answer(StatusCode::OK, format!(r#"{{"items":[{}]}}"#, items.join(",")))
}

async fn checkout(State(shop): State<Arc<Sandbox>>, headers: HeaderMap, body: Bytes) -> Response {
    let trace = headers.get("permyx-trace").and_then(|trace| TraceId::parse(trace.to_str().ok()?));
    match shop.sell(&body, trace) {
        Ok(order) => answer(StatusCode::OK, order.to_string()),
        Err(why) => why.into_response(),
    }
}

async fn show_order(State(shop): State<Arc<Sandbox>>, Path(id): Path<String>) -> Response {
    match shop.order(&id) {
        Some(order) => answer(StatusCode::OK, order.to_string()),
        None => {
            let message = format!("no order of this id among the latest {ORDERS_KEPT}");
            let body = json!({ "error": { "code": "no_such_order", "message": message } });
            answer(StatusCode::NOT_FOUND, body.to_string())
        }
    }
}

async fn show_stats(State(shop): State<Arc<Sandbox>>) -> Response {
    let stats = shop.book.lock().stats();
    answer(StatusCode::OK, stats.to_string())
}

fn answer(status: StatusCode, mut body: String) -> Response {
    body.push('\n');
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn text<'o>(value: Option<&'o Value<'_>>) -> Option<&'o str> {
    value.and_then(Value::as_str)
}

fn number<'o>(object: &Object<'o>, name: &str) -> Option<&'o str> {
    object.get(name).and_then(Value::as_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cart(currency: &str, lines: &[(&str, &str, &str)]) -> String {
        let line = |(variant, quantity, price): &(&str, &str, &str)| {
            format!(r#"{{"variant":"{variant}","quantity":{quantity},"price":{price}}}"#)
        };
        let lines: Vec<_> = lines.iter().map(line).collect();
        format!(r#"{{"currency":"{currency}","items":[{}]}}"#, lines.join(","))
    }

    fn mug(quantity: &str, price: &str) -> String {
        cart("USD", &[("shopify:variant:123456", quantity, price)])
    }

    #[test]
    fn every_item_has_its_price() {
        let shop = Sandbox::open();
        assert_eq!(shop.items.len(), ITEMS.len());
        assert_eq!(shop.items[0].price.to_string(), "29.99 USD");
    }

    #[test]
    fn a_sale_is_what_the_cart_says_and_reads_back() {
        let shop = Sandbox::open();
        let body =
            cart("USD", &[("shopify:variant:123456", "2", "2999e-2"), ("shopify:variant:234567", "1.0", "54.5")]);
        let order = shop.sell(body.as_bytes(), None).unwrap();
        assert!(order.contains(r#""status":"confirmed","total":114.48,"currency":"USD""#), "{order}");
        let id = serde_json::from_str::<serde_json::Value>(&order).unwrap()["orderId"].as_str().unwrap().to_owned();
        assert_eq!(shop.order(&id), Some(order));
        for other in ["", "ord_1", "ord_x_1", &format!("{id}0"), &format!("ord_{}_0", shop.run)] {
            assert_eq!(shop.order(other), None, "{other:?}");
        }
    }

    #[test]
    fn nonsense_is_refused_by_name_and_nothing_is_sold() {
        let shop = Sandbox::open();
        let twice = mug("1", "29.99").replace("\"currency\"", "\"items\":[],\"currency\"");
        let refused = |body: &str| shop.sell(body.as_bytes(), None).unwrap_err();
        assert!(matches!(refused("[]"), Refused::NotJson(_)));
        assert!(matches!(refused(&twice), Refused::NotJson(_)));
        assert_eq!(refused("{}"), Refused::Member("currency"));
        assert_eq!(refused(&cart("usd", &[])), Refused::Member("currency"));
        assert_eq!(refused(&cart("USD", &[])), Refused::Lines);
        assert_eq!(refused(&cart("USD", &[("x", "1", "1"); LINES_MAX + 1])), Refused::Lines);
        assert_eq!(refused(&cart("USD", &[("x", "1", "1")])), Refused::NoSuchItem);
        for quantity in ["0", "51", "1.5", "-1", "\"1\"", "null"] {
            assert_eq!(refused(&mug(quantity, "29.99")), Refused::Quantity, "{quantity}");
        }
        for price in ["\"29.99\"", "null", "[]"] {
            assert_eq!(refused(&mug("1", price)), Refused::Member("price"), "{price}");
        }
        for price in ["29.98", "29.990000000000000001", "2999"] {
            assert!(matches!(refused(&mug("1", price)), Refused::PriceChanged { .. }), "{price}");
        }
        assert_eq!(shop.book.lock().executed, 0);
    }

    #[test]
    fn a_request_that_came_twice_shows_in_the_stats() {
        let (shop, trace) = (Sandbox::open(), TraceId::random());
        for _ in 0..2 {
            shop.sell(mug("1", "29.99").as_bytes(), Some(trace)).unwrap();
        }
        shop.sell(b"", None).unwrap_err();
        let stats = shop.book.lock().stats();
        assert_eq!((&stats["executed"], &stats["refused"], &stats["mostPerTrace"]), (&2.into(), &1.into(), &2.into()));
        assert_eq!(stats["byTrace"][trace.to_string()], 2);
    }

    #[test]
    fn only_the_latest_orders_are_remembered_and_all_are_counted() {
        let shop = Sandbox::open();
        let ids: Vec<_> = (0..ORDERS_KEPT + 1)
            .map(|_| shop.sell(mug("1", "29.99").as_bytes(), Some(TraceId::random())).unwrap())
            .map(|order| order.split('"').nth(3).unwrap().to_owned())
            .collect();
        assert!(shop.order(&ids[0]).is_none());
        assert!(shop.order(&ids[1]).is_some() && shop.order(&ids[ORDERS_KEPT]).is_some());
        let stats = shop.book.lock().stats();
        assert_eq!(stats["executed"], ORDERS_KEPT + 1);
        assert_eq!(stats["byTrace"].as_object().unwrap().len(), TRACES_SHOWN);
    }
}
