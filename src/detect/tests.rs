use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::model::signal::{Signal, State};

fn tables() -> Tables {
    let mut tables = Tables::built_in();
    let nets = import::prefixes(r#"{"prefixes":[{"ipv4Prefix":"20.0.0.0/28"},{"ipv6Prefix":"2001:db8::/32"}]}"#);
    assert!(tables.add_ranges("ChatGPT-User", nets.unwrap()));
    tables
}

/// A request with this user agent, query, referrer and address.
fn seen<'a>(ua: &'a str, query: &'a str, referrer: &'a str, address: &str) -> Seen<'a> {
    let some = |text: &'a str| Some(text.as_bytes()).filter(|text| !text.is_empty());
    let address = address.parse().ok();
    Seen { user_agent: some(ua), query: some(query), referrer: some(referrer), address, ..Seen::default() }
}

fn state(presence: &Presence, name: Name) -> State {
    presence.signals().iter().find(|signal| signal.name == name.as_str()).unwrap().state
}

#[test]
fn the_compiled_in_table_is_good() {
    let tables = Tables::parse(Tables::BUILT_IN).unwrap();
    assert!(tables.agents().iter().count() >= 40 && tables.channels().hosts().count() >= 20);
    assert!(tables.agents().iter().all(|agent| !agent.token.ends_with("-Extended")));
}

#[test]
fn a_known_agent_is_named_and_a_browser_is_not() {
    let tables = Tables::built_in();
    for (ua, name) in [
        ("Mozilla/5.0 AppleWebKit/537.36; compatible; ChatGPT-User/1.0; +https://openai.com/bot", Some("ChatGPT-User")),
        ("chatgpt-user/2", Some("ChatGPT-User")),
        ("Mozilla/5.0 (compatible; GoogleAgent-Mariner; x)", Some("GoogleAgent-Mariner")),
        ("GoogleAgent/1.0", Some("GoogleAgent")),
        ("Operator/1.0", Some("Operator")),
        ("Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", None),
        ("NotChatGPT-User", None),
        ("Devine/1.0", None),
        ("Google-Extended", None),
        ("", None),
    ] {
        assert_eq!(tables.look(&seen(ua, "", "", "")).agent(), name, "{ua}");
    }
    let long = [b"x ".repeat(400), b"GPTBot".to_vec()].concat();
    assert_eq!(tables.look(&Seen { user_agent: Some(&long), ..Seen::default() }).agent(), None);
}

#[test]
fn a_host_is_known_with_those_below_it_and_its_path_where_it_has_one() {
    let tables = Tables::built_in();
    for (referrer, channel) in [
        ("https://chatgpt.com/", Some("chatgpt")),
        ("https://www.ChatGPT.com:443/c/1?x#y", Some("chatgpt")),
        ("https://u:p@chatgpt.com", Some("chatgpt")),
        ("https://x.com/i/grok", Some("grok")),
        ("https://x.com/i/grok/1", Some("grok")),
        ("https://x.com/i/grokking", None),
        ("https://x.com/", None),
        ("https://notchatgpt.com/", None),
        ("https://chatgpt.com.evil.example/", None),
        ("chatgpt.com", None),
        ("https://", None),
    ] {
        assert_eq!(tables.look(&seen("", "", referrer, "")).channel(), channel, "{referrer}");
    }
}

#[test]
fn tags_are_read_from_the_request_and_from_the_page_before_it() {
    let tables = Tables::built_in();
    for (query, referrer, channel) in [
        ("a=1&utm_source=chatgpt.com", "", Some("chatgpt")),
        ("utm_source=ChatGPT%2ecom", "", Some("chatgpt")),
        ("utm_source=feed&utm_medium=ai-assistant", "", Some("ai-assistant")),
        ("ref=chatgpt.com", "", Some("chatgpt")),
        ("", "https://shop.example/cart?utm_source=perplexity", Some("perplexity")),
        ("utm_source=chatgpt.com", "https://claude.ai/", Some("chatgpt")),
        ("utm_source=newsletter", "", None),
        ("xutm_source=chatgpt.com", "", None),
        ("ref=friend", "", None),
    ] {
        assert_eq!(tables.look(&seen("", query, referrer, "")).channel(), channel, "{query} {referrer}");
    }
    let unknown = tables.look(&seen("", "utm_source=newsletter", "", ""));
    assert_eq!((state(&unknown, Name::Utm), unknown.confidence()), (State::Present, 0));
}

