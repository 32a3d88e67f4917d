use axum::http::{StatusCode, Uri};
use bytes::Bytes;
use http_body_util::BodyExt;
use tempfile::TempDir;

use super::*;
use crate::api::evidence::tests::{AGENT, AUDITOR, MERCHANT, denied, keys_in, log_of};

/// A log of four events: the start of a producer, `own`, `other`, `own`.
struct Stand {
    api: StreamApi,
    stop: watch::Sender<bool>,
    looking: tokio::task::JoinHandle<()>,
    _dir: TempDir,
}

impl Stand {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = log_of(dir.path(), &[denied("own"), denied("other"), denied("own")]);
        let (stop, stopped) = watch::channel(false);
        let (api, looking) = StreamApi::new(store, keys_in(dir.path()), stopped);
        Self { api, stop, looking: tokio::spawn(looking), _dir: dir }
    }

    async fn ask(&self, key: &str, query: &str, last: Option<&str>) -> Response {
        let mut headers = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), key.parse().unwrap())]);
        headers.extend(last.map(|last| (LAST_EVENT_ID, last.parse().unwrap())));
        let uri: Uri = format!("/?{query}").parse().unwrap();
        stream(State(self.api.clone()), headers, Query::try_from_uri(&uri)).await.into_response()
    }

    /// A stream, behind the place that it begins with.
    async fn follow(&self, key: &str, query: &str, place: u64) -> Body {
        let answer = self.ask(key, query, None).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut body = answer.into_body();
        assert_eq!(next(&mut body).await.unwrap(), frame::place(place));
        body
    }
}

async fn next(body: &mut Body) -> Option<Bytes> {
    Some(body.frame().await?.unwrap().into_data().unwrap())
}

/// The indices that a piece tells.
fn ids(piece: &Bytes) -> Vec<String> {
    let text = std::str::from_utf8(piece).unwrap();
    text.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn everybody_hears_what_they_may_and_what_they_want() {
    let stand = Stand::new();
    let mut all = stand.follow(AUDITOR, "cursor=0", 0).await;
    assert_eq!(ids(&next(&mut all).await.unwrap()), ["1", "2", "3", "4"]);
    let mut own = stand.follow(MERCHANT, "cursor=0", 0).await;
    assert_eq!(ids(&next(&mut own).await.unwrap()), ["2", "4"]);
    let mut later = stand.follow(AUDITOR, "cursor=2&store=own", 2).await;
    assert_eq!(ids(&next(&mut later).await.unwrap()), ["4"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_nothing_to_tell_says_that_it_is_there_and_where() {
    let stand = Stand::new();
    let began = tokio::time::Instant::now();
    let mut now = stand.follow(AUDITOR, "", 4).await;
    assert_eq!(next(&mut now).await.unwrap(), frame::place(4));
    assert!((15..17).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    // What is not for this reader was looked through.
    let mut nothing = stand.follow(AUDITOR, "cursor=0&reason=NO_TOKEN", 0).await;
    assert_eq!(next(&mut nothing).await.unwrap(), frame::place(4));
}

#[tokio::test(start_paused = true)]
async fn who_may_not_or_asks_for_what_is_not_is_told() {
    let stand = Stand::new();
    let cases = [
        (AGENT, "", None, 403),
        ("permyx_auditor_unknown", "", None, 401),
        (MERCHANT, "store=other", None, 403),
        (AUDITOR, "limit=1", None, 400),
        (AUDITOR, "shape=contract", None, 400),
        (AUDITOR, "cursor=5", None, 400),
        (AUDITOR, "cursor=x", None, 400),
        (AUDITOR, "cursor=1", Some("x"), 400),
        (AUDITOR, "cursor=1", Some("5"), 400),
        (AUDITOR, "cursor=5", Some("4"), 200),
    ];
    for (key, query, last, status) in cases {
        assert_eq!(stand.ask(key, query, last).await.status(), status, "{key} {query} {last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_65th_stream_waits_until_one_ends() {
    let stand = Stand::new();
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(stand.follow(AUDITOR, "", 4).await);
    }
    let refused = stand.ask(AUDITOR, "", None).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
    streams.pop();
    let _freed = stand.follow(AUDITOR, "", 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_key_ends_its_streams_and_a_stop_all() {
    let stand = Stand::new();
    let mut stopped = stand.follow(AUDITOR, "", 4).await;
    stand.stop.send_replace(true);
    assert_eq!(next(&mut stopped).await, None);
    stand.stop.send_replace(false);
    let mut revoked = stand.follow(AUDITOR, "", 4).await;
    let began = tokio::time::Instant::now();
    stand.api.keys.replace(ApiKeys::default());
    assert_eq!(next(&mut revoked).await, None);
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_claimed_only_while_the_log_is_followed() {
    let stand = Stand::new();
    assert_eq!(stand.api.state(), Events::Streaming);
    stand.looking.abort();
    let _ = stand.looking.await;
    assert_eq!(stand.api.state(), Events::NotServed);
}
