//! What a check has to say of what was read. Pure, but for a look at the key set's file.

use serde::Serialize;

use crate::authority::policies::Policies;
use crate::catalog::Catalog;
use crate::config::{Config, JwksSource, RouteConfig};
use crate::decide::policy::{Mode, OnUnavailable};
use crate::model::ids::StoreId;
use crate::protocol::preset::{Basis, Tokenless};

use super::connect::unusable;

/// The worst comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It would not start, or refuse everything.
    Error,
    /// It does less than one might think.
    Warning,
    Note,
}

impl Level {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// What a finding is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Group {
    /// The files that were read.
    Config,
    Keys,
    Clock,
    Ledger,
    Upstream,
    Policy,
    Catalog,
    Evidence,
    /// Ways around a route that is guarded.
    Bypass,
    /// What a preset was never proven to do.
    Preset,
    /// The process that runs by this configuration.
    Running,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub group: Group,
    pub level: Level,
    /// A place in a file, a route, a store or a table of the configuration.
    pub about: String,
    pub message: String,
    pub fix: String,
}

impl Finding {
    pub(super) fn new(
        group: Group,
        level: Level,
        about: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { group, level, about: about.into(), message: message.into(), fix: fix.into() }
    }

    pub(super) fn error(
        group: Group,
        about: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(group, Level::Error, about, message, fix)
    }

    pub(super) fn warning(
        group: Group,
        about: impl Into<String>,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::new(group, Level::Warning, about, message, fix)
    }
}

/// What was read; `None` where it could not be.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub config: &'a Config,
    pub policies: Option<&'a Policies>,
    pub catalog: Option<&'a Catalog>,
}

