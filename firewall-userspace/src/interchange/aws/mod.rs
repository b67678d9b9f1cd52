//! What the AWS CLI prints: `aws ec2 describe-security-groups`, `describe-security-group-rules`,
//! `describe-managed-prefix-lists` and `get-managed-prefix-list-entries`.

mod read;
mod shape;
#[cfg(test)]
mod tests;
mod write;

use super::Source;

pub use read::read;
pub use write::write;

/// Entries of a prefix list. The output of `get-managed-prefix-list-entries` does not say of which.
#[derive(Clone, Debug)]
pub struct ListEntries {
    /// Identifier of the list.
    pub prefix_list: String,
    /// The output.
    pub file: Source,
}
