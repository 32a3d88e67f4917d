//! Floor 1: who seems to be calling. A signal is evidence with a low confidence, never identity:
//! nothing here lets a request pass or stops it.

use crate::model::event::Text;

/// How a caller without a token presents itself. A closed set: it becomes a metric label.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentSignal {
    None,
    /// A user agent of the starter table.
    UserAgent(&'static str),
    /// `Signature-Agent` is present; whether the signature is good is not judged here.
    Signature,
}

impl AgentSignal {
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::UserAgent(_) => "ua",
            Self::Signature => "signature",
        }
    }

    /// The table's name of the agent, for evidence.
    #[must_use]
    pub fn name(self) -> Option<Text> {
        match self {
            Self::UserAgent(name) => Some(name.into()),
            Self::None | Self::Signature => None,
        }
    }
}

/// Tokens of user agents that buy or browse for a person (operators' own documentation, 2026).
const USER_AGENTS: [&str; 26] = [
    "ChatGPT-User",
    "ChatGPT Agent",
    "ChatGPT/2.0",
    "ChatGPT-Browser",
    "Operator/",
    "Perplexity-User",
    "Claude-User",
    "Google-Agent",
    "GoogleAgent",
    "Gemini-Deep-Research",
    "AmazonBuyForMe",
    "NovaAct",
    "Amzn-User",
    "Amazon-Bedrock-AgentCore-Browser",
    "meta-externalfetcher",
    "MistralAI-User",
    "DuckAssistBot",
    "Manus-User",
    "Kimi-User",
    "TwinAgent",
    "Devin",
    "LinerBot",
    "kagi-fetcher",
    "GPTBot",
    "ClaudeBot",
    "PerplexityBot",
];

/// Longest part of a user agent that is looked at.
const USER_AGENT_MAX: usize = 512;

/// The signal of a request's headers.
#[must_use]
pub fn signal(user_agent: Option<&[u8]>, signature_agent: bool) -> AgentSignal {
    if signature_agent {
        return AgentSignal::Signature;
    }
    let user_agent = user_agent.map(|ua| ua.get(..ua.len().min(USER_AGENT_MAX)).unwrap_or(ua)).unwrap_or_default();
    let holds = |token: &&str| user_agent.windows(token.len()).any(|part| part == token.as_bytes());
    USER_AGENTS.into_iter().find(holds).map_or(AgentSignal::None, AgentSignal::UserAgent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_agent_is_named_and_a_browser_is_not() {
        let chat = b"Mozilla/5.0 AppleWebKit/537.36; compatible; ChatGPT-User/1.0; +https://openai.com/bot";
        assert_eq!(signal(Some(chat), false), AgentSignal::UserAgent("ChatGPT-User"));
        assert_eq!(signal(Some(b"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"), false), AgentSignal::None);
        assert_eq!(signal(None, true), AgentSignal::Signature);
        assert_eq!(signal(Some(&[0xff; 10_000]), false), AgentSignal::None);
    }
}
