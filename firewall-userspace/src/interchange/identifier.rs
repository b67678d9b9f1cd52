//! Names of other languages for groups, lists and interfaces, whose own names may have spaces and signs.

use std::collections::HashSet;

/// Gives names, no two the same.
#[derive(Debug, Default)]
pub(super) struct Identifiers(HashSet<String>);

impl Identifiers {
    /// A name of letters, digits and `_` that begins with a letter, like `name` and not given yet.
    pub(super) fn give(&mut self, name: &str) -> String {
        let wanted = sanitised(name);
        let mut given = wanted.clone();
        let mut count = 1;
        while !self.0.insert(given.clone()) {
            count += 1;
            given = format!("{wanted}_{count}");
        }
        given
    }
}

fn sanitised(name: &str) -> String {
    let valid = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let text: String = name.chars().map(valid).collect();
    if text.starts_with(|first: char| first.is_ascii_alphabetic()) { text } else { format!("x{text}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_identifiers_and_unique() {
        let mut identifiers = Identifiers::default();
        let given: Vec<String> = ["web tier", "web-tier", "web_tier_2", "web:tier", "10.0", "büro", ""]
            .map(|name| identifiers.give(name))
            .into();
        assert_eq!(given, ["web_tier", "web_tier_2", "web_tier_2_2", "web_tier_3", "x10_0", "b_ro", "x"]);
    }
}
