//! The tables of scenarios that every engine must agree with: `tests/tables/*.scenario`.

use anyhow::Result;

use super::{Scenario, notation};

/// `docs/semantics.md`, cases 1 to 130.
///
/// # Errors
///
/// A line that is not in the notation.
pub fn conformance() -> Result<Vec<Scenario>> {
    notation::parse(include_str!("../../tables/conformance.scenario"))
}

/// The conformance table, each protocol, and attacks.
///
/// # Errors
///
/// A line that is not in the notation.
pub fn all() -> Result<Vec<Scenario>> {
    let mut cases = conformance()?;
    cases.extend(notation::parse(include_str!("../../tables/protocols.scenario"))?);
    cases.extend(notation::parse(include_str!("../../tables/attacks.scenario"))?);
    Ok(cases)
}

/// Plays every case of every table that can be played.
///
/// # Panics
///
/// With all cases that fail, and the first step of each that did not end as expected.
pub fn check_all(mut check: impl FnMut(&Scenario) -> Result<()>) {
    let mut failures = Vec::new();
    for case in all().expect("the tables are in the notation") {
        match &case.unplayable {
            Some(reason) => println!("unplayable: {}: {reason}", case.title),
            None => failures.extend(check(&case).err().map(|error| format!("{error:#}"))),
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Oracle;
    use crate::simulator::Simulator;

    #[test]
    fn the_conformance_table_has_every_case_of_the_specification() {
        let number = |case: &Scenario| case.title.split(' ').next().unwrap().parse::<u32>().unwrap();
        let numbers: Vec<_> = conformance().unwrap().iter().map(number).collect();
        assert_eq!(numbers, (1..=130).collect::<Vec<_>>());
    }

    #[test]
    fn a_case_that_can_be_played_expects_something() {
        for case in all().unwrap() {
            assert!(
                case.unplayable.is_some() != case.steps.iter().any(|step| step.is_expectation()),
                "{}",
                case.title
            );
        }
    }

    /// The oracle must itself be right before anything is held against it.
    #[test]
    fn the_oracle_agrees_with_the_tables() {
        check_all(|case| case.check(&mut Oracle::default()));
    }

    #[test]
    fn the_core_agrees_with_the_tables() {
        check_all(|case| case.check(&mut Simulator::default()));
    }
}
