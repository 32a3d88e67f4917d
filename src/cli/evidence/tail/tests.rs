use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use clap::Parser;

use super::*;

const DENIED: &str = r#"{"correlationid":"exec_1","data":{"reasonCode":"POLICY_DENIED","storeId":"own"},"id":"i","source":"s","time":"2026-11-18T11:06:40.123Z","type":"io.permyx.execution.denied.v1"}"#;
const STARTED: &str = r#"{"correlationid":"trc_1","data":{},"id":"i","source":"s","time":"2026-11-18T11:06:40.123Z","type":"io.permyx.system.started.v1"}"#;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: TailArgs,
}

async fn said(line: &[&str]) -> (String, Result<(), CliError>) {
    let command = Command::try_parse_from(["tail"].iter().chain(line)).unwrap();
    let mut out = Vec::new();
    let ended = run(&command.args, &mut out).await;
    (String::from_utf8(out).unwrap(), ended)
}

/// Answers each question with the next of these, and notes the places that were asked for. Without
/// another answer the key is not known.
async fn served(answers: &'static [(u16, &'static str)]) -> (String, Arc<parking_lot::Mutex<Vec<String>>>) {
    let (asked, count) = (Arc::new(parking_lot::Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let noted = asked.clone();
    let answer = async move |uri: http::Uri, headers: HeaderMap| {
        let last = headers.get("last-event-id").map_or("-", |last| last.to_str().unwrap());
        noted.lock().push(format!("{} {last}", uri.query().unwrap_or_default()));
        let unknown = (401, r#"{"error":{"code":"UNAUTHORIZED","message":"no"}}"#);
        let (status, body) = answers.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(unknown);
        (StatusCode::from_u16(status).unwrap(), [("content-type", "text/event-stream")], body).into_response()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let router = Router::new().route("/v1/evidence/stream", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

fn event(id: u64, body: &str) -> &'static str {
    format!("id: {id}\nevent: x\ndata: {body}\n\n").leak()
}

fn answers(of: Vec<(u16, &'static str)>) -> &'static [(u16, &'static str)] {
    of.leak()
}

#[tokio::test]
async fn it_goes_on_where_it_was_until_it_is_refused() {
    let first = format!(": here\nid: 3\n\n{}id: 5\ndata: {{", event(4, DENIED)).leak();
    let rest = answers(vec![(200, first), (503, "{}"), (200, event(5, STARTED))]);
    let (url, asked) = served(rest).await;
    let (told, ended) = said(&["--url", &url, "--key", "k", "--cursor", "3", "--store", "a/b", "--type", "x"]).await;
    assert_eq!(
        told,
        "2026-11-18T11:06:40.123Z  execution.denied           own           exec_1  POLICY_DENIED\n\
         2026-11-18T11:06:40.123Z  system.started             -             trc_1\n"
    );
    let query = "store=a%2Fb&type=x&cursor=3";
    assert_eq!(*asked.lock(), ["-", "4", "4", "5"].map(|last| format!("{query} {last}")));
    assert_eq!(ended.unwrap_err().exit() as i32, 1);
}

#[tokio::test]
async fn json_is_the_exact_bytes() {
    let (url, asked) = served(answers(vec![(200, event(1, DENIED))])).await;
    let (told, _) = said(&["--url", &url, "--key", "k", "--from-start", "--json"]).await;
    assert_eq!(told, format!("{DENIED}\n"));
    assert_eq!(asked.lock()[0], "cursor=0 -");
}

#[tokio::test]
async fn what_never_went_well_is_told_at_once() {
    let (url, asked) = served(answers(vec![(503, r#"{"error":{"code":"EVIDENCE_UNAVAILABLE","message":"m"}}"#)])).await;
    let (_, ended) = said(&["--url", &url, "--key", "k"]).await;
    assert_eq!((ended.unwrap_err().exit() as i32, asked.lock().len()), (3, 1));
    let (_, ended) = said(&["--url", "http://127.0.0.1:1", "--key", "k"]).await;
    assert_eq!(ended.unwrap_err().exit() as i32, 4);
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_it_quietly() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let (url, _) = served(answers(vec![(200, event(1, DENIED))])).await;
    let command = Command::try_parse_from(["tail", "--url", &url, "--key", "k"]).unwrap();
    run(&command.args, &mut Gone).await.unwrap();
}
