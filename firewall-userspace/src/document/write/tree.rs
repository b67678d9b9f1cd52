//! A document as a tree of maps, lists and scalars: the shape that all languages share.

use std::collections::BTreeSet;

use firewall_common::abi::Direction;
use ipnet::IpNet;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::document::VERSION;
use crate::model::{
    Document, DocumentGroup, DocumentInterface, DocumentPeer, DocumentPrefixList, DocumentRule, Exemption,
    FlowTimeouts, IcmpSelector, InterfaceOptions, PortRange, PrefixListEntry, Protocol, Tags, Timeout,
};

/// A value that is written.
#[derive(Debug)]
pub(super) enum Value {
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// A map that reads best on one line.
    Line(Vec<(String, Value)>),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) | Self::Line(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (name, value) in fields {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Fields in the order in which they are written, without those that say nothing.
#[derive(Debug, Default)]
struct Fields(Vec<(String, Value)>);

impl Fields {
    fn set(mut self, name: &str, value: Value) -> Self {
        self.0.push((name.to_owned(), value));
        self
    }

    fn set_text(self, name: &str, text: &impl ToString) -> Self {
        self.set(name, Value::Text(text.to_string()))
    }

    fn set_some<T: ToString>(self, name: &str, text: Option<&T>) -> Self {
        match text {
            Some(text) => self.set_text(name, text),
            None => self,
        }
    }

    fn set_tags(self, tags: &Tags) -> Self {
        if tags.is_empty() {
            return self;
        }
        let tags = tags.iter().map(|(key, value)| (key.to_string(), Value::Text(value.to_string())));
        self.set("tags", Value::Line(tags.collect()))
    }

    fn set_prefixes(self, name: &str, prefixes: &BTreeSet<IpNet>) -> Self {
        if prefixes.is_empty() {
            return self;
        }
        self.set(name, list(prefixes, |prefix| Value::Text(prefix.to_string())))
    }
}

/// The tree of a document.
pub(super) fn document(document: &Document) -> Value {
    let mut fields = Fields::default().set("version", Value::Integer(VERSION));
    if let Some(groups) = &document.groups {
        fields = fields.set("groups", list(groups, group));
    }
    if let Some(prefix_lists) = &document.prefix_lists {
        fields = fields.set("prefix_lists", list(prefix_lists, prefix_list));
    }
    if let Some(interfaces) = &document.interfaces {
        fields = fields.set("interfaces", list(interfaces, interface));
    }
    Value::Map(fields.0)
}

fn group(group: &DocumentGroup) -> Value {
    let rules = |direction| {
        let rules = group.rules.iter().filter(|rule| rule.direction == direction);
        Value::List(rules.map(rule).collect())
    };
    let fields = Fields::default()
        .set_text("name", &group.name)
        .set_some("id", group.id.as_ref())
        .set_text("description", &group.description)
        .set_tags(&group.tags)
        .set_prefixes("members", &group.members)
        .set("ingress", rules(Direction::Ingress))
        // Without it everything would be admitted out.
        .set("egress", rules(Direction::Egress));
    Value::Map(fields.0)
}

fn rule(rule: &DocumentRule) -> Value {
    let protocol = match rule.service.protocol() {
        Protocol::Other(other) => Value::Integer(other.number().into()),
        named => Value::Text(named.to_string()),
    };
    let mut fields = Fields::default().set_some("id", rule.id.as_ref()).set("protocol", protocol);
    if let Some(ports) = rule.service.ports() {
        fields = fields.set("ports", port_range(ports));
    }
    fields = match rule.service.icmp() {
        None | Some(IcmpSelector::All) => fields,
        Some(IcmpSelector::Type(icmp_type)) => fields.set("type", Value::Integer(icmp_type.into())),
        Some(IcmpSelector::TypeCode(icmp_type, code)) => {
            fields.set("type", Value::Integer(icmp_type.into())).set("code", Value::Integer(code.into()))
        }
    };
    fields = match &rule.peer {
        DocumentPeer::Cidr(prefix) => fields.set_text("cidr", prefix),
        DocumentPeer::Group(group) => fields.set_text("group", group),
        DocumentPeer::PrefixList(list) => fields.set_text("prefix_list", list),
    };
    Value::Line(fields.set_some("description", rule.description.as_ref()).set_tags(&rule.tags).0)
}

fn port_range(ports: PortRange) -> Value {
    if ports.first() == ports.last() {
        return Value::Integer(ports.first().into());
    }
    Value::Text(ports.to_string())
}

fn prefix_list(prefix_list: &DocumentPrefixList) -> Value {
    let fields = Fields::default()
        .set_text("name", &prefix_list.name)
        .set_some("id", prefix_list.id.as_ref())
        .set_text("family", &prefix_list.family.to_string().to_ascii_lowercase())
        .set("max_entries", Value::Integer(prefix_list.max_entries.into()))
        .set_tags(&prefix_list.tags)
        .set("entries", list(&prefix_list.entries, entry));
    Value::Map(fields.0)
}

fn entry(entry: &PrefixListEntry) -> Value {
    let fields = Fields::default().set_text("cidr", &entry.prefix);
    Value::Line(fields.set_some("description", entry.description.as_ref()).0)
}

fn interface(interface: &DocumentInterface) -> Value {
    let groups = list(&interface.groups, |group| Value::Text(group.to_string()));
    let fields = Fields::default().set_text("name", &interface.name).set("groups", groups);
    match &interface.options {
        Some(options) => Value::Map(set_options(fields, options).0),
        None => Value::Map(fields.0),
    }
}

/// What differs from the defaults, and what says that the options are stated at all.
fn set_options(fields: Fields, options: &InterfaceOptions) -> Fields {
    let defaults = FlowTimeouts::default();
    let timeouts =
        Timeout::ALL.into_iter().filter(|timeout| options.timeouts.get(*timeout) != defaults.get(*timeout));
    let timeouts = timeouts
        .map(|timeout| (field_name(timeout.name()), Value::Integer(options.timeouts.get(timeout).into())));
    let not_exempt = Exemption::ALL.into_iter().filter(|kind| !options.exemptions.has(*kind));
    let not_exempt = not_exempt.map(|kind| (field_name(kind.name()), Value::Bool(false)));
    let (timeouts, not_exempt) = (timeouts.collect::<Vec<_>>(), not_exempt.collect::<Vec<_>>());

    let mut fields = fields;
    if !timeouts.is_empty() {
        fields = fields.set("timeouts", Value::Line(timeouts));
    }
    fields = fields
        .set_text("icmp_errors", &options.icmp_errors.name())
        .set("tcp_strict", Value::Bool(options.tcp_strict))
        .set("audit", Value::Bool(options.audit))
        .set_prefixes("always_track", &options.always_track);
    if !not_exempt.is_empty() {
        fields = fields.set("exempt", Value::Line(not_exempt));
    }
    fields
}

/// The words of the command line, as fields are spelled.
fn field_name(word: &str) -> String {
    word.replace('-', "_")
}

fn list<'v, T: 'v>(values: impl IntoIterator<Item = &'v T>, value: impl Fn(&'v T) -> Value) -> Value {
    Value::List(values.into_iter().map(value).collect())
}
