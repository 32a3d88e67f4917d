//! Which routes there are. Compiled once: a look-up takes a step for each segment of the path, however many
//! routes there are.

use std::borrow::Cow;
use std::sync::Arc;

use hashbrown::HashMap;

use crate::protocol::preset::first_of;

use super::route::{Body, Route, Step};
use super::upstream::Upstream;

/// All routes, and where everything else goes.
pub struct Routes {
    all: Vec<Arc<Route>>,
    /// What is guarded on the hosts that some route names; what is for every host is among it.
    named: HashMap<String, Host>,
    /// What is guarded on every other host.
    others: Host,
    /// The routes of certain hosts, by prefix.
    bound: HashMap<String, Vec<Arc<Route>>>,
    longest: usize,
    /// Upstream of paths that no route guards; without one they are 404.
    pub fallback: Option<Arc<Upstream>>,
}

/// What is guarded on one host.
#[derive(Default)]
pub struct Host {
    routes: Vec<Arc<Route>>,
    by_prefix: HashMap<String, Arc<Route>>,
    /// Prefixes by their small letters.
    spellings: HashMap<String, Vec<String>>,
    /// One of them has a capital.
    has_capitals: bool,
    /// Parameters by which some server takes a request for another one.
    rerouting: Vec<String>,
    longest: usize,
}

impl Routes {
    #[must_use]
    pub fn new(all: Vec<Arc<Route>>, fallback: Option<Arc<Upstream>>) -> Self {
        let mut named: HashMap<String, Host> = HashMap::new();
        for host in all.iter().flat_map(|route| &route.hosts) {
            named.entry(host.clone()).or_default();
        }
        let (mut others, mut bound) = (Host::default(), HashMap::<String, Vec<_>>::new());
        for route in &all {
            if route.hosts.is_empty() {
                others.add(route);
                named.values_mut().for_each(|host| host.add(route));
                continue;
            }
            bound.entry(route.prefix.clone()).or_default().push(route.clone());
            for name in &route.hosts {
                named.entry(name.clone()).or_default().add(route);
            }
        }
        let longest = all.iter().map(|route| route.prefix.len()).max().unwrap_or(0);
        Self { all, named, others, bound, longest, fallback }
    }

    /// What is guarded on a host.
    #[must_use]
    pub fn on_host(&self, host: &str) -> &Host {
        self.named.get(host).unwrap_or(&self.others)
    }

    /// True when some route is for certain hosts only, so that a host decides what is guarded.
    #[must_use]
    pub fn by_host(&self) -> bool {
        !self.bound.is_empty()
    }

    /// The routes that guard this path for hosts other than this one.
    pub fn elsewhere<'r>(&'r self, host: &'r str, path: &'r str) -> impl Iterator<Item = &'r Arc<Route>> {
        let bound = beginnings(path, self.longest).filter_map(|prefix| self.bound.get(prefix));
        bound.flatten().filter(move |route| !route.hosts.iter().any(|name| name == host))
    }

    /// Where requests may go.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let guarded = self.all.iter().map(|route| route.upstream.clone());
        guarded.chain(self.fallback.clone()).collect()
    }
}

impl Host {
    /// Of two routes with one prefix the first one counts.
    fn add(&mut self, route: &Arc<Route>) {
        let prefix = &route.prefix;
        self.routes.push(route.clone());
        self.by_prefix.entry(prefix.clone()).or_insert_with(|| route.clone());
        self.spellings.entry(prefix.to_ascii_lowercase()).or_default().push(prefix.clone());
        self.has_capitals |= has_capitals(prefix);
        let new = route.preset.rerouting.iter().filter(|name| !self.rerouting.contains(name));
        let new: Vec<_> = new.cloned().collect();
        self.rerouting.extend(new);
        self.longest = self.longest.max(prefix.len());
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }

    /// What a request with this canonical path is. The longest prefix counts.
    #[must_use]
    pub fn find(&self, method: &str, path: &str, body: Body<'_>) -> Option<Step> {
        let (route, prefix) =
            beginnings(path, self.longest).find_map(|prefix| Some((self.by_prefix.get(prefix)?, prefix)))?;
        Some(route.step(method, path.get(prefix.len()..).unwrap_or_default(), body))
    }

    /// True when a path differs from a guarded one in nothing but case: some servers take it for
    /// the same.
    #[must_use]
    pub fn is_case_variant(&self, path: &str) -> bool {
        let small = match has_capitals(path) {
            true => Cow::Owned(path.to_ascii_lowercase()),
            false if self.has_capitals => Cow::Borrowed(path),
            false => return false,
        };
        let spelled_otherwise = |prefix: &str| {
            let mut spellings = self.spellings.get(prefix).into_iter().flatten();
            spellings.any(|spelling| path.get(..prefix.len()) != Some(spelling))
        };
        beginnings(&small, self.longest).any(spelled_otherwise)
    }

    /// The parameter by which a merchant's server would take this request for another one.
    #[must_use]
    pub fn reroutes(&self, query: &str) -> Option<&str> {
        first_of(&self.rerouting, query)
    }
}

