//! Rules of groups.

use std::collections::HashSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;

use crate::model::{
    Description, GroupReference, ModelError, NewRule, Peer, PrefixListReference, RuleId, RuleProperties,
    SecurityGroup, SecurityRule, Service, Tags,
};
use crate::operations::{ChangeOptions, Changed, Instance, OperationError};
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

/// Peers as a command names them: like a permission of the AWS API, which lists peers of every kind.
#[derive(Clone, Debug, Default)]
pub struct Peers {
    /// Canonical prefixes.
    pub cidrs: Vec<IpNet>,
    /// Groups, for their members.
    pub groups: Vec<GroupReference>,
    /// Prefix lists, for their entries.
    pub prefix_lists: Vec<PrefixListReference>,
}

/// Rules that exist, as a command names them.
#[derive(Clone, Debug)]
pub enum RuleSelection {
    /// By id, of any group.
    Ids(Vec<RuleId>),
    /// Those of a group that have exactly these properties.
    Properties(GroupReference, RuleRequest),
}

/// What a rule is to become.
#[derive(Clone, Debug)]
pub struct Modification {
    /// Protocol and ports.
    pub service: Service,
    /// The other end, exactly one.
    pub peers: Peers,
    /// Free text; AWS removes what is left out.
    pub description: Option<Description>,
}

/// Adds rules to a group, all or none.
pub fn authorize(
    instance: &Instance,
    options: ChangeOptions<'_>,
    group: &GroupReference,
    request: &RuleRequest,
    description: Option<&Description>,
    tags: &Tags,
) -> Result<Changed<Vec<SecurityRule>>, OperationError> {
    instance.change(options, |transaction| {
        let mut group = group.find(&transaction.groups()?)?.clone();
        let new_rule =
            |properties| NewRule { properties, description: description.cloned(), tags: tags.clone() };
        let added = group.authorize(request.resolve(transaction)?.into_iter().map(new_rule).collect())?;
        transaction.insert_rules(&added)?;
        Ok(added)
    })
}

/// Removes rules, all or none.
pub fn revoke(
    instance: &Instance,
    options: ChangeOptions<'_>,
    selection: &RuleSelection,
) -> Result<Changed<Vec<SecurityRule>>, OperationError> {
    instance.change_with_flows(options, |transaction| {
        let mut groups = transaction.groups()?;
        let mut revoked = Vec::new();
        for (group, properties) in selection.resolve(transaction, &mut groups)? {
            revoked.extend(group.revoke(&properties)?);
        }
        transaction.delete_rules(&revoked)?;
        Ok(revoked)
    })
}

/// Gives rules another description or none, all or none of the rules.
pub fn describe(
    instance: &Instance,
    options: ChangeOptions<'_>,
    selection: &RuleSelection,
    description: Option<&Description>,
) -> Result<Changed<Vec<SecurityRule>>, OperationError> {
    instance.change(options, |transaction| {
        let mut groups = transaction.groups()?;
        let mut described = Vec::new();
        for (group, properties) in selection.resolve(transaction, &mut groups)? {
            described.extend(group.describe(&properties, description)?);
        }
        transaction.update_rules(&described)?;
        Ok(described)
    })
}

/// Replaces what a rule admits; it keeps its id.
pub fn modify(
    instance: &Instance,
    options: ChangeOptions<'_>,
    rule: RuleId,
    modification: &Modification,
) -> Result<Changed<SecurityRule>, OperationError> {
    let Modification { service, peers, description } = modification;
    instance.change_with_flows(options, |transaction| {
        let mut groups = transaction.groups()?;
        let peers = peers.resolve(transaction)?;
        let [peer] = peers[..] else {
            return Err(ModelError::NotOnePeer { rule, peers: peers.len() }.into());
        };
        let group = groups.iter_mut().find(|group| group.rules.iter().any(|known| known.id == rule));
        let group = group.ok_or(ModelError::RuleIdNotFound { rule })?;
        let modified = group.modify(rule, *service, peer, description.clone())?;
        transaction.update_rules(std::slice::from_ref(&modified))?;
        Ok(modified)
    })
}

impl RuleRequest {
    fn resolve(&self, snapshot: &Snapshot<'_>) -> Result<Vec<RuleProperties>, OperationError> {
        let properties_of = |peer| RuleProperties { direction: self.direction, service: self.service, peer };
        Ok(self.peers.resolve(snapshot)?.into_iter().map(properties_of).collect())
    }
}

impl Peers {
    fn resolve(&self, snapshot: &Snapshot<'_>) -> Result<Vec<Peer>, OperationError> {
        let mut peers: Vec<Peer> = self.cidrs.iter().copied().map(Peer::Cidr).collect();
        if !self.groups.is_empty() {
            let groups = snapshot.groups()?;
            for reference in &self.groups {
                peers.push(Peer::Group(reference.find(&groups)?.id));
            }
        }
        if !self.prefix_lists.is_empty() {
            let lists = snapshot.prefix_lists()?;
            for reference in &self.prefix_lists {
                peers.push(Peer::PrefixList(reference.find(&lists)?.id));
            }
        }
        Ok(peers)
    }
}

impl RuleSelection {
    /// The groups that have the rules, each with the properties of those that are meant.
    fn resolve<'g>(
        &self,
        snapshot: &Snapshot<'_>,
        groups: &'g mut [SecurityGroup],
    ) -> Result<Vec<(&'g mut SecurityGroup, Vec<RuleProperties>)>, OperationError> {
        match self {
            Self::Properties(reference, request) => {
                let group = reference.find(groups)?.id;
                let properties = request.resolve(snapshot)?;
                let groups = groups.iter_mut().filter(|known| known.id == group);
                Ok(groups.map(|group| (group, properties.clone())).collect())
            }
            Self::Ids(ids) => by_id(ids, groups),
        }
    }
}

fn by_id<'g>(
    ids: &[RuleId],
    groups: &'g mut [SecurityGroup],
) -> Result<Vec<(&'g mut SecurityGroup, Vec<RuleProperties>)>, OperationError> {
    let mut missing: HashSet<RuleId> = ids.iter().copied().collect();
    let mut found = Vec::new();
    for group in groups {
        let rules = group.rules.iter().filter(|rule| missing.remove(&rule.id));
        let properties: Vec<RuleProperties> = rules.map(SecurityRule::properties).collect();
        if !properties.is_empty() {
            found.push((group, properties));
        }
    }
    if let Some(&rule) = ids.iter().find(|id| missing.contains(id)) {
        return Err(ModelError::RuleIdNotFound { rule }.into());
    }
    Ok(found)
}
