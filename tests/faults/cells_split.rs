//! Cell 9: a gateway on the old primary's side of a network that is cut, and two on the other.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::cells::{Plant, Stands};
use crate::cells_failover::{FAILOVER, Watched};
use crate::cells_merchant::scripted;
use crate::redis::{Redis, free_address, works};
use crate::relay::Relay;
use crate::size::Size;
use crate::stand::{Member, SHOP, Stand};
use crate::support::gateway::Guard;
use crate::table::Row;
use crate::trial::{Trial, ms};

const WHAT: &str = "split brain: old primary reachable by one gateway, new one by two";
/// The gateway beyond the cut.
const CUT_OFF: usize = 0;

/// Another network on this machine. The `front` leads to callers and merchants, the `back` to
/// servers and sentinels.
struct Network {
    name: String,
}

impl Network {
    fn try_open() -> Option<Self> {
        let network = Self { name: format!("px{}", std::process::id()) };
        if !works("ip", &["netns", "add", &network.name]) {
            return None;
        }
        network.link("f", Self::front(1), Self::front(2));
        network.link("b", Self::back(1), Self::back(2));
        network.ip(&["-n", &network.name, "link", "set", "lo", "up"]);
        Some(network)
    }

    /// Our end is 1, the other 2.
    fn front(end: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, 1, end)
    }

    fn back(end: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 213, 2, end)
    }

    fn link(&self, side: &str, ours: Ipv4Addr, theirs: Ipv4Addr) {
        let [here, there] = [0, 1].map(|end| format!("{}{side}{end}", self.name));
        self.ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &self.name]);
        self.ip(&["addr", "add", &format!("{ours}/24"), "dev", &here]);
        self.ip(&["-n", &self.name, "addr", "add", &format!("{theirs}/24"), "dev", &there]);
        self.ip(&["link", "set", &here, "up"]);
        self.ip(&["-n", &self.name, "link", "set", &there, "up"]);
    }

    fn ip(&self, words: &[&str]) {
        let done = Command::new("ip").args(words).status().unwrap();
        assert!(done.success(), "ip {}", words.join(" "));
    }

    fn cut(&self) {
        self.ip(&["link", "set", &format!("{}b0", self.name), "down"]);
    }

    fn mend(&self) {
        self.ip(&["link", "set", &format!("{}b0", self.name), "up"]);
    }

    fn via(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).into()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for side in ["f0", "b0"] {
            works("ip", &["link", "del", &format!("{}{side}", self.name)]);
        }
        works("ip", &["netns", "del", &self.name]);
    }
}

/// Where everybody stands before the cut.
pub struct Split {
    stand: Stand,
    watched: Watched,
    _primary: Redis,
    _door: Relay,
    /// Last, so that it goes when nobody is in it any more.
    network: Network,
}

impl Split {
    /// `None` where no network can be made.
    pub fn try_open() -> Option<Self> {
        let network = Network::try_open()?;
        let own: IpAddr = Network::back(1).into();
        let primary = SocketAddr::from((Network::back(2), free_address(own).port()));
        let primary = Redis::start_via(primary, &network.via());
        let watched = Watched::open(primary.address(), own);
        let merchants = vec![(SHOP, scripted())];
        let door = Relay::at(SocketAddr::from((Network::front(1), 0)), merchants[0].1.address());
        let guards = [Guard::enforcing(SHOP, format!("http://{}", door.address()))];
        let member = || Member::of(watched.ledger("replicas"));
        let beyond = Member { via: network.via(), listen: "10.213.1.2:0", ..member() };
        let stand = Stand::with_guards(&[beyond, member(), member()], merchants, &guards);
        Some(Self { stand, watched, _primary: primary, _door: door, network })
    }
}

pub fn split(stands: &Stands, size: Size, plant: Plant) -> Row {
    let Some(Split { stand, watched, network, .. }) = &*stands.split else {
        return Row::not_run(9, WHAT, "needs network namespaces (`ip netns`, root)");
    };
    let trial = Trial::on(stand, size, plant);
    let tokens = trial.tokens(size.tokens);
    let (before, during) = tokens.split_at(tokens.len() / 2);
    trial.show_all(before, "");
    trial.plant(|| network.cut());
    trial.buy_each(&during[..during.len() / 2]);
    trial.plant(|| {
        watched.promoted();
        watched.repair(Network::back(1).into());
    });
    let back = trial.recover_at(1..stand.size(), FAILOVER);
    let far = AtomicUsize::new(0);
    trial.crowd(12, tokens.len(), |client, n| {
        for gateway in [CUT_OFF, 1, 2] {
            let sold = client.buy(gateway, &tokens[n]).is_some_and(|told| told.allowed);
            far.fetch_add(usize::from(sold && gateway == CUT_OFF), Ordering::Relaxed);
        }
    });
    let far = far.into_inner();
    trial.expect(far == 0, || format!("{far} sold by the gateway that is cut off"));
    trial.plant(|| network.mend());
    trial.buy_each(&tokens);
    let measured = format!("the two sell again after {}, the cut-off one sold {far}", ms(back));
    trial.finish(9, WHAT, measured)
}
