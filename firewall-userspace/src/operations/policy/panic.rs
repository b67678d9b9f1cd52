//! The policy of panic mode: nothing begins but what the operator begins.
//!
//! It is made of the management prefixes alone, and put into force as any other,
//! in one atomic step. What is stored stays as it is, so that what comes back at the end is what was there before, with the
//! changes that were made meanwhile.

use firewall_common::abi::Direction;

use crate::compile::{InterfaceInput, PolicyInput};
use crate::model::{
    GroupId, Interface, InterfaceOptions, ManagementPrefix, ModelError, Peer, SecurityGroup, SecurityRule,
    Tags,
};

/// What is in force in panic mode: each interface carries one group, of the rules that its management prefixes stand for.
/// Nothing leaves anew, no address is exempt, and there is no audit mode.
pub(super) fn policy_input(
    interfaces: &[Interface],
    prefixes: &[ManagementPrefix],
) -> Result<PolicyInput<'static>, ModelError> {
    let groups = interfaces
        .iter()
        .map(|interface| management_group(&interface.name, prefixes))
        .collect::<Result<Vec<_>, _>>()?;
    let input_of = |(interface, group): (&Interface, &SecurityGroup)| InterfaceInput {
        slot: interface.slot,
        zone: interface.zone,
        groups: vec![group.id],
        options: InterfaceOptions { audit: false, ..interface.options.clone() },
    };
    Ok(PolicyInput {
        interfaces: interfaces.iter().zip(&groups).map(input_of).collect(),
        groups: groups.into(),
        management_prefixes: prefixes.iter().map(|prefix| prefix.properties.clone()).collect(),
        ..PolicyInput::default()
    })
}

/// Admits the management prefixes of one interface in, and nothing out.
fn management_group(interface: &str, prefixes: &[ManagementPrefix]) -> Result<SecurityGroup, ModelError> {
    let id = GroupId::random()?;
    let of_interface = prefixes.iter().filter(|prefix| prefix.properties.interface == interface);
    let rules = of_interface.map(|ManagementPrefix { rule, properties }| SecurityRule {
        id: *rule,
        group: id,
        direction: Direction::Ingress,
        service: properties.service.into(),
        peer: Peer::Cidr(properties.prefix),
        description: None,
        tags: Tags::default(),
    });
    Ok(SecurityGroup {
        id,
        name: "management".parse()?,
        description: "management prefixes".parse()?,
        tags: Tags::default(),
        rules: rules.collect(),
    })
}
