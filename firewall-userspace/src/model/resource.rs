//! What carries tags: one resource of any kind, and how a command names it.

use std::fmt;
use std::str::FromStr;

use super::{GroupId, GroupReference, ModelError, PrefixListId, RuleId};

/// A group, a rule or a prefix list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// A group.
    Group(GroupId),
    /// A rule.
    Rule(RuleId),
    /// A prefix list.
    PrefixList(PrefixListId),
}

impl Resource {
    /// The type of resource, as AWS names it.
    #[must_use]
    pub const fn type_name(self) -> &'static str {
        match self {
            Self::Group(_) => "security-group",
            Self::Rule(_) => "security-group-rule",
            Self::PrefixList(_) => "prefix-list",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(id) => id.fmt(f),
            Self::Rule(id) => id.fmt(f),
            Self::PrefixList(id) => id.fmt(f),
        }
    }
}

/// How a command names a resource: by id, by ARN, or a group by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceReference {
    /// A group.
    Group(GroupReference),
    /// A rule.
    Rule(RuleId),
    /// A prefix list.
    PrefixList(PrefixListId),
}

impl FromStr for ResourceReference {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if RuleId::is_meant_by(text) {
            return text.parse().map(Self::Rule);
        }
        if PrefixListId::is_meant_by(text) {
            return text.parse().map(Self::PrefixList);
        }
        text.parse().map(Self::Group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_resource_is_told_from_its_id_or_arn() {
        let (group, rule) = (GroupId::random().unwrap(), RuleId::random().unwrap());
        let list = PrefixListId::random().unwrap();
        let named = |text: &str| text.parse::<ResourceReference>().unwrap();
        for text in [rule.to_string(), rule.arn()] {
            assert_eq!(named(&text), ResourceReference::Rule(rule));
        }
        for text in [list.to_string(), list.arn()] {
            assert_eq!(named(&text), ResourceReference::PrefixList(list));
        }
        for text in [group.to_string(), group.arn()] {
            assert_eq!(named(&text), ResourceReference::Group(GroupReference::Id(group)));
        }
        assert_eq!(named("web"), ResourceReference::Group(GroupReference::Name("web".parse().unwrap())));
        assert!("sgr-12".parse::<ResourceReference>().is_err());
        assert!("pl-12".parse::<ResourceReference>().is_err());
    }
}
