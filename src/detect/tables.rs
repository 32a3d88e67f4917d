//! Everything that calls are recognised by.

use std::collections::BTreeMap;

use crate::model::document::Problem;

use super::address::Nets;
use super::agent::Agents;
use super::channel::Channels;
use super::document;
use super::import::List;

/// Agents, channels, and the addresses that operators publish.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Tables {
    pub(super) agents: Agents,
    pub(super) channels: Channels,
    /// By the name of the agent.
    pub(super) ranges: BTreeMap<String, Nets>,
}

/// What a list brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Added {
    /// Words that were not known before.
    pub new: usize,
    /// Entries that are of no use here: of other kinds of bots, and expressions.
    pub left_out: usize,
}

impl Tables {
    /// `conf/agents.toml`, as it is compiled in.
    pub const BUILT_IN: &'static str = include_str!("../../conf/agents.toml");

    #[must_use]
    pub fn built_in() -> Self {
        // INVARIANT: the file is good; a test reads it.
        Self::parse(Self::BUILT_IN).unwrap_or_default()
    }

    /// Reads a table in the form of `conf/agents.toml`.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (agents, channels) = document::parse(text)?;
        Ok(Self { agents, channels, ranges: BTreeMap::new() })
    }

    /// Adds a list. What is known already stays as it is.
    pub fn add(&mut self, list: List) -> Added {
        let mut added = Added { new: 0, left_out: list.left_out };
        for agent in list.agents {
            added.new += usize::from(self.agents.add(agent));
        }
        for (channel, host) in list.hosts {
            // INVARIANT: the list's reader took both for words.
            added.new += usize::from(self.channels.add_host(&channel, &host) == Ok(true));
        }
        added
    }

    /// Adds published addresses of the agent of this name. `false`: there is none.
    pub fn add_ranges(&mut self, agent: &str, nets: Nets) -> bool {
        let Some(agent) = self.agents.named(agent) else { return false };
        let known = self.ranges.entry(agent.name().to_owned()).or_default();
        *known = std::mem::take(known).with(nets);
        true
    }

    #[must_use]
    pub fn agents(&self) -> &Agents {
        &self.agents
    }

    #[must_use]
    pub fn channels(&self) -> &Channels {
        &self.channels
    }

    /// The agents whose addresses are known, with them.
    #[must_use]
    pub fn ranges(&self) -> &BTreeMap<String, Nets> {
        &self.ranges
    }
}
