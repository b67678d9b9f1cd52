//! Names and descriptions: the alphabets and lengths that AWS allows.

use std::fmt;
use std::str::FromStr;

use super::{GroupId, ModelError, PrefixListId};

/// AWS: names and descriptions hold up to 255 characters.
const MAX_LENGTH: usize = 255;

/// Name of a security group: unique, whatever the case.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupName(String);

impl GroupName {
    /// The group that exists from the start. Its name is reserved.
    pub const DEFAULT: &'static str = "default";

    /// The name of the group that exists from the start.
    #[must_use]
    pub fn default_group() -> Self {
        Self(Self::DEFAULT.to_owned())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether two names collide: AWS compares them without regard to case.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// Whether this is the name of the group that exists from the start.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.0.eq_ignore_ascii_case(Self::DEFAULT)
    }
}

impl FromStr for GroupName {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        // AWS trims trailing spaces.
        let name = text.trim_end_matches(' ');
        let valid = (1..=MAX_LENGTH).contains(&name.len())
            && name.bytes().all(is_allowed)
            && !name.starts_with(GroupId::PREFIX);
        if !valid {
            return Err(ModelError::InvalidGroupName { name: text.to_owned() });
        }
        Ok(Self(name.to_owned()))
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Description of a group or a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Description(String);

impl Description {
    /// That of a group, which AWS demands: it is not empty.
    pub fn of_group(text: &str) -> Result<Self, ModelError> {
        if text.is_empty() {
            return Err(ModelError::NoGroupDescription);
        }
        text.parse()
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For a group of which nothing else is known.
impl From<&GroupName> for Description {
    fn from(name: &GroupName) -> Self {
        Self(name.0.clone())
    }
}

impl FromStr for Description {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if text.len() > MAX_LENGTH || !text.bytes().all(is_allowed) {
            return Err(ModelError::InvalidDescription { description: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a prefix list.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrefixListName(String);

impl PrefixListName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PrefixListName {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        // AWS reserves `com.amazonaws`; a name like an id could not be told from one.
        let valid = (1..=MAX_LENGTH).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
            && !text.starts_with("com.amazonaws")
            && !text.starts_with(PrefixListId::PREFIX);
        if !valid {
            return Err(ModelError::InvalidPrefixListName { name: text.to_owned() });
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for PrefixListName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// AWS: `a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*` in names and descriptions.
fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b". _-:/()#,@[]+=&;{}!$*".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_spaces_of_a_group_name_are_trimmed() {
        assert_eq!("web ".parse::<GroupName>().unwrap().as_str(), "web");
    }

    #[test]
    fn names_outside_the_aws_alphabet_are_refused() {
        for name in ["", " ", "sg-x", "it's", "naïve", &"x".repeat(256)] {
            let error = name.parse::<GroupName>().unwrap_err();
            assert_eq!(error.aws_code(), Some("InvalidParameterValue"), "{name}");
        }
        assert!("x".repeat(255).parse::<GroupName>().is_ok());
        assert!("a.b c_-:/()#,@[]+=&;{}!$*".parse::<GroupName>().is_ok());
    }

    #[test]
    fn names_collide_whatever_the_case() {
        let (lower, upper) = ("web".parse::<GroupName>().unwrap(), "Web".parse::<GroupName>().unwrap());
        assert!(lower.collides_with(&upper));
        assert!("Default".parse::<GroupName>().unwrap().is_default());
    }

    #[test]
    fn an_apostrophe_in_a_description_is_refused() {
        assert!("the office's network".parse::<Description>().is_err());
        assert!("office & home".parse::<Description>().is_ok());
    }

    #[test]
    fn a_rule_needs_no_description_and_a_group_does() {
        assert!("".parse::<Description>().is_ok());
        assert_eq!(Description::of_group("").unwrap_err().aws_code(), Some("InvalidParameterValue"));
        assert!(Description::of_group("web tier").is_ok());
    }

    #[test]
    fn reserved_prefix_list_names_are_refused() {
        for name in ["", "com.amazonaws.global.s3", "pl-x", "a\nb"] {
            assert!(name.parse::<PrefixListName>().is_err(), "{name}");
        }
        assert!("büro".parse::<PrefixListName>().is_ok());
    }
}
