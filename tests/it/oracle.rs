//! Bodies judged twice: by us, and by a reader in another language that shares nothing with us but
//! the contract (`tests/oracle`). `PERMYX_ORACLE=100000` judges so many, and tells how they were.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use permyx::decide::policy::Policy;
use permyx::decide::velocity::Usage;
use permyx::decide::{Bid, Decision, Facts, Listing, Question, decide};
use permyx::model::ids::{AgentId, Jti, StoreId, VariantId};
use permyx::model::intent::{Intent, Quantity};
use permyx::model::json::{Value, read_object};
use permyx::model::money::{Currency, Price};
use permyx::model::scope::Scope;
use permyx::model::several::Several;
use permyx::model::time::Timestamp;
use permyx::protocol::extract::{CheckoutFacts, facts};
use permyx::protocol::form::read_form;
use permyx::protocol::media::Form;
use permyx::protocol::preset::{Basis, FactSource, Preset, built_in};
use permyx::token::issue::{Grant, Lifetime, issue};
use permyx::token::keys::{KeyRing, SigningKey, key_set};
use permyx::token::verify::{Presented, Verified, verify};
use serde::Deserialize;

use crate::support::{files, repository, told};

const NOW: Timestamp = Timestamp::of_seconds(1_795_000_000);
const COUNT: usize = 10_000;
const SEED: &str = "20260111";

/// One line of the reference.
#[derive(Deserialize)]
struct Case {
    preset: String,
    basis: Basis,
    body_b64: String,
    authorized: Vec<Authorized>,
    verdict: Verdict,
}

#[derive(Deserialize, PartialEq, Eq, Hash, Clone, Debug)]
struct Authorized {
    variant: String,
    quantity: i64,
    minor: i64,
    currency: String,
}

#[derive(Deserialize, PartialEq, Eq, Debug)]
#[serde(tag = "is", rename_all = "lowercase")]
enum Verdict {
    Allowed,
    Malformed,
    Unknown {
        cause: String,
    },
    /// The places of the diff, sorted.
    Mismatch {
        places: Vec<String>,
    },
}

/// What we make of the bodies.
struct Judge {
    presets: BTreeMap<String, Preset>,
    key: SigningKey,
    ring: KeyRing,
    store: StoreId,
    policy: Policy,
    signed: HashMap<Authorized, Verified>,
}

impl Judge {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let made_up = files(&repository().join("tests/oracle/presets"), ".toml");
        let made_up = made_up.into_iter().map(|path| Preset::parse(&std::fs::read_to_string(path).unwrap()).unwrap());
        let made_up = made_up.map(|preset| (preset.name.clone(), preset));
        Self {
            presets: built_in().unwrap().into_iter().chain(made_up).collect(),
            ring: KeyRing::of_set(&key_set([key.public()])).0,
            key,
            store: StoreId::parse("store-123").unwrap(),
            policy: Policy::parse("store = \"store-123\"\nmode = \"enforce\"\n").unwrap(),
            signed: HashMap::new(),
        }
    }

    /// The token for this line. Signed once, because signing is what takes long.
    fn sign(&mut self, line: &Authorized) {
        if self.signed.contains_key(line) {
            return;
        }
        let intent = Intent {
            store: self.store.clone(),
            variant: VariantId::parse(&line.variant).unwrap(),
            quantity: Quantity::new(line.quantity).unwrap(),
            price: Price::of_minor(line.minor, Currency::parse(&line.currency).unwrap()).unwrap(),
            scope: Scope::AgentExec,
        };
        let agent = AgentId::parse("ak_oracle").unwrap();
        let (jti, lifetime) = (Jti::random(), Lifetime::MAX);
        let grant = Grant { intent: &intent, agent: &agent, product: None, jti, issued: NOW, lifetime };
        let text = issue(&self.key, &grant).unwrap().text;
        let token = verify(Presented::new(&text).unwrap(), &self.ring, NOW).unwrap();
        self.signed.insert(line.clone(), token);
    }

    fn verdict(&mut self, case: &Case, body: &[u8]) -> Verdict {
        let preset = &self.presets[&case.preset];
        let Some(document) = document(preset, body) else { return Verdict::Malformed };
        let found = facts_of(preset, &document, case.basis);
        case.authorized.iter().for_each(|line| self.sign(line));
        let bid = |line| Bid { token: &self.signed[line], listing: Listing::NoCatalog, revoked: None };
        let question = Question {
            bids: Several::of(case.authorized.iter().map(bid)).unwrap(),
            store: &self.store,
            needs: Scope::AgentExec,
            policy: &self.policy,
            counted: Usage::default(),
            now: NOW,
        };
        match decide(&question, found.as_ref().map_or_else(|cause| Facts::Unknown(cause), Facts::Known)) {
            Decision::Allow(_) => Verdict::Allowed,
            Decision::Deny(denial) if denial.rule.as_deref() == Some("intent_unknown") => {
                Verdict::Unknown { cause: denial.observed.unwrap().into_owned() }
            }
            Decision::Deny(denial) => {
                assert_eq!(denial.rule.as_deref(), Some("intent"));
                let mut places: Vec<_> = denial.diff.into_iter().map(|diff| diff.path.into_owned()).collect();
                places.sort();
                Verdict::Mismatch { places }
            }
        }
    }
}

