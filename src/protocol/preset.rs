//! A preset: where one kind of checkout keeps its facts. Written as a TOML file under
//! `conf/presets/`, parsed and checked when the program starts.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::document::{self, At, Problem};

use super::outcome::{Outcomes, OutcomesDoc};
use super::path::{Match, Pattern};

/// The step of a checkout that a request is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Phase {
    Create,
    Update,
    Get,
    /// The only step that burns a token.
    Complete,
    Cancel,
}

/// What happens to a commit without a token when the policy does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tokenless {
    /// Forwarded and recorded: shoppers share the path.
    Observe,
    /// Refused with NO_TOKEN.
    Require,
}

/// The shape in which a refusal is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    #[default]
    Permyx,
    Ucp,
}

/// Where facts come from. Fixed by the preset, never by what happens to be present.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FactSource {
    /// The committing request; its declared fields bind the merchant.
    #[default]
    Request,
    /// The merchant's session, read just before the commit.
    Session,
}

/// How amounts are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Money {
    /// A JSON number of whole minor units (`2999`).
    Minor,
    /// A JSON number of major units (`29.99`).
    #[default]
    Major,
}

/// Pointers to the lines of a purchase. All but `items` and `currency` are relative to one line.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lines {
    pub items: String,
    pub variant: String,
    pub quantity: String,
    /// Unit price; left out where the request does not bind the merchant to one.
    pub price: Option<String>,
    pub currency: Option<String>,
}

/// Pointers into the merchant's answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OrderPointers {
    pub id: Option<String>,
    pub total: Option<String>,
    pub status: Option<String>,
}

/// How a session is read.
#[derive(Clone, Debug)]
pub struct SessionRead {
    pub pattern: Pattern,
    /// Lower-case names of the caller's headers that go along.
    pub credentials: Vec<String>,
}

/// A checked preset.
#[derive(Clone, Debug)]
pub struct Preset {
    pub name: String,
    pub title: String,
    /// False until it was run against a real counterpart.
    pub proven: bool,
    pub tokenless: Tokenless,
    pub dialect: Dialect,
    pub source: FactSource,
    pub money: Money,
    pub lines: Lines,
    pub order: OrderPointers,
    pub session: Option<SessionRead>,
    pub token_pointers: Vec<String>,
    pub outcomes: Outcomes,
    variant_template: String,
    phases: Vec<(Phase, Pattern)>,
}

