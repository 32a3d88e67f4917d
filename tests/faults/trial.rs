//! One run of a cell: tokens, requests with them, and the judgement in the end.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::history::{History, Operation, Recorded, Told, check, unsettled};
use crate::redis::say;
use crate::size::Size;
use crate::stand::{Marks, SHOP, Stand};
use crate::support::gateway::{MUG, Purchase};
use crate::support::http::{Answer, Connection, request};
use crate::table::{LATE, Outcome, Row};

/// An issuer's clock may be this far ahead and a little more. The freshest token that there can be
/// is the hardest for a quarantine, and the soonest that it lets through.
const AHEAD_S: i64 = 4;
/// How long a caller waits for an answer.
const CALLER: Duration = Duration::from_secs(20);
/// How long a settlement may take to be in evidence after the last answer.
const SETTLED: Duration = Duration::from_secs(5);
/// Violations that are told one by one.
const TOLD: usize = 20;

/// Numbers are never used twice in a process.
static NEXT: AtomicUsize = AtomicUsize::new(1);

/// A token and where it buys.
#[derive(Clone)]
pub struct Token {
    pub number: usize,
    pub text: String,
    pub store: &'static str,
}

/// Whether the fault is planted. Without it the oracle of a cell has to complain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    Fault,
    Nothing,
}

pub struct Trial<'s> {
    pub stand: &'s Stand,
    pub size: Size,
    plant: Plant,
    marks: Marks,
    started: Instant,
    operations: Mutex<Vec<Operation>>,
    wrong: Mutex<Vec<String>>,
    patience: Duration,
}

impl<'s> Trial<'s> {
    pub fn on(stand: &'s Stand, size: Size, plant: Plant) -> Self {
        let (started, operations, wrong) = (Instant::now(), Mutex::default(), Mutex::default());
        Self { stand, size, plant, marks: stand.marks(), started, operations, wrong, patience: SETTLED }
    }

    /// As long as settlements take here.
    pub fn settling_within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Plants the fault, unless this is the control run.
    pub fn plant(&self, fault: impl FnOnce()) {
        if self.plant == Plant::Fault {
            fault();
        }
    }

    pub fn token(&self) -> Token {
        self.token_of(SHOP)
    }

    pub fn token_of(&self, store: &'static str) -> Token {
        let text = Purchase { age_s: -AHEAD_S, ..Purchase::mug(store) }.signed_by(&self.stand.key);
        Token { number: NEXT.fetch_add(1, Ordering::Relaxed), text, store }
    }

    pub fn tokens(&self, count: usize) -> Vec<Token> {
        std::iter::repeat_with(|| self.token()).take(count).collect()
    }

    /// A violation, unless it is so.
    pub fn expect(&self, is_so: bool, else_say: impl FnOnce() -> String) {
        if !is_so {
            self.wrong.lock().unwrap().push(else_say());
        }
    }

    /// The same of a bound on time. A machine with other work exceeds one now and then, a fault of ours
    /// each time: where nothing else is wrong, the cell is run again.
    pub fn expect_in_time(&self, is_so: bool, else_say: impl FnOnce() -> String) {
        self.expect(is_so, || format!("{LATE}{}", else_say()));
    }

    /// The caller's view of an operation that it carried out itself.
    pub fn enter(&self, token: &Token, id: usize, gateway: usize, start: Instant, told: Option<Told>) {
        let [start, end] = [start, Instant::now()].map(|at| at.duration_since(self.started));
        self.operations.lock().unwrap().push(Operation { token: token.number, id, gateway, start, end, told });
    }

    pub fn operations(&self) -> usize {
        self.operations.lock().unwrap().len()
    }

    /// How many answers carried this code; the empty code is that of the merchant's own answers.
    pub fn count(&self, code: &str) -> usize {
        self.count_told(|told| told.code == code && (told.allowed || !code.is_empty()))
    }

    pub fn count_told(&self, of: impl Fn(&Told) -> bool) -> usize {
        self.operations.lock().unwrap().iter().filter(|operation| operation.told.as_ref().is_some_and(&of)).count()
    }

    /// The times of the answers with this code, in order.
    pub fn times(&self, code: &str) -> Vec<Duration> {
        self.times_after(0, code)
    }

    /// As [`Self::times`], without the first so many operations.
    pub fn times_after(&self, skipped: usize, code: &str) -> Vec<Duration> {
        let operations = self.operations.lock().unwrap();
        let of = |told: &Told| told.code == code;
        let answers = operations.iter().skip(skipped).filter(|operation| operation.told.as_ref().is_some_and(of));
        let mut times: Vec<_> = answers.map(|operation| operation.end - operation.start).collect();
        times.sort_unstable();
        times
    }

