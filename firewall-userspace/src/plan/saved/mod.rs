//! A plan in a file, to be applied later and exactly so.
//!
//! The file names its version and carries a checksum, so that another file or half of one is never applied. What it holds
//! is the document and what it was compared with; the changes follow from both.

mod wire;

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::model::{Document, GroupId, ModelError};

/// What every file begins with, before the number of the version.
const MAGIC: &str = "sgfw-plan ";
/// Version of everything after the first line. Others are refused.
const VERSION: u32 = 1;

/// What `plan -O` writes and `apply --plan` reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedPlan {
    /// The group `default` of the store that the document was compared with, by which it is known again.
    pub default_group: GroupId,
    /// The generation that the store had.
    pub generation: u64,
    /// The document.
    pub document: Document,
}

/// Why a file is no plan that can be applied.
#[derive(Debug, thiserror::Error)]
pub enum SavedPlanError {
    /// Some other file.
    #[error("this is not a saved plan")]
    NotAPlan,
    /// A plan of another sgfw.
    #[error("this plan has format version {found}; this sgfw knows version {supported}")]
    UnknownVersion {
        /// Its version.
        found: u32,
        /// The version that is known.
        supported: u32,
    },
    /// The content is not what was written.
    #[error("this plan is damaged: its checksum does not match")]
    Damaged,
    /// The content cannot be read though it is what was written.
    #[error("this plan cannot be read")]
    Unreadable(#[from] serde_json::Error),
    /// A value in it is not valid.
    #[error("this plan holds an invalid value")]
    InvalidValue(#[from] ModelError),
}

impl SavedPlan {
    /// The content of the file.
    ///
    /// # Errors
    ///
    /// [`SavedPlanError::Unreadable`] where it cannot be put into words.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SavedPlanError> {
        let content = serde_json::to_vec(&wire::Plan::from(self))?;
        let mut bytes = format!("{MAGIC}{VERSION}\n{}\n", checksum(&content)).into_bytes();
        bytes.extend(content);
        Ok(bytes)
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    ///
    /// [`SavedPlanError`] where it is anything but what [`to_bytes`](Self::to_bytes) gave.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SavedPlanError> {
        let (first, rest) = split_line(bytes).ok_or(SavedPlanError::NotAPlan)?;
        let version = first.strip_prefix(MAGIC).ok_or(SavedPlanError::NotAPlan)?;
        let found: u32 = version.parse().map_err(|_| SavedPlanError::NotAPlan)?;
        if found != VERSION {
            return Err(SavedPlanError::UnknownVersion { found, supported: VERSION });
        }
        let (expected, content) = split_line(rest).ok_or(SavedPlanError::Damaged)?;
        if expected != checksum(content) {
            return Err(SavedPlanError::Damaged);
        }
        serde_json::from_slice::<wire::Plan>(content)?.try_into()
    }
}

fn split_line(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some((str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

fn checksum(content: &[u8]) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(content) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
