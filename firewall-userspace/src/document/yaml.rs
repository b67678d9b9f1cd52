//! YAML 1.2 to a tree. JSON is YAML, so this reads both; what is plain in it is read faster by `json`.
//!
//! Events of the parser are put together without recursion. What files of policies have no use for is refused rather
//! than guessed at: tags, keys that are no scalars, several documents in one file.

use std::borrow::Cow;
use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span as MarkerSpan};

use super::tree::{Field, MAX_DEPTH, Node, Span, Value};

/// How many values aliases may add to a file: enough for every honest use, too few for a file that multiplies.
const MAX_COPIED: usize = 1_000_000;

/// Why a text is not a tree.
#[derive(Debug, thiserror::Error)]
pub(super) enum YamlError {
    #[error("{}", .0.info())]
    Syntax(ScanError),
    #[error("tags such as !!str are not supported")]
    Tag,
    #[error("a key must be a text")]
    Key,
    #[error("the alias stands for nothing that was complete before it")]
    Alias,
    #[error("aliases add more than {MAX_COPIED} values to the file")]
    TooManyCopies,
    #[error("lists and maps are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    #[error("a second document in the file")]
    SecondDocument,
}

/// The tree of a text; of an empty one, null.
pub(super) fn parse(text: &str) -> Result<Node<'_>, (YamlError, Span)> {
    let offsets = Offsets::new(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let at = offsets.byte(error.marker());
            (YamlError::Syntax(error), at..at)
        })?;
        let span = offsets.span(span);
        builder.take(event, span.clone()).map_err(|error| (error, span))?;
    }
    Ok(builder.root.unwrap_or(Node { span: 0..0, value: Value::Null }))
}

/// The parser counts characters, everything else counts bytes.
struct Offsets<'t> {
    text: &'t str,
    /// The byte at which every [`STRIDE`](Self::STRIDE)th character begins; none if each character is a byte.
    bytes: Option<Vec<usize>>,
}

impl<'t> Offsets<'t> {
    const STRIDE: usize = 64;

    fn new(text: &'t str) -> Self {
        let every = || text.char_indices().step_by(Self::STRIDE).map(|(byte, _)| byte).collect();
        Self { text, bytes: (!text.is_ascii()).then(every) }
    }

    fn byte(&self, marker: &Marker) -> usize {
        let Some(bytes) = &self.bytes else {
            return marker.index().min(self.text.len());
        };
        let Some(&near) = bytes.get(marker.index() / Self::STRIDE) else {
            return self.text.len();
        };
        let rest = &self.text[near..];
        let further = rest.char_indices().nth(marker.index() % Self::STRIDE);
        near + further.map_or(rest.len(), |(byte, _)| byte)
    }

    fn span(&self, span: MarkerSpan) -> Span {
        let start = self.byte(&span.start);
        start..self.byte(&span.end).max(start)
    }
}

/// Lists and maps that are not complete yet, outermost first, and what is.
#[derive(Default)]
struct Builder<'s> {
    open: Vec<Open<'s>>,
    root: Option<Node<'s>>,
    /// What aliases may stand for.
    anchors: HashMap<usize, Node<'s>>,
    copied: usize,
    documents: usize,
}

struct Open<'s> {
    start: usize,
    anchor: usize,
    content: Content<'s>,
}

enum Content<'s> {
    List(Vec<Node<'s>>),
    Map { fields: Vec<Field<'s>>, key: Option<(Cow<'s, str>, Span)> },
}

