//! What an agent may do with a token (published scopes).

use std::fmt;

/// The closed set of published scopes. Only [`Scope::AgentExec`] may complete a purchase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scope {
    Chat,
    Compare,
    Cart,
    AgentExec,
    Ads,
}

impl Scope {
    pub const ALL: [Self; 5] = [Self::Chat, Self::Compare, Self::Cart, Self::AgentExec, Self::Ads];

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Compare => "compare",
            Self::Cart => "cart",
            Self::AgentExec => "agent_exec",
            Self::Ads => "ads",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
