//! One call of a command: the instance that it works on, and how it changes it.

use crate::operations::{ChangeOptions, Instance};

/// What a verb is called with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) instance: &'a Instance,
    pub(super) options: ChangeOptions<'a>,
}
