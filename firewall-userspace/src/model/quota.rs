//! Quotas: how much there may be of what, and how much there is.
//!
//! AWS has them all, with the values of [`Quotas::aws`]; here none is set until an operator sets one. What counts is as
//! in AWS ("Amazon VPC quotas", "Security group rules").

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use firewall_common::abi::Direction;

use super::{
    AddressFamily, GroupId, Interface, InterfaceId, ModelError, Peer, PrefixList, PrefixListId, SecurityGroup,
};

/// Something of which there may be only so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quota {
    /// Rules of one group, for each direction and address family.
    RulesPerSecurityGroup,
    /// Groups that one interface carries.
    SecurityGroupsPerInterface,
    /// All groups.
    SecurityGroups,
    /// All prefix lists.
    PrefixLists,
    /// The entries that one prefix list has room for.
    EntriesPerPrefixList,
    /// Rules that refer to one prefix list.
    ReferencesPerPrefixList,
}

impl Quota {
    /// Every quota.
    pub const ALL: [Self; 6] = [
        Self::RulesPerSecurityGroup,
        Self::SecurityGroupsPerInterface,
        Self::SecurityGroups,
        Self::PrefixLists,
        Self::EntriesPerPrefixList,
        Self::ReferencesPerPrefixList,
    ];

    /// The word for it on the command line and in the store.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RulesPerSecurityGroup => "rules-per-security-group",
            Self::SecurityGroupsPerInterface => "security-groups-per-interface",
            Self::SecurityGroups => "security-groups",
            Self::PrefixLists => "prefix-lists",
            Self::EntriesPerPrefixList => "entries-per-prefix-list",
            Self::ReferencesPerPrefixList => "references-per-prefix-list",
        }
    }

    /// Its default value in AWS.
    #[must_use]
    pub const fn aws_value(self) -> u64 {
        match self {
            Self::RulesPerSecurityGroup => 60,
            Self::SecurityGroupsPerInterface => 5,
            Self::SecurityGroups => 2500,
            Self::PrefixLists => 100,
            Self::EntriesPerPrefixList => 1000,
            Self::ReferencesPerPrefixList => 5000,
        }
    }

    /// The code of the EC2 API for exceeding it; none is documented for those of prefix lists.
    #[must_use]
    pub const fn aws_code(self) -> Option<&'static str> {
        match self {
            Self::RulesPerSecurityGroup => Some("RulesPerSecurityGroupLimitExceeded"),
            Self::SecurityGroupsPerInterface => Some("SecurityGroupsPerInterfaceLimitExceeded"),
            Self::SecurityGroups => Some("SecurityGroupLimitExceeded"),
            Self::PrefixLists | Self::EntriesPerPrefixList | Self::ReferencesPerPrefixList => None,
        }
    }
}

impl FromStr for Quota {
    type Err = ModelError;

    fn from_str(name: &str) -> Result<Self, ModelError> {
        let known = Self::ALL.into_iter().find(|quota| quota.name() == name);
        known.ok_or_else(|| ModelError::UnknownQuota { name: name.to_owned() })
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name().replace('-', " "))
    }
}

/// The quotas that are set. What is not set is unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas(BTreeMap<Quota, u64>);

impl Quotas {
    /// Every quota with its default value in AWS.
    #[must_use]
    pub fn aws() -> Self {
        Self(Quota::ALL.into_iter().map(|quota| (quota, quota.aws_value())).collect())
    }

    /// The value of a quota, if it is set.
    #[must_use]
    pub fn get(&self, quota: Quota) -> Option<u64> {
        self.0.get(&quota).copied()
    }

    /// Sets a quota.
    pub fn set(&mut self, quota: Quota, value: u64) {
        self.0.insert(quota, value);
    }

    /// Makes a quota unlimited again.
    pub fn reset(&mut self, quota: Quota) {
        self.0.remove(&quota);
    }

