//! Sets of numbers as runs: what follows each other is kept as its two ends.
//!
//! Rules are intervals of ports and prefixes of addresses, and classes are numbered in their order. So of the sets that a
//! rule is in, or the peers that may reach a service, long stretches follow each other: a few runs stand for thousands of
//! numbers, and are compared at their ends.

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Runs {
    /// First and last number of each, both included; ascending, with a gap in between.
    runs: Vec<(u32, u32)>,
    count: u32,
}

impl Runs {
    /// Adds a number that is above all others.
    pub(super) fn push(&mut self, number: u32) {
        self.count += 1;
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.runs.push((number, number)),
        }
    }

    /// How many numbers there are.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// How many runs they make: what a comparison takes.
    pub(super) const fn pieces(&self) -> usize {
        self.runs.len()
    }

    /// Whether all numbers of the other set are in this one.
    pub(super) fn contains_all(&self, other: &Self) -> bool {
        other.runs.iter().all(|(first, last)| {
            // The one that begins at the number or before it, if any.
            let after = self.runs.partition_point(|(start, _)| start <= first);
            after.checked_sub(1).is_some_and(|found| self.runs[found].1 >= *last)
        })
    }

    /// The numbers, ascending.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.runs.iter().flat_map(|(first, last)| *first..=*last)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::btree_set;
    use proptest::prelude::*;

    use super::*;

    fn runs(numbers: &BTreeSet<u32>) -> Runs {
        let mut runs = Runs::default();
        numbers.iter().for_each(|number| runs.push(*number));
        runs
    }

    proptest! {
        #[test]
        fn runs_are_the_set_that_they_were_made_of(
            one in btree_set(0..40_u32, 0..30),
            other in btree_set(0..40_u32, 0..6),
        ) {
            prop_assert_eq!(runs(&one).numbers().collect::<BTreeSet<_>>(), one.clone());
            prop_assert_eq!(runs(&one).count(), u32::try_from(one.len()).unwrap());
            prop_assert_eq!(runs(&one).contains_all(&runs(&other)), one.is_superset(&other));
            prop_assert!(runs(&one).contains_all(&runs(&one)));
        }
    }
}
