//! Runs the matrix and tells of it in one table.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use crate::cells::{CELLS, Cell, Plant, Stands, WAITING};
use crate::redis::{say, works};
use crate::size::{Size, chosen};
use crate::table::{Outcome, Row, keep, render};

/// How often a bound on time is tried.
const TRIES: usize = 3;

#[test]
fn the_fault_matrix_holds() {
    raise_descriptors();
    let (size, chosen, stands) = (Size::of_environment(), chosen(), Stands::new());
    let wanted = |cell: &&Cell| chosen.as_ref().is_none_or(|chosen| chosen.contains(&cell.number));
    let run = |cell: &Cell| run_one(cell, &stands, size);
    if chosen.is_none() {
        stands.start();
    }
    let (mut rows, mut blind): (Vec<Row>, Vec<String>) = (Vec::new(), Vec::new());
    let control = |cells: &'static [Cell]| {
        let wanted = cells.iter().filter(wanted);
        wanted.filter_map(|cell| not_missed(cell, &stands, size)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let list = |list: &'static [Cell]| move || list.iter().filter(wanted).map(run).collect::<Vec<_>>();
        if size.full {
            // With a thousand callers, those that wait are a load as well.
            rows.extend(WAITING.iter().flat_map(|waiting| list(waiting)()));
        }
        let beside = WAITING.iter().filter(|_| !size.full).map(|waiting| scope.spawn(list(waiting)));
        let beside: Vec<_> = beside.collect();
        rows.extend(list(CELLS)());
        blind.extend(control(CELLS));
        rows.extend(beside.into_iter().flat_map(|beside| beside.join().unwrap()));
    });
    let table = render(&rows);
    println!("{table}");
    if size.full {
        keep(&rows);
    }
    let mut failed: Vec<_> = rows.iter().filter_map(told).collect();
    blind.extend(WAITING.iter().flat_map(|waiting| control(waiting)));
    failed.extend(blind);
    crate::shim::clean();
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

/// A thousand callers have both ends of their connections here. Where that is not allowed, the short
/// form gets along with what there is.
fn raise_descriptors() {
    works("prlimit", &["--pid", &std::process::id().to_string(), "--nofile=16384:"]);
}

/// What went wrong in a cell.
fn told(row: &Row) -> Option<String> {
    let violations = row.violations();
    (!violations.is_empty()).then(|| format!("cell {}:\n  {}", row.cell, violations.join("\n  ")))
}

/// Runs a cell without its fault. It has to miss it: a cell that is content with anything proves
/// nothing.
fn not_missed(cell: &Cell, stands: &Stands, size: Size) -> Option<String> {
    if cell.slow_control && !size.full {
        return None;
    }
    let started = Instant::now();
    let row = (cell.run)(stands, size.of_control(), Plant::Nothing);
    let complaints = row.violations().len();
    say(&format!("cell {} without its fault in {:.1?}: {complaints} complaints", cell.number, started.elapsed()));
    match &row.outcome {
        Outcome::Ran(violations) if violations.is_empty() => {
            Some(format!("cell {} does not notice that nothing failed", cell.number))
        }
        _ => None,
    }
}

/// Runs a cell, and once or twice more while it does everything that it has to and misses a bound on time.
fn run_one(cell: &Cell, stands: &Stands, size: Size) -> Row {
    let mut row = run_once(cell, stands, size);
    for _ in 1..TRIES {
        if row.is_merely_late() {
            row = run_once(cell, stands, size);
        }
    }
    row
}

/// A cell that panics is a violation; the others still run.
fn run_once(cell: &Cell, stands: &Stands, size: Size) -> Row {
    let started = Instant::now();
    let row = std::panic::catch_unwind(AssertUnwindSafe(|| (cell.run)(stands, size, Plant::Fault)));
    let row = row.unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().cloned().or_else(|| why.downcast_ref::<&str>().map(|&s| s.to_owned()));
        let outcome = Outcome::Ran(vec![format!("panicked: {}", text.unwrap_or_default())]);
        Row { cell: cell.number, what: "", operations: 0, measured: String::new(), outcome }
    });
    let count = row.violations().len();
    say(&format!(
        "cell {} in {:.1?}: {} operations, {count} violations; {}",
        row.cell,
        started.elapsed(),
        row.operations,
        row.measured
    ));
    row
}
