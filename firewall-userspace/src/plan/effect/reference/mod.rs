//! How effects were found at first: plainly, in time and memory that grow with the square and the cube of the policies. Kept
//! to hold the quicker way against.

mod redundant;
mod region;

use super::{CompiledState, Effect, LeftOut};

/// The effect of going from one policy to the other.
pub(super) fn between(before: &CompiledState, after: &CompiledState) -> Effect {
    let regions = region::compare(&before.policy, &after.policy);
    Effect {
        newly_reachable: regions.newly_reachable,
        no_longer_reachable: regions.no_longer_reachable,
        newly_tracked: regions.newly_tracked,
        no_longer_tracked: regions.no_longer_tracked,
        redundant_rules: redundant::find(after),
        left_out: LeftOut::default(),
    }
}
