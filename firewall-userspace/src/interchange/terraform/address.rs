//! Addresses of resources, such as `module.app["a.b"].aws_security_group.web[0]`, and references, which begin like one.

use std::fmt;

/// An address or a reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(Vec<Step>);

/// What stands between two dots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) name: String,
    /// What stands in the brackets.
    pub(super) index: Option<String>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Self {
        Self(split_steps(text).into_iter().map(Step::parse).collect())
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }

    /// The module that it is in, as a sequence of `module` and name.
    pub(super) fn module(&self) -> &[Step] {
        let calls = self.0.chunks_exact(2).take_while(|pair| pair[0].name == "module").count();
        &self.0[..2 * calls]
    }

    /// Within its module and without index, as the configuration has it.
    pub(super) fn in_configuration(&self) -> String {
        let names: Vec<&str> = self.0[self.module().len()..].iter().map(|step| step.name.as_str()).collect();
        names.join(".")
    }

    /// What a module has at `steps`.
    pub(super) fn within(module: &[Step], steps: &[Step]) -> Self {
        Self([module, steps].concat())
    }

    /// The index of the resource itself.
    pub(super) fn index(&self) -> Option<&str> {
        self.0.last()?.index.as_deref()
    }

    /// The name of the resource itself.
    pub(super) fn name(&self) -> &str {
        self.0.last().map_or("", |step| &step.name)
    }

    /// Whether this one, which may leave indices out, means `other`.
    pub(super) fn means(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|(mine, its)| mine.name == its.name && (mine.index.is_none() || mine.index == its.index))
    }
}

impl Step {
    fn parse(text: &str) -> Self {
        let (name, index) = match text.split_once('[') {
            Some((name, rest)) => (name, Some(rest.trim_end_matches(']').to_owned())),
            None => (text, None),
        };
        Self { name: name.to_owned(), index }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            let dot = if position == 0 { "" } else { "." };
            write!(f, "{dot}{}", step.name)?;
            if let Some(index) = &step.index {
                write!(f, "[{index}]")?;
            }
        }
        Ok(())
    }
}

/// At the dots outside of brackets: a key of `for_each` may have dots and brackets of its own.
fn split_steps(text: &str) -> Vec<&str> {
    let (mut steps, mut start, mut in_quotes, mut is_escaped, mut depth) =
        (Vec::new(), 0, false, false, 0_u32);
    for (position, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if in_quotes => is_escaped = true,
            '"' => in_quotes = !in_quotes,
            _ if in_quotes => {}
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '.' if depth == 0 => {
                steps.push(&text[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    steps.push(&text[start..]);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_terraform_writes_it() {
        let text = r#"module.app["a.b]"].module.inner.aws_security_group.web[0]"#;
        let address = Address::parse(text);
        assert_eq!(address.to_string(), text);
        assert_eq!(address.module().len(), 4);
        assert_eq!(address.module()[1].index.as_deref(), Some(r#""a.b]""#));
        assert_eq!(address.in_configuration(), "aws_security_group.web");
        assert_eq!((address.name(), address.index()), ("web", Some("0")));
    }

    #[test]
    fn an_address_without_index_means_every_instance() {
        let means = |one: &str, other: &str| Address::parse(one).means(&Address::parse(other));
        assert!(means("aws_security_group.db", "aws_security_group.db[1]"));
        assert!(means("aws_security_group.db[1]", "aws_security_group.db[1]"));
        assert!(!means("aws_security_group.db[0]", "aws_security_group.db[1]"));
        assert!(!means("aws_security_group.db", "module.x.aws_security_group.db"));
        assert!(means("module.x.aws_security_group.db", r#"module.x["k"].aws_security_group.db"#));
    }
}
