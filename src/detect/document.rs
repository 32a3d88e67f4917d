//! A table as it is written: `conf/agents.toml`.

use serde::Deserialize;

use crate::model::document::{At, Problem, read};

use super::agent::{Agent, Agents, Class};
use super::channel::Channels;

/// Longest file. A table of this project has 5 KiB.
const FILE_MAX: usize = 1 << 20;
/// Longest name of an operator.
pub const OPERATOR_MAX: usize = 64;

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Doc {
    operator: Vec<OperatorDoc>,
    channel: Vec<ChannelDoc>,
}

/// An operator, and the tokens of its agents by class.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct OperatorDoc {
    name: At<String>,
    assistant: Vec<At<String>>,
    agent: Vec<At<String>>,
    search: Vec<At<String>>,
    training: Vec<At<String>>,
    ads: Vec<At<String>>,
    other: Vec<At<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ChannelDoc {
    name: At<String>,
    hosts: Vec<At<String>>,
    tags: Vec<At<String>>,
}

pub(super) fn parse(text: &str) -> Result<(Agents, Channels), Vec<Problem>> {
    if text.len() > FILE_MAX {
        return Err(vec![Problem::new(None, format!("it has more than {FILE_MAX} bytes"), "take words out of it")]);
    }
    let (doc, mut problems) = read::<Doc>(text);
    let (mut agents, mut channels) = (Agents::default(), Channels::default());
    for operator in &doc.operator {
        operator.compile(&mut agents, &mut problems);
    }
    for channel in &doc.channel {
        channel.compile(&mut channels, &mut problems);
    }
    if problems.is_empty() { Ok((agents, channels)) } else { Err(problems) }
}

const TWICE: &str = "stands twice, or there are too many";
const ONCE: &str = "keep one of them";

impl OperatorDoc {
    fn compile(&self, agents: &mut Agents, problems: &mut Vec<Problem>) {
        if self.name.is_empty() || self.name.len() > OPERATOR_MAX || self.name.contains(char::is_control) {
            let message = "an operator needs a name";
            problems.push(self.name.problem(message, format!("add `name`, of 1 to {OPERATOR_MAX} characters")));
        }
        let classes = [
            (Class::Assistant, &self.assistant),
            (Class::Agent, &self.agent),
            (Class::Search, &self.search),
            (Class::Training, &self.training),
            (Class::Ads, &self.ads),
            (Class::Other, &self.other),
        ];
        let tokens = classes.into_iter().flat_map(|(class, tokens)| tokens.iter().map(move |token| (class, token)));
        for (class, token) in tokens {
            match Agent::new(token, &self.name, class).map(|agent| agents.add(agent)) {
                Ok(true) => {}
                Ok(false) => problems.push(token.problem(format!("`{}` {TWICE}", **token), ONCE)),
                Err(why) => problems.push(token.problem(format!("`{}` {why}", **token), "take it out")),
            }
        }
    }
}

impl ChannelDoc {
    fn compile(&self, channels: &mut Channels, problems: &mut Vec<Problem>) {
        let hosts = self.hosts.iter().map(|host| (host, channels.add_host(&self.name, host))).collect::<Vec<_>>();
        let tags = self.tags.iter().map(|tag| (tag, channels.add_tag(&self.name, tag)));
        for (word, added) in hosts.into_iter().chain(tags) {
            match added {
                Ok(true) => {}
                Ok(false) => problems.push(word.problem(format!("`{}` {TWICE}", **word), ONCE)),
                Err(why) => {
                    problems.push(word.problem(
                        format!("`{}` of channel `{}`: the word {why}", **word, *self.name),
                        "write plain words",
                    ))
                }
            }
        }
    }
}
