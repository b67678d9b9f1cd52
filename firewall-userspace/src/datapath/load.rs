//! Programs through the verifier, which takes most of the time that attaching and reloading take.

use std::panic::resume_unwind;
use std::thread;

use aya::Ebpf;
use aya::programs::{Program, ProgramError};

use super::DatapathError;

/// Loads these programs at the same time, except those that are loaded already.
///
/// # Errors
///
/// [`DatapathError`] where the kernel refuses one. Others may be loaded then.
pub(super) fn load(programs: &mut Ebpf, names: &[&'static str]) -> Result<(), DatapathError> {
    thread::scope(|scope| {
        let name_of = |found: &str| names.iter().copied().find(|name| *name == found);
        let loads: Vec<_> = programs
            .programs_mut()
            .filter_map(|(name, program)| Some((name_of(name)?, program)))
            .map(|(name, program)| scope.spawn(move || load_one(name, program)))
            .collect();
        // All of them, so that no panic is left to the end of the scope.
        let outcomes: Vec<_> = loads.into_iter().map(thread::ScopedJoinHandle::join).collect();
        outcomes.into_iter().try_for_each(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)))
    })
}

fn load_one(name: &'static str, program: &mut Program) -> Result<(), DatapathError> {
    let loaded = match program {
        program if program.fd().is_ok() => Ok(()),
        Program::Xdp(xdp) => xdp.load(),
        Program::SchedClassifier(classifier) => classifier.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    };
    loaded.map_err(DatapathError::in_program(name))
}
