//! Columns read back into what they were written from.

use std::str::FromStr;

use super::StoreError;
use crate::model::ModelError;

/// Reads a text column back into the type that it was written from.
pub(super) fn parse_column<T: FromStr<Err: Into<CorruptValue>>>(
    row: &rusqlite::Row<'_>,
    column: &'static str,
) -> Result<T, StoreError> {
    parse_text(text_column(row, column)?, column)
}

/// A text column as it stands there.
fn text_column<'r>(row: &'r rusqlite::Row<'_>, column: &'static str) -> Result<&'r str, StoreError> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

pub(super) fn parse_optional_column<T: FromStr<Err: Into<CorruptValue>>>(
    row: &rusqlite::Row<'_>,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    let text = row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from)?;
    text.map(|text| parse_text(text, column)).transpose()
}

pub(super) fn parse_text<T: FromStr<Err: Into<CorruptValue>>>(
    text: &str,
    column: &'static str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Corrupt {
        column,
        value: text.to_owned(),
        source: error.into(),
    })
}

/// Why a stored value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CorruptValue {
    /// Not a value of the model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A name that this sgfw does not know.
    #[error("unknown name")]
    UnknownName,
    /// Bytes that are no prefixes.
    #[error("not a run of prefixes")]
    Run,
    /// Not a prefix.
    #[error(transparent)]
    Prefix(#[from] ipnet::AddrParseError),
}
