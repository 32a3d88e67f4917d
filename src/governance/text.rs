//! A timeline as text, for terminals and for reading aloud.

use std::fmt;

use super::say::{contradiction, sureness};
use super::timeline::{Alarm, Authorised, FirstUse, Missing, Order, Outcome, Step, Timeline};

impl Outcome {
    /// The outcome in a few words.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is known of it",
            Self::OrderOnly => "an order of the store, and no execution that it could be",
            Self::Unused => "authorised, and not used so far",
            Self::Refused => "refused",
            Self::Observed => "passed, observed only",
            Self::Released => "not executed, the token is unused",
            Self::Bypassed => "passed unjudged during an outage",
            Self::Unsettled => "under way, or never settled",
            Self::Unknown => "unknown: it was sent, and no complete answer came back",
            Self::Spent => "the token is used up, and the store's answer shows no purchase",
            Self::Pending => "the token is used up, and the store has not decided yet",
            Self::Executed => "executed once",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token => f.write_str("an execution token: nobody authorised what passed"),
            Self::Issue { token_id } => write!(f, "the issue of token {token_id}"),
            Self::Settlement { trace_id } => write!(f, "how the request {trace_id} ended"),
            Self::Outcome => f.write_str("whether the store executed it: outcome unknown"),
            Self::Order => f.write_str("an order: no order seen"),
            Self::Execution => f.write_str("an execution: this order took a path that nothing of ours saw"),
            Self::LaterEvents => f.write_str("later events: this timeline is cut off"),
            Self::Unreadable { count } => write!(f, "{count} events that this version cannot read"),
        }
    }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsedTwice { token_id } => write!(f, "token {token_id} was used by more than one request"),
        }
    }
}

impl fmt::Display for Authorised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(quantity) = self.quantity {
            write!(f, "{quantity} × ")?;
        }
        f.write_str(self.variant_id.as_deref().unwrap_or("a purchase"))?;
        if let Some(price) = &self.price {
            write!(f, " at {price}")?;
        }
        if let Some(agent) = &self.agent_id {
            write!(f, ", for agent {agent}")?;
        }
        self.expires_at.as_ref().map_or(Ok(()), |expires| write!(f, ", until {}", time_of(expires)))
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        if let Some(status) = &self.status {
            write!(f, ", {status}")?;
        }
        if let Some(total) = &self.total {
            write!(f, ", total {total}")?;
        }
        if let Some(channel) = &self.channel {
            write!(f, ", from {channel}")?;
        }
        match self.level.as_deref() {
            None => Ok(()),
            Some("contradicted") => {
                let flags: Vec<_> = self.flags.iter().map(|flag| contradiction(flag)).collect();
                write!(f, "; CONTRADICTED: {}", flags.join("; "))
            }
            level => write!(f, "; {}", sureness(level, self.confidence)),
        }
    }
}

impl fmt::Display for FirstUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (date, _) = self.time.split_once('T').unwrap_or_default();
        write!(f, "first used on {date} at {}", time_of(&self.time))?;
        if let Some(route) = &self.route {
            write!(f, ", on route {route}")?;
        }
        if let Some(agent) = &self.agent_id {
            write!(f, ", by agent {agent}")?;
        }
        self.order_id.as_ref().map_or(Ok(()), |order| write!(f, ", for order {order}"))
    }
}

impl Step {
    /// What stands under the sentence: the reason, the rule with its numbers, each difference.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        let mut details = Vec::new();
        if let Some(reason) = &self.reason_code {
            details.push(format!("reason {reason}"));
        } else if let Some(reason) = self.would_deny.as_ref().filter(|reason| *reason != "NO_TOKEN") {
            details.push(format!("would be {reason}"));
        }
        details.extend(self.judged());
        details.extend(self.first_use.as_ref().map(FirstUse::to_string));
        let diff = self.diff.iter();
        details.extend(diff.map(|at| format!("{}: authorised {}, found {}", at.path, at.authorized, at.actual)));
        details
    }

    /// `rule limits.max_quantity: found 3, allowed 2`.
    fn judged(&self) -> Option<String> {
        let rule = self.rule.as_ref().map(|rule| format!("rule {rule}"));
        let found = self.observed.as_ref().map(|observed| format!("found {observed}"));
        let allowed = self.limit.as_ref().map(|limit| format!("allowed {limit}"));
        let numbers: Vec<_> = found.into_iter().chain(allowed).collect();
        match (rule, numbers.is_empty()) {
            (Some(rule), true) => Some(rule),
            (Some(rule), false) => Some(format!("{rule}: {}", numbers.join(", "))),
            (None, true) => None,
            (None, false) => Some(numbers.join(", ")),
        }
    }

    /// `2026-11-18`.
    #[must_use]
    pub fn date(&self) -> &str {
        self.time.split_once('T').map_or("", |(date, _)| date)
    }

    /// `11:06:40.123`, UTC.
    #[must_use]
    pub fn clock_time(&self) -> &str {
        time_of(&self.time)
    }
}

fn time_of(rfc3339: &str) -> &str {
    let time = rfc3339.split_once('T').map_or(rfc3339, |(_, time)| time);
    time.strip_suffix('Z').unwrap_or(time)
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line =
            |f: &mut fmt::Formatter<'_>, label: &str, value: &dyn fmt::Display| writeln!(f, "{label:<11} {value}");
        for execution in &self.executions {
            line(f, "Execution", execution)?;
        }
        for store in &self.stores {
            line(f, "Store", store)?;
        }
        for authorised in &self.authorised {
            line(f, "Authorised", authorised)?;
        }
        line(f, "Outcome", &self.outcome.says())?;
        for order in &self.orders {
            line(f, "Order", order)?;
        }
        for alarm in &self.alarms {
            line(f, "ALARM", alarm)?;
        }
        self.write_steps(f)?;
        writeln!(f)?;
        if self.missing.is_empty() {
            return line(f, "Missing", &"nothing");
        }
        self.missing.iter().try_for_each(|missing| line(f, "Missing", missing))
    }
}

impl Timeline {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut date = "";
        for step in &self.steps {
            if step.date() != date {
                date = step.date();
                writeln!(f, "\n{date}, times in UTC")?;
            }
            writeln!(f, "{}  {}", step.clock_time(), step.says)?;
            for detail in step.details() {
                writeln!(f, "              {detail}")?;
            }
        }
        Ok(())
    }
}
