//! Security groups: which rules they start with, and what may be done to them.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use firewall_common::abi::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{
    Description, GroupId, GroupName, Interface, ModelError, NewRule, Peer, RuleId, RuleProperties,
    SecurityRule, Service, Tags,
};

/// A group and its rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Identifier.
    pub id: GroupId,
    /// Name, unique whatever the case.
    pub name: GroupName,
    /// Free text, required by AWS.
    pub description: Description,
    /// Tags.
    pub tags: Tags,
    /// Its rules, no two with equal properties.
    pub rules: Vec<SecurityRule>,
}

impl SecurityGroup {
    /// A group as AWS creates it: nothing admitted in, everything admitted out.
    pub fn new(name: GroupName, description: Description) -> Result<Self, ModelError> {
        if name.is_default() {
            return Err(ModelError::ReservedGroupName);
        }
        let mut group =
            Self { id: GroupId::random()?, name, description, tags: Tags::default(), rules: Vec::new() };
        group.authorize(vec![
            everything(Direction::Egress, Peer::Cidr(IpNet::V4(Ipv4Net::default()))),
            everything(Direction::Egress, Peer::Cidr(IpNet::V6(Ipv6Net::default()))),
        ])?;
        Ok(group)
    }

    /// The group `default`: everything from itself in, everything out (AWS "Default security groups").
    pub fn default_group() -> Result<Self, ModelError> {
        let mut group = Self {
            id: GroupId::random()?,
            name: GroupName::default_group(),
            description: "default group".parse()?,
            tags: Tags::default(),
            rules: Vec::new(),
        };
        group.authorize(vec![
            everything(Direction::Ingress, Peer::Group(group.id)),
            everything(Direction::Egress, Peer::Cidr(IpNet::V4(Ipv4Net::default()))),
            everything(Direction::Egress, Peer::Cidr(IpNet::V6(Ipv6Net::default()))),
        ])?;
        Ok(group)
    }

    /// Adds all the rules or none, and returns them.
    pub fn authorize(&mut self, new_rules: Vec<NewRule>) -> Result<Vec<SecurityRule>, ModelError> {
        let existing: HashSet<RuleProperties> = self.rules.iter().map(SecurityRule::properties).collect();
        let mut requested = HashSet::new();
        for NewRule { properties, .. } in &new_rules {
            if !requested.insert(*properties) {
                return Err(ModelError::RepeatedRule { rule: *properties });
            }
            if existing.contains(properties) {
                return Err(ModelError::DuplicateRule { rule: *properties });
            }
        }
        let added = new_rules.into_iter().map(|rule| self.rule_from(rule)).collect::<Result<Vec<_>, _>>()?;
        self.rules.extend_from_slice(&added);
        Ok(added)
    }

    /// Removes the rules with exactly these properties, all or none, and returns them. A rule that is not there is an
    /// error, as in a non-default VPC.
    pub fn revoke(&mut self, properties: &[RuleProperties]) -> Result<Vec<SecurityRule>, ModelError> {
        let ids = self.rule_ids(properties)?;
        let (revoked, kept) =
            std::mem::take(&mut self.rules).into_iter().partition(|rule| ids.contains(&rule.id));
        self.rules = kept;
        Ok(revoked)
    }

    /// Gives the rules with exactly these properties another description, or none, all or none of the rules, and returns
    /// them.
    pub fn describe(
        &mut self,
        properties: &[RuleProperties],
        description: Option<&Description>,
    ) -> Result<Vec<SecurityRule>, ModelError> {
        let ids = self.rule_ids(properties)?;
        let mut described = Vec::new();
        for rule in self.rules.iter_mut().filter(|rule| ids.contains(&rule.id)) {
            rule.description = description.cloned();
            described.push(rule.clone());
        }
        Ok(described)
    }

    /// Replaces what a rule admits and its description, and returns the rule. Its id, direction and tags stay. AWS: the
    /// kind of its peer must stay too, and a description that is left out is removed.
    pub fn modify(
        &mut self,
        rule: RuleId,
        service: Service,
        peer: Peer,
        description: Option<Description>,
    ) -> Result<SecurityRule, ModelError> {
        let known =
            self.rules.iter().find(|known| known.id == rule).ok_or(ModelError::RuleIdNotFound { rule })?;
        if known.peer.kind() != peer.kind() {
            return Err(ModelError::PeerKindChanged { rule, kind: known.peer.kind(), wanted: peer.kind() });
        }
        let modified = SecurityRule { service, peer, description, ..known.clone() };
        let properties = modified.properties();
        if self.rules.iter().any(|other| other.id != rule && other.properties() == properties) {
            return Err(ModelError::DuplicateRule { rule: properties });
        }
        self.rules.iter_mut().filter(|known| known.id == rule).for_each(|known| *known = modified.clone());
        Ok(modified)
    }

