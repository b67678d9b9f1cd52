//! Filters of `describe` calls: which groups or rules to show.
//!
//! AWS: names and values are case-sensitive; a value may have the wildcards `*` and `?`, which a backslash makes
//! literal. Values of one filter are alternatives, filters must all hold, and different filters of permissions may hold
//! by different rules of a group.

use std::str::FromStr;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::{GroupId, ModelError, Peer, SecurityGroup, SecurityRule, Tags};

/// Filters of one kind, each with its values.
#[derive(Clone, Debug)]
pub struct Filters<F>(Vec<(F, Vec<Pattern>)>);

/// What groups are filtered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupFilter {
    /// The description.
    Description,
    /// The id.
    GroupId,
    /// The name.
    GroupName,
    /// The value of a tag.
    Tag(String),
    /// The key of a tag.
    TagKey,
    /// A property of a rule.
    Permission(Direction, PermissionFilter),
}

/// What groups are filtered by of their rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionFilter {
    /// An IPv4 prefix.
    Cidr,
    /// An IPv6 prefix.
    Ipv6Cidr,
    /// The first port, or the ICMP type.
    FromPort,
    /// The last port, or the ICMP code.
    ToPort,
    /// The protocol.
    Protocol,
    /// The id of a peer group.
    GroupId,
    /// The name of a peer group.
    GroupName,
    /// The id of a prefix list.
    PrefixListId,
}

/// What rules are filtered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleFilter {
    /// The id of the group.
    GroupId,
    /// The id.
    RuleId,
    /// The value of a tag.
    Tag(String),
}

impl<F: FromStr<Err = ModelError> + PartialEq> Filters<F> {
    /// Reads filters `NAME=VALUE`. A name that comes again adds a value.
    pub fn parse(texts: &[String]) -> Result<Self, ModelError> {
        let mut filters: Vec<(F, Vec<Pattern>)> = Vec::new();
        for text in texts {
            let without_value = || ModelError::FilterWithoutValue { text: text.clone() };
            let (name, value) = text.split_once('=').ok_or_else(without_value)?;
            let (filter, pattern): (F, _) = (name.parse()?, Pattern::new(value));
            match filters.iter_mut().find(|(known, _)| *known == filter) {
                Some((_, patterns)) => patterns.push(pattern),
                None => filters.push((filter, vec![pattern])),
            }
        }
        Ok(Self(filters))
    }
}

impl<F> Filters<F> {
    /// Whether every filter holds for something that has these values for it.
    fn hold(&self, values: impl Fn(&F) -> Vec<String>) -> bool {
        let holds = |(filter, patterns): &(F, Vec<Pattern>)| {
            values(filter).iter().any(|value| patterns.iter().any(|pattern| pattern.matches(value)))
        };
        self.0.iter().all(holds)
    }
}

impl Filters<GroupFilter> {
    /// Whether a group is to be shown. `groups` are those that rules may refer to.
    #[must_use]
    pub fn matches(&self, group: &SecurityGroup, groups: &[SecurityGroup]) -> bool {
        self.hold(|filter| match filter {
            GroupFilter::Description => vec![group.description.to_string()],
            GroupFilter::GroupId => vec![group.id.to_string()],
            GroupFilter::GroupName => vec![group.name.to_string()],
            GroupFilter::Tag(key) => tag_values(&group.tags, key),
            GroupFilter::TagKey => group.tags.iter().map(|(key, _)| key.to_string()).collect(),
            GroupFilter::Permission(direction, of) => {
                let rules = group.rules.iter().filter(|rule| rule.direction == *direction);
                rules.filter_map(|rule| of.value(rule, groups)).collect()
            }
        })
    }
}

impl Filters<RuleFilter> {
    /// Whether a rule is to be shown.
    #[must_use]
    pub fn matches(&self, rule: &SecurityRule) -> bool {
        self.hold(|filter| match filter {
            RuleFilter::GroupId => vec![rule.group.to_string()],
            RuleFilter::RuleId => vec![rule.id.to_string()],
            RuleFilter::Tag(key) => tag_values(&rule.tags, key),
        })
    }
}

impl GroupFilter {
    /// The names of all filters, for messages.
    const NAMES: &[&str] = &[
        "description",
        "group-id",
        "group-name",
        "tag:KEY",
        "tag-key",
        "ip-permission.X and egress.ip-permission.X, with X one of cidr, ipv6-cidr, from-port, to-port, protocol, \
         group-id, group-name, prefix-list-id",
    ];
}

impl FromStr for GroupFilter {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let permission =
            |direction, name| PermissionFilter::from_name(name).map(|of| Self::Permission(direction, of));
        let known = match name {
            "description" => Some(Self::Description),
            "group-id" => Some(Self::GroupId),
            "group-name" => Some(Self::GroupName),
            "tag-key" => Some(Self::TagKey),
            _ => name
                .strip_prefix("tag:")
                .map(|key| Self::Tag(key.to_owned()))
                .or_else(|| permission(Direction::Ingress, name.strip_prefix("ip-permission.")?))
                .or_else(|| permission(Direction::Egress, name.strip_prefix("egress.ip-permission.")?)),
        };
        known.ok_or_else(|| ModelError::UnknownFilter { name: name.to_owned(), known: Self::NAMES })
    }
}

