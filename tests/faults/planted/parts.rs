//! A relay that does nothing would make every cell pass.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::redis::{Redis, wait_for};
use crate::relay::{Fault, Relay, Way};

const LATE: Duration = Duration::from_millis(120);
const BRIEF: Duration = Duration::from_millis(60);

/// A server that says back what it hears, and a relay before it.
fn echo() -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Relay::to(listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let (mut stream, mut buffer) = (stream.unwrap(), [0; 100]);
                while let Ok(count @ 1..) = stream.read(&mut buffer) {
                    let _ = stream.write_all(&buffer[..count]);
                }
            });
        }
    });
    relay
}

fn open(relay: &Relay) -> TcpStream {
    let stream = TcpStream::connect(relay.address()).unwrap();
    stream.set_read_timeout(Some(BRIEF + LATE)).unwrap();
    stream
}

/// What comes back for these words: `None` for nothing in time, empty for the end.
fn say(stream: &mut TcpStream, words: &str) -> Option<String> {
    let mut buffer = [0; 100];
    stream.write_all(words.as_bytes()).ok()?;
    match stream.read(&mut buffer) {
        Ok(count) => Some(String::from_utf8_lossy(&buffer[..count]).into_owned()),
        Err(why) if why.kind() == std::io::ErrorKind::ConnectionReset => Some(String::new()),
        Err(_) => None,
    }
}

#[test]
fn a_relay_does_to_either_way_what_it_is_told() {
    let relay = echo();
    for way in [Way::Out, Way::Back] {
        for (fault, comes) in [
            (Fault::Pass, Some("hello")),
            (Fault::Swallow, None),
            (Fault::BlackHole, None),
            (Fault::Truncate(2), Some("he")),
            (Fault::Reset, Some("")),
            (Fault::Inject(b"-ERR no\r\n".to_vec()), Some("-ERR no\r\n")),
        ] {
            relay.heal();
            relay.set(way, fault.clone());
            let came = say(&mut open(&relay), "hello");
            // What was cut off on the way out may or may not be echoed before the end.
            let cut_off = way == Way::Out && fault == Fault::Truncate(2) && came.as_deref() == Some("");
            assert!(came.as_deref() == comes || cut_off, "{way:?} {fault:?}: {came:?}");
        }
    }
    assert_eq!(relay.touched(), 8, "Pass touches nothing, and a black hole takes nothing");
    relay.heal();
    relay.set(Way::Back, Fault::Delay(LATE));
    let (mut stream, sent) = (open(&relay), Instant::now());
    assert_eq!(say(&mut stream, "hello").as_deref(), Some("hello"));
    assert!(sent.elapsed() >= LATE);
}

#[test]
fn a_relay_can_be_told_to_touch_open_connections_only() {
    let relay = echo();
    let mut old = open(&relay);
    assert_eq!(say(&mut old, "a").as_deref(), Some("a"));
    relay.set_one(0, Way::Back, Fault::Swallow);
    assert_eq!(say(&mut old, "b"), None);
    assert_eq!(say(&mut open(&relay), "c").as_deref(), Some("c"));
    assert_eq!(relay.connections(), 2);
}

#[test]
fn a_relay_can_refuse_and_come_back() {
    let relay = echo();
    let mut old = open(&relay);
    assert_eq!(say(&mut old, "a").as_deref(), Some("a"));
    relay.refuse();
    assert!(TcpStream::connect(relay.address()).is_err());
    assert_eq!(say(&mut old, "b").as_deref(), Some(""));
    relay.heal();
    wait_for("the relay to listen again", || TcpStream::connect(relay.address()).is_ok());
    assert_eq!(say(&mut open(&relay), "c").as_deref(), Some("c"));
}

#[test]
fn redis_keeps_what_its_disk_keeps() {
    let mut redis = Redis::start();
    redis.command::<()>(&["SET", "pxl:a", "1"]);
    redis.kill();
    assert!(redis.try_command::<()>(&["PING"]).is_err());
    redis.restart();
    assert_eq!((redis.keys("pxl:"), redis.info("role").as_str()), (1, "master"));
    redis.kill();
    redis.restart_empty();
    assert_eq!(redis.keys("pxl:"), 0);
    redis.pause();
    let mut stream = TcpStream::connect(redis.address()).unwrap();
    stream.set_read_timeout(Some(BRIEF)).unwrap();
    assert_eq!(say(&mut stream, "PING\r\n"), None);
    redis.resume();
    assert_eq!(redis.command::<String>(&["PING"]), "PONG");
}

#[test]
fn a_sentinel_promotes_the_replica_of_a_dead_server() {
    let here: IpAddr = Ipv4Addr::LOCALHOST.into();
    let mut primary = Redis::start();
    let replica = Redis::replica_of(primary.address(), here);
    wait_for("the replica to follow", || replica.info("master_link_status") == "up");
    let sentinels: Vec<_> = (0..3).map(|_| Redis::sentinel_of(primary.address(), here)).collect();
    let knows = |sentinel: &Redis, what: &str| {
        let told: Vec<String> = sentinel.command(&["SENTINEL", "MASTER", "mymaster"]);
        told.iter().position(|name| name == what).map(|at| told[at + 1].clone()).unwrap_or_default()
    };
    wait_for("the sentinels to know each other", || {
        sentinels.iter().all(|s| knows(s, "num-other-sentinels") == "2" && knows(s, "num-slaves") == "1")
    });
    primary.kill();
    wait_for("the replica to be promoted", || replica.info("role") == "master");
}
