//! Which rules a plan takes away. The planned attributes of a group still have the rules that were there when the plan
//! was made, also those whose own resource the plan deletes or changes.

use std::collections::HashSet;

use firewall_common::abi::Direction;

use super::Resource;
use super::address::Address;
use super::references::References;
use super::resources::{add_rule, is_rule};
use super::shape::ResourceChange;
use crate::interchange::ImportError;
use crate::interchange::draft::{Draft, DraftPeer, DraftRule, PeerGroup};
use crate::model::Service;

/// What makes a rule this one and no other.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct RuleIdentity {
    group: String,
    is_egress: bool,
    service: Service,
    peer: DraftPeer,
}

impl RuleIdentity {
    pub(super) fn of(rule: &DraftRule) -> Self {
        let peer = match &rule.peer {
            // One resource names the account of a group, the other may not.
            DraftPeer::Group(group) => DraftPeer::Group(PeerGroup::local(&group.key)),
            peer => peer.clone(),
        };
        let is_egress = rule.direction == Direction::Egress;
        Self { group: rule.group.clone(), is_egress, service: rule.service, peer }
    }
}

/// The rules of rule resources as they were before. Those that stay are among the planned resources again.
pub(super) fn rules_before(
    file: &str,
    changes: Vec<ResourceChange>,
) -> Result<HashSet<RuleIdentity>, ImportError> {
    let nothing_unknown = References::new(None, &[]);
    let mut before = Draft::default();
    for ResourceChange { address, kind, change } in changes {
        if !is_rule(&kind) || change.before.is_null() {
            continue;
        }
        let resource = Resource {
            place: format!("{file}: {address} (before)"),
            address: Address::parse(&address),
            kind,
            is_data: false,
            values: change.before,
        };
        add_rule(&mut before, &resource, &nothing_unknown)?;
    }
    Ok(before.rules.iter().map(RuleIdentity::of).collect())
}
