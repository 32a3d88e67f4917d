//! Events as pieces of a stream of server-sent events (WHATWG HTML, "server-sent events").

use std::fmt::Write as _;

use bytes::Bytes;

use crate::evidence::StoredEvent;

/// A piece is closed by the event with which it reaches this.
const PIECE: usize = 256 << 10;

/// As many of these events as one piece holds, and the index of the last of them; none where there are
/// no events.
pub(super) fn piece(events: &[StoredEvent]) -> Option<(Bytes, u64)> {
    let (mut text, mut last) = (String::new(), None);
    for event in events {
        write_event(&mut text, event);
        last = Some(event.index);
        if text.len() >= PIECE {
            break;
        }
    }
    last.map(|last| (text.into(), last))
}

fn write_event(text: &mut String, event: &StoredEvent) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "id: {}", event.index);
    if let Some(body) = event.read() {
        let _ = writeln!(text, "event: {}", body.name());
    }
    // What we write has no line breaks. Where another producer's JSON has some between its members, each
    // line stands for itself, so that none is taken for a field.
    for line in event.body.split(['\n', '\r']) {
        let _ = writeln!(text, "data: {line}");
    }
    text.push('\n');
}

/// A sign of life that tells how far the log was read. It is no event: it has no data.
pub(super) fn place(cursor: u64) -> Bytes {
    format!(": here\nid: {cursor}\n\n").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(index: u64, body: &str) -> StoredEvent {
        StoredEvent { index, body: body.to_owned() }
    }

    #[test]
    fn an_event_is_its_index_its_type_and_its_bytes() {
        let body =
            r#"{"correlationid":"c","data":{},"id":"i","source":"s","time":"t","type":"io.permyx.order.observed.v1"}"#;
        let (piece, last) = piece(&[stored(7, body)]).unwrap();
        assert_eq!(piece, format!("id: 7\nevent: order.observed\ndata: {body}\n\n"));
        assert_eq!(last, 7);
    }

    #[test]
    fn no_byte_of_an_event_is_a_field_of_its_own() {
        let (piece, _) = piece(&[stored(1, "{\n\"a\":1,\r\nevent: forged\rid: 9\n}")]).unwrap();
        let fields: Vec<_> =
            std::str::from_utf8(&piece).unwrap().lines().map(|line| line.get(..4).unwrap_or("")).collect();
        assert_eq!(fields, ["id: ", "data", "data", "data", "data", "data", "data", ""]);
    }

    #[test]
    fn a_piece_is_bounded_and_says_where_it_ends() {
        let events: Vec<_> = (1..=100).map(|index| stored(index, &"x".repeat(0xFFFF))).collect();
        let (bytes, last) = piece(&events).unwrap();
        assert!(bytes.len() < PIECE + 0x10100, "{}", bytes.len());
        assert_eq!(last, 4);
        assert_eq!(piece(&[]), None);
    }

    #[test]
    fn a_sign_of_life_has_no_data() {
        assert_eq!(place(3), ": here\nid: 3\n\n");
    }
}
