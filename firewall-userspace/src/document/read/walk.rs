//! The walk over one tree: where it is, and what it has found.

use std::fmt::Write;

use super::whole::Whole;
use crate::document::problem::{Place, Problem, ProblemKind};
use crate::document::report::Warning;
use crate::document::tree::{Field, Node, Span, Value};

/// Something was wrong and has been reported.
#[derive(Debug)]
pub(super) struct Reported(());

/// See the module.
#[derive(Debug)]
pub(super) struct Walk<'w> {
    source: usize,
    path: Vec<Step>,
    problems: Vec<Problem>,
    warnings: Vec<Warning>,
    /// What concerns the document as a whole.
    pub(super) whole: &'w mut Whole,
}

#[derive(Debug)]
enum Step {
    Field(&'static str),
    /// A key of a map whose keys are free.
    Key(String),
    Item(usize),
}

/// The fields of a map, each once and known.
#[derive(Debug)]
pub(super) struct Fields<'n, 's> {
    /// Where the map begins, for messages about what it lacks.
    pub(super) span: Span,
    fields: Vec<(&'static str, &'n Field<'s>)>,
}

impl<'n, 's> Fields<'n, 's> {
    pub(super) fn get(&self, name: &str) -> Option<&'n Node<'s>> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| &field.node)
    }
}

impl<'w> Walk<'w> {
    pub(super) fn new(source: usize, whole: &'w mut Whole) -> Self {
        Self { source, path: Vec::new(), problems: Vec::new(), warnings: Vec::new(), whole }
    }

    /// What it has found.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Warning>) {
        (self.problems, self.warnings)
    }

    /// Reports what is wrong with a value.
    pub(super) fn report(&mut self, node: &Node<'_>, kind: impl Into<ProblemKind>) -> Reported {
        self.report_at(node.span.clone(), kind)
    }

    /// Reports what is wrong at a place of the field where the walk is.
    pub(super) fn report_at(&mut self, span: Span, kind: impl Into<ProblemKind>) -> Reported {
        let place = self.place(span);
        self.problems.push(Problem { place, kind: kind.into(), first: None });
        Reported(())
    }

    /// Reports what clashes with something before it.
    pub(super) fn report_clash(&mut self, span: Span, kind: ProblemKind, first: Span) -> Reported {
        let (place, first) = (self.place(span), self.place(first));
        self.problems.push(Problem { place, kind, first: Some(first) });
        Reported(())
    }

    /// Notes what is right but may not be what was meant.
    pub(super) fn warn(&mut self, node: &Node<'_>, message: String) {
        let place = self.place(node.span.clone());
        self.warnings.push(Warning { place, message });
    }

    /// A place of the field where the walk is.
    pub(super) fn place(&self, span: Span) -> Place {
        let mut field = String::new();
        for step in &self.path {
            // Writing to a string does not fail.
            let _ = match step {
                Step::Field(name) if field.is_empty() => write!(field, "{name}"),
                Step::Field(name) => write!(field, ".{name}"),
                Step::Key(key) => write!(field, ".{key}"),
                Step::Item(number) => write!(field, "[{number}]"),
            };
        }
        Place { source: self.source, span: Some(span), field }
    }

    /// Takes a map apart. What is unknown or there twice is reported; the rest is returned nevertheless.
    pub(super) fn fields<'n, 's>(
        &mut self,
        node: &'n Node<'s>,
        known: &'static [&'static str],
    ) -> Result<Fields<'n, 's>, Reported> {
        let Value::Map(all) = &node.value else {
            return Err(self.wrong_type(node, "a map"));
        };
        let mut fields: Vec<(&'static str, &Field<'_>)> = Vec::with_capacity(all.len());
        for field in all {
            let Some(name) = known.iter().find(|name| **name == field.name) else {
                let unknown = ProblemKind::UnknownField { field: field.name.to_string(), known };
                self.report_at(field.span.clone(), unknown);
                continue;
            };
            if let Some((_, first)) = fields.iter().find(|(known, _)| known == name) {
                let repeated = ProblemKind::RepeatedField { field: field.name.to_string() };
                self.report_clash(field.span.clone(), repeated, first.span.clone());
                continue;
            }
            fields.push((name, field));
        }
        // A map spans its fields; its first key is where a reader looks.
        let span = all.first().map_or_else(|| node.span.clone(), |field| field.span.clone());
        Ok(Fields { span, fields })
    }

    /// Reads a field if it is there.
    pub(super) fn optional<'n, 's, T>(
        &mut self,
        fields: &Fields<'n, 's>,
        name: &'static str,
        read: impl FnOnce(&'n Node<'s>, &mut Self) -> Result<T, Reported>,
    ) -> Result<Option<T>, Reported> {
        let Some(node) = fields.get(name) else {
            return Ok(None);
        };
        self.within(Step::Field(name), |walk| read(node, walk)).map(Some)
    }

    /// Reads a field that must be there.
    pub(super) fn required<'n, 's, T>(
        &mut self,
        fields: &Fields<'n, 's>,
        name: &'static str,
        read: impl FnOnce(&'n Node<'s>, &mut Self) -> Result<T, Reported>,
    ) -> Result<T, Reported> {
        match self.optional(fields, name, read)? {
            Some(value) => Ok(value),
            None => Err(self.report_at(fields.span.clone(), ProblemKind::MissingField { field: name })),
        }
    }

    /// Reads every item of a list.
    pub(super) fn list<'n, 's, T>(
        &mut self,
        node: &'n Node<'s>,
        mut read: impl FnMut(&'n Node<'s>, &mut Self) -> Result<T, Reported>,
    ) -> Result<Vec<T>, Reported> {
        let Value::List(items) = &node.value else {
            return Err(self.wrong_type(node, "a list"));
        };
        let items = items.iter().enumerate();
        all(items.map(|(number, item)| self.within(Step::Item(number), |walk| read(item, walk))))
    }

    /// Reads with a step more in the path of the field.
    fn within<T>(&mut self, step: Step, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads what stands under a key of a map whose keys are free.
    pub(super) fn under_key<T>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        self.within(Step::Key(key.to_owned()), read)
    }

    pub(super) fn wrong_type(&mut self, node: &Node<'_>, expected: &'static str) -> Reported {
        self.report(node, ProblemKind::WrongType { expected, found: node.value.kind() })
    }
}

/// Every value, or that at least one is wrong; unlike `collect`, which stops at the first that is.
pub(super) fn all<T>(values: impl Iterator<Item = Result<T, Reported>>) -> Result<Vec<T>, Reported> {
    let mut good = Vec::with_capacity(values.size_hint().0);
    let mut bad = None;
    for value in values {
        match value {
            Ok(value) => good.push(value),
            Err(reported) => bad = Some(reported),
        }
    }
    bad.map_or(Ok(good), Err)
}
