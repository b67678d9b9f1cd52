//! A document as a file. The same document always gives the same text, and reading the text gives the document.

mod tree;
mod yaml;

use crate::model::Document;

/// Why a document cannot be written. None that could be read is known.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What TOML has no form for.
    #[error("the document cannot be written as TOML")]
    Toml(#[from] toml::ser::Error),
    /// What JSON has no form for.
    #[error("the document cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

/// As YAML, laid out for people.
#[must_use]
pub fn write_yaml(document: &Document) -> String {
    yaml::write(&tree::document(document))
}

/// As TOML.
pub fn write_toml(document: &Document) -> Result<String, WriteError> {
    Ok(toml::to_string(&tree::document(document))?)
}

/// As JSON.
pub fn write_json(document: &Document) -> Result<String, WriteError> {
    Ok(serde_json::to_string_pretty(&tree::document(document))? + "\n")
}
