//! A policy document: what an operator wants to be the policy, as a file says it.
//!
//! `document` reads and writes files, `plan` compares a document with what is stored. A section that a document does
//! not have is none of its business; of a section that it has, what it does not list is not wanted,
//! except that a file never attaches or detaches an interface.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::{
    AddressFamily, Description, GroupId, GroupName, GroupReference, InterfaceOptions, PrefixListEntry,
    PrefixListId, PrefixListName, PrefixListReference, RuleId, Service, Tags,
};

/// The sections of a document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// Every group that is wanted. `default` is always there; a document may list it to change its rules.
    pub groups: Option<Vec<DocumentGroup>>,
    /// Every prefix list that is wanted.
    pub prefix_lists: Option<Vec<DocumentPrefixList>>,
    /// Attached interfaces.
    pub interfaces: Option<Vec<DocumentInterface>>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentGroup {
    /// The group that is meant, whatever its name now; by name where there is none.
    pub id: Option<GroupId>,
    /// Name.
    pub name: GroupName,
    /// What it is for.
    pub description: Description,
    /// Tags.
    pub tags: Tags,
    /// Declared members, as canonical prefixes.
    pub members: BTreeSet<IpNet>,
    /// All its rules.
    pub rules: Vec<DocumentRule>,
}

/// A rule of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentRule {
    /// The rule that is meant, whatever its properties now; by its properties where there is none.
    pub id: Option<RuleId>,
    /// Which traffic.
    pub direction: Direction,
    /// Protocol and ports.
    pub service: Service,
    /// The other end.
    pub peer: DocumentPeer,
    /// Free text.
    pub description: Option<Description>,
    /// Tags.
    pub tags: Tags,
}

/// The peer of a rule. Groups and lists may be others of the same document, which have no id yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentPeer {
    /// A canonical prefix.
    Cidr(IpNet),
    /// The members of a group.
    Group(GroupReference),
    /// The entries of a prefix list.
    PrefixList(PrefixListReference),
}

/// A prefix list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentPrefixList {
    /// The list that is meant, whatever its name now; by name where there is none.
    pub id: Option<PrefixListId>,
    /// Name.
    pub name: PrefixListName,
    /// The family of every entry.
    pub family: AddressFamily,
    /// How many entries it may have.
    pub max_entries: u32,
    /// Tags.
    pub tags: Tags,
    /// Its entries, as canonical prefixes.
    pub entries: Vec<PrefixListEntry>,
}

/// An attached interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentInterface {
    /// Name.
    pub name: String,
    /// The groups that it is to carry; at least one.
    pub groups: Vec<GroupReference>,
    /// How its traffic is treated. A document that states any option states them all, the others being the defaults; one
    /// that states none leaves them as they are.
    pub options: Option<InterfaceOptions>,
}