impl<'s> Builder<'s> {
    fn take(&mut self, event: Event<'s>, span: Span) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) if self.documents > 0 => Err(YamlError::SecondDocument),
            Event::DocumentStart(_) => {
                self.documents += 1;
                Ok(())
            }
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => Err(YamlError::Tag),
            Event::Scalar(text, style, anchor, None) => self.scalar(text, style, anchor, span),
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::SequenceStart(anchor, None) => self.open(span.start, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, None) => {
                self.open(span.start, anchor, Content::Map { fields: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span.end),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn scalar(
        &mut self,
        text: Cow<'s, str>,
        style: ScalarStyle,
        anchor: usize,
        span: Span,
    ) -> Result<(), YamlError> {
        if let Some(Open { content: Content::Map { key: key @ None, .. }, .. }) = self.open.last_mut() {
            *key = Some((text, span));
            return Ok(());
        }
        let value = if style == ScalarStyle::Plain { plain(text) } else { Value::Text(text) };
        self.complete(Node { span, value }, anchor)
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), YamlError> {
        if self.wants_key() {
            return Err(YamlError::Key);
        }
        let node = self.anchors.get(&anchor).ok_or(YamlError::Alias)?;
        if self.open.len() + node.depth() > MAX_DEPTH {
            return Err(YamlError::TooDeep);
        }
        self.copied += node.size();
        if self.copied > MAX_COPIED {
            return Err(YamlError::TooManyCopies);
        }
        // A mistake in what is repeated is shown where it was written.
        let node = match &node.value {
            Value::List(_) | Value::Map(_) => node.clone(),
            scalar => Node { span, value: scalar.clone() },
        };
        self.complete(node, 0)
    }

    fn open(&mut self, start: usize, anchor: usize, content: Content<'s>) -> Result<(), YamlError> {
        if self.wants_key() {
            return Err(YamlError::Key);
        }
        if self.open.len() == MAX_DEPTH {
            return Err(YamlError::TooDeep);
        }
        self.open.push(Open { start, anchor, content });
        Ok(())
    }

    fn close(&mut self, end: usize) -> Result<(), YamlError> {
        let Some(Open { start, anchor, content }) = self.open.pop() else {
            return Ok(());
        };
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { fields, .. } => Value::Map(fields),
        };
        self.complete(Node { span: start..end.max(start), value }, anchor)
    }

    /// Puts a value where it belongs. The parser numbers anchors from 1.
    fn complete(&mut self, node: Node<'s>, anchor: usize) -> Result<(), YamlError> {
        if anchor != 0 {
            self.copied += node.size();
            if self.copied > MAX_COPIED {
                return Err(YamlError::TooManyCopies);
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { fields, key }) => {
                fields.extend(key.take().map(|(name, span)| Field { name, span, node }));
            }
        }
        Ok(())
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open { content: Content::Map { key: None, .. }, .. }))
    }
}

