//! The content of a saved plan. Not the format of policy files: that one is for people, may grow, and never meets a file
//! that an older sgfw wrote.

use std::collections::{BTreeMap, BTreeSet};

use firewall_common::abi::Direction;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{SavedPlan, SavedPlanError};
use crate::model::{
    Document, DocumentGroup, DocumentInterface, DocumentPeer, DocumentPrefixList, DocumentRule, Exemption,
    FlowTimeouts, IcmpErrors, IcmpSelector, InterfaceOptions, ModelError, PortRange, PrefixListEntry,
    Protocol, Service, Tags, Timeout,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plan {
    default_group: String,
    generation: u64,
    groups: Option<Vec<Group>>,
    prefix_lists: Option<Vec<PrefixList>>,
    interfaces: Option<Vec<Interface>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    id: Option<String>,
    name: String,
    description: String,
    tags: BTreeMap<String, String>,
    members: BTreeSet<IpNet>,
    rules: Vec<Rule>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: Option<String>,
    is_egress: bool,
    protocol: String,
    ports: Option<String>,
    icmp: Option<String>,
    peer: RulePeer,
    description: Option<String>,
    tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RulePeer {
    Cidr(IpNet),
    Group(String),
    PrefixList(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrefixList {
    id: Option<String>,
    name: String,
    family: String,
    max_entries: u32,
    tags: BTreeMap<String, String>,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    prefix: IpNet,
    description: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interface {
    name: String,
    groups: Vec<String>,
    options: Option<Options>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    timeouts: BTreeMap<String, u32>,
    rules_only: bool,
    tcp_strict: bool,
    audit: bool,
    always_track: BTreeSet<IpNet>,
    exempt: Vec<String>,
}

impl From<&SavedPlan> for Plan {
    fn from(plan: &SavedPlan) -> Self {
        let Document { groups, prefix_lists, interfaces } = &plan.document;
        Self {
            default_group: plan.default_group.to_string(),
            generation: plan.generation,
            groups: groups.as_ref().map(|groups| groups.iter().map(Group::from).collect()),
            prefix_lists: prefix_lists.as_ref().map(|lists| lists.iter().map(PrefixList::from).collect()),
            interfaces: interfaces.as_ref().map(|all| all.iter().map(Interface::from).collect()),
        }
    }
}

impl TryFrom<Plan> for SavedPlan {
    type Error = SavedPlanError;

    fn try_from(plan: Plan) -> Result<Self, SavedPlanError> {
        let document = Document {
            groups: all(plan.groups, DocumentGroup::try_from)?,
            prefix_lists: all(plan.prefix_lists, DocumentPrefixList::try_from)?,
            interfaces: all(plan.interfaces, DocumentInterface::try_from)?,
        };
        Ok(Self { default_group: plan.default_group.parse()?, generation: plan.generation, document })
    }
}

/// Converts a section, if it is there.
fn all<W, T>(
    section: Option<Vec<W>>,
    convert: impl Fn(W) -> Result<T, ModelError>,
) -> Result<Option<Vec<T>>, ModelError> {
    section.map(|section| section.into_iter().map(convert).collect()).transpose()
}

impl From<&DocumentGroup> for Group {
    fn from(group: &DocumentGroup) -> Self {
        Self {
            id: text(group.id.as_ref()),
            name: group.name.to_string(),
            description: group.description.to_string(),
            tags: tag_texts(&group.tags),
            members: group.members.clone(),
            rules: group.rules.iter().map(Rule::from).collect(),
        }
    }
}

impl TryFrom<Group> for DocumentGroup {
    type Error = ModelError;

    fn try_from(group: Group) -> Result<Self, ModelError> {
        Ok(Self {
            id: parsed(group.id.as_ref())?,
            name: group.name.parse()?,
            description: group.description.parse()?,
            tags: tags(group.tags)?,
            members: group.members,
            rules: group.rules.into_iter().map(DocumentRule::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<&DocumentRule> for Rule {
    fn from(rule: &DocumentRule) -> Self {
        // Every type has no text of its own: `Service::new` takes none for it.
        let icmp = rule.service.icmp().filter(|icmp| *icmp != IcmpSelector::All);
        Self {
            id: text(rule.id.as_ref()),
            is_egress: rule.direction == Direction::Egress,
            protocol: rule.service.protocol().to_string(),
            ports: text(rule.service.ports().as_ref()),
            icmp: text(icmp.as_ref()),
            peer: match &rule.peer {
                DocumentPeer::Cidr(prefix) => RulePeer::Cidr(*prefix),
                DocumentPeer::Group(reference) => RulePeer::Group(reference.to_string()),
                DocumentPeer::PrefixList(reference) => RulePeer::PrefixList(reference.to_string()),
            },
            description: text(rule.description.as_ref()),
            tags: tag_texts(&rule.tags),
        }
    }
}

impl TryFrom<Rule> for DocumentRule {
    type Error = ModelError;

    fn try_from(rule: Rule) -> Result<Self, ModelError> {
        let protocol: Protocol = rule.protocol.parse()?;
        let ports: Option<PortRange> = parsed(rule.ports.as_ref())?;
        let icmp: Option<IcmpSelector> = parsed(rule.icmp.as_ref())?;
        Ok(Self {
            id: parsed(rule.id.as_ref())?,
            direction: if rule.is_egress { Direction::Egress } else { Direction::Ingress },
            service: Service::new(protocol, ports, icmp)?,
            peer: match rule.peer {
                RulePeer::Cidr(prefix) => DocumentPeer::Cidr(prefix),
                RulePeer::Group(reference) => DocumentPeer::Group(reference.parse()?),
                RulePeer::PrefixList(reference) => DocumentPeer::PrefixList(reference.parse()?),
            },
            description: parsed(rule.description.as_ref())?,
            tags: tags(rule.tags)?,
        })
    }
}

impl From<&DocumentPrefixList> for PrefixList {
    fn from(list: &DocumentPrefixList) -> Self {
        let entry = |entry: &PrefixListEntry| Entry {
            prefix: entry.prefix,
            description: text(entry.description.as_ref()),
        };
        Self {
            id: text(list.id.as_ref()),
            name: list.name.to_string(),
            family: list.family.to_string(),
            max_entries: list.max_entries,
            tags: tag_texts(&list.tags),
            entries: list.entries.iter().map(entry).collect(),
        }
    }
}

impl TryFrom<PrefixList> for DocumentPrefixList {
    type Error = ModelError;

    fn try_from(list: PrefixList) -> Result<Self, ModelError> {
        let entry = |entry: Entry| {
            let description = parsed(entry.description.as_ref())?;
            Ok(PrefixListEntry { prefix: entry.prefix, description })
        };
        Ok(Self {
            id: parsed(list.id.as_ref())?,
            name: list.name.parse()?,
            family: list.family.parse()?,
            max_entries: list.max_entries,
            tags: tags(list.tags)?,
            entries: list.entries.into_iter().map(entry).collect::<Result<_, ModelError>>()?,
        })
    }
}

impl From<&DocumentInterface> for Interface {
    fn from(interface: &DocumentInterface) -> Self {
        Self {
            name: interface.name.clone(),
            groups: interface.groups.iter().map(ToString::to_string).collect(),
            options: interface.options.as_ref().map(Options::from),
        }
    }
}

impl TryFrom<Interface> for DocumentInterface {
    type Error = ModelError;

    fn try_from(interface: Interface) -> Result<Self, ModelError> {
        Ok(Self {
            name: interface.name,
            groups: interface.groups.iter().map(|group| group.parse()).collect::<Result<_, _>>()?,
            options: interface.options.map(InterfaceOptions::try_from).transpose()?,
        })
    }
}

impl From<&InterfaceOptions> for Options {
    fn from(options: &InterfaceOptions) -> Self {
        let timeout = |timeout: Timeout| (timeout.name().to_owned(), options.timeouts.get(timeout));
        let exempt = Exemption::ALL.into_iter().filter(|kind| options.exemptions.has(*kind));
        Self {
            timeouts: Timeout::ALL.into_iter().map(timeout).collect(),
            rules_only: options.icmp_errors == IcmpErrors::RulesOnly,
            tcp_strict: options.tcp_strict,
            audit: options.audit,
            always_track: options.always_track.clone(),
            exempt: exempt.map(|kind| kind.name().to_owned()).collect(),
        }
    }
}

impl TryFrom<Options> for InterfaceOptions {
    type Error = ModelError;

    fn try_from(written: Options) -> Result<Self, ModelError> {
        let mut timeouts = FlowTimeouts::default();
        for timeout in Timeout::ALL {
            if let Some(seconds) = written.timeouts.get(timeout.name()) {
                timeouts.set(timeout, *seconds)?;
            }
        }
        let mut options = Self {
            timeouts,
            icmp_errors: if written.rules_only { IcmpErrors::RulesOnly } else { IcmpErrors::Related },
            tcp_strict: written.tcp_strict,
            audit: written.audit,
            always_track: written.always_track,
            ..Self::default()
        };
        for kind in Exemption::ALL {
            options.exemptions.set(kind, written.exempt.iter().any(|name| name == kind.name()));
        }
        Ok(options)
    }
}

fn text<T: ToString>(value: Option<&T>) -> Option<String> {
    value.map(ToString::to_string)
}

fn parsed<T: std::str::FromStr<Err = ModelError>>(text: Option<&String>) -> Result<Option<T>, ModelError> {
    text.map(|text| text.parse()).transpose()
}

fn tag_texts(tags: &Tags) -> BTreeMap<String, String> {
    tags.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn tags(texts: BTreeMap<String, String>) -> Result<Tags, ModelError> {
    let mut tags = Tags::default();
    let parsed = texts.iter().map(|(key, value)| Ok((key.parse()?, value.parse()?)));
    tags.set(parsed.collect::<Result<Vec<_>, ModelError>>()?)?;
    Ok(tags)
}