    /// Whether the group may be deleted, given everything that could depend on it. AWS refuses while an interface
    /// carries it or a rule of another group refers to it; a reference of its own does not count.
    pub fn check_deletable(&self, groups: &[Self], interfaces: &[Interface]) -> Result<(), ModelError> {
        if self.name.is_default() {
            return Err(ModelError::DefaultGroupUndeletable { group: self.id });
        }
        let carriers = interfaces.iter().filter(|interface| interface.groups.contains(&self.id));
        let referrers = groups
            .iter()
            .filter(|other| other.id != self.id)
            .flat_map(|other| other.rules.iter().map(move |rule| (other, rule)))
            .filter(|(_, rule)| rule.peer == Peer::Group(self.id));
        let dependents: Vec<String> = carriers
            .map(|interface| format!("interface {}", interface.name))
            .chain(referrers.map(|(other, rule)| format!("rule {} of group {}", rule.id, other.name)))
            .collect();
        if dependents.is_empty() {
            return Ok(());
        }
        Err(ModelError::HasDependents { resource: self.id.to_string(), dependents })
    }

    /// The rules with exactly these properties, each named once.
    fn rule_ids(&self, properties: &[RuleProperties]) -> Result<HashSet<RuleId>, ModelError> {
        let by_properties: HashMap<RuleProperties, RuleId> =
            self.rules.iter().map(|rule| (rule.properties(), rule.id)).collect();
        let mut ids = HashSet::new();
        for &rule in properties {
            let id = by_properties.get(&rule).ok_or(ModelError::RuleNotFound { rule })?;
            if !ids.insert(*id) {
                return Err(ModelError::RepeatedRule { rule });
            }
        }
        Ok(ids)
    }

    fn rule_from(&self, rule: NewRule) -> Result<SecurityRule, ModelError> {
        let RuleProperties { direction, service, peer } = rule.properties;
        let NewRule { description, tags, .. } = rule;
        Ok(SecurityRule {
            id: RuleId::random()?,
            group: self.id,
            direction,
            service,
            peer,
            description,
            tags,
        })
    }
}

/// How a command names a group: by id or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupReference {
    /// By identifier.
    Id(GroupId),
    /// By name.
    Name(GroupName),
}

impl GroupReference {
    /// The group that is meant.
    pub fn find<'g>(&self, groups: &'g [SecurityGroup]) -> Result<&'g SecurityGroup, ModelError> {
        groups
            .iter()
            .find(|group| match self {
                Self::Id(id) => group.id == *id,
                Self::Name(name) => group.name.collides_with(name),
            })
            .ok_or_else(|| ModelError::GroupNotFound { reference: self.clone() })
    }
}

impl FromStr for GroupReference {
    type Err = ModelError;

    fn from_str(text: &str) -> Result<Self, ModelError> {
        if GroupId::is_meant_by(text) {
            return text.parse().map(Self::Id);
        }
        text.parse().map(Self::Name)
    }
}

impl std::fmt::Display for GroupReference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

