//! `groups`.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::rule::rule;
use super::value::{parsed, prefixes, tags};
use super::walk::{Reported, Walk};
use super::whole::Definition;
use crate::document::tree::Node;
use crate::model::{
    Description, DocumentGroup, DocumentPeer, DocumentRule, GroupId, GroupName, Service, Tags,
};

const FIELDS: &[&str] = &["name", "id", "description", "tags", "members", "ingress", "egress"];

/// A group with its rules.
pub(super) fn group(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<DocumentGroup, Reported> {
    let fields = walk.fields(node, FIELDS).inspect_err(|_| walk.whole.is_incomplete = true)?;
    walk.whole.begin_group();
    let name = walk.required(&fields, "name", |node, walk| {
        let name: GroupName = parsed(node, walk)?;
        Ok((name, walk.place(node.span.clone())))
    });
    let id = walk.optional(&fields, "id", |node, walk| {
        let id: GroupId = parsed(node, walk)?;
        walk.whole.ids.push(Definition { name: id.to_string(), place: walk.place(node.span.clone()) });
        Ok(id)
    });
    let description = walk.required(&fields, "description", |node, walk| {
        let text = walk.text(node)?;
        Description::of_group(text).map_err(|error| walk.report(node, error))
    });
    let tags = walk.optional(&fields, "tags", tags);
    let members = walk.optional(&fields, "members", prefixes);
    let ingress = walk.optional(&fields, "ingress", rules(Direction::Ingress));
    let egress = walk.optional(&fields, "egress", rules(Direction::Egress));

    let (name, place) = name.inspect_err(|_| walk.whole.is_incomplete = true)?;
    walk.whole.define_group(&name, id.as_ref().ok().copied().flatten(), place);
    let mut rules = ingress?.unwrap_or_default();
    rules.extend(egress?.unwrap_or_else(everything_out));
    Ok(DocumentGroup {
        id: id?,
        name,
        description: description?,
        tags: tags?.unwrap_or_default(),
        members: members?.unwrap_or_else(BTreeSet::new),
        rules,
    })
}

fn rules(
    direction: Direction,
) -> impl FnOnce(&Node<'_>, &mut Walk<'_>) -> Result<Vec<DocumentRule>, Reported> {
    move |node, walk| {
        let rules = walk.list(node, |node, walk| rule(direction, node, walk))?;
        Ok(rules.into_iter().flatten().collect())
    }
}

/// What a new group of AWS has.
fn everything_out() -> Vec<DocumentRule> {
    let every_peer = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let everything = |prefix| DocumentRule {
        id: None,
        direction: Direction::Egress,
        service: Service::All,
        peer: DocumentPeer::Cidr(prefix),
        description: None,
        tags: Tags::default(),
    };
    every_peer.map(everything).to_vec()
}