/// As the gateway reads it: a request strictly, a merchant's session as JSON.
fn document<'b>(preset: &Preset, body: &'b [u8]) -> Option<Value<'b>> {
    let object = match (preset.source, preset.form) {
        (FactSource::Session, _) => return read_object(body).ok().map(Value::Object),
        (FactSource::Request, Form::Json) => read_object(body).ok()?,
        (FactSource::Request, Form::Form) => read_form(body).ok()?,
    };
    (!object.has_case_twins()).then_some(Value::Object(object))
}

fn facts_of(preset: &Preset, document: &Value<'_>, basis: Basis) -> Result<CheckoutFacts, &'static str> {
    let source = match &preset.session {
        Some(read) if preset.source == FactSource::Session => {
            read.root.find(document).filter(|session| **session != Value::Null).ok_or("session_not_found")?
        }
        _ => document,
    };
    facts(preset, source, basis).map_err(|unknown| unknown.0)
}

#[test]
fn an_independent_reader_comes_to_the_same_verdicts() {
    let count = told("PERMYX_ORACLE").map_or(COUNT, |count| count.parse().unwrap());
    let seed = told("PERMYX_ORACLE_SEED").unwrap_or_else(|| SEED.to_owned());
    let mut python = Command::new("python3");
    python.arg("-B").arg(repository().join("tests/oracle/reference.py"));
    python.args(["--count", &count.to_string(), "--seed", &seed]).stdout(Stdio::piped());
    let mut reference = python.spawn().unwrap();
    let lines = BufReader::new(reference.stdout.take().unwrap()).lines();
    let (mut judge, mut seen, mut differences) = (Judge::new(), BTreeMap::<_, usize>::new(), Vec::new());
    for line in lines {
        let case: Case = serde_json::from_str(&line.unwrap()).unwrap();
        let body = STANDARD.decode(&case.body_b64).unwrap();
        let ours = judge.verdict(&case, &body);
        let word = format!("{:?}", case.verdict).split(' ').next().unwrap().to_owned();
        *seen.entry((case.preset.clone(), word)).or_default() += 1;
        if ours != case.verdict {
            let Case { preset, basis, authorized, verdict, .. } = case;
            let body = body.escape_ascii();
            differences
                .push(format!("{preset} {basis:?}: {body}\n  for {authorized:?}\n  it: {verdict:?}\n  we: {ours:?}"));
        }
    }
    assert!(reference.wait().unwrap().success());
    println!("seed {seed}: {seen:?}");
    assert_eq!(seen.values().sum::<usize>(), count);
    for preset in judge.presets.keys() {
        let of = |word: &str| seen.get(&(preset.clone(), word.to_owned())).copied().unwrap_or_default();
        let few = ["Allowed", "Malformed", "Unknown", "Mismatch"].into_iter().find(|word| of(word) * 100 < count / 4);
        assert_eq!(few, None, "of {preset} there are hardly any");
    }
    let (many, first) = (differences.len(), differences.iter().take(5).cloned().collect::<Vec<_>>());
    assert!(differences.is_empty(), "{many} differences, seed {seed}:\n{}", first.join("\n"));
}