fn everything(direction: Direction, peer: Peer) -> NewRule {
    let properties = RuleProperties { direction, service: Service::All, peer };
    NewRule { properties, description: None, tags: Tags::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{IngressHook, InterfaceId, InterfaceOptions};

    fn group(name: &str) -> SecurityGroup {
        SecurityGroup::new(name.parse().unwrap(), "a tier".parse().unwrap()).unwrap()
    }

    fn tcp(port: &str, peer: Peer) -> RuleProperties {
        RuleProperties { direction: Direction::Ingress, service: Service::Tcp(port.parse().unwrap()), peer }
    }

    fn cidr(text: &str) -> Peer {
        Peer::Cidr(text.parse().unwrap())
    }

    fn new_rule(properties: RuleProperties) -> NewRule {
        NewRule { properties, description: None, tags: Tags::default() }
    }

    #[test]
    fn a_new_group_admits_nothing_in_and_everything_out() {
        let texts: Vec<String> =
            group("web").rules.iter().map(|rule| rule.properties().to_string()).collect();
        assert_eq!(texts, ["peer: 0.0.0.0/0, ALL, ALLOW", "peer: ::/0, ALL, ALLOW"]);
        assert!(group("web").rules.iter().all(|rule| rule.direction == Direction::Egress));
    }

    #[test]
    fn the_default_group_admits_itself() {
        let group = SecurityGroup::default_group().unwrap();
        let ingress: Vec<_> =
            group.rules.iter().filter(|rule| rule.direction == Direction::Ingress).collect();
        assert_eq!(ingress.len(), 1);
        assert_eq!(ingress[0].peer, Peer::Group(group.id));
        assert_eq!(group.rules.len(), 3);
    }

    #[test]
    fn an_existing_rule_is_a_duplicate_whatever_its_description_and_nothing_is_added() {
        let mut web = group("web");
        let ssh = tcp("22", cidr("203.0.113.5/32"));
        web.authorize(vec![new_rule(ssh)]).unwrap();
        let before = web.clone();
        let described = NewRule { description: Some("again".parse().unwrap()), ..new_rule(ssh) };
        let error = web.authorize(vec![new_rule(tcp("23", cidr("10.0.0.0/8"))), described]).unwrap_err();
        assert_eq!(error.aws_code(), Some("InvalidPermission.Duplicate"));
        assert_eq!(
            error.to_string(),
            "the specified rule \"peer: 203.0.113.5/32, TCP, from port: 22, to port: 22, ALLOW\" already exists"
        );
        assert_eq!(web, before);
    }

    #[test]
    fn one_rule_twice_in_one_request_is_refused() {
        let rule = new_rule(tcp("22", cidr("10.0.0.0/8")));
        let error = group("web").authorize(vec![rule.clone(), rule]).unwrap_err();
        assert_eq!(error.aws_code(), Some("InvalidParameterValue"));
    }

    #[test]
    fn revoking_needs_an_exact_match_and_is_all_or_nothing() {
        let mut web = group("web");
        web.authorize(vec![new_rule(tcp("20-25", cidr("10.0.0.0/8")))]).unwrap();
        let before = web.clone();
        let error =
            web.revoke(&[tcp("20-25", cidr("10.0.0.0/8")), tcp("22", cidr("10.0.0.0/8"))]).unwrap_err();
        assert_eq!(error.aws_code(), Some("InvalidPermission.NotFound"));
        assert_eq!(web, before);
        assert_eq!(web.revoke(&[tcp("20-25", cidr("10.0.0.0/8"))]).unwrap().len(), 1);
        assert_eq!(web.rules.len(), before.rules.len() - 1);
    }

    #[test]
    fn a_modified_rule_keeps_its_id_and_tags_and_the_kind_of_its_peer() {
        let mut web = group("web");
        let (ssh, https) = (tcp("22", cidr("10.0.0.0/8")), tcp("443", cidr("10.0.0.0/8")));
        let added = web.authorize(vec![new_rule(ssh), new_rule(https)]).unwrap();
        let before = web.clone();
        let mut modify = |service, peer| web.modify(added[0].id, service, peer, None);
        for peer in [cidr("::/0"), Peer::Group(before.id)] {
            let error = modify(ssh.service, peer).unwrap_err();
            assert!(matches!(error, ModelError::PeerKindChanged { .. }), "{error}");
        }
        let error = modify(https.service, https.peer).unwrap_err();
        assert_eq!(error.aws_code(), Some("InvalidPermission.Duplicate"));
        let modified = modify(Service::Tcp("2222".parse().unwrap()), cidr("10.0.0.0/9")).unwrap();
        assert_eq!((modified.id, modified.direction), (added[0].id, Direction::Ingress));
        assert_eq!(
            web.rules.iter().filter(|rule| !before.rules.contains(rule)).collect::<Vec<_>>(),
            [&modified]
        );
    }

    #[test]
    fn a_hundred_thousand_rules_are_authorized_described_and_revoked() {
        let mut web = group("web");
        let stock = web.rules.len();
        let properties: Vec<RuleProperties> = (0..100_000_u32)
            .map(|host| tcp("443", Peer::Cidr(IpNet::from(std::net::IpAddr::from(host.to_be_bytes())))))
            .collect();
        web.authorize(properties.iter().copied().map(new_rule).collect()).unwrap();
        assert_eq!(web.describe(&properties, None).unwrap().len(), 100_000);
        assert_eq!(web.revoke(&properties).unwrap().len(), 100_000);
        assert_eq!(web.rules.len(), stock);
    }

    #[test]
    fn deletion_is_refused_while_something_depends_on_the_group_and_names_it() {
        let (web, mut app) = (group("web"), group("app"));
        let reference = app.authorize(vec![new_rule(tcp("8080", Peer::Group(web.id)))]).unwrap();
        let interface = Interface {
            id: InterfaceId::random().unwrap(),
            name: "eth7".to_owned(),
            slot: 0,
            zone: 1,
            ingress_hook: IngressHook::Auto,
            log_drops: false,
            groups: vec![web.id],
            options: InterfaceOptions::default(),
        };
        let error = web.check_deletable(&[web.clone(), app.clone()], &[interface]).unwrap_err();
        assert_eq!(error.aws_code(), Some("DependencyViolation"));
        let message = error.to_string();
        assert!(message.contains("eth7"), "{message}");
        assert!(message.contains(&reference[0].id.to_string()), "{message}");
        assert!(app.check_deletable(&[web.clone(), app.clone()], &[]).is_ok());
    }

    #[test]
    fn a_reference_to_itself_does_not_block_deletion_but_the_default_group_stays() {
        let mut web = group("web");
        web.authorize(vec![new_rule(tcp("22", Peer::Group(web.id)))]).unwrap();
        assert!(web.check_deletable(std::slice::from_ref(&web), &[]).is_ok());
        let default = SecurityGroup::default_group().unwrap();
        let error = default.check_deletable(std::slice::from_ref(&default), &[]).unwrap_err();
        assert_eq!(error.aws_code(), Some("CannotDelete"));
    }

    #[test]
    fn the_name_default_is_reserved() {
        let error = SecurityGroup::new("Default".parse().unwrap(), "x".parse().unwrap()).unwrap_err();
        assert_eq!(error.aws_code(), Some("InvalidGroup.Reserved"));
    }
}
