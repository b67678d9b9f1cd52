//! What a guest has said, and whether it is as it should be.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, ensure};

use super::{Budget, INSTRUCTIONS, INSTRUCTIONS_WITH_LOG};

/// What a line of the guest's begins with (`tests/src/guest`).
const MARK: &str = "sgfw-guest:";

/// The programs of the object: two for ingress and one for egress, each also with logging.
const PROGRAMS: usize = 6;

/// What became of each program, by name.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many instructions the verifier walked through, or why it refused.
    programs: BTreeMap<String, Result<u32, String>>,
    /// What became of programs without the bound on packet offsets.
    controls: BTreeMap<String, String>,
}

impl Report {
    /// Of a guest's console.
    pub(super) fn parse(console: &str) -> Result<Self> {
        let mut report = Self::default();
        let mut is_finished = false;
        for line in console.lines() {
            // The kernel and the firmware write there too, and may not have ended their line.
            let Some((_, line)) = line.split_once(MARK) else { continue };
            let mut words = line.trim().splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("loaded"), Some(program), Some(instructions)) => {
                    let instructions = instructions.trim().parse().context(line.to_owned())?;
                    report.programs.insert(program.to_owned(), Ok(instructions));
                }
                (Some("refused"), Some(program), Some(reason)) => {
                    report.programs.insert(program.to_owned(), Err(reason.to_owned()));
                }
                (Some("control"), Some(program), Some(outcome)) => {
                    report.controls.insert(program.to_owned(), outcome.to_owned());
                }
                (Some("finished"), None, None) => is_finished = true,
                _ => anyhow::bail!("the guest says:{line}"),
            }
        }
        let lines: Vec<_> = console.lines().collect();
        let end = lines[lines.len().saturating_sub(20)..].join("\n");
        ensure!(is_finished, "the guest has not finished; its console ends\n{end}");
        Ok(report)
    }

    /// What is not as it should be.
    pub(super) fn faults(&self, budget: Option<&Budget>) -> Vec<String> {
        let mut faults = Vec::new();
        if self.programs.len() != PROGRAMS {
            faults.push(format!("{} programs instead of {PROGRAMS}", self.programs.len()));
        }
        for (program, outcome) in &self.programs {
            match outcome {
                Err(reason) => faults.push(format!("{program} is refused: {reason}")),
                Ok(walked) => {
                    let logs = program.ends_with("_log");
                    let limit = if logs { INSTRUCTIONS_WITH_LOG } else { INSTRUCTIONS };
                    if *walked > limit {
                        faults.push(format!("{program} takes {walked} instructions, more than {limit}"));
                    }
                }
            }
        }
        if budget.is_some_and(|budget| budget.needs_bound) {
            if self.controls.len() != PROGRAMS {
                faults.push(format!("{} controls instead of {PROGRAMS}", self.controls.len()));
            }
            for (program, outcome) in &self.controls {
                if !outcome.starts_with("unbounded: ") {
                    faults.push(format!("{program} without its bound should be refused for that: {outcome}"));
                }
            }
        }
        faults
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (program, outcome) in &self.programs {
            match outcome {
                Ok(walked) => writeln!(f, "  {program:<16} {walked:>8} verified instructions")?,
                Err(_) => writeln!(f, "  {program:<16}  refused")?,
            }
        }
        for (program, outcome) in &self.controls {
            writeln!(f, "  {program:<16} without the bound: {outcome}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::debian::Series;
    use super::*;

    const BUDGET: Budget = Budget { from: Series::new(6, 1), needs_bound: true, tests: "" };

    fn console(instructions: u32, control: &str) -> String {
        let mut console = String::from("[    1.0] booting\n");
        for hook in ["ingress_xdp", "ingress_tc", "egress_tc"] {
            console += &format!("{MARK} loaded {hook} {instructions}\r\n{MARK} loaded {hook}_log 10\n");
            console += &format!("{MARK} control {hook} {control}\n{MARK} control {hook}_log {control}\n");
        }
        console + &format!("{MARK} finished\n")
    }

    #[test]
    fn a_program_above_its_budget_is_a_fault() {
        let faults = |console: &str| Report::parse(console).unwrap().faults(Some(&BUDGET)).len();
        assert_eq!(faults(&console(INSTRUCTIONS, "unbounded: math")), 0);
        assert_eq!(faults(&console(INSTRUCTIONS + 1, "unbounded: math")), 3);
    }

    #[test]
    fn a_control_that_is_not_refused_for_its_bound_is_a_fault() {
        let faults = |control| Report::parse(&console(10, control)).unwrap().faults(Some(&BUDGET)).len();
        assert_eq!(faults("loaded"), PROGRAMS);
        assert_eq!(faults("too many instructions"), PROGRAMS);
    }

    #[test]
    fn a_guest_that_dies_is_an_error() {
        assert!(Report::parse("Kernel panic - not syncing").is_err());
        assert!(Report::parse(&format!("{MARK} failed no maps\n{MARK} finished")).is_err());
    }

    #[test]
    fn a_refused_or_missing_program_is_a_fault() {
        let report = Report::parse(&format!("{MARK} refused ingress_tc a b c\n{MARK} finished")).unwrap();
        assert_eq!(report.faults(None).len(), 2);
    }
}
