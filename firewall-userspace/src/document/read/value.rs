//! The values that fields hold: scalars, prefixes, tags.

use std::collections::BTreeSet;
use std::str::FromStr;

use foldhash::{HashMap, HashMapExt};
use ipnet::IpNet;

use super::walk::{Reported, Walk, all};
use crate::document::problem::ProblemKind;
use crate::document::tree::{Field, Node, Span, Value};
use crate::model::{Cidr, ModelError, TagKey, TagValue, Tags};

impl Walk<'_> {
    pub(super) fn text<'n>(&mut self, node: &'n Node<'_>) -> Result<&'n str, Reported> {
        match &node.value {
            Value::Text(text) => Ok(text),
            _ => Err(self.wrong_type(node, "a text")),
        }
    }

    pub(super) fn integer(&mut self, node: &Node<'_>) -> Result<i64, Reported> {
        match node.value {
            Value::Integer(number) => Ok(number),
            _ => Err(self.wrong_type(node, "a number")),
        }
    }

    pub(super) fn boolean(&mut self, node: &Node<'_>) -> Result<bool, Reported> {
        match node.value {
            Value::Bool(value) => Ok(value),
            _ => Err(self.wrong_type(node, "true or false")),
        }
    }
}

/// A text that the model reads.
pub(super) fn parsed<T: FromStr<Err = ModelError>>(
    node: &Node<'_>,
    walk: &mut Walk<'_>,
) -> Result<T, Reported> {
    let text = walk.text(node)?;
    text.parse().map_err(|error: ModelError| walk.report(node, error))
}

/// A text or a number that the model reads.
pub(super) fn parsed_number<T: FromStr<Err = ModelError>>(
    node: &Node<'_>,
    walk: &mut Walk<'_>,
) -> Result<T, Reported> {
    match &node.value {
        Value::Integer(number) => {
            number.to_string().parse().map_err(|error: ModelError| walk.report(node, error))
        }
        Value::Text(_) => parsed(node, walk),
        _ => Err(walk.wrong_type(node, "a number or a text")),
    }
}

/// One of a few words.
pub(super) fn word<T>(
    node: &Node<'_>,
    walk: &mut Walk<'_>,
    from_name: fn(&str) -> Option<T>,
    allowed: &[&'static str],
) -> Result<T, Reported> {
    let text = walk.text(node)?;
    from_name(text).ok_or_else(|| {
        walk.report(node, ProblemKind::UnknownValue { text: text.to_owned(), allowed: allowed.to_vec() })
    })
}

/// A prefix in canonical form. The operator may have meant one host, so host bits are mentioned.
pub(super) fn prefix(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<IpNet, Reported> {
    let cidr: Cidr = parsed(node, walk)?;
    if cidr.has_host_bits() {
        let (written, canonical) = (cidr.written(), cidr.canonical());
        walk.warn(
            node,
            format!("{written} has bits set beyond its prefix length; taken as {canonical}, as AWS does"),
        );
    }
    Ok(cidr.canonical())
}

/// A list of prefixes, each once.
pub(super) fn prefixes(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<BTreeSet<IpNet>, Reported> {
    let mut seen = Once::of(node);
    walk.list(node, |item, walk| {
        let prefix = prefix(item, walk)?;
        seen.check(prefix, item, "the prefix", walk)?;
        Ok(prefix)
    })
    .map(BTreeSet::from_iter)
}

/// Values of a list that must differ.
#[derive(Debug)]
pub(super) struct Once<T>(HashMap<T, Span>);

impl<T: Eq + std::hash::Hash + ToString> Once<T> {
    /// For the items of a list.
    pub(super) fn of(list: &Node<'_>) -> Self {
        let items = if let Value::List(items) = &list.value { items.len() } else { 0 };
        Self(HashMap::with_capacity(items))
    }

    pub(super) fn check(
        &mut self,
        value: T,
        node: &Node<'_>,
        what: &'static str,
        walk: &mut Walk<'_>,
    ) -> Result<(), Reported> {
        if let Some(first) = self.0.get(&value) {
            let repeated = ProblemKind::Repeated { what, value: value.to_string() };
            return Err(walk.report_clash(node.span.clone(), repeated, first.clone()));
        }
        self.0.insert(value, node.span.clone());
        Ok(())
    }
}

/// A map of texts.
pub(super) fn tags(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<Tags, Reported> {
    let Value::Map(fields) = &node.value else {
        return Err(walk.wrong_type(node, "a map"));
    };
    let mut seen = HashMap::new();
    let pairs = all(fields.iter().map(|field| tag(field, &mut seen, walk)))?;
    let mut tags = Tags::default();
    tags.set(pairs).map_err(|error| walk.report(node, error))?;
    Ok(tags)
}

fn tag(
    field: &Field<'_>,
    seen: &mut HashMap<TagKey, Span>,
    walk: &mut Walk<'_>,
) -> Result<(TagKey, TagValue), Reported> {
    let key = field.name.parse::<TagKey>().map_err(|error| walk.report_at(field.span.clone(), error));
    let value = walk.under_key(&field.name, |walk| parsed(&field.node, walk));
    let key = key?;
    if let Some(first) = seen.insert(key.clone(), field.span.clone()) {
        let repeated = ProblemKind::RepeatedField { field: key.to_string() };
        return Err(walk.report_clash(field.span.clone(), repeated, first));
    }
    Ok((key, value?))
}
