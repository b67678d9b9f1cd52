//! Why a document cannot be what the store is to hold.

use std::fmt;

use crate::model::{AddressFamily, GroupName, ModelError, PrefixListName};

/// Everything that is wrong with a document, given what is stored.
#[derive(Debug)]
pub struct PlanErrors(pub Vec<PlanError>);

/// One thing that is wrong.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// About a group.
    #[error("group {group}: {source}")]
    Group {
        /// Which one.
        group: GroupName,
        /// What is wrong.
        source: ModelError,
    },
    /// About a prefix list.
    #[error("prefix list {list}: {source}")]
    PrefixList {
        /// Which one.
        list: PrefixListName,
        /// What is wrong.
        source: ModelError,
    },
    /// About an interface.
    #[error("interface {interface}: {source}")]
    Interface {
        /// Which one.
        interface: String,
        /// What is wrong.
        source: ModelError,
    },
    /// Another name under the id of a group.
    #[error("group {stored} cannot be renamed to {wanted}: the name of a security group cannot be changed")]
    GroupRenamed {
        /// Its name.
        stored: GroupName,
        /// The name that the document gives it.
        wanted: GroupName,
    },
    /// Another description of a group.
    #[error(
        "group {group} is described as \"{stored}\", not \"{wanted}\": the description of a security group cannot be changed"
    )]
    GroupDescribedAnew {
        /// Which one.
        group: GroupName,
        /// Its description.
        stored: String,
        /// The description that the document gives it.
        wanted: String,
    },
    /// Another family of a prefix list.
    #[error(
        "prefix list {list} is of the family {stored}, not {wanted}: the family of a prefix list cannot be changed"
    )]
    PrefixListFamily {
        /// Which one.
        list: PrefixListName,
        /// Its family.
        stored: AddressFamily,
        /// The family that the document gives it.
        wanted: AddressFamily,
    },
    /// An interface stands in the document twice.
    #[error("interface {interface} is listed twice")]
    InterfaceListedTwice {
        /// Which one.
        interface: String,
    },
    /// Documents attach nothing.
    #[error("interface {interface} is not attached, and a policy file attaches none")]
    InterfaceNotAttached {
        /// Which one.
        interface: String,
    },
}

impl PlanError {
    /// The code of the EC2 API for it.
    #[must_use]
    pub const fn aws_code(&self) -> Option<&'static str> {
        match self {
            Self::Group { source, .. } | Self::PrefixList { source, .. } | Self::Interface { source, .. } => {
                source.aws_code()
            }
            Self::GroupRenamed { .. } | Self::GroupDescribedAnew { .. } | Self::PrefixListFamily { .. } => {
                Some("InvalidParameterValue")
            }
            Self::InterfaceListedTwice { .. } | Self::InterfaceNotAttached { .. } => None,
        }
    }
}

impl fmt::Display for PlanErrors {
    /// One line for each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}
