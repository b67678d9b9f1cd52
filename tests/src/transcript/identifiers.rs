//! Identifiers are random: a transcript numbers them, so that it is the same in each run and still says which is which.

use std::collections::{BTreeMap, BTreeSet};

use regex::{Captures, Regex};

/// The identifiers of one transcript.
pub(super) struct Identifiers {
    pattern: Regex,
    /// Those that files of the sandbox name: they are the same in each run.
    fixed: BTreeSet<String>,
    numbers: BTreeMap<String, String>,
    /// How many of each kind there are.
    counts: BTreeMap<String, usize>,
}

impl Identifiers {
    pub(super) fn new(fixed: BTreeSet<String>) -> Self {
        Self { pattern: pattern(), fixed, numbers: BTreeMap::new(), counts: BTreeMap::new() }
    }

    /// A line of a transcript with the identifiers of this run. One that is no number is meant as it is written.
    pub(super) fn real(&mut self, line: &str) -> String {
        let Self { pattern, fixed, numbers, .. } = self;
        let real = |number: &Captures<'_>| {
            let found = numbers.iter().find(|(_, known)| **known == number[0]);
            found.map_or_else(
                || {
                    fixed.insert(number[0].to_owned());
                    number[0].to_owned()
                },
                |(id, _)| id.clone(),
            )
        };
        pattern.replace_all(line, real).into_owned()
    }

    /// What was printed, with numbers for the identifiers of this run.
    pub(super) fn numbered(&mut self, text: &str) -> String {
        let Self { pattern, fixed, numbers, counts } = self;
        let number = |id: &Captures<'_>| {
            if fixed.contains(&id[0]) {
                return id[0].to_owned();
            }
            let next = || {
                let count = counts.entry(id[1].to_owned()).or_default();
                *count += 1;
                format!("{}-{count:017}", &id[1])
            };
            numbers.entry(id[0].to_owned()).or_insert_with(next).clone()
        };
        pattern.replace_all(text, number).into_owned()
    }
}

/// The identifiers in a text.
pub(super) fn find(text: &str) -> BTreeSet<String> {
    pattern().find_iter(text).map(|id| id.as_str().to_owned()).collect()
}

fn pattern() -> Regex {
    let pattern = r"\b(sg|sgr|pl|eni|exa)-[0-9a-f]{17}\b";
    Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_one_number_and_is_found_by_it() {
        let mut identifiers = Identifiers::new(find("id: sg-0123456789abcdef0"));
        let printed = "sg-aaaaaaaaaaaaaaaaa sgr-bbbbbbbbbbbbbbbbb sg-0123456789abcdef0 sg-ccccccccccccccccc";
        let numbered = "sg-00000000000000001 sgr-00000000000000001 sg-0123456789abcdef0 sg-00000000000000002";
        assert_eq!(identifiers.numbered(printed), numbered);
        assert_eq!(identifiers.numbered("sg-ccccccccccccccccc"), "sg-00000000000000002");
        assert_eq!(
            identifiers.real("sgfw group show sg-00000000000000002"),
            "sgfw group show sg-ccccccccccccccccc"
        );
        assert_eq!(
            identifiers.real("sgfw group show sg-fffffffffffffffff"),
            "sgfw group show sg-fffffffffffffffff"
        );
    }
}
