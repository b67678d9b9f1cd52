//! `ingress` and `egress` of a group.

use firewall_common::abi::Direction;
use ipnet::IpNet;

use super::value::{parsed, parsed_number, prefix, tags};
use super::walk::{Fields, Reported, Walk};
use super::whole::Definition;
use crate::document::problem::ProblemKind;
use crate::document::tree::{Node, Value};
use crate::model::{
    Description, DocumentPeer, DocumentRule, GroupReference, IcmpSelector, PortRange, PrefixListReference,
    Protocol, RuleId, Service,
};

const FIELDS: &[&str] =
    &["id", "protocol", "ports", "type", "code", "cidr", "group", "prefix_list", "description", "tags"];
const PEERS: [&str; 3] = ["cidr", "group", "prefix_list"];

/// The rules that one item stands for: one for each prefix of `cidr`.
pub(super) fn rule(
    direction: Direction,
    node: &Node<'_>,
    walk: &mut Walk<'_>,
) -> Result<Vec<DocumentRule>, Reported> {
    let fields = walk.fields(node, FIELDS)?;
    let id = walk.optional(&fields, "id", |node, walk| {
        let id: RuleId = parsed(node, walk)?;
        walk.whole.ids.push(Definition { name: id.to_string(), place: walk.place(node.span.clone()) });
        Ok((id, node))
    });
    let service = service(&fields, walk);
    let peers = peers(&fields, walk);
    let description = walk.optional(&fields, "description", parsed::<Description>);
    let tags = walk.optional(&fields, "tags", tags);
    let (id, service, peers) = (id?, service?, peers?);
    if let (Some((_, node)), [_, _, ..]) = (id, &peers[..]) {
        return Err(walk.report(node, ProblemKind::IdOfSeveralRules { rules: peers.len() }));
    }
    let place = walk.place(node.span.clone());
    for peer in &peers {
        walk.whole.see_rule(direction, service, peer, &place);
    }
    let (description, tags) = (description?, tags?.unwrap_or_default());
    let rule = |peer| DocumentRule {
        id: id.map(|(id, _)| id),
        direction,
        service,
        peer,
        description: description.clone(),
        tags: tags.clone(),
    };
    Ok(peers.into_iter().map(rule).collect())
}

fn service(fields: &Fields<'_, '_>, walk: &mut Walk<'_>) -> Result<Service, Reported> {
    let protocol =
        walk.required(fields, "protocol", |node, walk| Ok((parsed_number::<Protocol>(node, walk)?, node)));
    let ports = walk.optional(fields, "ports", parsed_number::<PortRange>);
    let icmp = icmp(fields, walk);
    let (protocol, node) = protocol?;
    let service = Service::new(protocol, ports?, icmp?);
    let service = service.map_err(|error| walk.report(node, error))?;
    if service.has_code_that_never_occurs() {
        let message = "no message of this ICMP type has this code; a ping has type 8 and code 0";
        walk.warn(node, message.to_owned());
    }
    Ok(service)
}

fn icmp(fields: &Fields<'_, '_>, walk: &mut Walk<'_>) -> Result<Option<IcmpSelector>, Reported> {
    let icmp_type = walk.optional(fields, "type", |node, walk| Ok((walk.integer(node)?, node)));
    let code = walk.optional(fields, "code", |node, walk| Ok((walk.integer(node)?, node)));
    let (text, node) = match (icmp_type?, code?) {
        (None, None) => return Ok(None),
        (None, Some((_, node))) => return Err(walk.report(node, ProblemKind::CodeWithoutType)),
        (Some((icmp_type, node)), None) => (icmp_type.to_string(), node),
        (Some((icmp_type, node)), Some((code, _))) => (format!("{icmp_type}/{code}"), node),
    };
    text.parse().map(Some).map_err(|error: crate::model::ModelError| walk.report(node, error))
}

fn peers(fields: &Fields<'_, '_>, walk: &mut Walk<'_>) -> Result<Vec<DocumentPeer>, Reported> {
    let cidrs = walk.optional(fields, "cidr", cidrs);
    let group = walk.optional(fields, "group", group_reference);
    let prefix_list = walk.optional(fields, "prefix_list", |node, walk| {
        let reference: PrefixListReference = parsed(node, walk)?;
        walk.whole.prefix_list_references.push((reference.clone(), walk.place(node.span.clone())));
        Ok(reference)
    });
    let given: Vec<&str> = PEERS.into_iter().filter(|name| fields.get(name).is_some()).collect();
    if given.len() > 1 {
        return Err(walk.report_at(fields.span.clone(), ProblemKind::SeveralPeers { peers: given }));
    }
    match (cidrs?, group?, prefix_list?) {
        (Some(cidrs), ..) => Ok(cidrs.into_iter().map(DocumentPeer::Cidr).collect()),
        (_, Some(group), _) => Ok(vec![DocumentPeer::Group(group)]),
        (.., Some(list)) => Ok(vec![DocumentPeer::PrefixList(list)]),
        (None, None, None) => Err(walk.report_at(fields.span.clone(), ProblemKind::NoPeer)),
    }
}

fn cidrs(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<Vec<IpNet>, Reported> {
    match &node.value {
        Value::List(items) if items.is_empty() => Err(walk.report(node, ProblemKind::Empty)),
        Value::List(_) => walk.list(node, prefix),
        _ => Ok(vec![prefix(node, walk)?]),
    }
}

/// A group by name or id, which the document as a whole has to know.
pub(super) fn group_reference(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<GroupReference, Reported> {
    let reference: GroupReference = parsed(node, walk)?;
    walk.whole.group_references.push((reference.clone(), walk.place(node.span.clone())));
    Ok(reference)
}
