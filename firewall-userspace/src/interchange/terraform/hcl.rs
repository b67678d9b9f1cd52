//! Writes HCL as `terraform fmt` would.

use std::fmt::Display;

/// A block.
pub(super) struct Block {
    header: String,
    attributes: Vec<(&'static str, String)>,
    maps: Vec<(&'static str, Vec<(String, String)>)>,
    blocks: Vec<Self>,
}

impl Block {
    pub(super) fn new(header: &str) -> Self {
        Self { header: header.to_owned(), attributes: Vec::new(), maps: Vec::new(), blocks: Vec::new() }
    }

    pub(super) fn resource(kind: &str, name: &str) -> Self {
        Self::new(&format!("resource \"{kind}\" \"{name}\""))
    }

    pub(super) fn text(&mut self, attribute: &'static str, value: &str) {
        self.expression(attribute, quoted(value));
    }

    pub(super) fn optional_text(&mut self, attribute: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(attribute, value);
        }
    }

    pub(super) fn expression(&mut self, attribute: &'static str, value: impl Display) {
        self.attributes.push((attribute, value.to_string()));
    }

    /// Nothing if it is empty.
    pub(super) fn map(&mut self, attribute: &'static str, entries: Vec<(&str, &str)>) {
        if !entries.is_empty() {
            let entries = entries.into_iter().map(|(key, value)| (quoted(key), quoted(value)));
            self.maps.push((attribute, entries.collect()));
        }
    }

    pub(super) fn block(&mut self, block: Self) {
        self.blocks.push(block);
    }

    pub(super) fn write_to(&self, text: &mut String, depth: usize) {
        let indent = "  ".repeat(depth);
        *text += &format!("{indent}{} {{\n", self.header);
        write_aligned(text, depth + 1, &self.attributes);
        for (attribute, entries) in &self.maps {
            *text += &format!("\n{indent}  {attribute} = {{\n");
            write_aligned(text, depth + 2, entries);
            *text += &format!("{indent}  }}\n");
        }
        for block in &self.blocks {
            *text += "\n";
            block.write_to(text, depth + 1);
        }
        *text += &format!("{indent}}}\n");
    }
}

fn write_aligned<K: AsRef<str>>(text: &mut String, depth: usize, attributes: &[(K, String)]) {
    let length = |key: &K| key.as_ref().chars().count();
    let width = attributes.iter().map(|(key, _)| length(key)).max().unwrap_or(0);
    for (key, value) in attributes {
        let (indent, padding) = ("  ".repeat(depth), " ".repeat(width - length(key)));
        *text += &format!("{indent}{}{padding} = {value}\n", key.as_ref());
    }
}

/// A quoted template without templates in it.
fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', r"\\").replace('"', "\\\"").replace("${", "$${").replace("%{", "%%{");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_taken_for_a_template() {
        assert_eq!(quoted(r#"a "b" \ ${c} %{d}"#), r#""a \"b\" \\ $${c} %%{d}""#);
    }

    #[test]
    fn a_block_is_aligned() {
        let mut inner = Block::new("entry");
        inner.text("cidr", "10.0.0.0/8");
        let mut block = Block::resource("kind", "name");
        block.text("name", "x");
        block.expression("max_entries", 5);
        block.map("tags", vec![("Name", "x")]);
        block.map("none", vec![]);
        block.block(inner);
        let mut text = String::new();
        block.write_to(&mut text, 0);
        let expected = r#"resource "kind" "name" {
  name        = "x"
  max_entries = 5

  tags = {
    "Name" = "x"
  }

  entry {
    cidr = "10.0.0.0/8"
  }
}
"#;
        assert_eq!(text, expected);
    }
}
