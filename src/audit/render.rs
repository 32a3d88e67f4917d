//! How a report is told.

use std::fmt::Write;

use serde::Serialize;

use super::report::{Finding, Outcome, Report, Required};

/// What no verification proves, whatever it came to.
pub const NOT_PROVEN: [&str; 5] = [
    "that the producer told the truth when it wrote",
    "anything about traffic that never crossed an interception point",
    "that history before the first witness or the first checkpoint that you kept was not rewritten",
    "that goods or services were delivered",
    "that the clocks were right",
];

/// The report for a person: one line for each check, and under it what is wrong.
#[must_use]
pub fn text(name: &str, report: &Report, required: &Required) -> String {
    let mut out = String::new();
    let said = write_text(&mut out, name, report, required);
    // INVARIANT: writing to a String cannot fail.
    said.map_or_else(|_| String::new(), |()| out)
}

fn write_text(out: &mut String, name: &str, report: &Report, required: &Required) -> std::fmt::Result {
    let kind = match report.kind {
        super::report::Kind::Log => "log",
        super::report::Kind::Bundle => "bundle",
    };
    let origin = report.origin.as_deref().unwrap_or("of an unknown log");
    write!(out, "{kind:12} {name}   {origin}   events {}", report.events)?;
    report.size.map_or(Ok(()), |size| write!(out, " of {size}"))?;
    report.scope.as_ref().map_or(Ok(()), |scope| write!(out, "   {scope}"))?;
    writeln!(out)?;
    for Outcome { check, verdict, detail, failures, findings, .. } in &report.checks {
        writeln!(out, "{:12} {:8} {detail}", check.as_str(), verdict.as_str())?;
        findings.iter().try_for_each(|finding| writeln!(out, "{:21} {}", "", line(finding)))?;
        let more = failures.saturating_sub(findings.len() as u64);
        if more > 0 {
            writeln!(out, "{:21} and {more} more", "")?;
        }
    }
    let newer = report.size.map_or_else(String::new, |size| format!("; anything newer than checkpoint {size}"));
    writeln!(out, "NOT PROVEN: {}{newer}.", NOT_PROVEN.join("; "))?;
    writeln!(out, "exit {}", report.exit(required))
}

/// What is wrong and where, in one line.
fn line(finding: &Finding) -> String {
    let mut places = Vec::new();
    places.extend(finding.file.as_ref().map(|file| format!("file {file}")));
    places.extend(finding.index.map(|index| format!("leaf {index}")));
    places.extend(finding.source.as_ref().map(|source| format!("source {source}")));
    places.extend(finding.sequence.map(|sequence| format!("sequence {sequence}")));
    places.extend(finding.byte.map(|byte| format!("byte {byte}")));
    format!("{}: {}", places.join(", "), finding.what)
}

/// The report for a program.
#[derive(Serialize)]
pub struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(rename = "notProven")]
    not_proven: [&'static str; 5],
    exit: u8,
}

/// The report for a program: what [`text`] tells, with every place as a member of its own.
#[must_use]
pub fn told<'a>(report: &'a Report, required: &Required) -> Told<'a> {
    Told { report, not_proven: NOT_PROVEN, exit: report.exit(required) }
}