fn has_capitals(path: &str) -> bool {
    path.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// What a path begins with, cut where a segment ends, the longest first.
fn beginnings(path: &str, longest: usize) -> impl Iterator<Item = &str> {
    let whole = Some(path.len()).filter(|end| *end <= longest);
    let slashes = path.bytes().enumerate().take(longest + 1).rev().filter(|(_, byte)| *byte == b'/');
    whole.into_iter().chain(slashes.map(|(at, _)| at)).filter_map(|end| path.get(..end))
}

#[cfg(test)]
mod tests {
    use crate::gateway::fields::Fields;
    use proptest::prelude::*;

    use super::super::route::Kind;
    use super::*;
    use crate::model::ids::StoreId;
    use crate::protocol::preset::{Phase, built_in};

    fn routes() -> Routes {
        let upstream = Arc::new(Upstream::parse("http://127.0.0.1:1").unwrap());
        let route = |name: &str, prefix: &str, preset: &str, hosts: &[&str]| {
            Arc::new(Route {
                name: name.into(),
                hosts: hosts.iter().map(ToString::to_string).collect(),
                prefix: prefix.to_owned(),
                preset: built_in().unwrap()[preset].clone(),
                store: StoreId::parse("s").unwrap(),
                upstream: upstream.clone(),
            })
        };
        let list = vec![
            route("checkout", "/checkout", "oneshot-json", &[]),
            route("ucp", "/ucp/v1", "ucp", &["shop.example"]),
        ];
        Routes::new(list, None)
    }

    #[test]
    fn a_request_is_a_step_of_its_route() {
        let routes = routes();
        let find = |host: &str, method: &str, path: &str| {
            routes.on_host(host).find(method, path, Body { fields: &Fields::default(), bodiless: true })
        };
        let step = find("any", "POST", "/checkout").unwrap();
        assert_eq!((&*step.route.name, step.kind), ("checkout", Kind::Phase(Phase::Complete)));
        assert_eq!(find("any", "PUT", "/checkout").unwrap().kind, Kind::Unknown);
        assert!(find("any", "POST", "/checkouts").is_none());
        let step = find("shop.example", "POST", "/ucp/v1/checkout-sessions/a/complete").unwrap();
        assert_eq!((step.kind, step.session.as_deref()), (Kind::Phase(Phase::Complete), Some("a")));
        assert!(find("other.example", "POST", "/ucp/v1/checkout-sessions").is_none());
    }

    #[test]
    fn a_case_variant_is_noticed() {
        let routes = routes();
        assert!(routes.on_host("any").is_case_variant("/Checkout"));
        assert!(!routes.on_host("any").is_case_variant("/checkout"));
        assert!(!routes.on_host("any").is_case_variant("/other"));
        assert!(routes.on_host("any").is_case_variant("/CHECKOUT/x"));
        assert!(!routes.on_host("any").is_case_variant("/Checkouts"));
    }

    proptest! {
        /// What is compiled finds what a walk over all routes would.
        #[test]
        fn the_index_finds_what_a_walk_finds(
            prefixes in prop::collection::vec("(/[aAb]{1,2}){0,3}", 1..6),
            hosts in prop::collection::vec(prop::collection::vec("[xy]", 0..2), 6),
            path in "(/[aAb]{1,2}){0,4}/?",
            host in "[xyz]",
        ) {
            let upstream = Arc::new(Upstream::parse("http://127.0.0.1:1").unwrap());
            let all: Vec<_> = prefixes.iter().zip(&hosts).enumerate().map(|(n, (prefix, hosts))| Arc::new(Route {
                name: n.to_string().into(),
                hosts: hosts.clone(),
                prefix: prefix.clone(),
                preset: built_in().unwrap()["oneshot-json"].clone(),
                store: StoreId::parse("s").unwrap(),
                upstream: upstream.clone(),
            })).collect();
            let routes = Routes::new(all.clone(), None);
            let serves = |route: &&Arc<Route>| route.hosts.is_empty() || route.hosts.contains(&host);
            let on_it = |path: &str, prefix: &str| {
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let longest = all.iter().filter(serves).filter(|route| on_it(&path, &route.prefix)).map(|route| route.prefix.len()).max();
            let found = routes.on_host(&host).find("GET", &path, Body { fields: &Fields::default(), bodiless: true });
            prop_assert_eq!(found.map(|step| step.route.prefix.len()), longest);
            let small = |text: &str| text.to_ascii_lowercase();
            let variant = all.iter().filter(serves).any(|route| {
                !on_it(&path, &route.prefix) && on_it(&small(&path), &small(&route.prefix))
            });
            prop_assert_eq!(routes.on_host(&host).is_case_variant(&path), variant);
            let other = all.iter().filter(|route| !serves(route)).filter(|route| on_it(&path, &route.prefix)).count();
            prop_assert_eq!(routes.elsewhere(&host, &path).count(), other);
        }
    }
}
