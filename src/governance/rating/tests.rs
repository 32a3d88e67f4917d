use proptest::prelude::*;

use super::*;

fn of(change: impl FnOnce(&mut Known)) -> Rating {
    let mut known = Known::default();
    change(&mut known);
    rate(&known)
}

fn agrees(known: &mut Known) {
    (known.items, known.price, known.currency) = (Agreement::Same, Agreement::Same, Agreement::Same);
}

fn channel(state: State) -> Signal {
    Signal::new("sales_channel", state).known_as("chatgpt")
}

/// The tables of the data contract say what the code does.
#[test]
fn the_published_tables_are_those_of_the_code() {
    let page = include_str!("../../../docs/data-contract.md");
    let row = |level: Level| format!("| `{}` | {} |", level.as_str(), level.points());
    for level in Level::ALL {
        assert!(page.contains(&row(level)), "{}", row(level));
        assert_eq!(Level::parse(level.as_str()), Some(level));
    }
    assert!(page.contains(&format!("table below, version {RATING_VERSION}:")));
    let all = Known {
        used: true,
        carried: true,
        above: true,
        of_another_order: true,
        items: Agreement::Differs,
        currency: Agreement::Differs,
        ..Known::default()
    };
    assert_eq!(rate(&all).flags.len(), 4);
    for flag in rate(&all).flags {
        assert!(page.contains(&format!("| `{flag}` |")), "{flag}");
    }
}

#[test]
fn the_table() {
    type Case = (Level, fn(&mut Known));
    let cases: [Case; 14] = [
        (Level::None, |_| {}),
        (Level::Proven, |k| {
            agrees(k);
            k.used = true;
            k.carried = true
        }),
        (Level::Proven, |k| {
            agrees(k);
            k.used = true;
            k.answered = true
        }),
        (Level::Strong, |k| {
            agrees(k);
            k.used = true;
            k.referred = true
        }),
        (Level::Strong, |k| {
            agrees(k);
            k.used = true;
            k.carried = true;
            k.price = Agreement::Untold
        }),
        (Level::Probable, |k| {
            k.used = true;
            k.referred = true
        }),
        // A token that was used is nothing by itself: nothing says that it was for this order.
        (Level::None, |k| {
            agrees(k);
            k.used = true
        }),
        (Level::Probable, |k| {
            k.sighted = true;
            k.signals.push(channel(State::Verified))
        }),
        (Level::Indicated, |k| k.signals.push(channel(State::Verified))),
        (Level::Indicated, |k| k.signals.push(Signal::new("signature_agent", State::Verified))),
        (Level::Weak, |k| k.signals.push(channel(State::Present))),
        (Level::Weak, |k| k.signals.push(Signal::new("referrer", State::Present).known_as("claude"))),
        (Level::Weak, |k| k.sighted = true),
        (Level::None, |k| k.signals.push(Signal::new("referrer", State::FeatureOff))),
    ];
    for (n, (level, known)) in cases.into_iter().enumerate() {
        assert_eq!(of(known).level, level, "case {n}");
    }
}

#[test]
fn a_page_that_is_no_agents_says_nothing_of_one() {
    let known = |k: &mut Known| k.signals.push(Signal::new("referrer", State::Present).digest_of(b"news.example"));
    assert_eq!(of(known).level, Level::None);
}

#[test]
fn each_contradiction_has_a_flag_of_its_own() {
    let joined = |k: &mut Known| {
        agrees(k);
        k.used = true;
        k.carried = true
    };
    let flags = |change: fn(&mut Known)| {
        of(|k| {
            joined(k);
            change(k)
        })
        .flags
    };
    assert_eq!(flags(|k| k.above = true), ["total_above_authorised"]);
    assert_eq!(flags(|k| k.of_another_order = true), ["token_of_another_order"]);
    assert_eq!(flags(|k| k.items = Agreement::Differs), ["items_differ"]);
    assert_eq!(flags(|k| k.currency = Agreement::Differs), ["currency_differs"]);
    assert_eq!(flags(|k| k.price = Agreement::Differs), Vec::<&str>::new());
}

fn any_agreement() -> impl Strategy<Value = Agreement> {
    prop::sample::select(vec![Agreement::Untold, Agreement::Same, Agreement::Differs])
}

prop_compose! {
    fn any_known()(
        flags in prop::array::uniform7(any::<bool>()),
        agreements in prop::array::uniform3(any_agreement()),
        states in prop::collection::vec((0..3usize, 0..5usize), 0..3),
    ) -> Known {
        let [used, carried, answered, referred, above, of_another_order, sighted] = flags;
        let [items, price, currency] = agreements;
        let names = ["sales_channel", "referrer", "signature_agent"];
        let all = [State::Verified, State::Present, State::Absent, State::Malformed, State::FeatureOff];
        let signals = states.into_iter().map(|(n, s)| Signal::new(names[n], all[s]).known_as("chatgpt")).collect();
        Known { used, carried, answered, referred, items, price, currency, above, of_another_order, sighted, signals }
    }
}

proptest! {
    #[test]
    fn the_same_facts_have_the_same_rating(known in any_known()) {
        prop_assert_eq!(rate(&known), rate(&known.clone()));
    }

    #[test]
    fn a_contradiction_always_wins(mut known in any_known()) {
        (known.used, known.carried, known.above) = (true, true, true);
        prop_assert_eq!(rate(&known).level, Level::Contradicted);
    }

    #[test]
    fn nothing_is_above_probable_without_a_token(mut known in any_known()) {
        known.used = false;
        let rating = rate(&known);
        prop_assert!(rating.level <= Level::Probable && rating.flags.is_empty());
    }

    #[test]
    fn a_confirming_signal_never_lowers(known in any_known(), which in 0..8usize) {
        let mut more = known.clone();
        match which {
            0 => more.carried |= true,
            1 => more.answered |= true,
            2 => more.referred |= true,
            3 if known.items == Agreement::Untold => more.items = Agreement::Same,
            4 if known.price == Agreement::Untold => more.price = Agreement::Same,
            5 if known.currency == Agreement::Untold => more.currency = Agreement::Same,
            6 => more.sighted = true,
            _ => more.signals.push(channel(State::Verified)),
        }
        let (before, after) = (rate(&known), rate(&more));
        // Joining can bring a contradiction to light; it is then no confirmation.
        prop_assert!(after.level >= before.level || !after.flags.is_empty());
    }
}
