//! `permyx trigger`: plays a scenario against a running Permyx and checks what came of it.

mod play;
mod scenario;
mod told;
mod wait;

use std::io::Write;
use std::net::IpAddr;

use clap::Args;
use http::Uri;
use serde_json::{Value, json};

use super::error::CliError;
use super::token::IntentArgs;
use play::{Player, Stop};
use scenario::Scenario;
use told::Story;

/// A scenario, played.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  permyx trigger --list\n  permyx trigger replay\n  permyx trigger all --json\n  \
                        permyx trigger expired --expired-token \"$T\"\n\n\
                        It really buys: what the gateway lets through is executed by the merchant behind it. The \
                        checkout must be one of the preset `oneshot-json`. What became of a step is told by `permyx \
                        timeline TRACE`.\n\n\
                        Exit code 0: it held, 1: an answer was not what it must be, 3: it was not played to the end, \
                        4: nobody answers.")]
pub struct TriggerArgs {
    #[arg(required_unless_present = "list")]
    scenario: Option<Scenario>,
    /// Tell what there is, and what each needs
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    intent: IntentArgs,
    /// Where the gateway is
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8480")]
    gateway: String,
    /// The path of the checkout
    #[arg(long, default_value = "/checkout")]
    path: String,
    /// The key of an operator, for `revoked`
    #[arg(long, value_name = "KEY", env = "PERMYX_OPERATOR_KEY", hide_env_values = true)]
    operator_key: Option<String>,
    /// For `expired`: a token of earlier, instead of a new one that has to expire first
    #[arg(long, value_name = "TOKEN")]
    expired_token: Option<String>,
    /// What the scenario wants to be broken is: do not ask for it
    #[arg(long)]
    fault_is_there: bool,
    /// Play on other machines than this one too, whatever is bought there
    #[arg(long)]
    yes_this_buys: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
}

/// Plays and writes what was sent and answered.
pub async fn run(args: &TriggerArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let Some(asked) = args.scenario.filter(|_| !args.list) else { return Ok(scenario::list(args.json, out)?) };
    if asked == Scenario::Revoked && args.operator_key.is_none() {
        return Err(CliError::NoOperator);
    }
    let mut places = [&args.intent.url, &args.gateway].into_iter();
    if asked.sends()
        && !args.yes_this_buys
        && let Some(elsewhere) = places.find(|url| !is_here(url))
    {
        return Err(CliError::ReallyBuys(elsewhere.clone()));
    }
    let (mut played, mut failed) = (Vec::new(), Vec::new());
    let mut ended = Ok(());
    for one in asked.each() {
        let (value, held) = play(args, one, out).await?;
        played.push(value);
        match held {
            Ok(true) => {}
            Ok(false) => failed.push(one.name()),
            Err(error) => {
                ended = Err(error);
                break;
            }
        }
    }
    if args.json {
        writeln!(out, "{}", object(asked, played, ended.is_ok().then_some(failed.is_empty())))?;
    }
    ended?;
    if failed.is_empty() { Ok(()) } else { Err(CliError::NotHeld(failed.join(", "))) }
}

/// Plays one, told as JSON too, and whether it held.
async fn play<'a>(
    args: &'a TriggerArgs,
    scenario: Scenario,
    out: &'a mut dyn Write,
) -> Result<(Value, Result<bool, CliError>), CliError> {
    let out = if args.json { None } else { Some(out) };
    let mut player = Player::new(args, Story { steps: Vec::new(), out })?;
    player.story.say(&format!("{}: {}", scenario.name(), scenario.about()))?;
    if scenario.sends() {
        player.story.say(&format!("  What passes {} is really bought.", args.gateway))?;
    }
    let held = match player.play(scenario).await {
        Ok(()) => Ok(true),
        Err(Stop::NotHeld) => Ok(false),
        Err(Stop::Failed(error)) => Err(error),
    };
    if let Ok(held) = held {
        player.story.end(held)?;
    }
    let value = json!({ "scenario": scenario.name(), "held": held.as_ref().ok(), "steps": player.story.steps });
    Ok((value, held))
}

/// What is told of one, or of several as one.
fn object(asked: Scenario, mut played: Vec<Value>, held: Option<bool>) -> Value {
    match played.pop() {
        Some(one) if asked != Scenario::All => one,
        last => {
            played.extend(last);
            json!({ "scenario": asked.name(), "held": held, "scenarios": played })
        }
    }
}

/// Whether this URL names this machine and nothing else. One that names no machine is for the client to refuse.
fn is_here(url: &str) -> bool {
    let Some(uri) = url.parse::<Uri>().ok().filter(|uri| uri.host().is_some()) else { return true };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_loopback_address_is_here() {
        for here in ["http://127.0.0.1:8480", "http://127.9.9.9/", "http://LOCALHOST:1", "http://[::1]:8480/x", "", "?"]
        {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "http://shop.example",
            "https://10.0.0.1:8480",
            "http://127.0.0.1.shop.example",
            "http://localhost.shop.example",
            "http://0.0.0.0:8480",
            "http://[::]:8480",
            "http://[2001:db8::1]",
            "http://127.0.0.1@shop.example",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
