//! Callers that speak HTTP/2 from the first byte, or send several requests before the first answer:
//! each request is judged by itself, and the merchant sees plain HTTP/1.1.

use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;

use crate::support::PATIENCE;
use crate::support::gateway::{Gateway, Guard, MUG, with_token};
use crate::support::http::{Connection, request};
use crate::support::merchant::Merchant;

fn shop() -> (Merchant, Gateway) {
    let merchant = Merchant::selling();
    let host = Guard { host: "shop.example", ..Guard::enforcing("shop", format!("http://{}", merchant.address())) };
    let gateway = Gateway::start(&[host], "");
    (merchant, gateway)
}

/// Buys with curl over HTTP/2 without TLS; the status and the version that were spoken.
fn buy(gateway: &Gateway, host: &str, headers: &[String]) -> String {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-m", "20", "--http2-prior-knowledge", "-o", "/dev/null", "-w", "%{http_code} %{http_version}"]);
    curl.args(["-H", &format!("Host: {host}"), "-H", "Content-Type: application/json", "--data-binary", MUG]);
    headers.iter().for_each(|header| {
        curl.args(["-H", header]);
    });
    let said =
        curl.arg(format!("http://{}/shop", gateway.address())).output().expect("curl runs: apt-get install curl");
    String::from_utf8(said.stdout).unwrap()
}

#[test]
fn a_purchase_by_http2_is_judged_and_sold_once() {
    let (merchant, gateway) = shop();
    let token = format!("Permyx-Execution-Token: {}", gateway.token("shop"));
    let cookies = ["Cookie: a=1; b=2".to_owned(), token.clone()];
    assert_eq!(buy(&gateway, "shop.example", &cookies), "200 2");
    let [sold] = merchant.recorded().try_into().unwrap();
    assert_eq!((sold.request_line().as_str(), sold.body()), ("POST /shop HTTP/1.1", MUG.as_bytes()));
    assert_eq!(
        (sold.header("host"), sold.header("cookie")),
        (vec!["shop.example".to_owned()], vec!["a=1; b=2".to_owned()])
    );
    assert_eq!(sold.header("permyx-execution-token"), Vec::<String>::new());

    assert_eq!(buy(&gateway, "shop.example", &[token]), "403 2");
    assert_eq!(buy(&gateway, "shop.example", &["Permyx-Execution-Token: forged".to_owned()]), "403 2");
    // Another name for the same server is no way around its guard.
    assert_eq!(buy(&gateway, "other.example", &[]), "421 2");
    assert_eq!(merchant.recorded().len(), 1);
}

#[test]
fn requests_that_come_together_are_judged_one_by_one() {
    let (merchant, gateway) = shop();
    let token = gateway.token("shop");
    let together = [
        with_token("/shop", &token, MUG),
        with_token("/shop", &token, MUG),
        request("POST", "/shop", &["Permyx-Execution-Token: forged"], MUG),
        with_token("/shop", &gateway.token("shop"), MUG),
    ];
    let mut connection = Connection::open(gateway.address());
    connection.send(together.concat());
    let statuses: Vec<_> = (0..4).map(|_| connection.answer().unwrap().status).collect();
    assert_eq!((statuses, merchant.recorded().len()), (vec![200, 403, 403, 200], 2));
}

/// Speaks HTTP/2; the other side may send so many bytes of a body before they are taken.
fn speak<T>(to: SocketAddr, window: u32, act: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let socket = tokio::net::TcpStream::connect(to).await.unwrap();
        let (send, connection) =
            h2::client::Builder::new().initial_window_size(window).handshake(socket).await.unwrap();
        tokio::spawn(connection);
        act(send.ready().await.unwrap()).await
    })
}

fn asked(method: &str, gateway: &Gateway, headers: &[(&str, &str)]) -> http::Request<()> {
    let request = http::Request::builder().method(method).uri(format!("http://{}/shop", gateway.address()));
    let request = request.header("content-type", "application/json");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

/// Who resets streams as fast as it opens them leaves no connection to the merchant behind.
#[test]
fn a_stream_that_is_reset_ends_what_was_passed_on_for_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let ((arrived, arrival), (ended, end)) = (mpsc::channel(), mpsc::channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        arrived.send(()).unwrap();
        ended.send(stream.read(&mut [0; 1]).unwrap_or(0)).unwrap();
    });
    let gateway = Gateway::start(&[Guard::enforcing("shop", url)], "");
    speak(gateway.address(), 1 << 16, async |mut send| {
        let (answer, mut stream) = send.send_request(asked("GET", &gateway, &[]), true).unwrap();
        tokio::task::spawn_blocking(move || arrival.recv_timeout(PATIENCE).unwrap()).await.unwrap();
        stream.send_reset(h2::Reason::CANCEL);
        drop(answer);
        let closed = tokio::task::spawn_blocking(move || end.recv_timeout(PATIENCE)).await.unwrap();
        assert_eq!(closed, Ok(0), "the merchant's connection is closed, and nothing more comes on it");
    });
}

#[test]
fn a_caller_that_takes_nothing_delays_no_record() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let token = gateway.token("shop");
    speak(gateway.address(), 0, async |mut send| {
        let asked = asked("POST", &gateway, &[("permyx-execution-token", &token)]);
        let (answer, mut body) = send.send_request(asked, false).unwrap();
        body.send_data(MUG.into(), true).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let kinds: Vec<_> = gateway.events().iter().map(|event| event["type"].clone()).collect();
            if ["execution.validated", "order.observed"]
                .iter()
                .all(|name| kinds.iter().any(|kind| *kind == format!("io.permyx.{name}.v1")))
            {
                break;
            }
            assert!(Instant::now() < deadline, "{kinds:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(answer);
    });
}

/// HTTP/2 has no limit of its own for a body that does not come.
#[test]
fn a_body_that_never_comes_is_given_up() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    speak(gateway.address(), 1 << 16, async |mut send| {
        let request = asked("POST", &gateway, &[("content-length", "10")]);
        let (answer, _body) = send.send_request(request, false).unwrap();
        let answer = tokio::time::timeout(2 * PATIENCE, answer).await.expect("an answer comes").unwrap();
        assert_eq!(answer.status(), 408);
    });
    assert_eq!(merchant.recorded().len(), 0);
}
