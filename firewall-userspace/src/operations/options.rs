//! How a change is made.

use std::time::Duration;

use super::Operator;

/// How a change is made, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct ChangeOptions<'a> {
    /// Who makes it.
    pub operator: &'a Operator,
    /// Whether it may lock the operator out.
    pub guard: Guard,
    /// How long it is in force unless it is confirmed; `None` for one that stays.
    pub confirm_within: Option<Duration>,
    /// How long after it the flows that no rule admits any more are cut; `None` to keep them.
    pub cut_after: Option<Duration>,
    /// Whether only to find out what it would do and whether it would be refused.
    pub dry_run: bool,
}

/// The guard against locking oneself out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// A change is refused that would close the operator's way back.
    On,
    /// Whatever is asked for is done.
    Off,
}

impl<'a> ChangeOptions<'a> {
    /// A change that stays and keeps flows.
    #[must_use]
    pub const fn new(operator: &'a Operator, guard: Guard) -> Self {
        Self { operator, guard, confirm_within: None, cut_after: None, dry_run: false }
    }
}
