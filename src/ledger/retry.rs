//! What a second use of a token means (README decision 11; the table of retries). An honest retry
//! is never called a theft: it is told what became of the first call.

use crate::model::ids::TraceId;

use super::entry::{Entry, Retry, Spent, State};

/// What the second call is told. `first` is the call that used the token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// The first is still under way.
    InFlight { first: TraceId },
    /// The first was answered: the stored answer, if it is still there.
    Answered { first: TraceId },
    /// Nobody knows what came of the first; it is never sent again.
    Unknown { first: TraceId },
    /// The first executed nothing, and its token is of no use any more.
    Unexecuted { first: TraceId },
    /// Not a retry.
    Replay { first: TraceId, how: Replay },
}

/// In which way a second use is no retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Replay {
    NoKey,
    OtherKey,
    /// The same Idempotency-Key for another request.
    KeyReuse,
}

impl Again {
    /// Judges a call by what is remembered of its token.
    #[must_use]
    pub fn of(entry: &Entry, retry: Option<&Retry>) -> Self {
        let first = entry.first;
        let State::Spent(spent) = entry.state else {
            // It may still be released: a judgement now could call an honest retry a theft.
            return Self::InFlight { first };
        };
        let replay = |how| Self::Replay { first, how };
        match (spent, retry, &entry.retry) {
            (Spent::Unexecuted, _, _) => Self::Unexecuted { first },
            (_, None, _) => replay(Replay::NoKey),
            (_, Some(retry), Some(known)) if retry.key == known.key && retry.request != known.request => {
                replay(Replay::KeyReuse)
            }
            (Spent::Burned, Some(retry), Some(known)) if retry == known => Self::Answered { first },
            (Spent::Indeterminate, Some(retry), Some(known)) if retry == known => Self::Unknown { first },
            (_, Some(_), _) => replay(Replay::OtherKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Digest;
    use super::*;

    /// Row by row as the design has it.
    #[test]
    fn the_table_of_retries() {
        let first = TraceId::random();
        let digest = |text: &str| Digest::of(&[text.as_bytes()]);
        let retry = |key: &str, request: &str| Some(Retry { key: digest(key), request: digest(request) });
        let (same, other_body, other_key) = (retry("k", "r"), retry("k", "x"), retry("y", "r"));
        let again = |state, second: Option<Retry>| Again::of(&Entry { state, first, retry: same }, second.as_ref());
        let (burned, unknown) = (State::Spent(Spent::Burned), State::Spent(Spent::Indeterminate));
        let replay = |how| Again::Replay { first, how };
        assert_eq!(again(burned, None), replay(Replay::NoKey));
        assert_eq!(again(unknown, None), replay(Replay::NoKey));
        assert_eq!(again(burned, same), Again::Answered { first });
        assert_eq!(again(unknown, same), Again::Unknown { first });
        for state in [burned, unknown] {
            assert_eq!(again(state, other_body), replay(Replay::KeyReuse));
            assert_eq!(again(state, other_key), replay(Replay::OtherKey));
        }
        for second in [None, same, other_body, other_key] {
            assert_eq!(again(State::Reserved, second), Again::InFlight { first });
            assert_eq!(again(State::Spent(Spent::Unexecuted), second), Again::Unexecuted { first });
        }
    }
}
