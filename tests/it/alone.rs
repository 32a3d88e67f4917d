//! `permyx gateway` by itself: where its keys come from, TLS, and what it refuses to start with.

use std::sync::{Arc, Mutex};

use permyx::token::keys::{SigningKey, key_set};

use crate::support::dir::TempDir;
use crate::support::gateway::{MUG as CART, Purchase};
use crate::support::http::{Answer, post};
use crate::support::merchant::{Merchant, Reply};
use crate::support::program::{Program, run};

fn token(key: &SigningKey) -> String {
    Purchase::mug("store-123").signed_by(key)
}

fn set_of(keys: &[&SigningKey]) -> String {
    serde_json::to_string(&key_set(keys.iter().map(|key| key.public()))).unwrap()
}

/// A configuration with one guarded checkout.
fn config(dir: &TempDir, merchant: &Merchant, keys: &str, gateway: &str) -> String {
    dir.write("policies/store-123.toml", "store = \"store-123\"\nmode = \"enforce\"\n");
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n{gateway}\n[[gateway.routes]]\nname = \"checkout\"\npath = \"/checkout\"\n\
         preset = \"oneshot-json\"\nstore = \"store-123\"\nupstream = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n\
         [ledger]\nsingle_instance = true\n[policies]\ndir = \"policies\"\n[keys]\n{keys}\n",
        merchant.url()
    );
    dir.write("permyx.toml", &text).to_str().unwrap().to_owned()
}

fn buy(program: &Program, token: &str) -> Answer {
    let header = format!("Permyx-Execution-Token: {token}");
    post(program.address("gateway"), "/checkout", &[&header], CART)
}

#[test]
fn keys_come_from_a_url_and_the_last_good_set_stays() {
    let (known, unknown) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
    let answer = Arc::new(Mutex::new((200, set_of(&[&known]))));
    let served = answer.clone();
    let issuer = Merchant::start(move |_| {
        let (status, body) = served.lock().unwrap().clone();
        Reply::json(status, &body)
    });
    let (dir, merchant) = (TempDir::new(), Merchant::selling());
    let file = config(&dir, &merchant, &format!("jwks_url = \"{}/jwks.json\"", issuer.url()), "");
    let program = Program::start(dir.path(), &["gateway", "--config", &file]);
    assert_eq!(buy(&program, &token(&known)).status, 200);
    for broken in [(500, String::new()), (200, "{".to_owned()), (200, r#"{"keys":[]}"#.to_owned())] {
        *answer.lock().unwrap() = broken;
        for _ in 0..20 {
            let answer = buy(&program, &token(&unknown));
            assert_eq!((answer.status, answer.json()["reasonCode"].as_str()), (403, Some("INVALID_SIGNATURE")));
        }
        assert_eq!(buy(&program, &token(&known)).status, 200);
    }
    let asked = issuer.recorded().len();
    assert!(asked <= 2, "60 tokens with an unknown key made {asked} requests to the issuer");
    assert_eq!(merchant.recorded().len(), 4);
}

#[cfg(feature = "tls")]
#[test]
fn the_listener_speaks_tls_where_it_is_given_a_certificate() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (dir, merchant, key) = (TempDir::new(), Merchant::selling(), SigningKey::generate().unwrap());
    dir.write("chain.pem", &made.cert.pem());
    dir.write("key.pem", &made.signing_key.serialize_pem());
    dir.write("jwks.json", &set_of(&[&key]));
    let tls = "[gateway.tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"";
    let file = config(&dir, &merchant, "jwks_file = \"jwks.json\"", tls);
    let program = Program::start(dir.path(), &["gateway", "--config", &file]);
    let url = program.said("gateway");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let roots = permyx::net::tls::roots(&dir.path().join("chain.pem")).unwrap();
    let client = permyx::net::client::Client::trusting(roots, permyx::net::client::Limits::default()).unwrap();
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", "application/json".parse().unwrap());
    headers.insert("permyx-execution-token", token(&key).parse().unwrap());
    let url = url.replace("127.0.0.1", "localhost") + "/checkout";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(client.post(&url, headers, CART.into())).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(merchant.recorded().len(), 1);
}

