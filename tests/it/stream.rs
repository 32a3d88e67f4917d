//! Events as they are recorded: each reader hears each event that it may see once, in the order of the
//! log, whoever is cut off or killed in between.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::control::Control;
use crate::support::gateway::kind;
use crate::support::plane::{AUTHORIZE, purchase_with};
use crate::support::program;
use crate::support::stream::Stream;

/// A control plane, and keys of agents of two stores that make it record something.
struct Stand {
    control: Control,
    agents: [(String, &'static str); 2],
}

impl Stand {
    fn start() -> Self {
        let control = Control::start();
        let agents = ["one", "two"].map(|store| (control.key(&["--role", "agent", "--store", store]), store));
        Self { control, agents }
    }

    /// An event of each of the two stores.
    fn happen(&self) {
        for (key, store) in &self.agents {
            let asked = purchase_with(&[("/storeId", json!(store))]).to_string();
            let answer = self.control.send(key, AUTHORIZE, &[], &asked);
            assert!([200, 403].contains(&answer.status), "{}", answer.text());
        }
    }

    fn follow(&self, query: &str, last: Option<u64>) -> Stream {
        let stream = self.control.stream(self.control.auditor(), query, last);
        stream.unwrap_or_else(|refused| panic!("{refused:?}"))
    }
}

fn read(event: &str) -> Value {
    serde_json::from_str(event).unwrap()
}

#[test]
fn a_reader_that_is_cut_off_hears_each_event_once() {
    let mut stand = Stand::start();
    let mut heard: Vec<(u64, Value)> = Vec::new();
    for round in 0..6 {
        stand.happen();
        if round == 3 {
            stand.control.kill();
            stand.control.start_again();
        }
        let mut stream = stand.follow("cursor=0", heard.last().map(|(index, _)| *index));
        for _ in 0..2 {
            let (index, event) = stream.next().unwrap();
            heard.push((index, read(&event)));
        }
    }
    let mut stream = stand.follow("cursor=0", heard.last().map(|(index, _)| *index));
    stand.happen();
    let authorized = |events: &[Value]| events.iter().filter(|event| event["data"]["storeId"] == "two").count();
    let log = stand.control.wait_for("events of two", |events| authorized(events) == 7);
    while heard.len() < log.len() {
        let (index, event) = stream.next().unwrap();
        heard.push((index, read(&event)));
    }
    let indices: Vec<_> = heard.iter().map(|(index, _)| *index).collect();
    assert!(indices.iter().copied().eq(1..=log.len() as u64), "{indices:?}");
    assert_eq!(heard.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), log);
}

#[test]
fn a_stream_tells_what_was_asked_for_and_may_be_seen() {
    let stand = Stand::start();
    let control = &stand.control;
    stand.happen();
    let kinds =
        control.wait_for("an event of two", |events| events.iter().any(|event| event["data"]["storeId"] == "two"));
    let kind_of_one = kinds.iter().find(|event| event["data"]["storeId"] == "one").map(kind).unwrap().to_owned();
    let merchant = control.key(&["--role", "merchant", "--store", "one"]);
    let mut own = control.stream(&merchant, "cursor=0", None).unwrap();
    let mut filtered = stand.follow(&format!("cursor=0&store=two&type={kind_of_one}"), None);
    for _ in 0..2 {
        assert_eq!(read(&own.next().unwrap().1)["data"]["storeId"], "one");
        let event = read(&filtered.next().unwrap().1);
        assert_eq!((kind(&event), &event["data"]["storeId"]), (kind_of_one.as_str(), &json!("two")));
        // What happens now comes too, without anybody asking again.
        stand.happen();
    }
    let status = |key: &str, query: &str| control.stream(key, query, None).err().map(|refused| refused.status);
    assert_eq!(status(&merchant, "store=two"), Some(403));
    assert_eq!(status(&stand.agents[0].0, ""), Some(403));
    assert_eq!(status("permyx_auditor_forged", ""), Some(401));
    assert_eq!(control.get("/v1/compliance").json()["events_streaming"], true);
}

#[test]
fn the_65th_stream_is_told_to_come_back() {
    let stand = Stand::start();
    let mut streams: Vec<_> = (0..64).map(|_| stand.follow("", None)).collect();
    let another = || stand.control.stream(stand.control.auditor(), "", None);
    let refused = another().err().unwrap();
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    // Whoever leaves makes room.
    streams.pop();
    let deadline = Instant::now() + PATIENCE;
    while another().is_err() {
        assert!(Instant::now() < deadline, "nobody got the place of the stream that ended");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
fn a_stop_ends_streams_and_does_not_wait_for_them() {
    let mut stand = Stand::start();
    let mut streams: Vec<_> = (0..3).map(|_| stand.follow("", None)).collect();
    let began = Instant::now();
    stand.control.stop();
    // A stop that waited for them would cut them off after 15 s.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // They end as they should, and not with a broken connection.
    assert!(streams.iter_mut().all(|stream| stream.next().is_none()));
}

#[test]
fn a_key_that_is_revoked_hears_nothing_more() {
    let stand = Stand::start();
    let key = stand.control.key(&["--role", "auditor", "--all-stores"]);
    let mut stream = stand.control.stream(&key, "", None).unwrap();
    let dir = stand.control.dir().path();
    let list = program::run(dir, &["agent-key", "list", "--data", "data", "--json"]);
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let newest = list["keys"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap();
    assert!(program::run(dir, &["agent-key", "revoke", newest, "--data", "data"]).status.success());
    while stream.next().is_some() {}
    assert_eq!(stand.control.stream(&key, "", None).err().unwrap().status, 401);
}
