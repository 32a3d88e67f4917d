//! The one table of a run.

use std::collections::BTreeMap;

use crate::support::repository;

const BEGIN: &str = "<!-- table: written by `make faults` -->\n";
const HEAD: &str = "| cell | what | operations | measured | violations |\n| ---: | --- | ---: | --- | ---: |\n";
const END: &str = "<!-- end of table -->\n";

/// How a violation of a bound on time begins.
pub const LATE: &str = "late: ";

/// What came of one cell of the matrix.
#[derive(Debug, Clone)]
pub struct Row {
    pub cell: u8,
    pub what: &'static str,
    pub operations: usize,
    /// Figures in words, without a bar.
    pub measured: String,
    pub outcome: Outcome,
}

#[derive(Debug, Clone)]
pub enum Outcome {
    /// It ran; what was violated.
    Ran(Vec<String>),
    /// It cannot run on this machine, and why.
    NotRun(&'static str),
}

impl Row {
    pub fn not_run(cell: u8, what: &'static str, why: &'static str) -> Self {
        Self { cell, what, operations: 0, measured: String::new(), outcome: Outcome::NotRun(why) }
    }

    /// One cell in two runs.
    pub fn and(self, other: Self) -> Self {
        let violations = [self.violations(), other.violations()].concat();
        let measured = format!("{}; {}", self.measured, other.measured);
        let operations = self.operations + other.operations;
        Self { operations, measured, outcome: Outcome::Ran(violations), ..self }
    }

    /// True when it did everything that it has to, but not in time.
    pub fn is_merely_late(&self) -> bool {
        let violations = self.violations();
        !violations.is_empty() && violations.iter().all(|violation| violation.starts_with(LATE))
    }

    pub fn violations(&self) -> &[String] {
        match &self.outcome {
            Outcome::Ran(violations) => violations,
            Outcome::NotRun(_) => &[],
        }
    }

    fn line(&self) -> String {
        let Self { cell, what, operations, measured, outcome } = self;
        let (measured, last) = match outcome {
            Outcome::Ran(violations) => (measured.as_str(), violations.len().to_string()),
            Outcome::NotRun(why) => (*why, "not run".to_owned()),
        };
        format!("| {cell} | {what} | {operations} | {measured} | {last} |\n")
    }
}

/// All rows, in order, as Markdown.
pub fn render(rows: &[Row]) -> String {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.cell);
    HEAD.to_owned() + &rows.iter().map(Row::line).collect::<String>()
}

/// Puts the rows into the table of `docs/faults.md`, in place of what it had for the same cells.
pub fn keep(rows: &[Row]) {
    let path = repository().join("docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, kept(&text, rows)).unwrap();
}

fn kept(text: &str, rows: &[Row]) -> String {
    let (before, rest) = text.split_once(BEGIN).expect("docs/faults.md has a place for the table");
    let (old, after) = rest.split_once(END).expect("docs/faults.md has an end of the table");
    let number = |line: &str| line.strip_prefix("| ")?.split(' ').next()?.parse::<u8>().ok();
    let mut lines: BTreeMap<u8, String> =
        old.lines().filter_map(|line| Some((number(line)?, format!("{line}\n")))).collect();
    lines.extend(rows.iter().map(|row| (row.cell, row.line())));
    let lines: String = lines.into_values().collect();
    format!("{before}{BEGIN}\n{HEAD}{lines}\n{END}{after}")
}

#[test]
fn a_new_row_takes_the_place_of_the_old() {
    let text = std::fs::read_to_string(repository().join("docs/faults.md")).unwrap();
    let row = |measured| Row::not_run(24, "w", measured);
    let [first, second] = [row("one run"), row("another run")];
    let once = kept(&text, std::slice::from_ref(&first));
    assert!(once.contains(&first.line()));
    let twice = kept(&once, std::slice::from_ref(&second));
    assert!(twice.contains(&second.line()) && !twice.contains(&first.line()));
    assert_eq!(once.lines().count(), twice.lines().count());
}

#[test]
fn what_is_late_and_wrong_is_not_merely_late() {
    let row = |violations: &[&str]| {
        let violations = violations.iter().map(ToString::to_string).collect();
        Row { cell: 4, what: "w", operations: 7, measured: String::new(), outcome: Outcome::Ran(violations) }
    };
    assert!(row(&["late: a", "late: b"]).is_merely_late());
    assert!(!row(&["late: a", "sold twice"]).is_merely_late());
    assert!(!row(&[]).is_merely_late());
}

#[test]
fn a_row_ends_with_its_violations() {
    let row = Row { cell: 4, what: "w", operations: 7, measured: "m".to_owned(), outcome: Outcome::Ran(vec![]) };
    assert_eq!(row.line(), "| 4 | w | 7 | m | 0 |\n");
    assert!(Row::not_run(9, "split", "needs root").line().ends_with("| needs root | not run |\n"));
}
