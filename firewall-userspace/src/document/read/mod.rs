//! Takes trees apart into one document, and collects everything that is wrong on the way.
//!
//! Each function reads one kind of value: it returns the value, or [`Reported`] once it has reported what is wrong, and
//! its caller goes on with what is beside it. What only the whole document shows, such as a name that is there twice, is
//! noted on the way and checked by `whole` in the end.

mod group;
mod interface;
mod prefix_list;
mod rule;
mod value;
mod walk;
mod whole;

use super::problem::{Problem, ProblemKind};
use super::report::{DocumentErrors, Warnings};
use super::source::{Language, Loaded, Source};
use super::tree::{Node, Value};
use super::{Reading, VERSION, json, toml, yaml};
use crate::model::Document;
use walk::{Reported, Walk};
use whole::Whole;

/// Reads all sources as one document.
pub(super) fn read(loaded: Loaded) -> Result<Reading, DocumentErrors> {
    let Loaded { sources, mut problems } = loaded;
    let mut document = Document::default();
    let mut warnings = Vec::new();
    let mut whole = Whole::default();
    let unreadable: Vec<usize> = problems.iter().map(|problem| problem.place.source).collect();
    for (number, source) in sources.iter().enumerate().filter(|(number, _)| !unreadable.contains(number)) {
        match tree(number, source) {
            Ok(root) => {
                let mut walk = Walk::new(number, &mut whole);
                if let Ok(part) = sections(&root, &mut walk) {
                    merge(&mut document, part);
                }
                let (found, noted) = walk.finish();
                problems.extend(found);
                warnings.extend(noted);
            }
            Err(found) => {
                problems.extend(found);
                whole.is_incomplete = true;
            }
        }
    }
    whole.is_incomplete |= !unreadable.is_empty();
    problems.extend(whole.check());
    if problems.is_empty() {
        return Ok(Reading { document, warnings: Warnings::new(sources, warnings) });
    }
    Err(DocumentErrors::new(sources, problems))
}

fn tree(number: usize, source: &Source) -> Result<Node<'_>, Vec<Problem>> {
    let problem = |kind, span| {
        let mut problem = Problem::of_source(number, kind);
        problem.place.span = span;
        problem
    };
    match source.language {
        Language::Yaml => json::parse(&source.text).map_or_else(
            || {
                yaml::parse(&source.text)
                    .map_err(|(error, span)| vec![problem(ProblemKind::Yaml(error), Some(span))])
            },
            Ok,
        ),
        Language::Toml => toml::parse(&source.text).map_err(|errors| {
            errors
                .into_iter()
                .map(|error| (error.span(), ProblemKind::Toml(error)))
                .map(|(span, kind)| problem(kind, span))
                .collect()
        }),
    }
}

fn sections(root: &Node<'_>, walk: &mut Walk<'_>) -> Result<Document, Reported> {
    let fields = walk.fields(root, &["version", "groups", "prefix_lists", "interfaces"])?;
    let version = walk.required(&fields, "version", |node, walk| {
        let version = walk.integer(node)?;
        if version == VERSION {
            Ok(())
        } else {
            Err(walk.report(node, ProblemKind::UnknownVersion { version }))
        }
    });
    let groups = walk.optional(&fields, "groups", |node, walk| {
        walk.whole.has_groups |= matches!(node.value, Value::List(_));
        walk.list(node, group::group)
    });
    let prefix_lists = walk.optional(&fields, "prefix_lists", |node, walk| {
        walk.whole.has_prefix_lists |= matches!(node.value, Value::List(_));
        walk.list(node, prefix_list::prefix_list)
    });
    let interfaces = walk.optional(&fields, "interfaces", |node, walk| walk.list(node, interface::interface));
    version?;
    Ok(Document { groups: groups?, prefix_lists: prefix_lists?, interfaces: interfaces? })
}

fn merge(document: &mut Document, part: Document) {
    fn extend<T>(section: &mut Option<Vec<T>>, part: Option<Vec<T>>) {
        if let Some(part) = part {
            section.get_or_insert_default().extend(part);
        }
    }
    extend(&mut document.groups, part.groups);
    extend(&mut document.prefix_lists, part.prefix_lists);
    extend(&mut document.interfaces, part.interfaces);
}
