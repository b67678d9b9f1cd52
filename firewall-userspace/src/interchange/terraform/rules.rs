//! A rule of Terraform holds peers of several kinds; a rule here has one. This makes the one of the other.

use firewall_common::abi::Direction;

use super::Resource;
use super::attributes::List;
use super::references::{Expression, References};
use super::resources::{GROUPS, PREFIX_LISTS};
use crate::interchange::draft::{Draft, DraftPeer, DraftRule, PeerGroup};
use crate::interchange::input::Parsed;
use crate::interchange::omission::{Cause, Omissions};
use crate::model::{Cidr, Description, RuleId, Service, Tags};

/// Everything about a rule but its peers.
pub(super) struct RuleSource<'r> {
    pub(super) resource: &'r Resource,
    /// The attribute in whose expression the peers stand, for rules inside of a group.
    pub(super) expression: Option<&'static str>,
    /// The account of the group, where it is known.
    pub(super) owner: Option<&'r str>,
    pub(super) place: String,
    pub(super) group: String,
    pub(super) id: Option<RuleId>,
    pub(super) direction: Direction,
    pub(super) service: Service,
    pub(super) description: Option<Description>,
    pub(super) tags: Tags,
}

/// The peers of a rule, with the names of their attributes.
pub(super) struct Peers {
    pub(super) ipv4: (&'static str, List<Parsed<Cidr>>),
    pub(super) ipv6: (&'static str, List<Parsed<Cidr>>),
    pub(super) prefix_lists: (&'static str, List<String>),
    pub(super) groups: (&'static str, List<String>),
    pub(super) is_self: bool,
}

/// Adds a rule for each peer.
pub(super) fn add_peers(
    draft: &mut Draft,
    references: &References<'_>,
    source: &RuleSource<'_>,
    peers: Peers,
) {
    let omitted_before = draft.omissions.len();
    let mut found = Vec::new();
    let mut elements = Elements { references, source, omissions: &mut draft.omissions };
    for cidrs in [peers.ipv4, peers.ipv6] {
        found.extend(elements.of(cidrs, &[]).into_iter().filter_map(|cidr| match cidr {
            Element::Value(cidr) => Some(DraftPeer::Cidr(cidr.0.canonical())),
            Element::Resource(_) => None,
        }));
    }
    found.extend(elements.of(peers.prefix_lists, &PREFIX_LISTS).into_iter().map(|list| match list {
        Element::Value(key) | Element::Resource(key) => DraftPeer::PrefixList(key),
    }));
    found.extend(elements.of(peers.groups, &GROUPS).into_iter().map(|group| {
        DraftPeer::Group(match group {
            Element::Value(text) => peer_group(&text, source.owner),
            Element::Resource(address) => PeerGroup::local(address),
        })
    }));
    if peers.is_self {
        found.push(DraftPeer::Group(PeerGroup::local(&source.group)));
    }
    if found.is_empty() && draft.omissions.len() == omitted_before {
        draft.omissions.push(&source.place, Cause::NoPeer);
    }
    // A rule resource with several peers is several rules in AWS, and has no one identifier.
    let id = source.id.filter(|_| found.len() == 1);
    draft.rules.extend(found.into_iter().map(|peer| DraftRule {
        place: source.place.clone(),
        group: source.group.clone(),
        id,
        direction: source.direction,
        service: source.service,
        peer,
        description: source.description.clone(),
        tags: source.tags.clone(),
    }));
}

/// An element of a list of peers.
enum Element<T> {
    Value(T),
    /// The address of a resource whose identifier is not known yet.
    Resource(String),
}

/// Reads the elements of lists.
struct Elements<'e> {
    references: &'e References<'e>,
    source: &'e RuleSource<'e>,
    omissions: &'e mut Omissions,
}

impl Elements<'_> {
    fn of<T>(&mut self, (attribute, list): (&str, List<T>), types: &[&str]) -> Vec<Element<T>> {
        let elements = match list {
            List::Known(elements) => elements.unwrap_or_default(),
            // As if it had one element that is not known.
            List::Unknown => vec![None],
        };
        let known_or_named = elements.into_iter().filter_map(|element| match element {
            Some(value) => Some(Element::Value(value)),
            None => self.named(attribute, types).map(Element::Resource),
        });
        known_or_named.collect()
    }

    /// The resource whose identifier will stand in an element that is not known.
    fn named(&mut self, attribute: &str, types: &[&str]) -> Option<String> {
        let expression = self.source.expression.unwrap_or(attribute);
        match self.references.of(self.source.resource, expression, types) {
            Expression::NotSet => None,
            Expression::Resource(resource) => Some(resource.address.to_string()),
            Expression::Other => {
                self.omissions.push(format!("{}.{attribute}", self.source.place), Cause::UnknownUntilApply);
                None
            }
        }
    }
}

/// A group as Terraform has it: `sg-…`, or `ACCOUNT/sg-…`.
fn peer_group(text: &str, owner: Option<&str>) -> PeerGroup {
    match text.split_once('/') {
        Some((account, id)) => PeerGroup {
            other_account: Some(account.to_owned()).filter(|account| Some(account.as_str()) != owner),
            ..PeerGroup::local(id)
        },
        None => PeerGroup::local(text),
    }
}
