//! A policy that is edited while requests come: decisions change within a second, no request fails,
//! and a file that cannot be read changes nothing and is told.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::gateway::{Gateway, Guard, MUG};
use crate::support::http::{Connection, get, request};
use crate::support::merchant::Merchant;
use crate::support::{PATIENCE, files};

const OPEN: &str = "store = \"shop\"\nmode = \"enforce\"\ntokenless = \"observe\"\n";
const CLOSED: &str = "store = \"shop\"\nmode = \"enforce\"\ntokenless = \"require\"\n";
const BROKEN: &str = "store = \"shop\"\nmode = \"enfroce\"\ntokenless = \"observe\"\n";
/// Within this time a change is in force.
const SOON: Duration = Duration::from_secs(1);

/// The status of a request without a token, on a connection that stays open.
fn ask(connection: &mut Connection) -> u16 {
    connection.send(request("POST", "/shop", &[], MUG));
    connection.answer().expect("no request fails").status
}

/// Asks until the answer is this one, and says how long that took.
fn until(connection: &mut Connection, status: u16) -> Duration {
    let start = Instant::now();
    while ask(connection) != status {
        assert!(start.elapsed() < PATIENCE, "never {status}");
    }
    start.elapsed()
}

fn metric(gateway: &Gateway, name: &str) -> String {
    let text = get(gateway.ops(), "/metrics").text();
    text.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

#[test]
fn an_edit_changes_decisions_under_load_and_a_mistake_does_not() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let policy = gateway.dir().path().join("policies/shop.toml");
    let over = AtomicBool::new(false);
    let write = |text: &str| std::fs::write(&policy, text).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = Connection::open(gateway.address());
                while !over.load(Ordering::Relaxed) {
                    assert!(matches!(ask(&mut connection), 200 | 403));
                }
            });
        }
        let mut connection = Connection::open(gateway.address());
        until(&mut connection, 200);
        write(CLOSED);
        let closed = until(&mut connection, 403);
        write(BROKEN);
        let told = Instant::now();
        while !metric(&gateway, "permyx_config_last_reload_successful").ends_with(" 0") {
            assert!(told.elapsed() < PATIENCE, "the mistake is not in the metrics");
        }
        assert_eq!(ask(&mut connection), 403);
        let detail = get(gateway.ops(), "/readyz?verbose");
        assert_eq!(detail.status, 200);
        let problem = detail.json()["notes"]["policy_error"].as_str().unwrap().to_owned();
        assert!(problem.contains("shop.toml:2") && problem.contains("did you mean `enforce`?"), "{problem}");
        assert!(gateway.log().contains("policy not taken"), "{}", gateway.log());
        write(OPEN);
        let opened = until(&mut connection, 200);
        over.store(true, Ordering::Relaxed);
        assert!(closed < SOON && opened < SOON, "{closed:?}, {opened:?}");
    });
    assert!(metric(&gateway, "permyx_config_last_reload_successful").ends_with(" 1"));
}

/// A ConfigMap is a directory of links that all point through `..data`; an update swaps that.
#[test]
fn the_swap_of_a_config_map_is_seen() {
    let merchant = Merchant::selling();
    let gateway = Gateway::start(&[Guard::enforcing("shop", merchant.url())], "");
    let dir = gateway.dir().path().join("policies");
    let version = |name: &str, text: &str| {
        std::fs::create_dir(dir.join(name)).unwrap();
        std::fs::write(dir.join(name).join("shop.toml"), text).unwrap();
        std::os::unix::fs::symlink(name, dir.join("..data_tmp")).unwrap();
        std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    };
    let mut connection = Connection::open(gateway.address());
    version("..1", OPEN);
    std::fs::remove_file(dir.join("shop.toml")).unwrap();
    std::os::unix::fs::symlink(Path::new("..data/shop.toml"), dir.join("shop.toml")).unwrap();
    until(&mut connection, 200);
    version("..2", CLOSED);
    let closed = until(&mut connection, 403);
    version("..3", OPEN);
    let opened = until(&mut connection, 200);
    assert!(closed < SOON && opened < SOON, "{closed:?}, {opened:?}, {:?}", files(&dir, ".toml"));
}
