//! The report as text.

use std::fmt;

use super::{Cases, Coverage, Shares};

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_shares(f, "Orders", &self.orders, "known by the store alone")?;
        write_shares(f, "Commits", &self.commits, "passed unjudged")?;
        for (title, cases) in [
            ("Orders without authority", &self.orders_without_authority),
            ("Burned tokens without an order", &self.burns_without_order),
            ("Orders that drifted", &self.drifted),
            ("Contradicted orders", &self.contradicted),
            ("Replays", &self.replays),
        ] {
            write_cases(f, title, cases)?;
        }
        if self.cut_off { writeln!(f, "\nCut off: ask for a shorter period.") } else { Ok(()) }
    }
}

/// `Orders      7 known: 3 enforced (42.85 %), …`.
fn write_shares(f: &mut fmt::Formatter<'_>, what: &str, shares: &Shares, rest: &str) -> fmt::Result {
    let Shares { all, enforced, enforced_points, observed, observed_points, rest: others, rest_points } = *shares;
    let part = |points: u64| format!("{}.{:02} %", points / 100, points % 100);
    writeln!(
        f,
        "{what:<8} {all}: {enforced} enforced ({}), {observed} observed ({}), {others} {rest} ({})",
        part(enforced_points),
        part(observed_points),
        part(rest_points)
    )
}

fn write_cases(f: &mut fmt::Formatter<'_>, title: &str, cases: &Cases) -> fmt::Result {
    writeln!(f, "\n{title}: {}", cases.count)?;
    for case in &cases.first {
        writeln!(f, "  {}  {}: {}", case.store, case.id, case.about)?;
    }
    let more = cases.count - cases.first.len();
    if more > 0 { writeln!(f, "  and {more} more") } else { Ok(()) }
}
