//! Reads JSON into the shapes of the other systems. Errors say where: path, line and column, and what was expected.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::omission::{Cause, Omissions};
use super::{ImportError, Source};
use crate::model::{TagKey, TagValue, Tags};

/// The fields of an object that its shape does not name.
pub(super) type OtherFields = BTreeMap<String, Value>;

/// Reads a whole file.
pub(super) fn parse<T: DeserializeOwned>(file: &Source) -> Result<T, ImportError> {
    let mut reader = serde_json::Deserializer::from_str(&file.text);
    let parsed = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let place = match error.path().to_string().as_str() {
            "." => file.name.clone(),
            path => format!("{}: .{path}", file.name),
        };
        ImportError::Json { place, source: error.into_inner() }
    })?;
    reader.end().map_err(|source| ImportError::Json { place: file.name.clone(), source })?;
    Ok(parsed)
}

/// Reads a part of a file that was read before, for its shape depends on what stands beside it.
pub(super) fn parse_part<T: DeserializeOwned>(place: &str, part: Value) -> Result<T, ImportError> {
    serde_path_to_error::deserialize(part).map_err(|error| ImportError::Json {
        place: format!("{place}.{}", error.path()),
        source: error.into_inner(),
    })
}

/// A string that is parsed by its type, in a list.
#[derive(Clone, Debug)]
pub(super) struct Parsed<T>(pub(super) T);

impl<'de, T: FromStr<Err: Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer).map(Self)
    }
}

/// A string that is parsed by its type, in a field.
pub(super) fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// The same where there may be none; an empty string is none.
pub(super) fn from_optional_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    let text: Option<String> = Option::deserialize(deserializer)?;
    let given = text.filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(D::Error::custom)).transpose()
}

/// Says which fields are not carried over. `of_many` is where a field stands in every object of the kind: what has no
/// meaning is said once.
pub(super) fn note_other_fields(
    fields: &OtherFields,
    place: &str,
    of_many: &str,
    without_meaning: &[&str],
    omissions: &mut Omissions,
) {
    for (field, _) in fields.iter().filter(|(_, value)| !is_empty(value)) {
        if without_meaning.contains(&field.as_str()) {
            omissions.push_once(format!("{of_many}.{field}"), Cause::NoMeaningOnHost);
        } else {
            omissions.push(format!("{place}.{field}"), Cause::UnknownField);
        }
    }
}

/// Tags. AWS sets some itself, under keys that nobody else may use.
pub(super) fn tags<'t>(
    tags: impl IntoIterator<Item = (&'t str, &'t str)>,
    place: &str,
    omissions: &mut Omissions,
) -> Tags {
    let mut accepted = Tags::default();
    for (key, value) in tags {
        let tag = key.parse::<TagKey>().and_then(|key| Ok((key, value.parse::<TagValue>()?)));
        if tag.and_then(|tag| accepted.set([tag])).is_err() {
            omissions.push(place, Cause::Tag { key: key.to_owned() });
        }
    }
    accepted
}

/// An identifier of a group, rule or prefix list; none, and an omission, for the short form of before 2016.
pub(super) fn identifier<T>(
    text: &str,
    place: &str,
    omissions: &mut Omissions,
) -> Result<Option<T>, ImportError>
where
    T: FromStr<Err = crate::model::ModelError>,
{
    const SHORT_DIGITS: usize = 8;
    let digits = text.split_once('-').map_or("", |(_, digits)| digits);
    if digits.len() == SHORT_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        omissions.push(place, Cause::ShortId { id: text.to_owned() });
        return Ok(None);
    }
    text.parse().map(Some).map_err(|source| ImportError::Invalid { place: place.to_owned(), source })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
