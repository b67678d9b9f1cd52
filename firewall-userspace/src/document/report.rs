//! How the mistakes in policy files are shown: to people with the offending line, to programs as a list.

use std::fmt;

use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::problem::{Place, Problem};
use super::source::Source;

/// How many mistakes are shown to people; nobody reads more.
const SHOWN: usize = 100;
/// Bytes of a line that is not shown any more, and characters of the excerpt in its place.
const LONG_LINE: usize = 1000;
const EXCERPT: usize = 60;

/// Everything that is wrong with policy files, in the order of the files.
#[derive(Debug)]
pub struct DocumentErrors {
    texts: Texts,
    problems: Vec<Problem>,
}

/// Whether terminal colours may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// The reader is a terminal.
    Yes,
    /// It is not, or colours are not wanted.
    No,
}

/// One of [`DocumentErrors`], for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// Line and column, from 1; none if the file could not be read.
    pub position: Option<(usize, usize)>,
    /// The field, such as `groups[0].ingress[2].ports`; empty for the document as a whole.
    pub field: String,
    /// The code of the EC2 API for it.
    pub aws_code: Option<&'static str>,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// What is valid in policy files but may not be what was meant. Each is a line of text.
#[derive(Debug)]
pub struct Warnings {
    texts: Texts,
    warnings: Vec<Warning>,
}

#[derive(Debug)]
pub(super) struct Warning {
    pub(super) place: Place,
    pub(super) message: String,
}

impl DocumentErrors {
    pub(super) fn new(sources: Vec<Source>, mut problems: Vec<Problem>) -> Self {
        let order = |place: &Place| (place.source, place.span.as_ref().map_or(0, |span| span.start));
        problems.sort_by_key(|problem| order(&problem.place));
        Self { texts: Texts::new(sources), problems }
    }

    /// All of them, for programs.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.problems.iter().map(|Problem { place, kind, .. }| Finding {
            file: self.texts.name(place).to_owned(),
            position: self.texts.position(place),
            field: place.field.clone(),
            aws_code: kind.aws_code(),
            message: kind.to_string(),
            hint: kind.hint(),
        })
    }

    /// The first hundred for people, each with the line where it stands.
    #[must_use]
    pub fn render(&self, color: Color) -> String {
        let renderer = match color {
            Color::Yes => Renderer::styled(),
            Color::No => Renderer::plain(),
        };
        let shown = self.problems.iter().take(SHOWN);
        let mut blocks: Vec<String> =
            shown.map(|problem| renderer.render(&[self.texts.annotate(problem)])).collect();
        if self.problems.len() > SHOWN {
            blocks.push(format!("error: … and {} more", self.problems.len() - SHOWN));
        }
        blocks.join("\n\n")
    }
}

impl fmt::Display for DocumentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("the policy files have a mistake"),
            count => write!(f, "the policy files have {count} mistakes"),
        }
    }
}

impl std::error::Error for DocumentErrors {}

impl Warnings {
    pub(super) fn new(sources: Vec<Source>, warnings: Vec<Warning>) -> Self {
        Self { texts: Texts::new(sources), warnings }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = String> {
        self.warnings.iter().map(|Warning { place, message }| {
            let (line, column) = self.texts.position(place).unwrap_or((1, 1));
            format!("{}:{line}:{column}: {}: {message}", self.texts.name(place), place.field)
        })
    }
}

/// The sources, with an index of their lines.
#[derive(Debug)]
struct Texts {
    sources: Vec<Source>,
    /// Where each line begins, by source.
    lines: Vec<Vec<usize>>,
    /// Whether a byte is a character, by source.
    is_ascii: Vec<bool>,
}

impl Texts {
    fn new(sources: Vec<Source>) -> Self {
        let starts = |source: &Source| {
            let ends = source.text.match_indices('\n').map(|(newline, _)| newline + 1);
            std::iter::once(0).chain(ends).collect()
        };
        let lines = sources.iter().map(starts).collect();
        let is_ascii = sources.iter().map(|source| source.text.is_ascii()).collect();
        Self { sources, lines, is_ascii }
    }

    fn name(&self, place: &Place) -> &str {
        &self.sources[place.source].name
    }

    fn position(&self, place: &Place) -> Option<(usize, usize)> {
        let span = place.span.as_ref()?;
        let (line, start) = self.line(place.source, span.start);
        let column = match self.is_ascii[place.source] {
            true => span.start - start,
            false => {
                let text = &self.sources[place.source].text;
                text[start..text.floor_char_boundary(span.start)].chars().count()
            }
        };
        Some((line, column + 1))
    }

    /// The number of the line of a byte, and where it begins.
    fn line(&self, source: usize, byte: usize) -> (usize, usize) {
        let lines = &self.lines[source];
        let number = lines.partition_point(|start| *start <= byte);
        (number, lines[number.saturating_sub(1)])
    }

    fn annotate<'t>(&'t self, problem: &'t Problem) -> Group<'t> {
        let Problem { place, kind, first } = problem;
        let message = match place.field.as_str() {
            "" => kind.to_string(),
            field => format!("{field}: {kind}"),
        };
        let hint = kind.hint().map(|hint| Level::HELP.message(hint));
        if place.span.is_none() {
            let message = format!("{}: {message}", self.name(place));
            return Group::with_title(Level::ERROR.primary_title(message)).elements(hint);
        }
        let mut title = Level::ERROR.primary_title(message);
        if let Some(code) = kind.aws_code() {
            title = title.id(code);
        }
        let hint = hint.map(Element::from);
        let first = first.iter().flat_map(|first| self.shown(first, Some("it is here first")));
        title.elements(self.shown(place, None).into_iter().chain(first).chain(hint))
    }

    /// The line of a place with a mark under it. Of a file that is one long line, the text of the place alone: the
    /// renderer goes through every byte that it is given.
    fn shown<'t>(&'t self, place: &'t Place, label: Option<&'static str>) -> Vec<Element<'t>> {
        let Some(span) = &place.span else {
            return Vec::new();
        };
        let text = self.sources[place.source].text.as_str();
        let (number, start) = self.line(place.source, span.start);
        let line = &text[start..];
        let line = &line[..line.find(['\n', '\r']).unwrap_or(line.len())];
        let from = line.floor_char_boundary(span.start - start);
        let to = line.floor_char_boundary(span.end - start).max(from);
        if line.len() > LONG_LINE {
            let (_, column) = self.position(place).unwrap_or_default();
            let origin = Origin::path(self.name(place)).line(number).char_column(column);
            let excerpt: String = line[from..to].chars().take(EXCERPT).collect();
            let said = label.map_or_else(|| format!("the text is {excerpt}"), str::to_owned);
            return vec![origin.into(), Level::NOTE.message(said).into()];
        }
        let kind = if label.is_none() { AnnotationKind::Primary } else { AnnotationKind::Context };
        let snippet = Snippet::source(line).line_start(number).path(self.name(place));
        vec![snippet.annotation(kind.span(from..to).label(label)).into()]
    }
}