    /// Each quota that is set.
    pub fn iter(&self) -> impl Iterator<Item = (Quota, u64)> {
        self.0.iter().map(|(quota, value)| (*quota, *value))
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where a quota is exceeded.
    #[must_use]
    pub fn excesses(&self, usages: &[QuotaUsage]) -> Vec<QuotaExcess> {
        let excess = |usage: &QuotaUsage| {
            let limit = self.get(usage.subject.quota())?;
            (usage.used > limit).then(|| QuotaExcess { usage: usage.clone(), limit })
        };
        usages.iter().filter_map(excess).collect()
    }

    /// Refuses a change that exceeds a quota or exceeds it further. What is over a quota already may stay so: it was
    /// there before the quota was set.
    pub fn check(&self, before: &[QuotaUsage], after: &[QuotaUsage]) -> Result<(), ModelError> {
        let used_before: BTreeMap<QuotaSubject, u64> =
            before.iter().map(|usage| (usage.subject, usage.used)).collect();
        let has_grown =
            |usage: &QuotaUsage| usage.used > used_before.get(&usage.subject).copied().unwrap_or(0);
        let mut excesses = self.excesses(after);
        excesses.retain(|excess| has_grown(&excess.usage));
        let Some(quota) = excesses.first().map(|excess| excess.usage.subject.quota()) else {
            return Ok(());
        };
        excesses.retain(|excess| excess.usage.subject.quota() == quota);
        Err(ModelError::QuotaExceeded { quota, excesses })
    }
}

/// What a quota is counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaSubject {
    /// The rules of a group in one direction that count for one family.
    Rules {
        /// The group.
        group: GroupId,
        /// Whether they are egress rules.
        is_egress: bool,
        /// The family.
        family: AddressFamily,
    },
    /// The groups of an interface.
    GroupsOf(InterfaceId),
    /// All groups.
    Groups,
    /// All prefix lists.
    PrefixLists,
    /// The room of a prefix list.
    EntriesOf(PrefixListId),
    /// The rules that refer to a prefix list.
    ReferencesTo(PrefixListId),
}

impl QuotaSubject {
    /// The quota that it counts against.
    #[must_use]
    pub const fn quota(self) -> Quota {
        match self {
            Self::Rules { .. } => Quota::RulesPerSecurityGroup,
            Self::GroupsOf(_) => Quota::SecurityGroupsPerInterface,
            Self::Groups => Quota::SecurityGroups,
            Self::PrefixLists => Quota::PrefixLists,
            Self::EntriesOf(_) => Quota::EntriesPerPrefixList,
            Self::ReferencesTo(_) => Quota::ReferencesPerPrefixList,
        }
    }
}

/// How much there is of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaUsage {
    /// Of what.
    pub subject: QuotaSubject,
    /// Name of the group, interface or prefix list; empty for what is counted once.
    pub name: String,
    /// How much.
    pub used: u64,
}

impl QuotaUsage {
    /// How much there is of everything that has a quota.
    #[must_use]
    pub fn of(groups: &[SecurityGroup], interfaces: &[Interface], prefix_lists: &[PrefixList]) -> Vec<Self> {
        let lists: BTreeMap<PrefixListId, &PrefixList> =
            prefix_lists.iter().map(|list| (list.id, list)).collect();
        let mut usages: Vec<Self> = groups.iter().flat_map(|group| rules_of(group, &lists)).collect();
        usages.extend(interfaces.iter().map(|interface| {
            Self::new(QuotaSubject::GroupsOf(interface.id), &interface.name, interface.groups.len() as u64)
        }));
        usages.push(Self::new(QuotaSubject::Groups, "", groups.len() as u64));
        usages.push(Self::new(QuotaSubject::PrefixLists, "", prefix_lists.len() as u64));
        let mut references: BTreeMap<PrefixListId, u64> = BTreeMap::new();
        for rule in groups.iter().flat_map(|group| &group.rules) {
            if let Peer::PrefixList(list) = rule.peer {
                *references.entry(list).or_default() += 1;
            }
        }
        for list in prefix_lists {
            let name = list.name.as_str();
            let references = references.get(&list.id).copied().unwrap_or(0);
            usages.push(Self::new(QuotaSubject::EntriesOf(list.id), name, list.max_entries.into()));
            usages.push(Self::new(QuotaSubject::ReferencesTo(list.id), name, references));
        }
        usages
    }

    fn new(subject: QuotaSubject, name: &str, used: u64) -> Self {
        Self { subject, name: name.to_owned(), used }
    }
}

impl fmt::Display for QuotaUsage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, name, used } = self;
        match subject {
            QuotaSubject::Rules { is_egress, family, .. } => {
                let direction = if *is_egress { Direction::Egress } else { Direction::Ingress };
                write!(f, "security group '{name}' with {used} {family} {} rules", direction.name())
            }
            QuotaSubject::GroupsOf(_) => write!(f, "interface {name} with {used} security groups"),
            QuotaSubject::Groups => write!(f, "{used} security groups"),
            QuotaSubject::PrefixLists => write!(f, "{used} prefix lists"),
            QuotaSubject::EntriesOf(_) => write!(f, "prefix list '{name}' with room for {used} entries"),
            QuotaSubject::ReferencesTo(_) => write!(f, "prefix list '{name}' with {used} references"),
        }
    }
}

/// More than a quota permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaExcess {
    /// What there is.
    pub usage: QuotaUsage,
    /// What there may be.
    pub limit: u64,
}

impl fmt::Display for QuotaExcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, of at most {}", self.usage, self.limit)
    }
}

