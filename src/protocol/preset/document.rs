//! A preset as it is written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::model::document::{self, At, Problem};
use crate::protocol::graphql::OperationsDoc;
use crate::protocol::media::Form;
use crate::protocol::money::Money;
use crate::protocol::outcome::OutcomesDoc;
use crate::protocol::path::{PathStyle, Pattern};
use crate::protocol::pointer::{OneOrMany, Places, Pointer};

use super::lines::{Case, Items, Lines, Prices};
use super::{Dialect, FactSource, Order, Over, Phase, Preset, SessionKey, SessionRead, Tokenless};

/// Reads a preset file.
pub(super) fn read(text: &str) -> Result<Preset, Vec<Problem>> {
    let (doc, problems) = document::read::<PresetDoc>(text);
    if problems.is_empty() { doc.compile() } else { Err(problems) }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PresetDoc {
    name: At<String>,
    title: String,
    proven: bool,
    tokenless: Tokenless,
    dialect: Dialect,
    facts: FactSource,
    body: Form,
    variant: Option<At<String>>,
    path: PathDoc,
    phases: PhasesDoc,
    harmless: Vec<At<String>>,
    graphql: Option<OperationsDoc>,
    session: Option<SessionDoc>,
    lines: At<LinesDoc>,
    claims: LinesDoc,
    token: TokenDoc,
    order: OrderDoc,
    outcome: OutcomesDoc,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PathDoc {
    ignores_case: bool,
    ignores_trailing_slash: bool,
    rerouting: Vec<String>,
    shaping: Vec<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct PhasesDoc {
    create: Vec<At<String>>,
    update: Vec<At<String>>,
    get: Vec<At<String>>,
    complete: Vec<At<String>>,
    cancel: Vec<At<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SessionDoc {
    read: At<String>,
    body: Option<String>,
    credentials: Vec<String>,
    key: Vec<At<String>>,
    rotates: Vec<String>,
    root: Option<Pointer>,
    same_query: bool,
    over: OverDoc,
}

/// How a session says that it cannot be bought any more. Pointers start at the session.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct OverDoc {
    exists: Vec<Pointer>,
    equals: BTreeMap<Pointer, OneOrMany<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct TokenDoc {
    pointers: Vec<Pointer>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OrderDoc {
    root: Option<Pointer>,
    id: Option<Places>,
    total: Option<Places>,
    status: Option<Places>,
    lines: LinesDoc,
}

/// Members that are left out are as in `[lines]`, for `[claims]` and `[order.lines]`.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct LinesDoc {
    items: Option<Places>,
    variant: Option<Places>,
    quantity: Option<Places>,
    price: Option<Prices>,
    inclusive: Option<Pointer>,
    currency: Option<Places>,
    currency_case: Option<Case>,
    money: Option<Money>,
    decimals: Option<DecimalsDoc>,
    total: Option<Places>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged, expecting = "a number of digits, or a JSON Pointer to it")]
enum DecimalsDoc {
    Fixed(u8),
    At(Pointer),
}

impl PresetDoc {
    fn compile(self) -> Result<Preset, Vec<Problem>> {
        let mut problems = Vec::new();
        let found = &mut problems;
        let phases = self.phases.compile(found);
        let harmless = self.harmless.iter().filter_map(|text| pattern(text, found)).collect();
        let session = self.session.as_ref().and_then(|session| session.compile(found));
        if self.name.is_empty() {
            found.push(self.name.problem("a preset needs a name", "add `name = \"…\"`"));
        }
        if self.facts == FactSource::Session && self.session.is_none() {
            found.push(Problem::new(None, "`facts = \"session\"` without [session]", "say how the session is read"));
        }
        let variant_template = template(self.variant.as_ref(), found);
        self.lines.check(found);
        let lines = self.lines.value.compile();
        let claims = self.claims.over(&self.lines.value).compile();
        let order = self.order.compile(&self.lines.value);
        let operations = self.graphql.map(|operations| operations.compile(found));
        let outcomes = self.outcome.compile(found);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Preset {
            name: self.name.value,
            title: self.title,
            proven: self.proven,
            tokenless: self.tokenless,
            dialect: self.dialect,
            source: self.facts,
            form: self.body,
            path: PathStyle {
                ignores_case: self.path.ignores_case,
                ignores_trailing_slash: self.path.ignores_trailing_slash,
            },
            rerouting: self.path.rerouting,
            shaping: self.path.shaping,
            lines,
            claims,
            order,
            session,
            token_pointers: self.token.pointers,
            outcomes,
            operations,
            variant_template,
            phases,
            harmless,
        })
    }
}

fn template(variant: Option<&At<String>>, found: &mut Vec<Problem>) -> String {
    let Some(variant) = variant else { return "{id}".to_owned() };
    if variant.matches("{id}").count() != 1 {
        found.push(variant.problem("`variant` needs `{id}` once", "write it like \"shopify:variant:{id}\""));
    }
    variant.value.clone()
}

impl PhasesDoc {
    fn compile(&self, found: &mut Vec<Problem>) -> Vec<(Phase, Pattern)> {
        let named = [
            (Phase::Complete, &self.complete),
            (Phase::Create, &self.create),
            (Phase::Update, &self.update),
            (Phase::Get, &self.get),
            (Phase::Cancel, &self.cancel),
        ];
        if self.complete.is_empty() {
            found.push(Problem::new(None, "a preset needs the phase `complete`", "add it under [phases]"));
        }
        let written = named.into_iter().flat_map(|(phase, texts)| texts.iter().map(move |text| (phase, text)));
        written.filter_map(|(phase, text)| pattern(text, found).map(|pattern| (phase, pattern))).collect()
    }
}

impl SessionDoc {
    fn compile(&self, found: &mut Vec<Problem>) -> Option<SessionRead> {
        const NEVER: [&str; 5] = ["signature", "signature-input", "content-digest", "idempotency-key", "dpop"];
        let lower = |names: &[String]| names.iter().map(|name| name.to_ascii_lowercase()).collect::<Vec<_>>();
        let credentials = lower(&self.credentials);
        if let Some(name) =
            credentials.iter().find(|name| NEVER.contains(&name.as_str()) || name.starts_with("permyx-"))
        {
            found.push(self.read.problem(format!("`{name}` never goes along with a session read"), "remove it"));
        }
        let key: Vec<_> = self.key.iter().filter_map(|text| session_key(text, found)).collect();
        let pattern = pattern(&self.read, found)?;
        if !pattern.has_session() && key.is_empty() {
            let fix = "put `{session}` into `read`, or say what names it: `key = [\"header:authorization\"]`";
            found.push(self.read.problem("nothing names the session", fix));
        }
        if self.body.is_some() && pattern.method() == "GET" {
            found.push(self.read.problem("a read by GET has no body", "read by POST, or remove `body`"));
        }
        let root = self.root.clone().unwrap_or_else(Pointer::document);
        let rotates = lower(&self.rotates);
        let equals = self.over.equals.iter().map(|(place, texts)| (place.clone(), texts.clone().into_vec()));
        let over = Over { exists: self.over.exists.clone(), equals: equals.collect() };
        let (body, same_query) = (self.body.clone(), self.same_query);
        Some(SessionRead { pattern, body, credentials, key, rotates, root, same_query, over })
    }
}

fn session_key(text: &At<String>, found: &mut Vec<Problem>) -> Option<SessionKey> {
    match text.split_once(':') {
        Some(("header", name)) if !name.is_empty() => Some(SessionKey::Header(name.to_ascii_lowercase())),
        Some(("cookie", name)) if !name.is_empty() => Some(SessionKey::Cookie(name.to_owned())),
        _ => {
            let fix = "write \"header:NAME\" or \"cookie:NAME\"";
            found.push(text.problem(format!("`{}` names no place of a session", text.value), fix));
            None
        }
    }
}

impl OrderDoc {
    fn compile(self, lines: &LinesDoc) -> Order {
        let lines = self.lines.over(lines);
        Order {
            root: self.root.unwrap_or_else(Pointer::document),
            id: self.id.unwrap_or_default(),
            total: self.total.or_else(|| lines.total.clone()).unwrap_or_default(),
            status: self.status.unwrap_or_default(),
            lines: lines.compile(),
        }
    }
}

impl LinesDoc {
    /// These members, and the others as they are there.
    fn over(&self, other: &Self) -> Self {
        fn or<T: Clone>(mine: &Option<T>, theirs: &Option<T>) -> Option<T> {
            mine.clone().or_else(|| theirs.clone())
        }
        Self {
            items: or(&self.items, &other.items),
            variant: or(&self.variant, &other.variant),
            quantity: or(&self.quantity, &other.quantity),
            price: or(&self.price, &other.price),
            inclusive: or(&self.inclusive, &other.inclusive),
            currency: or(&self.currency, &other.currency),
            currency_case: self.currency_case.or(other.currency_case),
            money: self.money.or(other.money),
            decimals: or(&self.decimals, &other.decimals),
            total: or(&self.total, &other.total),
        }
    }

    fn compile(&self) -> Lines {
        let items = self.items.clone().unwrap_or_default();
        let is_document = items.0.iter().any(|pointer| pointer.as_str().is_empty());
        let (decimals, decimals_at) = match &self.decimals {
            Some(DecimalsDoc::Fixed(digits)) => (Some(u32::from(*digits)), None),
            Some(DecimalsDoc::At(pointer)) => (None, Some(pointer.clone())),
            None => (None, None),
        };
        Lines {
            items: if is_document { Items::Document } else { Items::List(items) },
            variant: self.variant.clone().unwrap_or_default(),
            quantity: self.quantity.clone().unwrap_or_default(),
            price: self.price.clone(),
            inclusive: self.inclusive.clone(),
            currency: self.currency.clone().unwrap_or_default(),
            currency_case: self.currency_case.unwrap_or_default(),
            money: self.money.unwrap_or_default(),
            decimals,
            decimals_at,
            total: self.total.clone().unwrap_or_default(),
        }
    }
}

impl At<LinesDoc> {
    fn check(&self, found: &mut Vec<Problem>) {
        for (name, places) in [("items", &self.items), ("variant", &self.variant), ("quantity", &self.quantity)] {
            if places.as_ref().is_none_or(Places::is_empty) {
                found.push(self.problem(format!("[lines] needs `{name}`"), "say where it stands: a JSON Pointer"));
            }
        }
        if self.price.is_some() && self.currency.as_ref().is_none_or(Places::is_empty) {
            found.push(self.problem("a price without a currency", "say where the `currency` stands"));
        }
        if self.money == Some(Money::Atomic) && self.decimals.is_none() {
            found.push(self.problem("`money = \"atomic\"` without `decimals`", "say how many digits a major unit has"));
        }
        if self.decimals.is_some() && matches!(self.money, None | Some(Money::Major | Money::MajorText)) {
            found.push(self.problem("`decimals` is of minor or atomic units", "remove it, or change `money`"));
        }
    }
}

fn pattern(text: &At<String>, found: &mut Vec<Problem>) -> Option<Pattern> {
    Pattern::parse(text)
        .map_err(|why| found.push(text.problem(format!("`{}` is not a request pattern", text.value), why)))
        .ok()
}
