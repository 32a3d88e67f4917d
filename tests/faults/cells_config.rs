//! Cells 28 to 30: what a gateway is told from outside, keys and policies, goes bad.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use permyx::token::keys::{SigningKey, key_set};

use crate::cells::{Plant, Stands};
use crate::redis::wait_for;
use crate::relay::Relay;
use crate::size::Size;
use crate::stand::{ALONE, Member, SHOP, Stand};
use crate::support::gateway::{Guard, MUG, Purchase, kind};
use crate::support::merchant::{Merchant, Reply};
use crate::table::Row;
use crate::trial::{Token, Trial, purchase_of};

/// Ways in which a key set goes bad, each a path of the issuer with a gateway of its own.
const WAYS: [&str; 6] = ["down", "500", "10-mb", "redirect", "no-keys", "rotated"];
/// Longer than a gateway waits before it asks again (30 s).
const PAUSE: Duration = Duration::from_secs(40);
/// Whole refreshes that a gateway may ask for while a flood of unknown keys goes on for 30 s: the
/// one at its start, and one more.
const FETCHES: usize = 2;

/// An issuer that serves a good set once, and then what the path says.
pub struct Issuer {
    pub stand: Stand,
    /// How often each path was asked for.
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    /// Served from the second time on, and not published before.
    next: SigningKey,
    door: Relay,
    _server: Merchant,
}

impl Issuer {
    pub fn open() -> Self {
        let (key, next) = (Arc::new(SigningKey::generate().unwrap()), SigningKey::generate().unwrap());
        let set = |key: &SigningKey| serde_json::to_string(&key_set([key.public()])).unwrap();
        let (good, later, asked) = (set(&key), set(&next), Arc::<Mutex<BTreeMap<String, usize>>>::default());
        let counts = asked.clone();
        let server = Merchant::start(move |request| {
            let path = request.request_line().split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(path.clone()).or_default();
            *count += 1;
            if *count == 1 { Reply::json(200, &good) } else { bad(&path, &later) }
        });
        let door = Relay::to(server.address());
        let member = |way: &&str| Member {
            keys: format!("jwks_url = \"http://{}/{way}\"", door.address()),
            ..Member::of(ALONE)
        };
        let members: Vec<_> = WAYS.iter().map(member).collect();
        let merchants = vec![(SHOP, Merchant::selling())];
        let guards = [Guard::enforcing(SHOP, merchants[0].1.url())];
        let stand = Stand::with_key(key, &members, merchants, &guards);
        Self { stand, asked, next, door, _server: server }
    }

    fn asked(&self, way: &str) -> usize {
        self.asked.lock().unwrap().get(way).copied().unwrap_or(0)
    }
}

fn bad(way: &str, later: &str) -> Reply {
    match way {
        "500" => Reply::json(500, "{}"),
        "10-mb" => Reply::json(200, &" ".repeat(10 << 20)),
        "redirect" => Reply::Bytes("HTTP/1.1 302 Found\r\nLocation: /500\r\nContent-Length: 0\r\n\r\n".into()),
        "no-keys" => Reply::json(200, r#"{"keys":[]}"#),
        "rotated" => Reply::json(200, later),
        _ => Reply::Close,
    }
}

impl Trial<'_> {
    fn expect_code(&self, client: &mut crate::trial::Client, gateway: usize, token: &Token, code: &str) {
        let told = client.buy(gateway, token);
        let found = told.as_ref().map(|told| told.code.as_str());
        self.expect(found == Some(code), || format!("gateway {gateway}: {code:?} was due: {told:?}"));
    }

    fn token_by(&self, key: &SigningKey) -> Token {
        Token { text: Purchase::mug(SHOP).signed_by(key), ..self.token() }
    }
}

pub fn key_set_goes_bad(stands: &Stands, size: Size, plant: Plant) -> Row {
    let issuer = &*stands.issuer;
    let trial = Trial::on(&issuer.stand, size, plant);
    let unknown = SigningKey::generate().unwrap();
    let share = size.tokens.div_ceil(2 * WAYS.len());
    let flood = || {
        trial.crowd(4, share * WAYS.len(), |client, n| {
            trial.expect_code(client, n % WAYS.len(), &trial.token_by(&unknown), "INVALID_SIGNATURE");
        });
    };
    flood();
    trial.plant(|| {
        let started = Instant::now();
        while started.elapsed() < PAUSE && !WAYS.iter().all(|way| issuer.asked(way) > 1) {
            trial.expect_code(&mut trial.client(), 0, &trial.token_by(&unknown), "INVALID_SIGNATURE");
            std::thread::park_timeout(Duration::from_millis(500));
        }
    });
    flood();
    let mut client = trial.client();
    for (gateway, way) in WAYS.iter().enumerate() {
        let (old, new) = if *way == "rotated" { ("INVALID_SIGNATURE", "") } else { ("", "INVALID_SIGNATURE") };
        for _ in 0..share {
            trial.expect_code(&mut client, gateway, &trial.token(), old);
            trial.expect_code(&mut client, gateway, &trial.token_by(&issuer.next), new);
        }
        let asked = issuer.asked(way);
        trial.expect(asked == FETCHES, || format!("{way}: asked {asked} times"));
    }
    let refused = trial.count("INVALID_SIGNATURE");
    let measured = format!("{refused} refused for their key, one refresh each; old keys went on");
    trial.finish(29, "key set: down, 500, 10 MB, redirect, no keys, rotated", measured)
}

