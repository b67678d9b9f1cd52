//! What is left to do of something that is done.
//!
//! Once the generation word is written a policy is in force, and no failure after that takes it back. What failed is handed on,
//! so that a face can say it as a warning.

use std::fmt;

use super::{OperationError, with_sources};

/// What a command has not come to, though what it was asked for is done.
#[derive(Debug)]
pub enum Leftover {
    /// Nobody has waited until no packet is decided by the policy before. The next publication waits itself.
    Readers(OperationError),
    /// The flows that no rule admits were to be cut, and not all are.
    Flows(OperationError),
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readers(error) => write!(
                f,
                "the policy is in force, but nobody has waited for the packets that were still decided by the one before, \
                 which takes a moment: {}",
                with_sources(error)
            ),
            Self::Flows(error) => write!(
                f,
                "the policy is in force, but not every flow that no rule admits was cut: {}; `sgfw flows cut-orphaned` does it",
                with_sources(error)
            ),
        }
    }
}
