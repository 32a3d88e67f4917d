//! How much is run. `make faults` sets `PERMYX_FAULTS=full`; everything else is the short form.

use std::time::Duration;

/// The numbers of one form.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub full: bool,
    /// Tokens that are raced for over three gateways.
    pub races: usize,
    /// Tokens of every other cell.
    pub tokens: usize,
    /// Random kills of a gateway.
    pub kills: usize,
    /// Failovers, restarts and the like, each with a share of the tokens.
    pub rounds: usize,
    /// How long a partition lasts.
    pub partition: Duration,
    /// What an answer may take beyond its deadline: for the client, and the machine's other work.
    pub margin: Duration,
    /// What a bystander's 99th percentile may grow by, where twice as much is not more.
    pub bystander: Duration,
}

const FULL: Size = Size {
    full: true,
    races: 100_000,
    tokens: 1_000,
    kills: 200,
    rounds: 5,
    partition: Duration::from_secs(10),
    margin: Duration::from_millis(100),
    bystander: Duration::from_millis(5),
};

const SHORT: Size = Size {
    full: false,
    races: 600,
    tokens: 60,
    kills: 6,
    rounds: 1,
    partition: Duration::from_secs(1),
    margin: Duration::from_millis(400),
    bystander: Duration::from_millis(100),
};

impl Size {
    /// For runs in which nothing fails: enough to see that the cell complains.
    pub fn of_control(self) -> Self {
        let (races, tokens, kills, rounds) = (8, 12, 0, 1);
        Self { races, tokens, kills, rounds, partition: Duration::from_millis(100), ..self }
    }

    pub fn of_environment() -> Self {
        if is_set("PERMYX_FAULTS", "full") { FULL } else { SHORT }
    }
}

/// The cells to run, where `PERMYX_FAULTS_CELLS=4,5` names some: for work on one of them.
pub fn chosen() -> Option<Vec<u8>> {
    let text = value("PERMYX_FAULTS_CELLS")?;
    Some(text.split(',').filter_map(|cell| cell.trim().parse().ok()).collect())
}

fn is_set(name: &str, wanted: &str) -> bool {
    value(name).is_some_and(|value| value == wanted)
}

fn value(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
