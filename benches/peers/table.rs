//! What was measured, as a table.

use std::fmt::Write;
use std::time::Duration;

use crate::job::Job;
use crate::proxy::Peer;

/// One proxy under one load.
#[derive(Clone)]
pub struct Measured {
    pub job: Job,
    pub peer: Peer,
    pub cpu_us: f64,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    pub p999: Duration,
    pub memory_mib: f64,
    /// Why its figures do not count.
    pub objection: Option<String>,
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The best off-the-shelf proxy at this job.
fn best(all: &[Measured], job: Job, of: impl Fn(&Measured) -> f64) -> Option<f64> {
    let rivals = Peer::ALL.into_iter().filter(|peer| peer.is_rival());
    let medians = rivals.filter_map(|peer| {
        let right = |row: &&Measured| row.job == job && row.peer == peer && row.objection.is_none();
        let rows: Vec<_> = all.iter().filter(right).collect();
        (!rows.is_empty()).then(|| median(rows.iter().map(|row| of(row))))
    });
    medians.min_by(f64::total_cmp)
}

/// Markdown. Ratios hold within one run only.
pub fn render(all: &[Measured]) -> String {
    let mut out = String::from(
        "| job | proxy | CPU µs / request (min–max) | × best peer | × bare pingora | requests/s | p50 µs | p99 µs | p99.9 µs | RSS MiB |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for job in Job::ALL {
        let rival = best(all, job, |row| row.cpu_us);
        let bare = all.iter().filter(|row| row.job == job && row.peer == Peer::Bare).map(|row| row.cpu_us);
        let bare: Vec<f64> = bare.collect();
        let bare = (!bare.is_empty()).then(|| median(bare.iter().copied()));
        for peer in Peer::ALL {
            let rows: Vec<_> = all.iter().filter(|row| row.job == job && row.peer == peer).collect();
            if rows.is_empty() {
                continue;
            }
            let of = |value: fn(&Measured) -> f64| median(rows.iter().map(|row| value(row)));
            let micros =
                |value: fn(&Measured) -> Duration| median(rows.iter().map(|row| value(row).as_secs_f64() * 1e6));
            let (cpu, times) = (of(|row| row.cpu_us), |base: Option<f64>, cpu: f64| {
                base.filter(|_| cpu > 0.0).map_or("–".to_owned(), |base| format!("{:.2}", cpu / base))
            });
            let least = rows.iter().map(|row| row.cpu_us).fold(f64::INFINITY, f64::min);
            let most = rows.iter().map(|row| row.cpu_us).fold(0.0, f64::max);
            let objection = rows.iter().find_map(|row| row.objection.as_deref());
            let wrong = objection.map_or(String::new(), |why| format!(" **not right: {why}**"));
            let _ = writeln!(
                out,
                "| {} | {}{wrong} | {cpu:.1} ({least:.1}–{most:.1}) | {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {:.0} |",
                job.title(),
                peer.name(),
                times(rival, cpu),
                times(bare, cpu),
                of(|row| row.per_second),
                micros(|row| row.p50),
                micros(|row| row.p99),
                micros(|row| row.p999),
                of(|row| row.memory_mib),
            );
        }
    }
    out
}