pub fn control_plane_down(stands: &Stands, size: Size, plant: Plant) -> Row {
    let issuer = &*stands.issuer;
    let trial = Trial::on(&issuer.stand, size, plant);
    trial.plant(|| issuer.door.refuse());
    let is_there = std::net::TcpStream::connect(issuer.door.address()).is_ok();
    trial.expect(!is_there, || "the control plane can be reached".to_owned());
    let tokens = trial.tokens(size.tokens);
    trial.crowd(4, tokens.len(), |client, n| trial.expect_code(client, n % 5, &tokens[n], ""));
    issuer.door.heal();
    let bought = trial.count("");
    trial.finish(28, "control plane down", format!("{bought} bought with the last key set"))
}

/// A gateway whose policy allows one mug at a time.
pub fn open_limited() -> Stand {
    let merchants = vec![(SHOP, Merchant::selling())];
    let policy = "mode = \"enforce\"\n[limits]\nmax_quantity = 1\n";
    let guards = [Guard { policy, ..Guard::enforcing(SHOP, merchants[0].1.url()) }];
    Stand::with_guards(&[Member::of(ALONE)], merchants, &guards)
}

pub fn policy_goes_bad(stands: &Stands, size: Size, plant: Plant) -> Row {
    let stand = &*stands.limited;
    let trial = Trial::on(stand, size, plant);
    let (dir, file) = (stand.gateway(0).dir().path().join("policies"), "shop.toml");
    let good = std::fs::read_to_string(dir.join(file)).unwrap();
    let rejected = || stand.gateway(0).events().iter().filter(|event| kind(event) == "policy.rejected").count();
    let ways: [(&str, &dyn Fn()); 5] = [
        ("wrong", &|| std::fs::write(dir.join(file), "store = \"shop\"\nmode = \"of ease\"\n").unwrap()),
        ("half written", &|| std::fs::write(dir.join(file), &good[..good.len() / 2]).unwrap()),
        ("swapped link", &|| {
            std::fs::write(dir.join("other"), "store = ").unwrap();
            std::os::unix::fs::symlink("other", dir.join("link")).unwrap();
            std::fs::rename(dir.join("link"), dir.join(file)).unwrap();
        }),
        ("10 MB", &|| {
            std::fs::remove_file(dir.join(file)).unwrap();
            std::fs::write(dir.join(file), " ".repeat(10 << 20)).unwrap();
        }),
        ("removed", &|| std::fs::remove_file(dir.join(file)).unwrap()),
    ];
    let before = rejected();
    for (count, (way, goes_bad)) in ways.iter().enumerate() {
        trial.plant(|| {
            goes_bad();
            wait_for(way, || rejected() > before + count);
        });
        trial.crowd(4, size.tokens / ways.len(), |client, n| {
            let (quantity, code) = if n % 2 == 0 { (1, "") } else { (3, "POLICY_DENIED") };
            let text = Purchase { quantity, ..Purchase::mug(SHOP) }.signed_by(&stand.key);
            let token = Token { text, ..trial.token() };
            let cart = MUG.replace("\"quantity\":1", &format!("\"quantity\":{quantity}"));
            let told = client.send(0, &token, |id| purchase_of(&token, id, "", &[], &cart));
            trial.expect(told.as_ref().is_some_and(|told| told.code == code), || format!("{way}: {told:?}"));
        });
    }
    trial.plant(|| std::fs::write(dir.join(file), &good).unwrap());
    let kept = rejected() - before;
    trial.expect(kept >= ways.len(), || format!("{kept} changes were not taken"));
    let measured = format!("{kept} changes not taken; {} refused by the policy before", trial.count("POLICY_DENIED"));
    trial.finish(30, "policy file: wrong, half written, swapped link, 10 MB, removed", measured)
}
