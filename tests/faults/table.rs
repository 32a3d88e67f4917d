//! The one table of a run.

use crate::support::repository;

const BEGIN: &str = "<!-- table: written by `make faults` -->\n";
const END: &str = "<!-- end of table -->\n";

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
    /// It joins with what it tests, and which that is.
    Planned(&'static str),
}

impl Row {
    pub fn planned(cell: u8, what: &'static str, with: &'static str) -> Self {
        Self { cell, what, operations: 0, measured: String::new(), outcome: Outcome::Planned(with) }
    }

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

    pub fn violations(&self) -> &[String] {
        match &self.outcome {
            Outcome::Ran(violations) => violations,
            Outcome::NotRun(_) | Outcome::Planned(_) => &[],
        }
    }

    fn line(&self) -> String {
        let Self { cell, what, operations, measured, outcome } = self;
        let (measured, last) = match outcome {
            Outcome::Ran(violations) => (measured.as_str(), violations.len().to_string()),
            Outcome::NotRun(why) => (*why, "not run".to_owned()),
            Outcome::Planned(with) => (*with, "planned".to_owned()),
        };
        format!("| {cell} | {what} | {operations} | {measured} | {last} |\n")
    }
}

/// All rows, in order, as Markdown.
pub fn render(rows: &[Row]) -> String {
    let mut rows = rows.to_vec();
    rows.sort_by_key(|row| row.cell);
    let head = "| cell | what | operations | measured | violations |\n| ---: | --- | ---: | --- | ---: |\n";
    head.to_owned() + &rows.iter().map(Row::line).collect::<String>()
}

/// Puts the table into `docs/faults.md`, in place of the one before.
pub fn keep(table: &str) {
    let path = repository().join("docs/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, replaced(&text, table)).unwrap();
}

fn replaced(text: &str, table: &str) -> String {
    let (before, rest) = text.split_once(BEGIN).expect("docs/faults.md has a place for the table");
    let (_, after) = rest.split_once(END).expect("docs/faults.md has an end of the table");
    format!("{before}{BEGIN}\n{table}\n{END}{after}")
}

#[test]
fn the_document_has_a_place_for_the_table() {
    let text = std::fs::read_to_string(repository().join("docs/faults.md")).unwrap();
    assert!(replaced(&text, "| 1 |").contains("| 1 |"));
}

#[test]
fn a_row_ends_with_its_violations() {
    let row = Row { cell: 4, what: "w", operations: 7, measured: "m".to_owned(), outcome: Outcome::Ran(vec![]) };
    assert_eq!(row.line(), "| 4 | w | 7 | m | 0 |\n");
    assert!(Row::planned(24, "drain", "with operations").line().ends_with("| planned |\n"));
}