impl Preset {
    /// Which step of the checkout a request is; `None` when the preset does not know it.
    /// `path` is canonical and without the route's prefix.
    #[must_use]
    pub fn phase<'p>(&self, method: &str, path: &'p str) -> Option<(Phase, Match<'p>)> {
        self.phases.iter().find_map(|(phase, pattern)| pattern.matches(method, path).map(|found| (*phase, found)))
    }

    /// The variant's name in tokens for the merchant's item id.
    #[must_use]
    pub fn variant_of(&self, item: &str) -> String {
        self.variant_template.replace("{id}", item)
    }

    /// Reads a preset file.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (doc, problems) = document::read::<PresetDoc>(text);
        if problems.is_empty() { doc.compile() } else { Err(problems) }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PresetDoc {
    name: At<String>,
    title: String,
    proven: bool,
    tokenless: Option<Tokenless>,
    dialect: Dialect,
    facts: FactSource,
    variant: Option<At<String>>,
    money: Money,
    phases: PhasesDoc,
    session: Option<SessionDoc>,
    lines: At<Lines>,
    token: TokenDoc,
    order: OrderPointers,
    outcome: OutcomesDoc,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PhasesDoc {
    create: Option<At<String>>,
    update: Option<At<String>>,
    get: Option<At<String>>,
    complete: Option<At<String>>,
    cancel: Option<At<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SessionDoc {
    read: At<String>,
    credentials: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TokenDoc {
    pointers: Vec<At<String>>,
}

impl PresetDoc {
    fn compile(self) -> Result<Preset, Vec<Problem>> {
        let mut problems = Vec::new();
        let phases = self.phases.compile(&mut problems);
        let session = self.session.as_ref().and_then(|session| session.compile(&mut problems));
        if self.name.is_empty() {
            problems.push(self.name.problem("a preset needs a name", "add `name = \"…\"`"));
        }
        if self.facts == FactSource::Session && session.is_none() {
            problems.push(Problem::new(None, "`facts = \"session\"` without [session]", "say how the session is read"));
        }
        let template = self.variant.map_or_else(
            || "{id}".to_owned(),
            |variant| {
                if variant.matches("{id}").count() != 1 {
                    problems
                        .push(variant.problem("`variant` needs `{id}` once", "write it like \"shopify:variant:{id}\""));
                }
                variant.value
            },
        );
        self.lines.check(&mut problems);
        for pointer in &self.token.pointers {
            check_pointer(pointer, pointer.offset, &mut problems);
        }
        let outcomes = self.outcome.compile(&mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Preset {
            name: self.name.value,
            title: self.title,
            proven: self.proven,
            tokenless: self.tokenless.unwrap_or(Tokenless::Observe),
            dialect: self.dialect,
            source: self.facts,
            money: self.money,
            lines: self.lines.value,
            order: self.order,
            session,
            token_pointers: self.token.pointers.into_iter().map(|pointer| pointer.value).collect(),
            outcomes,
            variant_template: template,
            phases,
        })
    }
}

impl PhasesDoc {
    fn compile(&self, problems: &mut Vec<Problem>) -> Vec<(Phase, Pattern)> {
        let named = [
            (Phase::Complete, &self.complete),
            (Phase::Create, &self.create),
            (Phase::Update, &self.update),
            (Phase::Get, &self.get),
            (Phase::Cancel, &self.cancel),
        ];
        if self.complete.is_none() {
            problems.push(Problem::new(None, "a preset needs the phase `complete`", "add it under [phases]"));
        }
        let written = named.into_iter().filter_map(|(phase, text)| text.as_ref().map(|text| (phase, text)));
        written.filter_map(|(phase, text)| pattern(text, problems).map(|pattern| (phase, pattern))).collect()
    }
}

impl SessionDoc {
    fn compile(&self, problems: &mut Vec<Problem>) -> Option<SessionRead> {
        const NEVER: [&str; 5] = ["signature", "signature-input", "content-digest", "idempotency-key", "dpop"];
        let credentials: Vec<_> = self.credentials.iter().map(|name| name.to_ascii_lowercase()).collect();
        if let Some(name) =
            credentials.iter().find(|name| NEVER.contains(&name.as_str()) || name.starts_with("permyx-"))
        {
            problems.push(self.read.problem(format!("`{name}` never goes along with a session read"), "remove it"));
        }
        let pattern = pattern(&self.read, problems)?;
        Some(SessionRead { pattern, credentials })
    }
}

impl At<Lines> {
    fn check(&self, problems: &mut Vec<Problem>) {
        let optional = [self.price.as_ref(), self.currency.as_ref()];
        let needed = [&self.items, &self.variant, &self.quantity];
        for pointer in needed.into_iter().chain(optional.into_iter().flatten()) {
            check_pointer(pointer, self.offset, problems);
        }
        if self.price.is_some() && self.currency.is_none() {
            problems.push(self.problem("a price without a currency", "say where the `currency` stands"));
        }
    }
}

fn pattern(text: &At<String>, problems: &mut Vec<Problem>) -> Option<Pattern> {
    Pattern::parse(text)
        .map_err(|why| problems.push(text.problem(format!("`{}` is not a request pattern", text.value), why)))
        .ok()
}

fn check_pointer(pointer: &str, offset: usize, problems: &mut Vec<Problem>) {
    if !pointer.starts_with('/') {
        let message = format!("`{pointer}` is not a JSON Pointer");
        problems.push(Problem::new(Some(offset), message, "start it with `/` (RFC 6901)"));
    }
}

/// The presets that are compiled in, by name.
pub fn built_in() -> Result<BTreeMap<String, Preset>, Vec<Problem>> {
    const FILES: [&str; 2] =
        [include_str!("../../conf/presets/oneshot-json.toml"), include_str!("../../conf/presets/ucp.toml")];
    FILES.iter().map(|text| Preset::parse(text).map(|preset| (preset.name.clone(), preset))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_presets_are_good() {
        let presets = built_in().unwrap();
        let ucp = &presets["ucp"];
        let (phase, found) = ucp.phase("POST", "/checkout-sessions/cs_1/complete").unwrap();
        assert_eq!((phase, found.session), (Phase::Complete, Some("cs_1")));
        assert_eq!(ucp.phase("PUT", "/checkout-sessions/cs_1").unwrap().0, Phase::Update);
        assert!(ucp.phase("DELETE", "/checkout-sessions/cs_1").is_none());
        assert_eq!(presets["oneshot-json"].phase("POST", "").unwrap().0, Phase::Complete);
    }

    #[test]
    fn a_bad_preset_says_everything_that_is_wrong() {
        let text = "name = \"x\"\nfacts = \"session\"\nvariant = \"v\"\n[phases]\ncomplete = \"post /x\"\n[lines]\nitems = \"a\"\nvariant = \"/v\"\nquantity = \"/q\"\n";
        let problems = Preset::parse(text).unwrap_err();
        assert_eq!(problems.len(), 4, "{problems:?}");
    }
}
