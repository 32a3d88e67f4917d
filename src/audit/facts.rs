//! What the checks need of an event, as it stands in its bytes.

use super::canonical::Scalar;

/// The members that are looked at. Texts are as they are written, without their quotes: in canonical
/// bytes the same text is always written alike, so they compare as they are.
#[derive(Clone, Default, Debug)]
pub(super) struct Facts<'a> {
    pub correlation: Option<&'a str>,
    pub id: Option<&'a str>,
    /// Leaf hash of the event before it in its stream.
    pub previous: Option<&'a str>,
    pub sequence: Option<&'a str>,
    pub source: Option<&'a str>,
    pub time: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub has_data: bool,
    pub data: DataFacts<'a>,
}

#[derive(Clone, Default, Debug)]
pub(super) struct DataFacts<'a> {
    pub agent: Option<&'a str>,
    pub cause: Option<&'a str>,
    pub checkpoint: Option<&'a str>,
    pub from_sequence: Option<u64>,
    pub intent_hash: Option<&'a str>,
    /// The stream that a gap is in.
    pub of: Option<&'a str>,
    pub order: Option<&'a str>,
    pub price: Option<&'a str>,
    pub quantity: Option<u64>,
    pub scope: Option<&'a str>,
    pub store: Option<&'a str>,
    pub to_sequence: Option<u64>,
    pub token: Option<&'a str>,
    pub variant: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// Takes a member of the event itself.
    pub fn take(&mut self, name: &str, value: &Scalar<'a>) {
        let text = value.text();
        match name {
            "correlationid" => self.correlation = text,
            "data" => self.has_data = matches!(value, Scalar::Object),
            "id" => self.id = text,
            "pmxprev" => self.previous = text,
            "sequence" => self.sequence = text,
            "source" => self.source = text,
            "time" => self.time = text,
            "type" => self.kind = text,
            _ => {}
        }
    }

    /// The member that every event has and this one lacks.
    pub fn missing(&self) -> Option<&'static str> {
        let members = [
            ("correlationid", self.correlation.is_some()),
            ("data", self.has_data),
            ("id", self.id.is_some()),
            ("pmxprev", self.previous.is_some()),
            ("sequence", self.sequence.is_some()),
            ("source", self.source.is_some()),
            ("time", self.time.is_some()),
            ("type", self.kind.is_some()),
        ];
        members.into_iter().find(|(_, is_there)| !is_there).map(|(name, _)| name)
    }

    /// The short name of its type (`execution.denied`).
    pub fn name(&self) -> &'a str {
        let kind = self.kind.unwrap_or_default();
        kind.strip_prefix("io.permyx.").and_then(|rest| rest.strip_suffix(".v1")).unwrap_or(kind)
    }

    /// Its place in its stream: twenty digits, counted from 1.
    pub fn place(&self) -> Option<u64> {
        let digits = self.sequence.filter(|text| text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok().filter(|sequence| *sequence > 0)
    }
}

impl<'a> DataFacts<'a> {
    /// Takes a member of the event's data.
    pub fn take(&mut self, name: &str, value: &Scalar<'a>) {
        let (text, number) = (value.text(), value.number());
        match name {
            "agentId" => self.agent = text,
            "cause" => self.cause = text,
            "checkpoint" => self.checkpoint = text,
            "fromSequence" => self.from_sequence = number,
            "intentHash" => self.intent_hash = text,
            "of" => self.of = text,
            "orderId" => self.order = text,
            "price" => self.price = text,
            "quantity" => self.quantity = number,
            "scope" => self.scope = text,
            "storeId" => self.store = text,
            "toSequence" => self.to_sequence = number,
            "tokenId" => self.token = text,
            "variantId" => self.variant = text,
            _ => {}
        }
    }
}

/// The 128 bits of a UUID in its one canonical spelling: lower case, with hyphens.
pub(super) fn uuid(text: &str) -> Option<u128> {
    let bytes = text.as_bytes();
    let spelled = |(at, byte): (usize, &u8)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    let canonical = bytes.len() == 36 && bytes.iter().enumerate().all(spelled);
    let digits = bytes.iter().filter_map(|byte| char::from(*byte).to_digit(16));
    canonical.then(|| digits.fold(0, |bits, digit| bits << 4 | u128::from(digit)))
}
