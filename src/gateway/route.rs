//! Which route a request is on. Compiled once; a look-up is a walk over a short list.

use std::sync::Arc;

use crate::model::ids::StoreId;
use crate::protocol::preset::{Phase, Preset};

use super::upstream::Upstream;

/// A guarded part of the merchant's site.
pub struct Route {
    pub name: Arc<str>,
    /// Hosts that it is for; all when empty. Lower case.
    pub hosts: Vec<String>,
    /// Path prefix, without a slash at the end.
    pub prefix: String,
    pub preset: Preset,
    pub store: StoreId,
    pub upstream: Arc<Upstream>,
}

/// The routes, longest prefix first, and where everything else goes.
pub struct Routes {
    routes: Vec<Arc<Route>>,
    /// Upstream of paths that no route guards; without one they are 404.
    pub fallback: Option<Arc<Upstream>>,
}

/// What a request is on its route.
#[derive(Clone)]
pub struct Step {
    pub route: Arc<Route>,
    /// `None`: the preset does not know this request.
    pub phase: Option<Phase>,
    pub session: Option<String>,
}

impl Routes {
    #[must_use]
    pub fn new(mut routes: Vec<Arc<Route>>, fallback: Option<Arc<Upstream>>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Self { routes, fallback }
    }

    /// The route of a canonical path.
    #[must_use]
    pub fn find(&self, host: &str, method: &str, path: &str) -> Option<Step> {
        let (route, rest) = self.on_host(host).find_map(|route| Some((route, route.rest(path)?)))?;
        let (phase, session) = match route.preset.phase(method, rest) {
            Some((phase, found)) => (Some(phase), found.session.map(ToOwned::to_owned)),
            None => (None, None),
        };
        Some(Step { route: route.clone(), phase, session })
    }

    /// The routes of a host.
    pub fn on_host<'r>(&'r self, host: &'r str) -> impl Iterator<Item = &'r Arc<Route>> {
        self.routes.iter().filter(move |route| route.hosts.is_empty() || route.hosts.iter().any(|name| name == host))
    }

    /// True when some route is for certain hosts only, so that a host decides what is guarded.
    #[must_use]
    pub fn by_host(&self) -> bool {
        self.routes.iter().any(|route| !route.hosts.is_empty())
    }

    /// The routes that guard this path for hosts other than this one.
    pub fn elsewhere<'r>(&'r self, host: &'r str, path: &'r str) -> impl Iterator<Item = &'r Arc<Route>> {
        let other = move |route: &&Arc<Route>| !route.hosts.is_empty() && !route.hosts.iter().any(|name| name == host);
        self.routes.iter().filter(other).filter(move |route| route.rest(path).is_some())
    }

    /// True when a path differs from a guarded one in nothing but case: some servers take it for
    /// the same.
    #[must_use]
    pub fn is_case_variant(&self, host: &str, path: &str) -> bool {
        let lower = path.to_ascii_lowercase();
        let guarded = |route: &&Arc<Route>| {
            let prefix = route.prefix.to_ascii_lowercase();
            route.rest(path).is_none() && rest_of(&prefix, &lower).is_some()
        };
        self.on_host(host).any(|route| guarded(&route))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}

impl Route {
    fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        rest_of(&self.prefix, path)
    }
}

/// What follows a prefix, if it ends where a segment ends.
fn rest_of<'p>(prefix: &str, path: &'p str) -> Option<&'p str> {
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::preset::built_in;

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
        let step = routes.find("any", "POST", "/checkout").unwrap();
        assert_eq!((&*step.route.name, step.phase), ("checkout", Some(Phase::Complete)));
        assert_eq!(routes.find("any", "PUT", "/checkout").unwrap().phase, None);
        assert!(routes.find("any", "POST", "/checkouts").is_none());
        let step = routes.find("shop.example", "POST", "/ucp/v1/checkout-sessions/a/complete").unwrap();
        assert_eq!((step.phase, step.session.as_deref()), (Some(Phase::Complete), Some("a")));
        assert!(routes.find("other.example", "POST", "/ucp/v1/checkout-sessions").is_none());
    }

    #[test]
    fn a_case_variant_is_noticed() {
        let routes = routes();
        assert!(routes.is_case_variant("any", "/Checkout"));
        assert!(!routes.is_case_variant("any", "/checkout"));
        assert!(!routes.is_case_variant("any", "/other"));
    }
}