    /// `count` pieces of work over so many threads, each with connections of its own.
    pub fn crowd(&self, threads: usize, count: usize, work: impl Fn(&mut Client, usize) + Sync) {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads.min(count) {
                scope.spawn(|| {
                    let mut client = self.client();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        work(&mut client, number);
                    }
                });
            }
        });
    }

    pub fn client(&self) -> Client<'_> {
        let connections = (0..self.stand.size()).map(|_| None).collect();
        Client { trial: self, connections }
    }

    /// Waits until everything is settled, judges, and tells.
    pub fn finish(self, cell: u8, what: &'static str, measured: String) -> Row {
        let history = self.history();
        let operations = history.operations.len();
        let mut violations = self.wrong.into_inner().unwrap();
        violations.extend(check(&history).iter().map(ToString::to_string));
        for violation in violations.iter().take(TOLD).filter(|_| self.plant == Plant::Fault) {
            say(&format!("cell {cell}: {violation}"));
        }
        Row { cell, what, operations, measured, outcome: Outcome::Ran(violations) }
    }

    /// Waits until every reservation in evidence is settled there, as long as that may take.
    fn wait_until_settled(&self) -> Vec<Recorded> {
        let deadline = Instant::now() + self.patience;
        loop {
            let events = self.stand.events_since(&self.marks);
            if unsettled(&events) == 0 || Instant::now() > deadline {
                return events;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// All of it, once everything is settled.
    pub fn history(&self) -> History {
        let events = self.wait_until_settled();
        let operations = self.operations.lock().unwrap().clone();
        History { operations, arrivals: self.stand.arrivals_since(&self.marks), events }
    }

    /// Whether the merchant has seen this operation.
    pub fn arrived(&self, id: usize) -> bool {
        self.stand.arrivals_since(&self.marks).iter().any(|arrival| arrival.operation == id)
    }

    /// What evidence says of each cause, for cells that expect one.
    pub fn causes(&self, kind: &str) -> Vec<String> {
        self.recorded(kind).into_iter().map(|event| event.cause).collect()
    }

    /// What is in evidence of this kind.
    pub fn recorded(&self, kind: &str) -> Vec<Recorded> {
        let events = self.stand.events_since(&self.marks);
        events.into_iter().filter(|event| event.kind == kind).collect()
    }
}

/// Connections of one caller, one to each gateway, kept as long as they last.
pub struct Client<'t> {
    trial: &'t Trial<'t>,
    connections: Vec<Option<(SocketAddr, Connection)>>,
}

impl Client<'_> {
    /// Buys with this token.
    pub fn buy(&mut self, gateway: usize, token: &Token) -> Option<Told> {
        self.buy_at(gateway, token, "", &[])
    }

    /// As [`Self::buy`]; `query` tells the merchant what to do, `headers` go along.
    pub fn buy_at(&mut self, gateway: usize, token: &Token, query: &str, headers: &[&str]) -> Option<Told> {
        self.send(gateway, token, |id| purchase(token, id, query, headers))
    }

    /// Sends what is made for this operation with this token.
    pub fn send(&mut self, gateway: usize, token: &Token, bytes: impl FnOnce(usize) -> Vec<u8>) -> Option<Told> {
        let id = next_operation();
        let bytes = bytes(id);
        let start = Instant::now();
        let told = self.exchange(gateway, &bytes).ok().flatten().map(|answer| told(&answer));
        self.trial.enter(token, id, gateway, start, told.clone());
        told
    }

    /// Sends these bytes and reads the answer. A connection that broke is opened again the next time.
    pub fn exchange(&mut self, gateway: usize, bytes: &[u8]) -> io::Result<Option<Answer>> {
        let address = self.trial.stand.address(gateway);
        let mut connection = match self.connections[gateway].take() {
            Some((to, open)) if to == address => open,
            _ => Connection::try_open(address, CALLER)?,
        };
        connection.send(bytes);
        let answer = connection.answer_to("POST")?;
        let ends = |(name, value): &(String, String)| name == "connection" && value.eq_ignore_ascii_case("close");
        if answer.as_ref().is_some_and(|answer| !answer.headers.iter().any(ends)) {
            self.connections[gateway] = Some((address, connection));
        }
        Ok(answer)
    }
}

/// A number for an operation that a cell carries out itself.
pub fn next_operation() -> usize {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The bytes of a purchase; the merchant can tell by a header which operation it is.
pub fn purchase(token: &Token, id: usize, query: &str, headers: &[&str]) -> Vec<u8> {
    purchase_of(token, id, query, headers, MUG)
}

/// As [`purchase`], of this cart.
pub fn purchase_of(token: &Token, id: usize, query: &str, headers: &[&str], cart: &str) -> Vec<u8> {
    let (own, name) =
        (format!("Permyx-Execution-Token: {}", token.text), format!("X-Operation: {}.{id}", token.number));
    let headers: Vec<_> = headers.iter().copied().chain([own.as_str(), name.as_str()]).collect();
    request("POST", &format!("/{}{query}", token.store), &headers, cart)
}

/// What an answer says.
pub fn told(answer: &Answer) -> Told {
    let decision = answer.header("permyx-decision").unwrap_or_default();
    let replayed = answer.header("idempotent-replayed").is_some();
    Told {
        status: answer.status,
        allowed: decision == "allowed" || replayed,
        code: decision.strip_prefix("denied; reason=").unwrap_or_default().to_owned(),
        trace: answer.header("permyx-trace").unwrap_or_default().to_owned(),
        replayed,
    }
}

/// The time that this share of sorted times did not exceed.
pub fn percentile(times: &[Duration], share: f64) -> Duration {
    let last = times.len().saturating_sub(1);
    times.get((last as f64 * share) as usize).copied().unwrap_or_default()
}

/// `12.3 ms`
pub fn ms(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
