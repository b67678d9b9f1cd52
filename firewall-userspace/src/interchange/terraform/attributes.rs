//! The attributes of the resources that sgfw reads, as the provider `hashicorp/aws` has them.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::interchange::input::{OtherFields, Parsed, from_optional_text, from_text};
use crate::model::{AddressFamily, Cidr, Description};

/// An attribute. A plan leaves out what is known only after its apply.
#[derive(Clone, Debug, Default)]
pub(super) enum Attribute<T> {
    #[default]
    Unknown,
    Known(Option<T>),
}

impl<T> Attribute<T> {
    pub(super) fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => value,
            Self::Unknown => None,
        }
    }

    /// As a list with one element, if it has a value.
    pub(super) fn into_list(self) -> List<T> {
        match self {
            Self::Known(value) => List::Known(value.map(|value| vec![Some(value)])),
            Self::Unknown => List::Unknown,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Attribute<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::Known)
    }
}

/// A list; an element that is not known is null.
pub(super) type List<T> = Attribute<Vec<Option<T>>>;

/// The tags of a resource, and with those that the provider adds to every resource.
#[derive(Debug, Deserialize)]
pub(super) struct ResourceTags {
    tags: Option<BTreeMap<String, Option<String>>>,
    tags_all: Option<BTreeMap<String, Option<String>>>,
}

impl ResourceTags {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.tags_all.as_ref().or(self.tags.as_ref());
        all.into_iter().flatten().map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default()))
    }
}

/// `aws_security_group` and `aws_default_security_group`.
#[derive(Debug, Deserialize)]
pub(super) struct Group {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) name_prefix: Option<String>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    pub(super) vpc_id: Option<String>,
    pub(super) owner_id: Option<String>,
    pub(super) ingress: Option<Vec<InlineRule>>,
    pub(super) egress: Option<Vec<InlineRule>>,
    #[serde(flatten)]
    pub(super) tags: ResourceTags,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

/// An element of `ingress` or `egress` of a group.
#[derive(Debug, Deserialize)]
pub(super) struct InlineRule {
    pub(super) protocol: String,
    pub(super) from_port: Option<i64>,
    pub(super) to_port: Option<i64>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    #[serde(default)]
    pub(super) cidr_blocks: List<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) ipv6_cidr_blocks: List<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) prefix_list_ids: List<String>,
    #[serde(default)]
    pub(super) security_groups: List<String>,
    #[serde(rename = "self")]
    pub(super) is_self: Option<bool>,
}

/// `aws_security_group_rule`.
#[derive(Debug, Deserialize)]
pub(super) struct GroupRule {
    #[serde(rename = "type")]
    pub(super) direction: RuleType,
    #[serde(default)]
    pub(super) security_group_id: Attribute<String>,
    pub(super) security_group_rule_id: Option<String>,
    pub(super) protocol: String,
    pub(super) from_port: Option<i64>,
    pub(super) to_port: Option<i64>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    #[serde(default)]
    pub(super) cidr_blocks: List<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) ipv6_cidr_blocks: List<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) prefix_list_ids: List<String>,
    #[serde(default)]
    pub(super) source_security_group_id: Attribute<String>,
    #[serde(rename = "self")]
    pub(super) is_self: Option<bool>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

/// `type` of `aws_security_group_rule`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RuleType {
    Ingress,
    Egress,
}

/// `aws_vpc_security_group_ingress_rule` and `_egress_rule`.
#[derive(Debug, Deserialize)]
pub(super) struct VpcRule {
    #[serde(default)]
    pub(super) security_group_id: Attribute<String>,
    pub(super) security_group_rule_id: Option<String>,
    pub(super) ip_protocol: String,
    pub(super) from_port: Option<i64>,
    pub(super) to_port: Option<i64>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    #[serde(default)]
    pub(super) cidr_ipv4: Attribute<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) cidr_ipv6: Attribute<Parsed<Cidr>>,
    #[serde(default)]
    pub(super) prefix_list_id: Attribute<String>,
    #[serde(default)]
    pub(super) referenced_security_group_id: Attribute<String>,
    #[serde(flatten)]
    pub(super) tags: ResourceTags,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

/// `aws_ec2_managed_prefix_list`, the resource and the data source.
#[derive(Debug, Deserialize)]
pub(super) struct PrefixList {
    pub(super) id: Option<String>,
    pub(super) name: String,
    #[serde(deserialize_with = "from_text")]
    pub(super) address_family: AddressFamily,
    pub(super) max_entries: Option<u32>,
    pub(super) owner_id: Option<String>,
    /// Of the resource, and `entries` of the data source.
    #[serde(alias = "entries")]
    pub(super) entry: Option<Vec<PrefixListEntry>>,
    #[serde(flatten)]
    pub(super) tags: ResourceTags,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

/// `entry` of a list, and `aws_ec2_managed_prefix_list_entry`.
#[derive(Debug, Deserialize)]
pub(super) struct PrefixListEntry {
    #[serde(default)]
    pub(super) cidr: Attribute<Parsed<Cidr>>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    /// Of the resource.
    #[serde(default)]
    pub(super) prefix_list_id: Attribute<String>,
}
