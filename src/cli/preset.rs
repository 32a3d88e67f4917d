//! `permyx preset`: the presets that are compiled in, and fixtures tried on presets.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::fixtures::{self, Case, Tried};
use crate::model::document::{Problem, Problems};
use crate::protocol::preset::{self, FactSource, Preset, Tokenless, built_in};

use super::error::CliError;

/// The checkout protocols that are known.
#[derive(Debug, Args)]
pub struct PresetArgs {
    #[command(subcommand)]
    command: PresetCommand,
}

#[derive(Debug, Subcommand)]
enum PresetCommand {
    /// List the presets that are compiled in
    #[command(after_help = "Example:\n  permyx preset list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a preset as it is compiled in: a start for one of your own
    #[command(after_help = "Example:\n  permyx preset show ucp > my-checkout.toml")]
    Show {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Try fixtures on presets: requests, what the merchant answers, and what has to come of them
    #[command(after_help = "Examples:\n  permyx preset test\n  permyx preset test ucp my-checkout.toml\n\n\
                            The fixtures of my-checkout.toml stand beside it, in my-checkout.test.toml. \
                            Exit code 1: a case came out otherwise.")]
    Test(TestArgs),
}

#[derive(Debug, Args)]
struct TestArgs {
    /// Presets by name, or preset files (*.toml); without any, all that are compiled in
    #[arg(value_name = "FILE|NAME")]
    presets: Vec<String>,
    /// Print one JSON object for each case
    #[arg(long)]
    json: bool,
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &PresetArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        PresetCommand::List { json } => list(*json, out),
        PresetCommand::Show { name } => {
            let text = preset::text(name).ok_or_else(|| unknown(name))?;
            Ok(out.write_all(text.as_bytes())?)
        }
        PresetCommand::Test(args) => test(args, out),
    }
}

fn known() -> BTreeMap<String, Preset> {
    built_in().unwrap_or_default()
}

fn unknown(name: &str) -> CliError {
    CliError::NoSuchPreset { name: name.to_owned(), known: known().into_keys().collect::<Vec<_>>().join(", ") }
}

fn list(as_json: bool, out: &mut dyn Write) -> Result<(), CliError> {
    let presets = known();
    if as_json {
        writeln!(out, "{}", json!({ "presets": presets.values().map(described).collect::<Vec<_>>() }))?;
        return Ok(());
    }
    writeln!(out, "{:14}  {:7}  {:9}  {:7}  TITLE", "NAME", "PROVEN", "TOKENLESS", "FACTS")?;
    for preset in presets.values() {
        let Preset { name, title, .. } = preset;
        let proven = if preset.proven { "yes" } else { "no" };
        writeln!(out, "{name:14}  {proven:7}  {:9}  {:7}  {title}", tokenless(preset), facts(preset))?;
    }
    Ok(())
}

fn described(preset: &Preset) -> Value {
    json!({
        "name": preset.name, "title": preset.title, "proven": preset.proven,
        "tokenless": tokenless(preset), "facts": facts(preset),
    })
}

const fn tokenless(preset: &Preset) -> &'static str {
    match preset.tokenless {
        Tokenless::Observe => "observe",
        Tokenless::Require => "require",
    }
}

const fn facts(preset: &Preset) -> &'static str {
    match preset.source {
        FactSource::Request => "request",
        FactSource::Session => "session",
    }
}

/// A preset with its fixtures.
struct Suite {
    /// As it was asked for.
    preset: String,
    /// Where the fixtures stand.
    fixtures: PathBuf,
    checked: Preset,
    cases: Vec<Case>,
}

fn test(args: &TestArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let named = if args.presets.is_empty() { known().into_keys().collect() } else { args.presets.clone() };
    let suites = files_once(&named).iter().map(|name| suite(name)).collect::<Result<Vec<_>, _>>()?;
    let (mut count, mut failed) = (0, 0);
    for suite in &suites {
        if !args.json {
            writeln!(out, "{}", suite.preset)?;
        }
        for case in &suite.cases {
            let tried = case.tried(&suite.checked);
            count += 1;
            failed += usize::from(!tried.misses.is_empty());
            if args.json { tell_json(suite, case, &tried, out) } else { tell(suite, case, &tried, out) }?;
        }
    }
    if !args.json {
        writeln!(out, "cases: {count}, failed: {failed}")?;
    }
    if failed == 0 { Ok(()) } else { Err(CliError::CasesFailed { failed, count }) }
}

/// A shell's `*.toml` names a preset and its fixtures: that is one of them.
fn files_once(named: &[String]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in named {
        let name = name.strip_suffix(".test.toml").map_or_else(|| name.clone(), |stem| format!("{stem}.toml"));
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn suite(name: &str) -> Result<Suite, CliError> {
    let is_file = Path::new(name).extension().is_some_and(|ending| ending == "toml");
    if is_file {
        let (path, beside) = (PathBuf::from(name), Path::new(name).with_extension("test.toml"));
        let (text, fixtures) = (read(&path)?, read(&beside)?);
        return suite_of(name, (path, &text), (beside, &fixtures));
    }
    let (Some(text), Some(fixtures)) = (preset::text(name), preset::fixtures(name)) else { return Err(unknown(name)) };
    let place = |ending: &str| PathBuf::from(format!("{name}{ending}"));
    suite_of(name, (place(".toml"), text), (place(".test.toml"), fixtures))
}

fn suite_of(name: &str, preset: (PathBuf, &str), fixtures: (PathBuf, &str)) -> Result<Suite, CliError> {
    let wrong = |(path, text): (PathBuf, &str), found: Vec<Problem>| CliError::Wrong(Problems::new(&path, text, found));
    let checked = Preset::parse(preset.1).map_err(|found| wrong(preset, found))?;
    let cases = fixtures::parse(fixtures.1).map_err(|found| wrong(fixtures.clone(), found))?;
    Ok(Suite { preset: name.to_owned(), fixtures: fixtures.0, checked, cases })
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|source| CliError::Unread { path: path.to_owned(), source })
}

fn tell(suite: &Suite, case: &Case, tried: &Tried, out: &mut dyn Write) -> std::io::Result<()> {
    if tried.misses.is_empty() {
        return writeln!(out, "  ok      {}", case.name);
    }
    writeln!(out, "  FAILED  {} ({}:{})", case.name, suite.fixtures.display(), case.line)?;
    for miss in &tried.misses {
        writeln!(out, "            {}: expected {}, found {}", miss.member, miss.expected, miss.found)?;
    }
    for diff in &tried.diff {
        writeln!(out, "            {}: {} was authorised, {} is bought", diff.path, diff.authorized, diff.actual)?;
    }
    Ok(())
}

fn tell_json(suite: &Suite, case: &Case, tried: &Tried, out: &mut dyn Write) -> std::io::Result<()> {
    let told = json!({
        "preset": suite.preset, "case": case.name, "file": suite.fixtures.display().to_string(), "line": case.line,
        "ok": tried.misses.is_empty(), "misses": tried.misses, "diff": tried.diff,
    });
    writeln!(out, "{told}")
}
