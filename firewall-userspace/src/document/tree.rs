//! What a file says, before it means anything: a tree of values, each with the place where it stands.
//!
//! YAML, JSON and TOML all become this. A tree borrows its texts from the file where it can.

use std::borrow::Cow;
use std::ops::Range;

/// How deep lists and maps may nest. The deepest field of a document is half as deep; whatever recurses over a tree
/// relies on the limit.
pub(super) const MAX_DEPTH: usize = 16;

/// Where something stands in a file: bytes.
pub(super) type Span = Range<usize>;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node<'s> {
    pub(super) span: Span,
    pub(super) value: Value<'s>,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Value<'s> {
    Null,
    Bool(bool),
    Integer(i64),
    /// What no field of a document may be; how to call it in messages.
    Other(&'static str),
    Text(Cow<'s, str>),
    List(Vec<Node<'s>>),
    /// With keys that are there twice.
    Map(Vec<Field<'s>>),
}

/// A key of a map, and what stands there.
#[derive(Clone, Debug)]
pub(super) struct Field<'s> {
    pub(super) name: Cow<'s, str>,
    pub(super) span: Span,
    pub(super) node: Node<'s>,
}

impl Value<'_> {
    /// What it is, in messages.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a number",
            Self::Other(kind) => kind,
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node<'_> {
    /// How many values it consists of, itself among them.
    pub(super) fn size(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Self::size).sum(),
            Value::Map(fields) => fields.iter().map(|field| field.node.size()).sum(),
            _ => 0,
        }
    }

    /// How many levels it has; 0 if it is no list or map.
    pub(super) fn depth(&self) -> usize {
        match &self.value {
            Value::List(items) => 1 + items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Map(fields) => 1 + fields.iter().map(|field| field.node.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }
}
