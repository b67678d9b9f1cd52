//! Tags: keys and values that operators attach to groups, rules and prefix lists.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::ModelError;

/// AWS: a key has 1 to 127 characters, a value up to 256, and one object carries up to 50 tags.
const MAX_KEY_LENGTH: usize = 127;
const MAX_VALUE_LENGTH: usize = 256;
const MAX_TAGS: usize = 50;

/// Key of a tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagKey(String);

/// Value of a tag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TagValue(String);

/// The tags of one object, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<TagKey, TagValue>);

impl TagKey {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TagValue {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tags {
    /// Sets tags, those of a known key anew.
    pub fn set(&mut self, tags: impl IntoIterator<Item = (TagKey, TagValue)>) -> Result<(), ModelError> {
        let mut all = self.0.clone();
        all.extend(tags);
        if all.len() > MAX_TAGS {
            return Err(ModelError::TooManyTags { tags: all.len(), limit: MAX_TAGS });
        }
        self.0 = all;
        Ok(())
    }

    /// Removes the tags of the keys; AWS does not mind keys that are not there.
    pub fn remove<'k>(&mut self, keys: impl IntoIterator<Item = &'k TagKey>) {
        for key in keys {
            self.0.remove(key);
        }
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &TagKey) -> Option<&TagValue> {
        self.0.get(key)
    }

    /// Each tag, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&TagKey, &TagValue)> {
        self.0.iter()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromStr for TagKey {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        // AWS keeps `aws:` for itself, whatever the case.
        let reserved = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
        let length = text.chars().count();
        if reserved || length == 0 || length > MAX_KEY_LENGTH || !text.chars().all(is_allowed) {
            return Err(ModelError::InvalidTagKey { key: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for TagValue {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text.chars().count() > MAX_VALUE_LENGTH || !text.chars().all(is_allowed) {
            return Err(ModelError::InvalidTagValue { value: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for TagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// AWS "Tag your Amazon EC2 resources": letters, numbers and spaces representable in UTF-8, and `+ - = . _ : / @`.
fn is_allowed(character: char) -> bool {
    character.is_alphanumeric() || character == ' ' || "+-=._:/@".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(key: &str, value: &str) -> (TagKey, TagValue) {
        (key.parse().unwrap(), value.parse().unwrap())
    }

    #[test]
    fn a_tag_of_a_known_key_is_set_anew() {
        let mut tags = Tags::default();
        tags.set([tag("Name", "web"), tag("env", "")]).unwrap();
        tags.set([tag("Name", "app")]).unwrap();
        let shown: Vec<_> = tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(shown, ["Name=app", "env="]);
        tags.remove([&"env".parse().unwrap(), &"gone".parse().unwrap()]);
        assert_eq!(tags.iter().count(), 1);
    }

    #[test]
    fn tags_outside_the_limits_of_aws_are_refused() {
        for key in ["", "aws:x", "AWS:x", "a\nb", "a*b", &"k".repeat(128)] {
            assert!(key.parse::<TagKey>().is_err(), "{key}");
        }
        assert!("k".repeat(127).parse::<TagKey>().is_ok());
        assert!("größe: 4/2 @x".parse::<TagValue>().is_ok());
        assert!("v".repeat(257).parse::<TagValue>().is_err());
    }

    #[test]
    fn a_fifty_first_tag_is_refused_and_nothing_is_set() {
        let mut tags = Tags::default();
        tags.set((0..50).map(|number| tag(&format!("k{number}"), "v"))).unwrap();
        let before = tags.clone();
        let error = tags.set([tag("k0", "new"), tag("one-more", "v")]).unwrap_err();
        assert_eq!(error.aws_code(), Some("TagLimitExceeded"));
        assert_eq!(tags, before);
    }
}
