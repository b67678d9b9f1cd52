//! What is measured, and how often: samples, their median and their spread.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::contender::Contender;

/// What a number counts, and which way is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Nanoseconds for each frame.
    NanosecondsPerFrame,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Gigabits a second.
    GigabitsPerSecond,
    /// Requests or connections a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Instructions that the verifier walked through.
    Instructions,
}

impl Unit {
    /// Whether a greater number is a better one.
    #[must_use]
    pub const fn is_better_when_more(self) -> bool {
        matches!(self, Self::GigabitsPerSecond | Self::PerSecond)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::NanosecondsPerFrame => "ns/frame",
            Self::Milliseconds => "ms",
            Self::Microseconds => "µs",
            Self::GigabitsPerSecond => "Gbit/s",
            Self::PerSecond => "1/s",
            Self::Bytes => "B",
            Self::Instructions => "insns",
        })
    }
}

/// The samples of one contender in one scenario.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Samples {
    values: Vec<f64>,
}

impl Samples {
    pub(super) fn push(&mut self, value: f64) {
        self.values.push(value);
        self.values.sort_by(f64::total_cmp);
    }

    /// The middle one; of an even number the mean of the two in the middle. `None` if there are none.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        let middle = self.values.len() / 2;
        let upper = *self.values.get(middle)?;
        if self.values.len() % 2 == 1 {
            return Some(upper);
        }
        Some(f64::midpoint(self.values[middle - 1], upper))
    }

    /// The least and the greatest.
    #[must_use]
    pub fn range(&self) -> Option<(f64, f64)> {
        Some((*self.values.first()?, *self.values.last()?))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut samples = Self::default();
        values.into_iter().for_each(|value| samples.push(value));
        samples
    }
}

/// One scenario: a line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// The scenario, by a name that stays: `ipv4/denied/prefixes=1000/ranges=10`.
    pub scenario: String,
    /// Of all its numbers.
    pub unit: Unit,
    /// By contender.
    pub samples: BTreeMap<Contender, Samples>,
    /// Why the row counts for nothing, if it does.
    pub void: Option<String>,
}

impl Row {
    pub(super) fn new(scenario: impl Into<String>, unit: Unit) -> Self {
        Self { scenario: scenario.into(), unit, samples: BTreeMap::new(), void: None }
    }

    pub(super) fn push(&mut self, contender: Contender, value: f64) {
        self.samples.entry(contender).or_default().push(value);
    }

    /// The median of a contender, unless the row is void.
    #[must_use]
    pub fn median(&self, contender: Contender) -> Option<f64> {
        if self.void.is_some() {
            return None;
        }
        self.samples.get(&contender)?.median()
    }

    /// The best sample of a contender, unless the row is void.
    #[must_use]
    pub fn least(&self, contender: Contender) -> Option<f64> {
        if self.void.is_some() {
            return None;
        }
        let (least, greatest) = self.samples.get(&contender)?.range()?;
        Some(if self.unit.is_better_when_more() { greatest } else { least })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(Samples::default().median(), None);
        assert_eq!(Samples::from_iter([3.0, 1.0, 100.0]).median(), Some(3.0));
        assert_eq!(Samples::from_iter([4.0, 1.0, 2.0, 100.0]).median(), Some(3.0));
        assert_eq!(Samples::from_iter([4.0, 1.0, 2.0]).range(), Some((1.0, 4.0)));
    }

    #[test]
    fn a_void_row_has_no_median() {
        let mut row = Row::new("x", Unit::Bytes);
        row.push(Contender::None, 1.0);
        assert_eq!(row.median(Contender::None), Some(1.0));
        row.void = Some("frames were lost".to_owned());
        assert_eq!(row.median(Contender::None), None);
    }
}
