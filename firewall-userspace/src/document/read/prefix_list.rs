//! `prefix_lists`.

use super::value::{Once, parsed, prefix, tags};
use super::walk::{Reported, Walk};
use super::whole::Definition;
use crate::document::problem::ProblemKind;
use crate::document::tree::{Node, Value};
use crate::model::{
    AddressFamily, Description, DocumentPrefixList, PrefixListEntry, PrefixListId, PrefixListName,
};

const FIELDS: &[&str] = &["name", "id", "family", "max_entries", "tags", "entries"];

/// A prefix list with its entries.
pub(super) fn prefix_list(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<DocumentPrefixList, Reported> {
    let fields = walk.fields(node, FIELDS).inspect_err(|_| walk.whole.is_incomplete = true)?;
    let name = walk.required(&fields, "name", |node, walk| {
        let name: PrefixListName = parsed(node, walk)?;
        Ok((name, walk.place(node.span.clone())))
    });
    let id = walk.optional(&fields, "id", |node, walk| {
        let id: PrefixListId = parsed(node, walk)?;
        walk.whole.ids.push(Definition { name: id.to_string(), place: walk.place(node.span.clone()) });
        Ok(id)
    });
    let family = walk.required(&fields, "family", parsed::<AddressFamily>);
    let max_entries =
        walk.required(&fields, "max_entries", |node, walk| Ok((max_entries(node, walk)?, node)));
    let tags = walk.optional(&fields, "tags", tags);
    let known_family = family.as_ref().ok().copied();
    let entries = walk.optional(&fields, "entries", |node, walk| entries(known_family, node, walk));

    let (name, place) = name.inspect_err(|_| walk.whole.is_incomplete = true)?;
    walk.whole.define_prefix_list(&name, id.as_ref().ok().copied().flatten(), place);
    let (entries, (max_entries, node)) = (entries?.unwrap_or_default(), max_entries?);
    if entries.len() > max_entries as usize {
        return Err(walk.report(node, ProblemKind::TooManyEntries { entries: entries.len() }));
    }
    Ok(DocumentPrefixList {
        id: id?,
        name,
        family: family?,
        max_entries,
        tags: tags?.unwrap_or_default(),
        entries,
    })
}

fn max_entries(node: &Node<'_>, walk: &mut Walk<'_>) -> Result<u32, Reported> {
    let number = walk.integer(node)?;
    let number = u32::try_from(number).ok().filter(|number| *number > 0);
    number.ok_or_else(|| walk.report(node, ProblemKind::MaxEntriesOutOfRange))
}

fn entries(
    family: Option<AddressFamily>,
    node: &Node<'_>,
    walk: &mut Walk<'_>,
) -> Result<Vec<PrefixListEntry>, Reported> {
    let mut seen = Once::of(node);
    walk.list(node, |item, walk| {
        let (entry, node) = entry(item, walk)?;
        match family {
            Some(family) if family != AddressFamily::of(&entry.prefix) => {
                let prefix = entry.prefix.to_string();
                return Err(walk.report(node, ProblemKind::WrongFamily { prefix, family }));
            }
            _ => seen.check(entry.prefix, node, "the entry", walk)?,
        }
        Ok(entry)
    })
}

/// A prefix alone, or with a description.
fn entry<'n, 's>(
    node: &'n Node<'s>,
    walk: &mut Walk<'_>,
) -> Result<(PrefixListEntry, &'n Node<'s>), Reported> {
    if !matches!(node.value, Value::Map(_)) {
        return Ok((PrefixListEntry { prefix: prefix(node, walk)?, description: None }, node));
    }
    let fields = walk.fields(node, &["cidr", "description"])?;
    let prefix = walk.required(&fields, "cidr", |node, walk| Ok((prefix(node, walk)?, node)));
    let description = walk.optional(&fields, "description", parsed::<Description>);
    let (prefix, node) = prefix?;
    Ok((PrefixListEntry { prefix, description: description? }, node))
}
