//! What the fixtures of every built-in preset have to show.

use permyx::fixtures::{Case, Decision, Step, parse};
use permyx::protocol::outcome::Outcome;
use permyx::protocol::preset::{built_in, fixtures, text};

use crate::support::repository;

/// A preset as it is written, and its fixtures.
struct Shown {
    preset: toml::Table,
    cases: Vec<Case>,
}

impl Shown {
    fn table(&self, name: &str) -> Option<&toml::Table> {
        self.preset.get(name)?.as_table()
    }

    fn any(&self, is: impl Fn(&Case) -> bool) -> bool {
        self.cases.iter().any(is)
    }

    /// The steps that the preset declares.
    fn steps(&self) -> Vec<Step> {
        let declares = |phase: &str| self.table("phases").is_some_and(|phases| phases.contains_key(phase));
        let of_graphql = |table: &str| self.table("graphql").is_some_and(|table_of| table_of.contains_key(table));
        let mut steps = Vec::new();
        for (step, is) in [
            (Step::Create, declares("create")),
            (Step::Update, declares("update") || of_graphql("amend")),
            (Step::Get, declares("get") || of_graphql("commit")),
            (Step::Complete, true),
            (Step::Cancel, declares("cancel")),
        ] {
            steps.extend(is.then_some(step));
        }
        steps
    }

    /// The kinds of difference that the preset can see: what they are, and their paths.
    fn kinds(&self) -> Vec<(&'static str, &'static str)> {
        let has = |member: &str| self.table("lines").is_some_and(|lines| lines.contains_key(member));
        let one_line = self.table("lines").and_then(|lines| lines["items"].as_str()) == Some("");
        let mut kinds = vec![("variant", "/sourceVariantId"), ("quantity", "/quantity")];
        kinds.extend(has("currency").then_some(("currency", "/price/currency")));
        kinds.extend(has("price").then_some(("unit price", "/price/amount")));
        kinds.extend((!one_line).then_some(("added line", "/lines")));
        kinds
    }

    /// What no case shows.
    fn missing(&self) -> Vec<String> {
        let steps = self.steps().into_iter().filter(|step| !self.any(|case| case.expect.step == Some(*step)));
        let mut missing: Vec<_> = steps.map(|step| format!("step `{}`", step.as_str())).collect();
        if !self.any(|case| case.expect.decision == Some(Decision::Allowed)) {
            missing.push("a commit that is allowed".to_owned());
        }
        let outcomes = [Outcome::Committed, Outcome::Failed].into_iter();
        let outcomes = outcomes.filter(|outcome| !self.any(|case| case.expect.outcome == Some(*outcome)));
        missing.extend(outcomes.map(|outcome| format!("outcome `{}`", outcome.as_str())));
        // A currency differs in the price too: a price differs alone.
        let shows = |case: &Case, kind: &str, path: &str| match kind {
            "currency" => case.expect.diff.iter().any(|differs| differs == path),
            _ => case.expect.diff == [path],
        };
        let kinds = self.kinds().into_iter().filter(|(kind, path)| !self.any(|case| shows(case, kind, path)));
        missing.extend(kinds.map(|(kind, _)| format!("a mismatch of the {kind}")));
        missing
    }
}

fn shown(name: &str) -> Shown {
    Shown { preset: text(name).unwrap().parse().unwrap(), cases: parse(fixtures(name).unwrap()).unwrap() }
}

#[test]
fn the_fixtures_of_every_preset_show_every_step_outcome_and_mismatch() {
    let mut findings = Vec::new();
    for name in built_in().unwrap().keys() {
        let missing = shown(name).missing();
        findings.extend(missing.iter().map(|missing| format!("conf/presets/{name}.test.toml shows no {missing}")));
    }
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_example_of_the_documents_passes() {
    let doc = std::fs::read_to_string(repository().join("docs/fixtures.md")).unwrap();
    let example = doc.split("```\n").nth(1).unwrap();
    let cases = parse(example).unwrap_or_else(|problems| panic!("{problems:?}"));
    assert!(cases[0].tried(&built_in().unwrap()["ucp"]).misses.is_empty());
}

#[test]
fn what_is_not_shown_is_noticed() {
    let mut ucp = shown("ucp");
    ucp.cases.retain(|case| case.expect.step != Some(Step::Cancel) && case.expect.diff != ["/price/amount"]);
    assert_eq!(ucp.missing(), ["step `cancel`", "a mismatch of the unit price"]);
    let mut form = shown("oneshot-form");
    form.cases.clear();
    assert_eq!(form.missing().len(), 8, "{:?}", form.missing());
}