/// What a scalar without quotes is: the core schema of YAML 1.2 (chapter 10.3.2), in which `no` is a text.
pub(super) fn plain(text: Cow<'_, str>) -> Value<'_> {
    match text.as_ref() {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        number => match integer(number) {
            Some(Ok(integer)) => Value::Integer(integer),
            Some(Err(_)) => Value::Other("a number beyond all bounds"),
            None if is_float(number) => Value::Other("a number that is not whole"),
            None => Value::Text(text),
        },
    }
}

fn integer(text: &str) -> Option<Result<i64, std::num::ParseIntError>> {
    if let Some(digits) = text.strip_prefix("0o") {
        return is_all(digits, |byte| (b'0'..=b'7').contains(byte)).then(|| i64::from_str_radix(digits, 8));
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return is_all(digits, u8::is_ascii_hexdigit).then(|| i64::from_str_radix(digits, 16));
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    is_all(digits, u8::is_ascii_digit).then(|| text.parse())
}

fn is_float(text: &str) -> bool {
    let magnitude = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(magnitude, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    // Rust would take `inf` and `nan` too, which begin with a letter.
    magnitude.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && magnitude.parse::<f64>().is_ok()
}

fn is_all(digits: &str, allowed: impl Fn(&u8) -> bool) -> bool {
    !digits.is_empty() && digits.as_bytes().iter().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        fn show(node: &Node<'_>) -> String {
            match &node.value {
                Value::Null => "null".to_owned(),
                Value::Bool(value) => value.to_string(),
                Value::Integer(value) => value.to_string(),
                Value::Other(kind) => format!("<{kind}>"),
                Value::Text(text) => format!("{text:?}"),
                Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
                Value::Map(fields) => {
                    let fields = fields.iter().map(|field| format!("{}: {}", field.name, show(&field.node)));
                    format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
                }
            }
        }
        show(&parse(text).unwrap())
    }

    fn error(text: &str) -> (YamlError, Span) {
        parse(text).unwrap_err()
    }

    #[test]
    fn plain_scalars_have_the_types_of_yaml_1_2_and_quoted_ones_are_texts() {
        let text =
            "[no, 0o17, 0x1f, -1, 08, ~, True, 1.5, .inf, inf, 10.0.0.0/8, 2001:db8::/32, '443', \"true\"]";
        let expected = "[\"no\", 15, 31, -1, 8, null, true, <a number that is not whole>, \
            <a number that is not whole>, \"inf\", \"10.0.0.0/8\", \"2001:db8::/32\", \"443\", \"true\"]";
        assert_eq!(shown(text), expected);
        assert_eq!(shown("99999999999999999999"), "<a number beyond all bounds>");
    }

    #[test]
    fn json_is_read_with_its_tabs_and_escapes() {
        let json = "{\n\t\"a\": [1, \"\\u00fc \\/ 😀 \\\"\"],\n\t\"b\" : {\"c\":null},\"d\":[]\n}\n";
        assert_eq!(shown(json), "{a: [1, \"ü / 😀 \\\"\"], b: {c: null}, d: []}");
    }

    #[test]
    fn places_are_bytes() {
        let text = "ä: ö\nbü: [x, 'ß']\n";
        let Value::Map(fields) = parse(text).unwrap().value else { panic!("no map") };
        assert_eq!(&text[fields[1].span.clone()], "bü");
        let Value::List(items) = &fields[1].node.value else { panic!("no list") };
        assert_eq!(&text[items[1].span.clone()], "'ß'");
        let long = format!("{}: [x]", "ü".repeat(100));
        let Value::Map(fields) = parse(&long).unwrap().value else { panic!("no map") };
        assert_eq!(&long[fields[0].node.span.clone()], "[x]");
    }

    #[test]
    fn aliases_repeat_a_value_but_not_without_end() {
        assert_eq!(shown("{a: &x [1, 2], b: *x}"), "{a: [1, 2], b: [1, 2]}");
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
        }
        assert!(matches!(error(&bomb).0, YamlError::TooManyCopies));
        assert!(matches!(error("a: &x [*x]").0, YamlError::Alias));
    }

    #[test]
    fn nesting_has_an_end_in_both_styles_and_through_aliases() {
        assert!(matches!(error(&format!("{}{}", "[".repeat(17), "]".repeat(17))).0, YamlError::TooDeep));
        error(&"[".repeat(100_000));
        let block: String = (0..100).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        assert!(matches!(error(&block).0, YamlError::TooDeep));
        let twelve = format!("{}{}", "[".repeat(12), "]".repeat(12));
        let deeper = format!("- &x {twelve}\n- {}*x{}", "[".repeat(8), "]".repeat(8));
        assert!(matches!(error(&deeper).0, YamlError::TooDeep));
    }

    #[test]
    fn what_a_policy_has_no_use_for_is_refused() {
        assert!(matches!(error("a: !!str 1").0, YamlError::Tag));
        assert!(matches!(error("? [a]\n: b").0, YamlError::Key));
        assert!(matches!(error("a: 1\n---\nb: 1").0, YamlError::SecondDocument));
        let (error, span) = error("a: 1\nb: [1, 2\nc: 3\n");
        assert!(matches!(error, YamlError::Syntax(_)), "{error}");
        assert!(span.start > 5);
    }
}
