//! What an import or an export leaves out, on stderr.

use std::collections::BTreeMap;

use super::output::Output;
use crate::interchange::Omission;

/// A line for each thing; what says nothing about traffic last, in a line for each cause.
pub(super) fn show(omissions: &[Omission], output: &Output) {
    let (notes, losses): (Vec<_>, Vec<_>) = omissions.iter().partition(|omission| omission.is_note());
    losses.iter().for_each(|omission| output.note(format_args!("not carried over: {omission}")));
    let mut by_cause: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for Omission { place, cause } in notes {
        by_cause.entry(cause.to_string()).or_default().push(place);
    }
    for (cause, places) in by_cause {
        output.note(format_args!("not carried over ({cause}): {}", places.join(", ")));
    }
}