/// What stands on standard error when the program does not start.
fn refusal(dir: &TempDir, args: &[&str]) -> String {
    let output = run(dir.path(), args);
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_does_not_start_with_a_promise_that_it_cannot_keep() {
    let (dir, merchant) = (TempDir::new(), Merchant::selling());
    let file = config(&dir, &merchant, "jwks_file = \"jwks.json\"", "");
    let shared = std::fs::read_to_string(&file).unwrap().replace("single_instance = true", "single_instance = false");
    dir.write("shared.toml", &shared);
    assert!(refusal(&dir, &["gateway", "--config", "shared.toml"]).contains("ledger.single_instance = true"));
    dir.write("keyless.toml", &std::fs::read_to_string(&file).unwrap().replace("jwks_file = \"jwks.json\"", ""));
    assert!(refusal(&dir, &["gateway", "--config", "keyless.toml"]).contains("keys.jwks_url"));
}

#[cfg(feature = "control-plane")]
#[test]
fn other_machines_are_not_served_without_tls() {
    let dir = TempDir::new();
    dir.write("permyx.toml", "[api]\nlisten = \"0.0.0.0:0\"\n[ops]\nlisten = \"127.0.0.1:0\"\n");
    let said = refusal(&dir, &["serve", "--config", "permyx.toml"]);
    assert!(said.contains("without TLS") && said.contains("api.insecure = true"), "{said}");
}

#[cfg(feature = "control-plane")]
#[test]
fn a_busy_port_is_named_with_the_flag_that_changes_it() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = busy.local_addr().unwrap().to_string();
    let free = "127.0.0.1:0";
    let dir = TempDir::new();
    for flag in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
        let mut args = vec!["dev", "--data", "data"];
        for other in ["--gateway-listen", "--api-listen", "--merchant-listen", "--ops-listen"] {
            args.extend([other, if other == flag { address.as_str() } else { free }]);
        }
        let said = refusal(&dir, &args);
        assert!(said.contains(flag) && said.contains(&address), "{said}");
    }
}

/// A gateway whose checkout is guarded for one host, before a merchant that answers to all.
fn guarding_one_host(dir: &TempDir, merchant: &Merchant) -> Program {
    let fallback = format!("fallback = \"{}\"", merchant.url());
    let file = config(dir, merchant, "jwks_file = \"jwks.json\"", &fallback);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("path = ", "hosts = [\"shop.example\"]\npath = ")).unwrap();
    dir.write("jwks.json", &set_of(&[&SigningKey::generate().unwrap()]));
    dir.write("policies/store-123.toml", "store = \"store-123\"\nmode = \"enforce\"\ntokenless = \"require\"\n");
    Program::start(dir.path(), &["gateway", "--config", &file])
}

#[test]
fn another_name_for_the_host_is_no_way_around_its_guard() {
    let (dir, merchant) = (TempDir::new(), Merchant::selling());
    let program = guarding_one_host(&dir, &merchant);
    let ask = |head: &str| {
        let request = format!("POST /checkout {head}Content-Length: {}\r\n\r\n{CART}", CART.len());
        crate::support::http::exchange(program.address("gateway"), request).unwrap().status
    };
    assert_eq!(ask("HTTP/1.1\r\nHost: shop.example\r\n"), 403);
    assert_eq!(ask("HTTP/1.1\r\nHost: shop.example.\r\n"), 403);
    assert_eq!(ask("HTTP/1.1\r\nHost: SHOP.example:80\r\n"), 403);
    assert_eq!(ask("HTTP/1.1\r\nHost: other.example\r\n"), 421);
    assert_eq!(ask("HTTP/1.0\r\n"), 400);
    assert_eq!(merchant.recorded().len(), 0);
}

#[test]
fn a_stop_records_what_it_cuts_short() {
    let (dir, merchant, key) = (TempDir::new(), Merchant::start(|_| Reply::Hang), SigningKey::generate().unwrap());
    dir.write("jwks.json", &set_of(&[&key]));
    let file = config(&dir, &merchant, "jwks_file = \"jwks.json\"\n[shutdown]\ntimeout_s = 8", "");
    let mut program = Program::start(dir.path(), &["gateway", "--config", &file]);
    let (address, token) = (program.address("gateway"), token(&key));
    let header = format!("Permyx-Execution-Token: {token}");
    let caller = std::thread::spawn(move || post(address, "/checkout", &[&header], CART));
    merchant.wait_for(1);
    assert!(program.stop().success());
    let answer = caller.join().unwrap();
    assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (502, Some("OUTCOME_UNKNOWN")));
    let spool = std::fs::read_dir(dir.path().join("data/spool")).unwrap().flatten();
    let text: String =
        spool.map(|file| String::from_utf8_lossy(&std::fs::read(file.path()).unwrap()).into_owned()).collect();
    let kinds = ["execution.reserved", "execution.indeterminate", "system.stopped"];
    let places: Vec<_> = kinds.iter().map(|kind| text.find(&format!("\"eventType\":\"{kind}\""))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
}
