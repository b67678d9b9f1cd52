//! A policy as the files of another system tell it: groups, rules and lists apart, referring to each other by the
//! names that the other system gives them. `aws` and `terraform` fill it, `resolve` makes a document of it.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::omission::Omissions;
use crate::model::{
    AddressFamily, Description, GroupId, GroupName, PrefixListEntry, PrefixListId, RuleId, Service, Tags,
};

/// What was read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) groups: Vec<DraftGroup>,
    pub(super) rules: Vec<DraftRule>,
    pub(super) prefix_lists: Vec<DraftPrefixList>,
    pub(super) omissions: Omissions,
}

/// A group without its rules.
#[derive(Debug)]
pub(super) struct DraftGroup {
    pub(super) place: String,
    /// What rules may call it besides its name: its identifier, its address in Terraform.
    pub(super) keys: Vec<String>,
    pub(super) id: Option<GroupId>,
    pub(super) name: GroupName,
    pub(super) description: Option<Description>,
    pub(super) tags: Tags,
    pub(super) members: BTreeSet<IpNet>,
    pub(super) vpc: Option<String>,
}

/// A rule. Two files, or two resources, may describe the same one.
#[derive(Clone, Debug)]
pub(super) struct DraftRule {
    pub(super) place: String,
    /// A key of the group that it belongs to.
    pub(super) group: String,
    pub(super) id: Option<RuleId>,
    pub(super) direction: Direction,
    pub(super) service: Service,
    pub(super) peer: DraftPeer,
    pub(super) description: Option<Description>,
    pub(super) tags: Tags,
}

/// The peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum DraftPeer {
    Cidr(IpNet),
    Group(PeerGroup),
    /// A key of a prefix list.
    PrefixList(String),
}

/// A group as peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerGroup {
    /// A key of it.
    pub(super) key: String,
    /// Its owner, if it is another than that of the rule.
    pub(super) other_account: Option<String>,
    /// How the peering is, if it is in a peered VPC.
    pub(super) peering: Option<String>,
}

impl PeerGroup {
    /// A group of the same account and VPC.
    pub(super) fn local(key: impl Into<String>) -> Self {
        Self { key: key.into(), other_account: None, peering: None }
    }
}

/// A prefix list.
#[derive(Debug)]
pub(super) struct DraftPrefixList {
    pub(super) place: String,
    /// What rules may call it: its identifier, its address in Terraform.
    pub(super) keys: Vec<String>,
    pub(super) id: Option<PrefixListId>,
    /// AWS has names that are reserved here, and lists of the same name.
    pub(super) name: String,
    pub(super) is_of_aws: bool,
    pub(super) family: AddressFamily,
    /// AWS does not tell it of its own lists.
    pub(super) max_entries: Option<u32>,
    pub(super) tags: Tags,
    /// None where no file has them.
    pub(super) entries: Option<Vec<PrefixListEntry>>,
}
