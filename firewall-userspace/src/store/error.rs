//! What can go wrong with the store.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use super::CorruptValue;
use crate::model::ModelError;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state directory could not be created.
    #[error("cannot create the state directory {}", path.display())]
    CannotCreate {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The lock file could not be opened or locked.
    #[error("cannot lock {}", path.display())]
    CannotLock {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process holds the lock.
    #[error("another sgfw is changing this instance: {} was still locked after {seconds} s", path.display())]
    LockHeld {
        /// The lock file.
        path: PathBuf,
        /// How long this process waited.
        seconds: u64,
    },
    /// The database has lost all that was in it.
    #[error("the store is damaged: {} is empty", path.display())]
    Empty {
        /// The database.
        path: PathBuf,
    },
    /// The database could not be opened.
    #[error("cannot open {}", path.display())]
    CannotOpen {
        /// The database.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The database has a schema that this version does not know.
    #[error("{} has schema version {found}; this sgfw knows version {supported}", path.display())]
    UnknownSchema {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The version that is known.
        supported: u32,
    },
    /// A stored value is not valid.
    #[error("the store is damaged: \"{value}\" in column {column}")]
    Corrupt {
        /// The column.
        column: &'static str,
        /// What stands there.
        value: String,
        /// What is wrong with it.
        source: CorruptValue,
    },
    /// The group `default` of a new store could not be made.
    #[error("cannot make the group \"default\"")]
    DefaultGroup(#[source] ModelError),
    /// Any other failure of SQLite.
    #[error("the store failed")]
    Sqlite(#[from] rusqlite::Error),
}

impl StoreError {
    /// Whether the state could not be written: a matter of the file system, not of what was asked for.
    #[must_use]
    pub fn is_about_writing(&self) -> bool {
        match self {
            Self::CannotCreate { .. } | Self::CannotLock { .. } | Self::CannotOpen { .. } => true,
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::ReadOnly
                        | ErrorCode::DiskFull
                        | ErrorCode::SystemIoFailure
                        | ErrorCode::CannotOpen
                )
            ),
            _ => false,
        }
    }

    /// Whether there was no room to write.
    #[must_use]
    pub fn is_full_disk(&self) -> bool {
        match self {
            Self::CannotCreate { source, .. } | Self::CannotLock { source, .. } => {
                source.kind() == io::ErrorKind::StorageFull
            }
            Self::CannotOpen { source, .. } | Self::Sqlite(source) => {
                source.sqlite_error_code() == Some(ErrorCode::DiskFull)
            }
            _ => false,
        }
    }

    /// Whether what is on the disk is not what was written.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Empty { .. } => true,
            Self::CannotOpen { source, .. } | Self::Sqlite(source) => matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            ),
            _ => false,
        }
    }

    /// Whether another process was in the way.
    #[must_use]
    pub fn is_about_waiting(&self) -> bool {
        match self {
            Self::LockHeld { .. } => true,
            Self::Sqlite(error) => error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy),
            _ => false,
        }
    }
}