#[test]
fn the_address_decides_between_sure_and_spoofed() {
    let tables = tables();
    for (ua, address, state_of_it, points) in [
        ("ChatGPT-User/1.0", "20.0.0.15", State::Verified, 8000),
        ("ChatGPT-User/1.0", "::ffff:20.0.0.15", State::Verified, 8000),
        ("ChatGPT-User/1.0", "2001:db8:ffff::1", State::Verified, 8000),
        ("ChatGPT-User/1.0", "20.0.0.16", State::Absent, 2000),
        ("ChatGPT-User/1.0", "10.0.0.1", State::FeatureOff, 5000),
        ("ChatGPT-User/1.0", "", State::FeatureOff, 5000),
        ("GPTBot/1.0", "20.0.0.16", State::FeatureOff, 5000),
        ("Firefox", "20.0.0.1", State::Present, 0),
        ("Firefox", "20.0.0.16", State::Absent, 0),
    ] {
        let found = tables.look(&seen(ua, "", "", address));
        let spoofed = found.flags().contains(&Flag::SpoofSuspected);
        assert_eq!((state(&found, Name::IpRange), found.confidence()), (state_of_it, points), "{ua} {address}");
        assert_eq!(spoofed, points == 2000, "{ua} {address}");
    }
    let off = Tables::built_in().look(&seen("ChatGPT-User/1.0", "", "", "20.0.0.16"));
    assert_eq!(state(&off, Name::IpRange), State::FeatureOff);
}

#[test]
fn a_crawler_at_a_checkout_is_a_fact_and_odd() {
    let flags = |ua: &str| Tables::built_in().look(&seen(ua, "", "", "")).flags();
    assert_eq!(flags("GPTBot/1.0"), [Flag::UnusualClass]);
    assert_eq!(flags("OAI-SearchBot/1.0"), [Flag::UnusualClass]);
    assert!(flags("ChatGPT-User/1.0").is_empty() && flags("Firefox").is_empty());
}

#[test]
fn headers_that_name_their_sender_give_a_channel_and_no_confidence() {
    let header = Some(&b"\"https://chatgpt.com\""[..]);
    let signed = Tables::built_in().look(&Seen { signature_agent: header, ..Seen::default() });
    assert_eq!((signed.channel(), signed.confidence(), signed.signal()), (Some("chatgpt"), 0, AgentSignal::Signature));
    let bare =
        Seen { signature_agent: Some(b"x"), ucp_agent: Some(b"profile=\"https://a.example/p\""), ..Seen::default() };
    let bare = Tables::built_in().look(&bare);
    assert_eq!(state(&bare, Name::SignatureAgent), State::Malformed);
    assert_eq!((state(&bare, Name::UcpAgent), bare.channel()), (State::Present, None));
}

#[test]
fn the_ladder_stands_in_the_data_contract() {
    let page = include_str!("../../docs/data-contract.md");
    let missing = |row: &String| !page.contains(row.as_str());
    let rungs = LADDER.iter().map(|rung| format!("| {} | {} |", rung.points, rung.when));
    let names = Name::ALL.iter().map(|name| format!("| `{}` | ", name.as_str()));
    let flags = [Flag::SpoofSuspected, Flag::UnusualClass].map(|flag| format!("`{}`", flag.as_str()));
    let words = [format!("ladder {LADDER_VERSION}"), format!("at most {CONFLICT_MAX}")];
    assert_eq!(rungs.chain(names).chain(flags).chain(words).filter(missing).collect::<Vec<_>>(), Vec::<String>::new());
}

/// Signals as a look may leave them; those of known words have one.
fn any_signals() -> impl Strategy<Value = Vec<Signal>> {
    let states = select(&[State::Verified, State::Present, State::Absent, State::Malformed, State::FeatureOff][..]);
    let one = (states, any::<bool>(), select(&["acp", "ucp"][..]));
    prop::collection::vec(one, Name::ALL.len()).prop_map(|found| {
        let signal = |(name, (state, known, word)): (Name, (State, bool, &'static str))| {
            let signal = Signal::new(name.as_str(), state);
            if known && matches!(state, State::Present | State::Verified) { signal.known_as(word) } else { signal }
        };
        Name::ALL.into_iter().zip(found).map(signal).collect()
    })
}

proptest! {
    /// More evidence that contradicts nothing never makes it less sure.
    #[test]
    fn another_signal_never_lowers_the_confidence(signals in any_signals(), at in 0..Name::ALL.len()) {
        let mut more = signals.clone();
        more[at] = Signal::new(signals[at].name, State::Verified).known_as("acp");
        let contradicts = ladder::conflict(&more) && !ladder::conflict(&signals);
        prop_assert!(contradicts || confidence(&more) >= confidence(&signals), "{signals:?} {at}");
    }

    #[test]
    fn a_contradiction_is_never_sure(signals in any_signals()) {
        let points = confidence(&signals);
        prop_assert!(!ladder::conflict(&signals) || points <= CONFLICT_MAX);
        prop_assert!(points <= 10_000 && points == confidence(&signals));
    }

    /// Any bytes: it looks, and looks the same way again.
    #[test]
    fn whatever_comes_every_signal_has_a_state(
        ua in prop::collection::vec(any::<u8>(), 0..700),
        texts in prop::collection::vec("[ -~]{0,40}|https?://[a-z./?=&%]{0,60}|utm_source=[a-z.%0-9]{0,20}", 4),
        address in any::<std::net::IpAddr>(),
    ) {
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| &texts[at]);
        let seen = Seen {
            user_agent: Some(&ua), signature_agent: Some(a.as_bytes()), ucp_agent: Some(b.as_bytes()),
            query: Some(c.as_bytes()), referrer: Some(d.as_bytes()), address: Some(address), ..Seen::default()
        };
        let tables = tables();
        let found = tables.look(&seen);
        prop_assert_eq!(&found, &tables.look(&seen));
        let names: Vec<_> = found.signals().iter().map(|signal| signal.name).collect();
        prop_assert_eq!(names, Name::ALL.map(Name::as_str));
        let known = |word: &str| tables.agents().named(word).is_some() || tables.channels().hosts().any(|(_, c)| c == word)
            || tables.channels().tags().any(|(_, channel)| channel == word);
        prop_assert!(found.signals().iter().filter_map(|signal| signal.value.as_deref()).all(known));
    }

    #[test]
    fn whatever_a_file_holds_its_reading_ends(text in "[\\[\\]{}\":,a-z0-9 \n#./-]{0,300}") {
        let _ = (import::list(&text), import::prefixes(&text), Tables::parse(&text));
    }

    /// One walk over sorted networks finds what asking each one finds.
    #[test]
    fn an_address_is_in_a_set_if_it_is_in_one_of_its_networks(
        nets in prop::collection::vec((any::<u32>(), 0_u32..=32), 0..8), at in any::<u32>(),
    ) {
        let masked = |(address, length): (u32, u32)| {
            let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
            (address & mask, mask, length)
        };
        let nets: Vec<_> = nets.into_iter().map(masked).collect();
        let parsed = nets.iter().map(|(first, _, length)| {
            Net::parse(&format!("{}/{length}", std::net::Ipv4Addr::from(*first))).unwrap()
        });
        let set = Nets::of(parsed.collect());
        for at in nets.iter().map(|(first, ..)| *first).chain([at]) {
            let inside = nets.iter().any(|(first, mask, _)| at & mask == *first);
            prop_assert_eq!(set.contains(std::net::Ipv4Addr::from(at).into()), inside);
        }
    }
}

