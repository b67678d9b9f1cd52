//! Rules of groups.

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::{ApplyError, Instance};
use crate::model::{
    Description, GroupReference, ModelError, NewRule, Peer, PrefixListReference, RuleId, RuleProperties,
    SecurityRule, Service, Tags,
};
use crate::store::Snapshot;

/// Rules as a command describes them: one for each peer.
#[derive(Clone, Debug)]
pub struct RuleRequest {
    /// Which traffic.
    pub direction: Direction,
    /// Protocol and ports.
    pub service: Service,
    /// The other ends, one rule for each.
    pub peers: Peers,
}

/// Peers of one kind, as a command names them.
#[derive(Clone, Debug)]
pub enum Peers {
    /// Canonical prefixes.
    Cidrs(Vec<IpNet>),
    /// The members of a group.
    Group(GroupReference),
    /// The entries of a prefix list.
    PrefixList(PrefixListReference),
}

/// Adds rules to a group, all or none.
pub fn authorize(
    instance: &Instance,
    group: &GroupReference,
    request: &RuleRequest,
    description: Option<&Description>,
) -> Result<Vec<SecurityRule>, ApplyError> {
    instance.change(|transaction| {
        let mut group = group.find(&transaction.groups()?)?.clone();
        let new_rules = request
            .resolve(transaction)?
            .into_iter()
            .map(|properties| NewRule {
                properties,
                description: description.cloned(),
                tags: Tags::default(),
            })
            .collect();
        let added = group.authorize(new_rules)?;
        transaction.insert_rules(&added)?;
        Ok(added)
    })
}

/// Removes the rules of a group that have exactly the properties, all or none.
pub fn revoke(
    instance: &Instance,
    group: &GroupReference,
    request: &RuleRequest,
) -> Result<Vec<SecurityRule>, ApplyError> {
    instance.change(|transaction| {
        let mut group = group.find(&transaction.groups()?)?.clone();
        let revoked = group.revoke(&request.resolve(transaction)?)?;
        transaction.delete_rules(&revoked)?;
        Ok(revoked)
    })
}

/// Removes rules by id, of any group, all or none.
pub fn revoke_by_id(instance: &Instance, ids: &[RuleId]) -> Result<Vec<SecurityRule>, ApplyError> {
    instance.change(|transaction| {
        let mut rules: Vec<SecurityRule> =
            transaction.groups()?.into_iter().flat_map(|group| group.rules).collect();
        let missing = ids.iter().find(|id| !rules.iter().any(|rule| rule.id == **id));
        if let Some(&rule) = missing {
            return Err(ModelError::RuleIdNotFound { rule }.into());
        }
        rules.retain(|rule| ids.contains(&rule.id));
        transaction.delete_rules(&rules)?;
        Ok(rules)
    })
}

impl RuleRequest {
    fn resolve(&self, snapshot: &Snapshot<'_>) -> Result<Vec<RuleProperties>, ApplyError> {
        let peers = match &self.peers {
            Peers::Cidrs(prefixes) => prefixes.iter().copied().map(Peer::Cidr).collect(),
            Peers::Group(reference) => vec![Peer::Group(reference.find(&snapshot.groups()?)?.id)],
            Peers::PrefixList(reference) => {
                vec![Peer::PrefixList(reference.find(&snapshot.prefix_lists()?)?.id)]
            }
        };
        let properties_of = |peer| RuleProperties { direction: self.direction, service: self.service, peer };
        Ok(peers.into_iter().map(properties_of).collect())
    }
}
