//! How a process begins and ends, as its operators and their tools see it.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, Guard, MUG, Start, with_token};
use crate::support::http::{Connection, get};
use crate::support::merchant::{Merchant, Reply};
use crate::support::program::permyx;

/// What is left of these when the thing that is waited for happens.
const PATIENCE: Duration = Duration::from_secs(60);

fn via(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn gateway(merchant: &Merchant, via: &[String], more: &str) -> Gateway {
    let guards = [Guard::enforcing("shop", merchant.url())];
    Gateway::start_as(&Start { via, more, ..Start::alone(&guards) })
}

/// Without the mark every stack is writable and executable, and a unit that forbids that cannot start it.
#[test]
fn its_stacks_hold_no_code() {
    let output = std::process::Command::new("readelf").args(["-lW", permyx()]).output().unwrap();
    let headers = String::from_utf8(output.stdout).unwrap();
    let stack = headers.lines().find(|line| line.contains("GNU_STACK")).expect("a mark");
    assert_eq!(stack.split_whitespace().rev().nth(1), Some("RW"), "{stack}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_process_that_is_to_stop_is_not_ready_and_still_sells() {
    let merchant = Merchant::selling();
    let mut gateway = gateway(&merchant, &via(&["env", "PERMYX_SHUTDOWN_DELAY_S=4"]), "");
    let (address, ops) = (gateway.address(), gateway.ops());
    let mut kept = Connection::open(address);
    kept.send(with_token("/shop", &gateway.token("shop"), MUG));
    assert_eq!(kept.answer().unwrap().header("connection"), Some("keep-alive"));
    let asked = Instant::now();
    gateway.program().signal("-TERM");
    wait_until("it is not ready", || get(ops, "/readyz").status == 503);
    assert!(get(ops, "/readyz").text().contains("draining"));
    assert_eq!(get(ops, "/livez").status, 200);
    // On a connection that it has and on a new one; both are asked to go elsewhere.
    kept.send(with_token("/shop", &gateway.token("shop"), MUG));
    for answer in [kept.answer().unwrap(), gateway.post("/shop", &gateway.token("shop"), MUG)] {
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    }
    assert!(gateway.program().wait().success());
    assert!(asked.elapsed() >= Duration::from_secs(4) && asked.elapsed() < Duration::from_secs(25));
    assert_eq!(merchant.recorded().len(), 3);
    assert!(gateway.events().last().unwrap()["data"]["eventType"] == "system.stopped");
}

#[test]
fn what_is_under_way_is_finished_before_the_end() {
    let merchant = Merchant::start(|_| {
        std::thread::sleep(Duration::from_secs(2));
        Reply::sold()
    });
    let mut gateway = gateway(&merchant, &[], "");
    let mut caller = Connection::open(gateway.address());
    caller.send(with_token("/shop", &gateway.token("shop"), MUG));
    merchant.wait_for(1);
    gateway.program().signal("-TERM");
    assert_eq!(caller.answer().unwrap().status, 200);
    assert!(gateway.program().wait().success());
    let kinds: Vec<_> = gateway.events_as(|event| event["data"]["eventType"].as_str().unwrap().to_owned());
    let place = |kind: &str| kinds.iter().position(|told| told == kind);
    assert!(place("execution.validated").is_some() && place("system.stopped") == Some(kinds.len() - 1), "{kinds:?}");
}

/// Nothing is decided about it, and it is a request all the same; so is one whose body still comes.
#[test]
fn what_is_only_passed_on_is_finished_too() {
    let merchant = Merchant::start(|_| {
        std::thread::sleep(Duration::from_secs(4));
        Reply::sold()
    });
    let mut gateway = gateway(&merchant, &[], "");
    let mut reader = Connection::open(gateway.address());
    reader.send(crate::support::http::request("GET", "/shop", &[], ""));
    let mut buyer = Connection::open(gateway.address());
    let bytes = with_token("/shop", &gateway.token("shop"), MUG);
    let (most, rest) = bytes.split_at(bytes.len() - 5);
    buyer.send(most);
    merchant.wait_for(1);
    gateway.program().signal("-TERM");
    let ops = gateway.ops();
    wait_until("it is told", || get(ops, "/readyz").status == 503);
    std::thread::sleep(Duration::from_millis(500));
    buyer.send(rest);
    assert_eq!(reader.answer().unwrap().status, 200);
    assert_eq!(buyer.answer().unwrap().status, 200);
    assert!(gateway.program().wait().success());
    let kinds = gateway.events_as(|event| event["data"]["eventType"].as_str().unwrap().to_owned());
    assert!(kinds.contains(&"execution.validated".to_owned()), "{kinds:?}");
    assert_eq!(kinds.last().unwrap(), "system.stopped");
}

#[test]
fn an_interrupt_and_a_second_signal_end_the_waiting() {
    std::thread::scope(|scope| {
        for signals in [&["-INT"][..], &["-TERM", "-TERM"], &["-TERM", "-INT"], &["-QUIT", "-TERM"]] {
            scope.spawn(|| ends_soon(signals));
        }
    });
}

/// With all the time that it could take, and an execution that does not end by itself.
fn ends_soon(signals: &[&str]) {
    let merchant = Merchant::start(|_| Reply::Hang);
    let delay = via(&["env", "PERMYX_SHUTDOWN_DELAY_S=300"]);
    let mut gateway = gateway(&merchant, &delay, "[shutdown]\ntimeout_s = 600\n");
    let mut caller = Connection::open(gateway.address());
    caller.send(with_token("/shop", &gateway.token("shop"), MUG));
    merchant.wait_for(1);
    let (ops, asked) = (gateway.ops(), Instant::now());
    for (number, signal) in signals.iter().enumerate() {
        if number > 0 {
            wait_until("the first signal is heard", || get(ops, "/readyz").status == 503);
        }
        gateway.program().signal(signal);
    }
    assert!(gateway.program().wait().success(), "{signals:?}");
    assert!(asked.elapsed() < Duration::from_secs(30), "{signals:?}: {:?}", asked.elapsed());
    assert_eq!(caller.answer().unwrap().json()["error"]["code"], "OUTCOME_UNKNOWN");
    assert_eq!(gateway.program().starts(), 1);
}

#[test]
fn an_upgrade_that_would_not_start_is_not_begun() {
    let merchant = Merchant::selling();
    let mut gateway = gateway(&merchant, &[], "");
    let config = std::fs::read_to_string(gateway.dir().path().join("permyx.toml")).unwrap();
    gateway.dir().write("permyx.toml", &format!("{config}\n[nonsense]\n"));
    gateway.program().signal("-QUIT");
    wait_until("it says why", || gateway.log().contains("no upgrade"));
    assert!(gateway.log().contains("nonsense"));
    assert_eq!(gateway.post("/shop", &gateway.token("shop"), MUG).status, 200);
    // What a configuration only names counts as well.
    gateway
        .dir()
        .write("permyx.toml", &config.replace("[ops]", "[access_log]\nrequests = \"all\"\nfile = \"no/where\"\n[ops]"));
    gateway.program().signal("-QUIT");
    wait_until("it says why", || gateway.log().contains("no/where"));
    assert_eq!(gateway.post("/shop", &gateway.token("shop"), MUG).status, 200);
    gateway.dir().write("permyx.toml", &config);
    gateway.program().signal("-QUIT");
    let ops = gateway.ops();
    let deadline = Instant::now() + PATIENCE;
    while gateway.program().starts() < 2 {
        assert!(Instant::now() < deadline, "the next program does not serve: {}", gateway.log());
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert_eq!(get(ops, "/readyz").status, 200);
    assert_eq!(gateway.post("/shop", &gateway.token("shop"), MUG).status, 200);
    // One record of what was, and one after it.
    let kinds = gateway.events_as(|event| event["data"]["eventType"].as_str().unwrap().to_owned());
    assert_eq!(kinds.iter().filter(|kind| *kind == "system.stopped").count(), 1);
    assert!(!kinds.iter().any(|kind| kind == "evidence.gap"), "{kinds:?}");
}

#[test]
fn a_service_manager_is_told_how_it_goes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let merchant = Merchant::selling();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    let mut gateway = gateway(&merchant, &via(&["env", &notify]), "");
    assert_eq!(told().trim(), "READY=1");
    gateway.program().signal("-QUIT");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told().trim(), "READY=1");
    assert!(gateway.stop().success());
    assert_eq!(told().trim(), "STOPPING=1");
}

/// As systemd does it for a `.socket` unit: connections wait while nobody serves.
#[test]
fn a_listener_may_be_given() {
    use command_fds::{CommandFdExt, FdMapping};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (merchant, dir) = (Merchant::selling(), crate::support::dir::TempDir::new());
    dir.write("jwks.json", "{\"keys\":[]}");
    let config = format!(
        "[gateway]\nlisten = \"{address}\"\nfallback = \"{}\"\n[ops]\nlisten = \"127.0.0.1:0\"\n[ledger]\nsingle_instance = true\n\
         [keys]\njwks_file = \"jwks.json\"\n",
        merchant.url()
    );
    dir.write("permyx.toml", &config);
    let mut early = Connection::open(address);
    early.send(crate::support::http::request("GET", "/", &[], ""));
    // A shell stands in between, so that the process knows its own id.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" gateway --config permyx.toml"]);
    command.arg(permyx()).current_dir(dir.path());
    command.fd_mappings(vec![FdMapping { parent_fd: listener.into(), child_fd: 3 }]).unwrap();
    let mut child = command.spawn().unwrap();
    let answer = early.answer().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(answer.status, 200);
}

#[cfg(feature = "tls")]
#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let made = || rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let merchant = Merchant::selling();
    let guards = [Guard::enforcing("shop", merchant.url())];
    let dir = tempfile::tempdir().unwrap();
    let write = |made: &rcgen::CertifiedKey<rcgen::KeyPair>| {
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(dir.path().join("chain.pem"), made.cert.pem()).unwrap();
    };
    write(&made());
    let tls = format!("[gateway.tls]\ncertificate = \"{0}/chain.pem\"\nkey = \"{0}/key.pem\"\n", dir.path().display());
    let mut gateway = Gateway::start_as(&Start { extra: &tls, ..Start::alone(&guards) });
    let url = gateway.program().said("gateway").replace("127.0.0.1", "localhost");
    let trusts = || {
        let roots = permyx::net::tls::roots(&dir.path().join("chain.pem")).unwrap();
        let client = permyx::net::client::Client::trusting(roots, permyx::net::client::Limits::default()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(client.get(&url, http::HeaderMap::new())).is_ok()
    };
    assert!(trusts());
    write(&made());
    gateway.program().signal("-HUP");
    wait_until("the new certificate is shown", trusts);
    let counted = get(gateway.ops(), "/metrics").text();
    assert!(counted.contains("permyx_config_last_reload_successful{kind=\"certificate\"} 1"));
}

/// Whoever serves heads in time must not take a pause for a slow one.
#[test]
fn a_connection_that_rests_between_requests_is_kept() {
    let merchant = Merchant::selling();
    let gateway = gateway(&merchant, &[], "");
    let mut kept = Connection::open(gateway.address());
    for _ in 0..2 {
        kept.send(with_token("/shop", &gateway.token("shop"), MUG));
        assert_eq!(kept.answer().unwrap().status, 200);
        std::thread::sleep(Duration::from_secs(13));
    }
    assert_eq!(merchant.recorded().len(), 2);
}