#[test]
fn lists_of_others_are_taken_in_their_own_forms() {
    let crawlers = r#"[{"pattern":"[eE]xampleAI\\/","url":"x","tags":["ai-crawler"],"instances":["ExampleAI/1"]},
        {"pattern":"Shop[\\s\\S]*Bot","tags":["ai-crawler"]},{"pattern":"^curl","tags":["http-library"]}]"#;
    let robots = r#"{"ExampleAI/":{"operator":"[Example](https://a.example)","function":"AI Assistants"},
        "Robo-Extended":{"operator":"x","function":"y"}}"#;
    let referrers = "# c\nLe Example:\n  - chat.example\n  - 'b.example/i/x'\n";
    let mut tables = Tables::built_in();
    assert_eq!(tables.add(import::list(crawlers).unwrap()), Added { new: 1, left_out: 2 });
    assert_eq!(tables.agents().named("exampleai").unwrap().class, Class::Other);
    assert_eq!(tables.add(import::list(robots).unwrap()), Added { new: 0, left_out: 1 });
    assert_eq!(tables.agents().named("exampleai").unwrap().class, Class::Assistant);
    let bare = import::list(r#"{"Operator":{"operator":"x","function":"AI Agents"}}"#).unwrap();
    assert_eq!(tables.add(bare).new, 0, "a token of the table is not made a looser one");
    assert_eq!(tables.add(import::list(referrers).unwrap()), Added { new: 2, left_out: 0 });
    assert_eq!(tables.look(&seen("", "", "https://b.example/i/x", "")).channel(), Some("le-example"));
}

#[test]
fn a_wrong_entry_is_named_and_the_list_is_not_taken() {
    for (text, why) in [
        (r#"[{"pattern":"Good","tags":["ai-crawler"]},{"pattern":7}]"#, "entry 1 is not"),
        (r#"[{"pattern":"ab","tags":["ai-crawler"]}]"#, "entry 0 (`pattern`)"),
        (r#"{"Good":{"operator":"x","function":"y"},"Token":{"operator":"x"}}"#, "entry 1 is not"),
        (r#"{"prefixes":[]}"#, "[[detect.ranges]]"),
        ("[1,", "not JSON"),
        ("A:\n  - no host\n", "line 2 is no host"),
        ("  - a.example\n", "line 1 "),
        ("A:\n  b: c\n", "line 2 is neither"),
    ] {
        let told = import::list(text).unwrap_err().to_string();
        assert!(told.contains(why), "{text}: {told}");
    }
    for (text, why) in [
        (r#"{"prefixes":[{"ipv4Prefix":"1.2.3.0/24"},{"ipv4Prefix":"1.2.3.4/24"}]}"#, "entry 1 has to be"),
        (r#"{"prefixes":[{}]}"#, "entry 0 has no `ipv4Prefix`"),
        (r#"{"ranges":[]}"#, "no `prefixes`"),
    ] {
        assert!(import::prefixes(text).unwrap_err().to_string().contains(why), "{text}");
    }
}
