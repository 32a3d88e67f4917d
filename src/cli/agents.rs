//! `permyx agents`: what calls are recognised by, and what that says of one.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::Config;
use crate::detect::{Flag, LADDER_VERSION, Seen, Tables};

use super::error::CliError;

/// Agents and channels that are known.
#[derive(Debug, Args)]
pub struct AgentsArgs {
    #[command(subcommand)]
    command: AgentsCommand,
}

#[derive(Debug, Subcommand)]
enum AgentsCommand {
    /// List the agents and channels that are known
    #[command(after_help = "Example:\n  permyx agents list --config /etc/permyx/permyx.toml")]
    List(Source),
    /// Print the table that is compiled in: a start for one of your own
    #[command(after_help = "Example:\n  permyx agents show > agents.toml")]
    Show,
    /// Say what the tables make of a request; nothing is sent or recorded
    #[command(after_help = "Example:\n  permyx agents explain --user-agent 'ChatGPT-User/1.0' --address 192.0.2.1")]
    Explain(Request),
}

#[derive(Debug, Args)]
struct Source {
    /// Configuration file whose lists are added; without one, what is compiled in
    #[arg(long, short, env = "PERMYX_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Request {
    /// Its `User-Agent`
    #[arg(long)]
    user_agent: Option<String>,
    /// Its `Referer`
    #[arg(long)]
    referrer: Option<String>,
    /// Its query, like `utm_source=…`
    #[arg(long)]
    query: Option<String>,
    /// The caller's address
    #[arg(long)]
    address: Option<IpAddr>,
    #[command(flatten)]
    source: Source,
}

/// Runs one of the verbs and writes what it has to say.
pub fn run(args: &AgentsArgs, out: &mut dyn Write) -> Result<(), CliError> {
    match &args.command {
        AgentsCommand::List(source) => list(source, out),
        AgentsCommand::Show => Ok(out.write_all(Tables::BUILT_IN.as_bytes())?),
        AgentsCommand::Explain(request) => explain(request, out),
    }
}

fn config(source: &Source) -> Result<Config, CliError> {
    let plain = || Config::plain(std::path::Path::new("."));
    Ok(source.config.as_deref().map(Config::load).transpose()?.unwrap_or_else(plain))
}

fn list(source: &Source, out: &mut dyn Write) -> Result<(), CliError> {
    let detect = config(source)?.detect;
    let tables = &detect.tables;
    let mut agents: Vec<_> = tables.agents().iter().collect();
    agents.sort_by_key(|agent| (&agent.operator, agent.name()));
    let networks = |name: &str| tables.ranges().get(name).map_or(0, |nets| nets.count());
    if source.json {
        let agents: Vec<_> = agents
            .iter()
            .map(|agent| {
                json!({
                    "name": agent.name(), "token": agent.token, "operator": agent.operator,
                    "class": agent.class.as_str(), "networks": networks(agent.name()),
                })
            })
            .collect();
        let hosts: Vec<_> =
            tables.channels().hosts().map(|(host, channel)| json!({"channel": channel, "host": host})).collect();
        let tags: Vec<_> =
            tables.channels().tags().map(|(tag, channel)| json!({"channel": channel, "tag": tag})).collect();
        let lists: Vec<_> = detect
            .lists
            .iter()
            .map(|(file, added)| json!({"file": file, "new": added.new, "leftOut": added.left_out}))
            .collect();
        return Ok(writeln!(out, "{}", json!({"agents": agents, "hosts": hosts, "tags": tags, "lists": lists}))?);
    }
    for (file, added) in &detect.lists {
        writeln!(out, "{file}: new: {}, left out: {}", added.new, added.left_out)?;
    }
    writeln!(out, "{:36}  {:9}  {:8}  OPERATOR", "AGENT", "CLASS", "NETWORKS")?;
    for agent in agents {
        let (name, class) = (agent.name(), agent.class.as_str());
        writeln!(out, "{name:36}  {class:9}  {:<8}  {}", networks(name), agent.operator)?;
    }
    writeln!(out, "\n{:36}  CHANNEL", "HOST OR TAG")?;
    for (host, channel) in tables.channels().hosts() {
        writeln!(out, "{host:36}  {channel}")?;
    }
    for (tag, channel) in tables.channels().tags() {
        writeln!(out, "{:36}  {channel}", format!("={tag}"))?;
    }
    Ok(())
}

fn explain(request: &Request, out: &mut dyn Write) -> Result<(), CliError> {
    let tables = config(&request.source)?.detect.tables;
    let seen = Seen {
        user_agent: request.user_agent.as_deref().map(str::as_bytes),
        referrer: request.referrer.as_deref().map(str::as_bytes),
        query: request.query.as_deref().map(str::as_bytes),
        address: request.address,
        ..Seen::default()
    };
    let found = tables.look(&seen);
    let agent = found.agent().and_then(|name| tables.agents().named(name));
    let flags: Vec<_> = found.flags().into_iter().map(Flag::as_str).collect();
    if request.source.json {
        let answer = json!({
            "agentName": found.agent(), "operator": agent.map(|agent| &agent.operator),
            "class": agent.map(|agent| agent.class.as_str()), "channel": found.channel(), "flags": flags,
            "agentConfidence": found.confidence(), "ratingVersion": LADDER_VERSION, "signals": found.signals(),
        });
        return Ok(writeln!(out, "{answer}")?);
    }
    let agent = agent.map(|agent| format!("{} ({}, {})", agent.name(), agent.operator, agent.class.as_str()));
    writeln!(out, "agent       {}", agent.as_deref().unwrap_or("none known"))?;
    writeln!(out, "channel     {}", found.channel().unwrap_or("none known"))?;
    writeln!(out, "confidence  {} of 10000, by ladder {LADDER_VERSION}", found.confidence())?;
    writeln!(out, "flags       {}", if flags.is_empty() { "none".to_owned() } else { flags.join(", ") })?;
    for signal in found.signals() {
        writeln!(out, "{:16}  {:11}  {}", signal.name, signal.state.as_str(), signal.value.as_deref().unwrap_or(""))?;
    }
    Ok(())
}
