//! Which route a request is on. Compiled once; a look-up is a walk over a short list.

use std::sync::Arc;

use http::HeaderMap;

use crate::model::ids::StoreId;
use crate::model::intent::Sha256;
use crate::protocol::media::Media;
use crate::protocol::preset::{Phase, Preset, Recognised, SessionKey};

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

/// What is known of a request's body before it is read.
#[derive(Clone, Copy)]
pub struct Body<'h> {
    pub headers: &'h HeaderMap,
    /// There is none.
    pub bodiless: bool,
}

/// What a request is on its route.
#[derive(Clone)]
pub struct Step {
    pub route: Arc<Route>,
    pub kind: Kind,
    /// What tells its session from others of the route.
    pub session: Option<String>,
    pub media: Media,
}

/// Which request it is, as far as its head says it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Phase(Phase),
    /// A step, and which one stands in its body.
    ByBody,
    /// Named by the preset as one that buys nothing.
    Harmless,
    Unknown,
}

impl Routes {
    #[must_use]
    pub fn new(mut routes: Vec<Arc<Route>>, fallback: Option<Arc<Upstream>>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse(route.prefix.len()));
        Self { routes, fallback }
    }

    /// What a request with this canonical path is.
    #[must_use]
    pub fn find(&self, host: &str, method: &str, path: &str, body: Body<'_>) -> Option<Step> {
        let Body { headers, bodiless } = body;
        let (route, rest) = self.on_host(host).find_map(|route| Some((route, route.rest(path)?)))?;
        let media = Media::of(headers);
        let (kind, session) = match route.preset.recognise(method, rest, media, bodiless) {
            Recognised::Step(phase, found) => (Kind::Phase(phase), found.session.map(ToOwned::to_owned)),
            Recognised::ByBody => (Kind::ByBody, None),
            Recognised::Harmless => (Kind::Harmless, None),
            Recognised::Unknown => (Kind::Unknown, None),
        };
        let session = session.or_else(|| session_of(&route.preset, headers));
        Some(Step { route: route.clone(), kind, session, media })
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
        self.on_host(host).any(|route| route.rest(path).is_none() && route.is_rest_but_for_case(path))
    }

    /// Where requests may go.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<Upstream>> {
        let guarded = self.routes.iter().map(|route| route.upstream.clone());
        guarded.chain(self.fallback.clone()).collect()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}

impl Route {
    /// What follows the prefix, if it ends where a segment ends.
    fn rest<'p>(&self, path: &'p str) -> Option<&'p str> {
        path.strip_prefix(&self.prefix).filter(|rest| begins_a_segment(rest))
    }

    fn is_rest_but_for_case(&self, path: &str) -> bool {
        let parts = path.split_at_checked(self.prefix.len());
        parts.is_some_and(|(begin, rest)| begin.eq_ignore_ascii_case(&self.prefix) && begins_a_segment(rest))
    }
}

/// What names the session in a request's head: the first place that is filled, as the merchant looks.
/// Only a digest of it is kept, because it is a credential.
fn session_of(preset: &Preset, headers: &HeaderMap) -> Option<String> {
    let keys = &preset.session.as_ref()?.key;
    keys.iter().find_map(|key| match key {
        SessionKey::Header(name) => {
            let values: Vec<_> = headers.get_all(name).iter().map(|value| spelled_once(value.as_bytes())).collect();
            (!values.is_empty()).then(|| Sha256::of(&values.join(&b'\n')).hex())
        }
        SessionKey::Cookie(name) => {
            let fields = headers.get_all(http::header::COOKIE).iter();
            let crumbs = fields.flat_map(|field| field.as_bytes().split(|b| *b == b';')).map(<[u8]>::trim_ascii);
            let named = |crumb: &&[u8]| crumb.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
            let values: Vec<_> = crumbs.filter(named).collect();
            (!values.is_empty()).then(|| Sha256::of(&values.join(&b'\n')).hex())
        }
    })
}

/// `Bearer x` and `bearer  x` are one credential.
fn spelled_once(value: &[u8]) -> Vec<u8> {
    let mut words: Vec<_> = value.split(|b| *b == b' ').filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    if let [scheme, _, ..] = words.as_mut_slice() {
        scheme.make_ascii_lowercase();
    }
    words.join(&b' ')
}

fn begins_a_segment(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with('/')
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
        let find = |host: &str, method: &str, path: &str| {
            routes.find(host, method, path, Body { headers: &HeaderMap::new(), bodiless: true })
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
    fn a_session_is_named_where_the_merchant_looks_first() {
        let text = "name = \"x\"\nfacts = \"session\"\n[phases]\ncomplete = [\"POST /\"]\n[session]\nread = \"GET /\"\n\
                    key = [\"cookie:session\", \"header:authorization\"]\n\
                    [lines]\nitems = \"/i\"\nvariant = \"/v\"\nquantity = \"/q\"\n";
        let preset = Preset::parse(text).unwrap();
        let named = |lines: &[(http::HeaderName, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(name, value.parse().unwrap());
            }
            session_of(&preset, &headers)
        };
        let (cookie, auth) = (http::header::COOKIE, http::header::AUTHORIZATION);
        let bearer = named(&[(auth.clone(), "Bearer a")]);
        assert!(bearer.is_some());
        assert_eq!(named(&[(auth.clone(), "bearer  a")]), bearer);
        assert_eq!(named(&[(auth.clone(), "Bearer a"), (cookie.clone(), "sessions=b; x=1")]), bearer);
        let both = named(&[(auth, "Bearer a"), (cookie.clone(), "x=1; session=b")]);
        assert_eq!(both, named(&[(cookie, "session=b;y=2")]));
        assert_ne!(both, bearer);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn a_case_variant_is_noticed() {
        let routes = routes();
        assert!(routes.is_case_variant("any", "/Checkout"));
        assert!(!routes.is_case_variant("any", "/checkout"));
        assert!(!routes.is_case_variant("any", "/other"));
    }
}
