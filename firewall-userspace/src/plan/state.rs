//! What a store holds, as far as documents speak of it.

use std::collections::BTreeMap;

use ipnet::IpNet;

use crate::model::{GroupId, Interface, PrefixList, SecurityGroup};

/// Everything that a document can change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Every group with its rules.
    pub groups: Vec<SecurityGroup>,
    /// The declared members of every group that has any.
    pub members: BTreeMap<GroupId, Vec<IpNet>>,
    /// Every prefix list with its entries.
    pub prefix_lists: Vec<PrefixList>,
    /// The attached interfaces.
    pub interfaces: Vec<Interface>,
}

impl State {
    /// The declared members of a group.
    #[must_use]
    pub fn members_of(&self, group: GroupId) -> &[IpNet] {
        self.members.get(&group).map_or(&[], Vec::as_slice)
    }
}
