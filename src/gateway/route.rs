//! One guarded part of a site, and what a request on it is.

use std::sync::Arc;

use crate::model::ids::StoreId;
use crate::model::intent::Sha256;
use crate::protocol::media::Media;
use crate::protocol::preset::{Phase, Preset, Recognised, SessionKey};

use super::fields::Fields;
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

/// What is known of a request's body before it is read.
#[derive(Clone, Copy)]
pub struct Body<'h> {
    pub fields: &'h Fields,
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

impl Route {
    /// What a request is here whose path goes on like this behind the prefix.
    pub(super) fn step(self: &Arc<Self>, method: &str, rest: &str, body: Body<'_>) -> Step {
        let media = body.fields.media();
        let (kind, session) = match self.preset.recognise(method, rest, media, body.bodiless) {
            Recognised::Step(phase, found) => (Kind::Phase(phase), found.session.map(ToOwned::to_owned)),
            Recognised::ByBody => (Kind::ByBody, None),
            Recognised::Harmless => (Kind::Harmless, None),
            Recognised::Unknown => (Kind::Unknown, None),
        };
        let session = session.or_else(|| session_of(&self.preset, body.fields));
        Step { route: self.clone(), kind, session, media }
    }
}

/// What names the session in a request's head: the first place that is filled, as the merchant looks.
/// Only a digest of it is kept, because it is a credential.
fn session_of(preset: &Preset, fields: &Fields) -> Option<String> {
    let keys = &preset.session.as_ref()?.key;
    keys.iter().find_map(|key| match key {
        SessionKey::Header(name) => {
            let values: Vec<_> = fields.all(name).map(spelled_once).collect();
            (!values.is_empty()).then(|| Sha256::of(&values.join(&b'\n')).hex())
        }
        SessionKey::Cookie(name) => {
            let crumbs = fields.all("cookie").flat_map(|value| value.split(|b| *b == b';')).map(<[u8]>::trim_ascii);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_where_the_merchant_looks_first() {
        let text = "name = \"x\"\nfacts = \"session\"\n[phases]\ncomplete = [\"POST /\"]\n[session]\nread = \"GET /\"\n\
                    key = [\"cookie:session\", \"header:authorization\"]\n\
                    [lines]\nitems = \"/i\"\nvariant = \"/v\"\nquantity = \"/q\"\n";
        let preset = Preset::parse(text).unwrap();
        let named = |lines: &[(&str, &str)]| {
            let fields = lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
            session_of(&preset, &fields)
        };
        let (cookie, auth) = ("Cookie", "authorization");
        let bearer = named(&[(auth, "Bearer a")]);
        assert!(bearer.is_some());
        assert_eq!(named(&[(auth, "bearer  a")]), bearer);
        assert_eq!(named(&[(auth, "Bearer a"), (cookie, "sessions=b; x=1")]), bearer);
        let both = named(&[(auth, "Bearer a"), (cookie, "x=1; session=b")]);
        assert_eq!(both, named(&[(cookie, "session=b;y=2")]));
        assert_ne!(both, bearer);
        assert_eq!(named(&[]), None);
    }
}
