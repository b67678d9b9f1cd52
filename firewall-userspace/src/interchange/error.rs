//! Why something could not be imported.

use crate::model::{GroupName, ModelError};

/// Why the files could not be read as a policy.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// Not JSON, or not of the shape that it should have; the source has line and column.
    #[error("{place}")]
    Json {
        /// File and path in it.
        place: String,
        /// What was expected.
        source: serde_json::Error,
    },
    /// JSON of something else.
    #[error("{file}: not {expected}: the top-level keys are {}", keys.join(", "))]
    OtherJson {
        /// The file.
        file: String,
        /// What it should be.
        expected: &'static str,
        /// What it has.
        keys: Vec<String>,
    },
    /// A raw Terraform state of another version.
    #[error("{file}: version {version} of the state of Terraform")]
    StateVersion {
        /// The file.
        file: String,
        /// Its version.
        version: u64,
    },
    /// A value that AWS would not have.
    #[error("{place}")]
    Invalid {
        /// File and path in it.
        place: String,
        /// What is wrong.
        source: ModelError,
    },
    /// Rules, but no file that describes their groups.
    #[error("the files have rules, but no file describes a group")]
    NoGroups,
    /// One object in two places.
    #[error("{key} is described twice: {first} and {second}")]
    DescribedTwice {
        /// How it is called.
        key: String,
        /// One place.
        first: String,
        /// The other.
        second: String,
    },
    /// Two groups of one name.
    #[error("two groups have the name \"{name}\": {first} and {second}")]
    SameName {
        /// The name.
        name: GroupName,
        /// One place.
        first: String,
        /// The other.
        second: String,
        /// The VPCs of the groups, if they differ.
        vpcs: Vec<String>,
    },
    /// A VPC of which no group is.
    #[error("no group is of the VPC {vpc}")]
    UnknownVpc {
        /// What was asked for.
        vpc: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Entries that belong to no list, or to which is not known.
    #[error("{file}: entries do not say of which prefix list they are")]
    EntriesOfUnknownList {
        /// The file.
        file: String,
    },
    /// Entries of a list that no file describes.
    #[error("{file}: no file describes the prefix list {list}")]
    UndescribedList {
        /// The file.
        file: String,
        /// How the list is called.
        list: String,
    },
}