/// The rules of a group, each direction and family apart. AWS: a prefix list weighs as much as the entries that it has
/// room for, a reference to a group counts for both families.
fn rules_of(group: &SecurityGroup, lists: &BTreeMap<PrefixListId, &PrefixList>) -> Vec<QuotaUsage> {
    let mut weights: BTreeMap<QuotaSubject, u64> = BTreeMap::new();
    for rule in &group.rules {
        let is_egress = rule.direction == Direction::Egress;
        let mut count = |family, weight| {
            let subject = QuotaSubject::Rules { group: group.id, is_egress, family };
            *weights.entry(subject).or_default() += weight;
        };
        match rule.peer {
            Peer::Cidr(prefix) => count(AddressFamily::of(&prefix), 1),
            Peer::Group(_) => {
                count(AddressFamily::Ipv4, 1);
                count(AddressFamily::Ipv6, 1);
            }
            Peer::PrefixList(id) => {
                if let Some(list) = lists.get(&id) {
                    count(list.family, list.max_entries.into());
                }
            }
        }
    }
    let usage = |(subject, used)| QuotaUsage::new(subject, group.name.as_str(), used);
    weights.into_iter().map(usage).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IngressHook, InterfaceOptions, NewRule, RuleProperties, Service, Tags};

    fn group(peers: &[Peer]) -> SecurityGroup {
        let mut group = SecurityGroup::new("web".parse().unwrap(), "a tier".parse().unwrap()).unwrap();
        let new_rule = |&peer: &Peer| NewRule {
            properties: RuleProperties { direction: Direction::Ingress, service: Service::All, peer },
            description: None,
            tags: Tags::default(),
        };
        group.authorize(peers.iter().map(new_rule).collect()).unwrap();
        group
    }

    fn list(max_entries: u32) -> PrefixList {
        PrefixList::new("office".parse().unwrap(), AddressFamily::Ipv4, max_entries, Vec::new()).unwrap()
    }

    fn used(usages: &[QuotaUsage], family: AddressFamily) -> u64 {
        let is_of = |usage: &&QuotaUsage| matches!(usage.subject, QuotaSubject::Rules { is_egress: false, family: other, .. } if other == family);
        usages.iter().find(is_of).map_or(0, |usage| usage.used)
    }

    #[test]
    fn a_rule_weighs_what_it_weighs_in_aws() {
        let list = list(55);
        let peers = [
            Peer::Cidr("10.0.0.0/8".parse().unwrap()),
            Peer::Cidr("::/0".parse().unwrap()),
            Peer::Group(GroupId::random().unwrap()),
            Peer::PrefixList(list.id),
        ];
        let usages = QuotaUsage::of(&[group(&peers)], &[], &[list]);
        assert_eq!((used(&usages, AddressFamily::Ipv4), used(&usages, AddressFamily::Ipv6)), (57, 2));
    }

    #[test]
    fn what_was_over_a_quota_before_may_stay_so_but_not_grow() {
        let of = |rooms: u32| QuotaUsage::of(&[], &[], &[PrefixList { max_entries: rooms, ..list(1) }]);
        let mut quotas = Quotas::default();
        quotas.set(Quota::EntriesPerPrefixList, 10);
        let mut before = of(20);
        let mut after = before.clone();
        assert!(quotas.check(&before, &after).is_ok());
        for usage in &mut after {
            usage.used += 1;
        }
        let error = quotas.check(&before, &after).unwrap_err();
        assert!(error.to_string().contains("'office' with room for 21 entries, of at most 10"), "{error}");
        before.clear();
        assert!(quotas.check(&before, &of(10)).is_ok());
        assert!(Quotas::default().check(&before, &of(11)).is_ok());
    }

    /// `docs/semantics.md`, case 160, as far as it needs no interface.
    #[test]
    fn case_160_a_sixth_group_on_an_interface_is_over_the_quota_of_aws() {
        let mut interface = Interface {
            id: InterfaceId::random().unwrap(),
            name: "eth7".to_owned(),
            slot: 0,
            zone: 1,
            ingress_hook: IngressHook::Auto,
            log_drops: false,
            groups: (0..5).map(|_| GroupId::random().unwrap()).collect(),
            options: InterfaceOptions::default(),
        };
        let of = |interface: &Interface| QuotaUsage::of(&[], std::slice::from_ref(interface), &[]);
        let five = of(&interface);
        assert!(Quotas::aws().check(&[], &five).is_ok());
        interface.groups.push(GroupId::random().unwrap());
        let error = Quotas::aws().check(&five, &of(&interface)).unwrap_err();
        assert_eq!(error.aws_code(), Some("SecurityGroupsPerInterfaceLimitExceeded"));
        assert!(error.to_string().contains("eth7"), "{error}");
    }
}
