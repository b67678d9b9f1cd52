//! Groups, prefix lists and interfaces of a scenario, by name.

use std::collections::BTreeMap;

use firewall_common::abi::Direction;
use firewall_userspace::model::{ExemptProperties, InterfaceOptions, ManagementService, Service};
use ipnet::IpNet;

/// Everything that decides what passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Interfaces by slot.
    pub interfaces: BTreeMap<u32, Interface>,
    /// Groups by name.
    pub groups: BTreeMap<String, Group>,
    /// Entries of the prefix lists, by name (`pl-…`).
    pub prefix_lists: BTreeMap<String, Vec<IpNet>>,
    /// Servers that every interface may talk to whatever the rules say.
    pub exempt: Vec<ExemptProperties>,
    /// From where connections that rules admit pass even where their flows have no place.
    pub management: Vec<Management>,
}

/// A management prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Management {
    /// What the operator connects to.
    pub service: ManagementService,
    /// Where the operator is.
    pub prefix: IpNet,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Zone of its flows.
    pub zone: u16,
    /// Names of its groups.
    pub groups: Vec<String>,
    /// Timeouts and modes.
    pub options: InterfaceOptions,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// Addresses that belong to it.
    pub members: Vec<IpNet>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which traffic.
    pub direction: Direction,
    /// Protocol and ports.
    pub service: Service,
    /// The other end.
    pub peer: Peer,
}

/// The peer of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A prefix.
    Cidr(IpNet),
    /// The members of a group, by name.
    Group(String),
    /// The entries of a prefix list, by name.
    PrefixList(String),
}

impl Policy {
    /// The group that rules belong to unless they say otherwise.
    pub const MAIN_GROUP: &'static str = "main";
}

/// One interface with one group without rules.
impl Default for Policy {
    fn default() -> Self {
        let interface = Interface {
            zone: 1,
            groups: vec![Self::MAIN_GROUP.to_owned()],
            options: InterfaceOptions::default(),
        };
        Self {
            interfaces: BTreeMap::from([(0, interface)]),
            groups: BTreeMap::from([(Self::MAIN_GROUP.to_owned(), Group::default())]),
            prefix_lists: BTreeMap::new(),
            exempt: Vec::new(),
            management: Vec::new(),
        }
    }
}
