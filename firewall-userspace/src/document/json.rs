//! JSON to a tree, several times as fast as by way of YAML: a policy may have a million entries.
//!
//! Whatever is unusual, right or wrong, is left to the reader of YAML, which knows what to say about it: escapes in
//! texts, comments, nesting that is too deep, mistakes. So this reads a part of what that one reads, to the same tree.

use std::borrow::Cow;

use super::tree::{Field, MAX_DEPTH, Node, Span, Value};
use super::yaml::plain;

/// The tree of a text; `None` if it is for the reader of YAML.
pub(super) fn parse(text: &str) -> Option<Node<'_>> {
    let mut reader = Reader { text, at: 0 };
    let root = reader.value(0)?;
    reader.peek().is_none().then_some(root)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Reader<'t> {
    /// A value that `depth` lists and maps are around.
    fn value(&mut self, depth: usize) -> Option<Node<'t>> {
        let first = self.peek()?;
        let start = self.at;
        let value = match first {
            b'{' | b'[' if depth == MAX_DEPTH => return None,
            b'{' => {
                let field = |reader: &mut Self| reader.field(depth + 1);
                Value::Map(self.separated(b'}', field)?)
            }
            b'[' => {
                let item = |reader: &mut Self| reader.value(depth + 1);
                Value::List(self.separated(b']', item)?)
            }
            b'"' => Value::Text(self.quoted()?),
            _ => self.word()?,
        };
        Some(Node { span: start..self.at, value })
    }

    fn field(&mut self, depth: usize) -> Option<Field<'t>> {
        self.peek()?;
        let start = self.at;
        let name = self.quoted()?;
        let span: Span = start..self.at;
        self.take(b':')?;
        Some(Field { name, span, node: self.value(depth)? })
    }

    /// What stands between two brackets, with commas between one and the next.
    fn separated<T>(&mut self, end: u8, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.at += 1;
        if self.take(end).is_some() {
            return Some(Vec::new());
        }
        // Most maps of a large document are entries of one field.
        let mut all = Vec::with_capacity(1);
        loop {
            all.push(read(self)?);
            if self.take(end).is_some() {
                return Some(all);
            }
            self.take(b',')?;
        }
    }

    /// A text on one line in which every character stands for itself.
    fn quoted(&mut self) -> Option<Cow<'t, str>> {
        let rest = self.text[self.at..].strip_prefix('"')?;
        let special = |byte: u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let end = rest.bytes().position(special).filter(|end| rest.as_bytes()[*end] == b'"')?;
        self.at += end + 2;
        Some(Cow::Borrowed(&rest[..end]))
    }

    /// A number or a word that stands for a value.
    fn word(&mut self) -> Option<Value<'t>> {
        let rest = &self.text[self.at..];
        let end = rest.bytes().position(|byte| b",]} \t\r\n".contains(&byte)).unwrap_or(rest.len());
        self.at += end;
        let word = &rest[..end];
        let is_number = word.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        match plain(Cow::Borrowed(word)) {
            value @ Value::Integer(_) if is_number => Some(value),
            value if matches!(word, "true" | "false" | "null") => Some(value),
            _ => None,
        }
    }

    /// Goes to the next byte that is no space, and returns it.
    fn peek(&mut self) -> Option<u8> {
        let rest = &self.text.as_bytes()[self.at..];
        let spaces = rest.iter().position(|byte| !b" \t\r\n".contains(byte)).unwrap_or(rest.len());
        self.at += spaces;
        rest.get(spaces).copied()
    }

    /// Goes beyond the next byte that is no space, if it is this one.
    fn take(&mut self, expected: u8) -> Option<()> {
        (self.peek()? == expected).then(|| self.at += 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::yaml;

    /// In YAML, the space behind a bracket or a quote may be a part of what it closes.
    fn shown(text: &str, node: &Node<'_>) -> String {
        fn trim_span(text: &str, span: &mut Span) {
            span.end = span.start + text[span.clone()].trim_end().len();
        }
        fn trim(text: &str, node: &mut Node<'_>) {
            trim_span(text, &mut node.span);
            match &mut node.value {
                Value::List(items) => items.iter_mut().for_each(|item| trim(text, item)),
                Value::Map(fields) => fields.iter_mut().for_each(|field| {
                    trim_span(text, &mut field.span);
                    trim(text, &mut field.node);
                }),
                _ => {}
            }
        }
        let mut node = node.clone();
        trim(text, &mut node);
        format!("{node:?}")
    }

    #[test]
    fn the_tree_and_its_places_are_those_of_yaml() {
        for text in [
            "{}",
            " [ ]\n",
            "{\"version\":1,\"groups\":[{\"name\":\"web\"},{}],\"x\":[[],[1,-2]]}",
            "{\n\t\"ä\": [\"ü: #, x\", true, false, null, 99],\r\n  \"b\" : { \"\" : \"\" }\n}\n",
            "[\"no\", \"443\", \"  two  spaces \", \"10.0.0.0/8\", 10, 0, 08]",
            "{\"a\": 1, \"a\": 2}",
        ] {
            let (json, yaml) = (parse(text).unwrap(), yaml::parse(text).unwrap());
            assert_eq!(shown(text, &json), shown(text, &yaml), "{text}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_yaml() {
        for text in [
            "",
            "a: 1",
            "{\"a\": \"\\u00fc\"}",
            "{\"a\": \"two\nlines\"}",
            "{\"a\": 1,}",
            "{\"a\": 1} # why",
            "{a: 1}",
            "[one]",
            "[1 2]",
            "[~, .5, 1.5, True]",
            "{\"a\"}",
            "[\"a\" \"b\"]",
            "{\"a\": 1}\n---\n{}",
            "{\"a\": [1, 2}",
            "[\"open",
            "99999999999999999999",
            &format!("{}{}", "[".repeat(17), "]".repeat(17)),
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(16), "]".repeat(16));
        assert!(parse(&deep).is_some(), "as deep as may be");
    }
}
