//! A document as a file. The same document always gives the same text, and reading the text gives the document.

mod tree;
mod yaml;

use crate::model::Document;

/// As YAML, laid out for people.
#[must_use]
pub fn write_yaml(document: &Document) -> String {
    yaml::write(&tree::document(document))
}

/// As TOML.
pub fn write_toml(document: &Document) -> Result<String, toml::ser::Error> {
    toml::to_string(&tree::document(document))
}

/// As JSON.
pub fn write_json(document: &Document) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&tree::document(document)).map(|text| text + "\n")
}
