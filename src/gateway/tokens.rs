//! The tokens of one request as they were sent: one, or those of a cart of several lines.

use std::collections::BTreeSet;
use std::fmt;

use crate::model::several::Several;
use crate::protocol::deny::Refusal;
use crate::token::verify::{Presented, TooLong};

/// Most tokens of one cart, and the longest field that carries them.
const TOKENS_MAX: usize = 20;
const TOGETHER_MAX: usize = 16 * 1024;

/// At least one and at most [`TOKENS_MAX`], none empty, none twice.
#[derive(Clone)]
pub struct Tokens(Several<String>);

impl Tokens {
    /// `member` is where they stood.
    pub(super) fn of<'t>(member: &str, texts: impl Iterator<Item = &'t str>) -> Result<Self, Refusal> {
        let bad = |status, message: &str| Err(Refusal::malformed(status, member, message));
        let Some(tokens) = Several::of(texts.take(TOKENS_MAX + 1).map(str::to_owned)) else {
            return bad(400, "there is no token in it");
        };
        if tokens.count() > TOKENS_MAX {
            return bad(400, "a cart has at most 20 tokens");
        }
        if tokens.iter().any(String::is_empty) {
            return bad(400, "one of the tokens is empty");
        }
        if tokens.repeats(|token| token.as_str()) {
            return Err(repeated(member));
        }
        // With a comma between each two.
        if tokens.count() > 1 && tokens.iter().map(|token| token.len() + 1).sum::<usize>() > TOGETHER_MAX + 1 {
            return bad(431, "the tokens of a cart have at most 16 KiB together");
        }
        Ok(Self(tokens))
    }

    /// As long as each of them may be one.
    pub(super) fn presented(&self) -> Result<Several<Presented<'_>>, TooLong> {
        self.0.try_map(|text| Presented::new(text))
    }

    /// True when both are the same, in whichever order.
    pub(super) fn are_those_of(&self, other: &Self) -> bool {
        let (ours, theirs): (BTreeSet<_>, BTreeSet<_>) = (self.0.iter().collect(), other.0.iter().collect());
        self.0 == other.0 || ours == theirs
    }
}

/// A token is there twice.
pub(super) fn repeated(member: &str) -> Refusal {
    Refusal::malformed(400, member, "a token is there twice: send one token for each line")
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({}, redacted)", self.0.count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Result<Tokens, u16> {
        Tokens::of("x", text.split(',').map(str::trim)).map_err(|refusal| refusal.status)
    }

    #[test]
    fn a_cart_has_one_to_twenty_tokens_and_none_twice() {
        let numbers = |count| (0..count).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(tokens("a, b ,c").unwrap().0, Several::of(["a", "b", "c"].map(str::to_owned)).unwrap());
        assert!(tokens(&numbers(20)).is_ok());
        for bad in [numbers(21).as_str(), "", ",", "a,", ",a", "a,,b", "a,b, a"] {
            assert_eq!(tokens(bad).unwrap_err(), 400, "{bad}");
        }
        let four = |each: usize| ["a", "b", "c", "d"].map(|last| format!("{}{last}", "x".repeat(each - 1))).join(",");
        assert!(tokens(&four(4095)).is_ok());
        assert_eq!(tokens(&four(4096)).unwrap_err(), 431);
        assert!(Tokens::of("x", std::iter::empty()).is_err());
    }

    #[test]
    fn the_order_makes_no_other_cart() {
        assert!(tokens("a,b").unwrap().are_those_of(&tokens("b,a").unwrap()));
        assert!(!tokens("a,b").unwrap().are_those_of(&tokens("a").unwrap()));
    }
}