impl Known<'_> {
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.start(&mut found);
        self.callers(&mut found);
        for store in &self.config.stores() {
            self.store(store, &mut found);
        }
        for route in &self.config.gateway.routes {
            self.preset(route, &mut found);
            self.rules(route, &mut found);
        }
        found
    }

    /// Behind a proxy that is not named, every caller has the proxy's address.
    fn callers(&self, found: &mut Vec<Finding>) {
        if !self.config.detect.tables.ranges().is_empty() && self.config.gateway.trusted_proxies.is_empty() {
            let message = "agents are known by their addresses, and no proxy is trusted to tell them";
            let fix = "if anything stands before this gateway, name its networks in `gateway.trusted_proxies`";
            found.push(Finding::new(Group::Config, Level::Note, "[detect]", message, fix));
        }
    }

    /// What a gateway needs to start.
    fn start(&self, found: &mut Vec<Finding>) {
        let Config { gateway, ledger, jwks, .. } = self.config;
        if gateway.routes.is_empty() {
            let fix = "add [[gateway.routes]], unless this is the configuration of `permyx serve` alone";
            found.push(Finding::new(
                Group::Config,
                Level::Note,
                "[gateway]",
                "there is no route: nothing is guarded",
                fix,
            ));
            if gateway.fallback.is_none() {
                return;
            }
        }
        if !ledger.single_instance && ledger.redis.is_none() {
            let fix = "add [ledger.redis] for several gateways, or `single_instance = true` if this is the only one";
            found.push(Finding::error(Group::Ledger, "[ledger]", "it is not said where tokens are burned", fix));
        }
        match jwks {
            None => {
                let fix = "set `jwks_url` or `jwks_file`";
                found.push(Finding::error(Group::Keys, "[keys]", "it is not said whose tokens are taken", fix));
            }
            Some(JwksSource::File(path)) if !path.exists() => {
                let message = format!("there is no key set `{}` yet: no token is taken until it comes", path.display());
                found.push(Finding::warning(Group::Keys, "[keys]", message, "put it there, or name another file"));
            }
            Some(JwksSource::File(path)) => {
                let read = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"));
                if let Some(why) = read.map_or_else(Some, |set| unusable(&set)) {
                    let (message, fix) =
                        (format!("`{}` {why}", path.display()), "write an RS256 key of 2048 bits or more into it");
                    found.push(Finding::error(Group::Keys, "[keys]", message, fix));
                }
            }
            Some(JwksSource::Url(_)) => {}
        }
    }

    fn store(&self, store: &StoreId, found: &mut Vec<Finding>) {
        let about = || format!("store {store}");
        if self.policies.is_some_and(|policies| !policies.knows(store)) {
            let fix = match &self.config.policies {
                Some(dir) => format!("add `{}`", dir.join(format!("{store}.toml")).display()),
                None => "add [policies] with a `dir`, and a file for this store in it".to_owned(),
            };
            found.push(Finding::warning(
                Group::Policy,
                about(),
                "it has no policy: it is observed, and nothing else",
                fix,
            ));
        }
        if self.catalog.is_some_and(|catalog| !catalog.has(store)) {
            let fix = "put a file for this store into the directory of [catalog]";
            found.push(Finding::new(
                Group::Catalog,
                Level::Note,
                about(),
                "it has no catalog: prices are not verified",
                fix,
            ));
        }
    }

    fn preset(&self, route: &RouteConfig, found: &mut Vec<Finding>) {
        let (preset, about) = (&route.preset, || format!("route {}", route.name));
        if !preset.proven {
            let message = format!("preset `{}` was never run against a real counterpart", preset.name);
            let fix = "begin with `mode = \"observe\"`, and compare what is recorded with what was bought";
            found.push(Finding::warning(Group::Preset, about(), message, fix));
        }
        let Some(policies) = self.policies else { return };
        let basis = policies.of(&route.store).price_basis();
        if preset.lines.price.as_ref().is_some_and(|prices| prices.on(basis).is_empty()) {
            let (basis, other) = match basis {
                Basis::Net => ("net", "gross"),
                Basis::Gross => ("gross", "net"),
            };
            let message = format!(
                "preset `{}` does not tell prices on the basis `{basis}`: every purchase would be refused",
                preset.name
            );
            let fix =
                format!("set `price_basis = \"{other}\"` in the policy of {}, and authorise such prices", route.store);
            found.push(Finding::error(Group::Preset, about(), message, fix));
        }
    }

    /// What an enforced route lets through nevertheless.
    fn rules(&self, route: &RouteConfig, found: &mut Vec<Finding>) {
        let Some(policies) = self.policies else { return };
        let rules = policies.of(&route.store).route(&route.name);
        if rules.mode != Mode::Enforce {
            return;
        }
        let mut warn = |message, fix| {
            found.push(Finding::warning(Group::Bypass, format!("route {}", route.name), message, fix));
        };
        if rules.tokenless.unwrap_or(route.preset.tokenless) == Tokenless::Observe {
            warn(
                "this route does not stop an agent that leaves the header out",
                "set `tokenless = \"require\"` in the policy if no shopper comes this way",
            );
        }
        if rules.on_unavailable == OnUnavailable::AllowAndRecord {
            warn(
                "while ledger or evidence cannot be used, purchases pass that nobody judged",
                "set `on_unavailable = \"deny\"` in the policy",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::reload::Files;

    const ROUTE: &str = "[[gateway.routes]]\nname = \"r\"\npath = \"/c\"\npreset = \"oneshot-json\"\nstore = \"s\"\n\
                         upstream = \"http://127.0.0.1:1\"\n";
    const REST: &str = "[ledger]\nsingle_instance = true\n[keys]\njwks_url = \"https://a\"\n[policies]\ndir = \"p\"\n";

    fn config(text: &str) -> Config {
        Config::parse(text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems:?}"))
    }

    fn policies(text: &str) -> Policies {
        Policies::parse(&Files::from([(PathBuf::from("s.toml"), text.to_owned())])).unwrap()
    }

    /// Levels and what they are about.
    fn found(config: &Config, policies: &Policies) -> Vec<(Level, String, String)> {
        let known = Known { config, policies: Some(policies), catalog: Some(&Catalog::none()) };
        known.findings().into_iter().map(|found| (found.level, found.about, found.message)).collect()
    }

    fn told(found: &[(Level, String, String)], level: Level, text: &str) -> bool {
        found.iter().any(|(at, _, message)| *at == level && message.contains(text))
    }

    #[test]
    fn what_a_gateway_needs_to_start_is_an_error() {
        let observing = policies("store = \"s\"\n");
        let found_in = |text: &str| found(&config(text), &observing);
        let bare = found_in(ROUTE);
        assert!(told(&bare, Level::Error, "where tokens are burned") && told(&bare, Level::Error, "whose tokens"));
        let whole = found_in(&format!("{ROUTE}{REST}"));
        assert!(whole.iter().all(|(level, ..)| *level == Level::Note), "{whole:?}");
        let missing = REST.replace("jwks_url = \"https://a\"", "jwks_file = \"not-there.json\"");
        assert!(told(&found_in(&format!("{ROUTE}{missing}")), Level::Warning, "not-there.json"));
        let serving = found_in("");
        assert!(serving.len() == 1 && told(&serving, Level::Note, "nothing is guarded"), "{serving:?}");
    }

    #[test]
    fn what_a_route_does_not_stop_is_a_warning() {
        let config = config(&format!("{ROUTE}{REST}"));
        let of = |policy: &str| found(&config, &policies(&format!("store = \"s\"\nmode = \"enforce\"\n{policy}")));
        assert!(told(&of(""), Level::Warning, "leaves the header out"));
        assert!(!told(&of("tokenless = \"require\"\n"), Level::Warning, "leaves the header out"));
        let lenient = of("[routes.r]\non_unavailable = \"allow_and_record\"\n");
        assert!(told(&lenient, Level::Warning, "nobody judged"), "{lenient:?}");
        assert!(told(&found(&config, &policies("store = \"t\"\n")), Level::Warning, "has no policy"));
        assert!(told(&of(""), Level::Note, "prices are not verified"));
    }

    #[test]
    fn a_preset_that_cannot_tell_the_price_is_an_error() {
        let mut config = config(&format!("{ROUTE}{REST}"));
        let preset = "name = \"x\"\n[phases]\ncomplete = [\"POST /\"]\n[lines]\nitems = \"/i\"\nvariant = \"/v\"\n\
                      quantity = \"/q\"\ncurrency = \"/c\"\nprice = { gross = \"/p\" }\n";
        config.gateway.routes[0].preset = crate::protocol::preset::Preset::parse(preset).unwrap();
        let of = |policy: &str| found(&config, &policies(&format!("store = \"s\"\n{policy}")));
        assert!(told(&of(""), Level::Error, "on the basis `net`"));
        let gross = of("price_basis = \"gross\"\n");
        assert!(!gross.iter().any(|(level, ..)| *level == Level::Error), "{gross:?}");
        assert!(told(&gross, Level::Warning, "never run against a real counterpart"));
    }
}
