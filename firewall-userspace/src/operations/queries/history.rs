//! Changes: who made them, when and how, and what they changed.

use super::plan::{Difference, difference};
use crate::operations::{Instance, OperationError};

pub use crate::store::Generation;

/// The changes that are remembered, the newest first.
///
/// # Errors
///
/// [`OperationError::Store`] where the store cannot be read.
pub fn history(instance: &Instance) -> Result<Vec<Generation>, OperationError> {
    instance.read(|snapshot| Ok(snapshot.history()?))
}

/// One change, and what it changed.
///
/// # Errors
///
/// [`OperationError::UnknownGeneration`] where it is not remembered, and others where store or kernel cannot be read.
pub fn generation(instance: &Instance, number: u64) -> Result<(Generation, Difference), OperationError> {
    let history = history(instance)?;
    let generation = find(&history, number)?.clone();
    // Before the oldest one that is remembered there is nothing to compare with.
    let before = history.iter().find(|earlier| earlier.number < number).map_or(0, |earlier| earlier.number);
    Ok((generation, difference(instance, before, number)?))
}

/// What was changed between two generations, or since one.
///
/// # Errors
///
/// As [`generation`].
pub fn difference_between(
    instance: &Instance,
    from: u64,
    to: Option<u64>,
) -> Result<Difference, OperationError> {
    let (history, stored) = instance.read(|snapshot| Ok((snapshot.history()?, snapshot.generation()?)))?;
    let to = to.unwrap_or(stored);
    find(&history, from)?;
    find(&history, to)?;
    difference(instance, from, to)
}

fn find(history: &[Generation], number: u64) -> Result<&Generation, OperationError> {
    let found = history.iter().find(|generation| generation.number == number);
    found.ok_or(OperationError::UnknownGeneration { generation: Some(number) })
}
