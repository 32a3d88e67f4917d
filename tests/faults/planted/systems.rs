//! Gateways that are wrongly set up: what the checker is there for.

use crate::history::Violation;
use crate::size::Size;
use crate::stand::{ALONE, Member, SHOP, Stand};
use crate::support::merchant::Merchant;
use crate::trial::{Plant, Trial};

/// Two gateways that each burn for themselves, though only one of them may.
#[test]
fn two_ledgers_are_seen_as_a_double_execution() {
    let members = [Member::of(ALONE), Member::of(ALONE)];
    let stand = Stand::open(&members, vec![(SHOP, Merchant::selling())]);
    let trial = Trial::on(&stand, Size::of_environment(), Plant::Nothing);
    let token = trial.token();
    let mut client = trial.client();
    let told = [0, 1, 1].map(|gateway| client.buy(gateway, &token).unwrap());
    assert_eq!(told.map(|told| told.status), [200, 200, 403]);
    let double = Violation::DoubleExecution { token: token.number, arrivals: 2 };
    assert_eq!(trial.finish(1, "planted", String::new()).violations(), [double.to_string()]);
}
