//! What a store tells of its orders becomes evidence. Nothing is judged here.

use crate::model::event::{Event, EventKind};
use crate::model::ids::{StoreId, TraceId};
use crate::model::time::Timestamp;
use crate::model::trace_parent::TraceParent;
use crate::protocol::webhook::{Happened, LINES_MAX, OrderLine, OrderNotice};

use super::{Authority, CannotDecide};

/// One call in which a store told of an order.
#[derive(Clone, Debug)]
pub struct Telling {
    pub store: StoreId,
    pub trace: TraceId,
    pub trace_parent: Option<TraceParent>,
    pub now: Timestamp,
}

impl Authority {
    /// Records what a store told. When this fails, nothing was taken and the store should tell it again.
    pub fn hear_order(&self, telling: &Telling, notice: &OrderNotice) -> Result<(), CannotDecide> {
        // The order comes last: its event is the one that says that this delivery was taken.
        for event in attribution(telling, notice).into_iter().chain([order(telling, notice)]) {
            let _receipt = self.evidence.append(&event)?;
        }
        Ok(())
    }
}

fn about(kind: EventKind, telling: &Telling, notice: &OrderNotice) -> Event {
    let mut event = Event::new(kind, notice.time.unwrap_or(telling.now), telling.trace);
    event.trace_parent = telling.trace_parent;
    event.data.stage = Some("webhook");
    event.data.store_id = Some(telling.store.clone());
    event.data.order_id = Some(notice.order.clone().into());
    event
}

/// Where the order came from, also where the platform does not look: that is not the same as nothing.
fn attribution(telling: &Telling, notice: &OrderNotice) -> Option<Event> {
    if notice.signals.is_empty() {
        return None;
    }
    let mut event = about(EventKind::AttributionIngested, telling, notice);
    event.data.channel = notice.channel();
    event.data.signals.clone_from(&notice.signals);
    Some(event)
}

fn order(telling: &Telling, notice: &OrderNotice) -> Event {
    let kind = match notice.happened {
        Happened::Created | Happened::Updated => EventKind::OrderObserved,
        Happened::Cancelled => EventKind::OrderCancelled,
        Happened::Refunded => EventKind::OrderRefunded,
    };
    let mut event = about(kind, telling, notice);
    let data = &mut event.data;
    data.order_status = notice.state.clone().map(Into::into);
    data.order_total = notice.total.map(|total| total.to_string().into());
    data.lines = notice.lines.as_ref().map(|lines| lines.first.iter().map(OrderLine::recorded).collect());
    data.count = notice.lines.as_ref().map(|lines| lines.all as u64).filter(|all| *all > LINES_MAX as u64);
    data.refs.clone_from(&notice.refs);
    data.carried = notice.carried.map(|carried| carried.to_string().into());
    data.delivery = Some(notice.delivery);
    event
}
