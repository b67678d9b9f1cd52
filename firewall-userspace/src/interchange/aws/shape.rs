//! The shapes of the AWS CLI's output, with the fields that sgfw reads. AWS leaves empty fields out or sends them empty.

use serde::Deserialize;

use crate::interchange::input::{OtherFields, Parsed, from_optional_text, from_text};
use crate::model::{AddressFamily, Cidr, Description, GroupName};

/// A file: which command's output it is shows in what it has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct File {
    pub(super) security_groups: Option<Vec<SecurityGroup>>,
    pub(super) security_group_rules: Option<Vec<SecurityGroupRule>>,
    pub(super) prefix_lists: Option<Vec<ManagedPrefixList>>,
    pub(super) entries: Option<Vec<Entry>>,
    pub(super) next_token: Option<String>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecurityGroup {
    /// What sgfw exports from a document without ids has none.
    pub(super) group_id: Option<String>,
    #[serde(deserialize_with = "from_text")]
    pub(super) group_name: GroupName,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    pub(super) vpc_id: Option<String>,
    pub(super) owner_id: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    #[serde(default)]
    pub(super) ip_permissions: Vec<IpPermission>,
    #[serde(default)]
    pub(super) ip_permissions_egress: Vec<IpPermission>,
    /// Not of AWS: declared members, as sgfw shows them.
    #[serde(default)]
    pub(super) members: Vec<Parsed<Cidr>>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IpPermission {
    pub(super) ip_protocol: String,
    pub(super) from_port: Option<i64>,
    pub(super) to_port: Option<i64>,
    #[serde(default)]
    pub(super) ip_ranges: Vec<IpRange>,
    #[serde(default)]
    pub(super) ipv6_ranges: Vec<Ipv6Range>,
    #[serde(default)]
    pub(super) prefix_list_ids: Vec<PrefixListId>,
    #[serde(default)]
    pub(super) user_id_group_pairs: Vec<UserIdGroupPair>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct IpRange {
    #[serde(deserialize_with = "from_text")]
    pub(super) cidr_ip: Cidr,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Ipv6Range {
    #[serde(deserialize_with = "from_text")]
    pub(super) cidr_ipv6: Cidr,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PrefixListId {
    pub(super) prefix_list_id: String,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UserIdGroupPair {
    #[serde(flatten)]
    pub(super) group: ReferencedGroup,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
}

/// A group as peer. AWS adds the VPC only where the group is in another one.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReferencedGroup {
    pub(super) group_id: Option<String>,
    pub(super) group_name: Option<String>,
    pub(super) user_id: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) vpc_peering_connection_id: Option<String>,
    pub(super) peering_status: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SecurityGroupRule {
    pub(super) security_group_rule_id: Option<String>,
    pub(super) group_id: String,
    pub(super) group_owner_id: Option<String>,
    pub(super) is_egress: bool,
    pub(super) ip_protocol: String,
    pub(super) from_port: Option<i64>,
    pub(super) to_port: Option<i64>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) cidr_ipv4: Option<Cidr>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) cidr_ipv6: Option<Cidr>,
    pub(super) prefix_list_id: Option<String>,
    pub(super) referenced_group_info: Option<ReferencedGroup>,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManagedPrefixList {
    pub(super) prefix_list_id: Option<String>,
    pub(super) prefix_list_name: String,
    #[serde(deserialize_with = "from_text")]
    pub(super) address_family: AddressFamily,
    pub(super) max_entries: Option<u32>,
    pub(super) owner_id: Option<String>,
    #[serde(default)]
    pub(super) tags: Vec<Tag>,
    /// Not of AWS: the entries with their list, as sgfw shows them.
    pub(super) entries: Option<Vec<Entry>>,
    #[serde(flatten)]
    pub(super) other: OtherFields,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    #[serde(deserialize_with = "from_text")]
    pub(super) cidr: Cidr,
    #[serde(default, deserialize_with = "from_optional_text")]
    pub(super) description: Option<Description>,
}
