//! Figures, what they are held against, and how they are printed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::builder::PossibleValue;
use serde::Serialize;

use crate::run::{program, read};

/// One measured thing.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    case: &'static str,
    what: String,
    unit: &'static str,
    /// The median of `runs`; the value itself where there is one.
    median: f64,
    p99: Option<f64>,
    runs: usize,
    /// The median is to be at most so much.
    goal: Option<f64>,
    /// The same of the p99.
    goal_p99: Option<f64>,
    /// The same work by somebody else, in the same run.
    peer: Option<(String, f64)>,
}

impl Figure {
    /// A value that is read once.
    pub(super) fn one(case: &'static str, what: impl Into<String>, unit: &'static str, value: f64) -> Self {
        Self {
            case,
            what: what.into(),
            unit,
            median: value,
            p99: None,
            runs: 1,
            goal: None,
            goal_p99: None,
            peer: None,
        }
    }

    /// Many runs.
    pub(super) fn many(case: &'static str, what: impl Into<String>, unit: &'static str, values: &[f64]) -> Self {
        let p99 = Some(quantile(values, 99));
        Self { p99, runs: values.len(), ..Self::one(case, what, unit, median(values)) }
    }

    /// Many runs, whose median and p99 the measured program told.
    pub(super) fn told(
        case: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        (median, p99): (f64, f64),
        runs: usize,
    ) -> Self {
        Self { p99: Some(p99), runs, ..Self::one(case, what, unit, median) }
    }

    pub(super) fn median(&self) -> f64 {
        self.median
    }

    /// Of a value that is read once: itself.
    pub(super) fn p99(&self) -> f64 {
        self.p99.unwrap_or(self.median)
    }

    pub(super) fn goal(self, goal: f64) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(super) fn goal_p99(self, goal: f64) -> Self {
        Self { goal_p99: Some(goal), ..self }
    }

    pub(super) fn peer(self, what: &str, value: f64) -> Self {
        Self { peer: Some((what.to_owned(), value)), ..self }
    }

    fn row(&self) -> [String; 7] {
        let held = |name: &str, value: f64, goal: Option<f64>| {
            let word = if goal.is_some_and(|goal| value <= goal) { "met" } else { "MISSED" };
            goal.map(|goal| format!("{name}{goal} {word}"))
        };
        let of_p99 = self.p99.and_then(|p99| held("p99 ", p99, self.goal_p99));
        let goal = held("", self.median, self.goal).into_iter().chain(of_p99).collect::<Vec<_>>().join(", ");
        let peer = self.peer.as_ref().map_or(String::new(), |(what, value)| {
            // Nothing divides by what did not happen.
            let ratio = if *value > 0.0 { number(self.median / value) } else { "none".to_owned() };
            format!("{what} {} (ratio {ratio})", number(*value))
        });
        let p99 = self.p99.map_or(String::new(), number);
        let median = format!("{} {}", number(self.median), self.unit);
        [self.case.to_owned(), self.what.clone(), median, p99, self.runs.to_string(), goal, peer]
    }
}

/// The middle; of an even number of values, the upper of the two.
pub(super) fn median(values: &[f64]) -> f64 {
    quantile(values, 50)
}

/// The smallest value that `percent` of all do not exceed. Nothing has none.
fn quantile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Everything of one run, and where it was made.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    command: String,
    date: String,
    kernel: String,
    systemd: String,
    cpus: usize,
    /// Before and after: a machine that others use gives worse figures.
    load: Vec<String>,
    binary_bytes: u64,
    figures: Vec<Figure>,
}

impl Report {
    pub(super) fn begin(case: Option<PossibleValue>, hostward: &Path) -> Result<Self> {
        let case = case.map(|case| format!(" {}", case.get_name())).unwrap_or_default();
        let systemd = read(program("systemctl", ["--version"]))?;
        Ok(Self {
            command: format!("cargo xtask bench{case}"),
            date: read(program("date", ["--iso-8601"]))?.trim().to_owned(),
            kernel: file("/proc/sys/kernel/osrelease")?,
            systemd: systemd.lines().next().unwrap_or_default().to_owned(),
            cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            load: vec![file("/proc/loadavg")?],
            binary_bytes: fs::metadata(hostward).context("look at the release binary")?.len(),
            figures: Vec::new(),
        })
    }

    pub(super) fn add(&mut self, figures: Vec<Figure>) {
        for figure in &figures {
            eprintln!("xtask: {}", figure.row().join("  "));
        }
        self.figures.extend(figures);
    }

    pub(super) fn print(mut self, json: bool) -> Result<()> {
        self.load.push(file("/proc/loadavg")?);
        if json {
            println!("{}", serde_json::to_string_pretty(&self)?);
            return Ok(());
        }
        println!("\n$ {}", self.command);
        println!("{}, kernel {}, {}, {} CPUs", self.date, self.kernel, self.systemd, self.cpus);
        println!("load before: {}; after: {}", self.load[0], self.load[1]);
        println!("release binary: {} bytes\n", self.binary_bytes);
        let head = ["case", "figure", "median", "p99", "runs", "goal", "peer"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(head).chain(self.figures.iter().map(Figure::row)).collect();
        let widths: [usize; 7] =
            std::array::from_fn(|n| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default());
        for row in rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
        Ok(())
    }
}

fn file(path: &str) -> Result<String> {
    Ok(fs::read_to_string(path).with_context(|| format!("read '{path}'"))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Figure, median, number, quantile};

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!((number(median(&hundred)), number(quantile(&hundred, 99))), ("51.0".into(), "100".into()));
        assert_eq!(number(median(&[3.0, 1.0, 2.0])), "2.00");
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_missed_goal_is_shouted_and_no_figure_meets_it() {
        let row = |value| Figure::one("memory", "VmRSS", "MB", value).goal(8.0).peer("journald", 16.0).row();
        assert_eq!(row(8.0)[5..], ["8 met", "journald 16.0 (ratio 0.500)"]);
        assert_eq!(row(8.1)[5], "8 MISSED");
        assert_eq!(row(f64::NAN)[5], "8 MISSED");
        let of_p99 = Figure::many("scrape", "GET", "ms", &[1.0, 1.0, 3.0]).goal_p99(2.0);
        assert_eq!(of_p99.row()[5], "p99 2 MISSED");
    }
}