impl PermissionFilter {
    fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "cidr" => Self::Cidr,
            "ipv6-cidr" => Self::Ipv6Cidr,
            "from-port" => Self::FromPort,
            "to-port" => Self::ToPort,
            "protocol" => Self::Protocol,
            "group-id" => Self::GroupId,
            "group-name" => Self::GroupName,
            "prefix-list-id" => Self::PrefixListId,
            _ => return None,
        })
    }

    /// What a rule has of it, if anything.
    fn value(self, rule: &SecurityRule, groups: &[SecurityGroup]) -> Option<String> {
        let name_of =
            |id: GroupId| groups.iter().find(|group| group.id == id).map(|group| group.name.to_string());
        match (self, rule.peer) {
            (Self::Protocol, _) => Some(rule.service.aws_protocol()),
            (Self::FromPort, _) => rule.service.aws_ports().map(|(from, _)| from.to_string()),
            (Self::ToPort, _) => rule.service.aws_ports().map(|(_, to)| to.to_string()),
            (Self::Cidr, Peer::Cidr(prefix @ IpNet::V4(_))) => Some(prefix.to_string()),
            (Self::Ipv6Cidr, Peer::Cidr(prefix @ IpNet::V6(_))) => Some(prefix.to_string()),
            (Self::GroupId, Peer::Group(id)) => Some(id.to_string()),
            (Self::GroupName, Peer::Group(id)) => name_of(id),
            (Self::PrefixListId, Peer::PrefixList(id)) => Some(id.to_string()),
            _ => None,
        }
    }
}

impl RuleFilter {
    /// The names of all filters, for messages.
    const NAMES: &[&str] = &["group-id", "security-group-rule-id", "tag:KEY"];
}

impl FromStr for RuleFilter {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let known = match name {
            "group-id" => Some(Self::GroupId),
            "security-group-rule-id" => Some(Self::RuleId),
            _ => name.strip_prefix("tag:").map(|key| Self::Tag(key.to_owned())),
        };
        known.ok_or_else(|| ModelError::UnknownFilter { name: name.to_owned(), known: Self::NAMES })
    }
}

fn tag_values(tags: &Tags, key: &str) -> Vec<String> {
    let of_key = tags.iter().filter(|(known, _)| known.as_str() == key);
    of_key.map(|(_, value)| value.to_string()).collect()
}

/// A value of a filter.
#[derive(Clone, Debug)]
struct Pattern(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Character(char),
    /// `?`: AWS says none or one.
    AtMostOne,
    /// `*`
    Any,
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut characters = text.chars();
        let mut parts = Vec::new();
        while let Some(character) = characters.next() {
            parts.push(match character {
                '*' => Part::Any,
                '?' => Part::AtMostOne,
                '\\' => Part::Character(characters.next().unwrap_or('\\')),
                character => Part::Character(character),
            });
        }
        Self(parts)
    }

    /// Follows every way through the pattern at once, so that no pattern takes long.
    fn matches(&self, text: &str) -> bool {
        let mut reached = vec![false; self.0.len() + 1];
        reached[0] = true;
        self.skip_optional(&mut reached);
        for character in text.chars() {
            let mut next = vec![false; reached.len()];
            for (position, part) in self.0.iter().enumerate().filter(|(position, _)| reached[*position]) {
                match part {
                    Part::Character(wanted) => next[position + 1] |= *wanted == character,
                    Part::AtMostOne => next[position + 1] = true,
                    Part::Any => next[position] = true,
                }
            }
            reached = next;
            self.skip_optional(&mut reached);
        }
        reached[self.0.len()]
    }

    fn skip_optional(&self, reached: &mut [bool]) {
        for (position, part) in self.0.iter().enumerate() {
            if matches!(part, Part::Any | Part::AtMostOne) && reached[position] {
                reached[position + 1] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_aws() {
        let matches = |pattern: &str, text: &str| Pattern::new(pattern).matches(text);
        for (pattern, text) in [
            ("web", "web"),
            ("w*b", "wb"),
            ("w*b", "webweb"),
            ("*", ""),
            ("we?b", "web"),
            ("we?", "web"),
            (r"\*", "*"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in
            [("web", "Web"), ("web", "webs"), ("w*b", "webs"), ("?", "ab"), (r"\*", "x"), ("", "x")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }

    #[test]
    fn unknown_filters_are_refused() {
        for text in ["nonsense=1", "ip-permission.nonsense=1", "Group-Id=x", "group-id"] {
            let error = Filters::<GroupFilter>::parse(&[text.to_owned()]).unwrap_err();
            assert_eq!(error.aws_code(), Some("InvalidFilter"), "{text}");
        }
        assert!(Filters::<RuleFilter>::parse(&["tag-key=x".to_owned()]).is_err());
    }
}
