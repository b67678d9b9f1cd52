//! What a document would change, and what that would mean for traffic.
//!
//! [`desired`](fn@desired) says what the store would hold if it were as a document wants it, [`Changes`] is the difference to what it
//! holds, and [`Effect`] the difference between the policies that both compile to. A [`SavedPlan`] keeps a plan in a file.
//!
//! Called by `apply::document`, which also carries the changes out. Pure: knows the model and the compiler, and neither
//! the store nor the kernel nor how anything is shown.

mod changes;
mod desired;
mod effect;
mod error;
mod saved;
mod state;
#[cfg(test)]
pub(crate) mod strategy;

pub use changes::{Change, Changes, Count, GroupChange};
pub use desired::desired;
pub use effect::{
    AddressRange, CompiledState, Effect, IcmpRange, LeftOut, Redundancy, RedundantRule, Region, ServiceRange,
};
pub use error::{PlanError, PlanErrors};
pub use saved::{SavedPlan, SavedPlanError};
pub use state::State;
