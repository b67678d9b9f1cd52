//! Cutting flows: the operator ends them, now or after a while, because no rule admits them any more.
//!
//! A flow that is cut keeps its place for a time of its own, unless another flow needs it. Without its entry the next packet of
//! its responder would begin the flow anew wherever the other direction is open, and with it the initiator would be back.

use std::time::Duration;

use firewall_common::flow_table::control::{DRAINING, PROTECTED, state};
use firewall_common::flow_table::life::{Lifetimes, cut_off, drain};
use firewall_common::flow_table::sweep::{Listed, alter};
use firewall_common::flow_table::{Control, Geometry};

use super::flows::{FlowRow, Reader, zone_of};
use super::lifetimes::lifetimes;
use super::{Datapath, DatapathError};
use crate::model::FlowTimeouts;

/// Which flows are to be cut.
pub struct Over<R, S> {
    /// Of those whose addresses are known.
    pub rows: R,
    /// Of the others, by the rule set that has admitted them.
    pub rule_sets: S,
}

impl Datapath {
    /// Cuts, after `delay`, the live flows that are `over`. Returns how many there are of them. One that is to be cut earlier
    /// already stays so.
    ///
    /// To be called when the policy by which flows are over is in force, and no program works by the one before: what programs
    /// admit from then on is not over.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn cut_flows(
        &mut self,
        delay: Duration,
        over: &Over<impl Fn(&FlowRow) -> bool, impl Fn(u32) -> bool>,
    ) -> Result<u64, DatapathError> {
        let (table, reader) = (self.flow_table()?, self.reader()?);
        let seconds = u32::try_from(delay.as_secs()).unwrap_or(u32::MAX);
        let end = (seconds != 0).then(|| reader.now.saturating_add(reader.units.of_seconds(seconds)));
        let cutter = Cutter {
            others: lifetimes(&FlowTimeouts::default(), reader.units),
            geometry: table.parameters().geometry,
            reader,
            end,
        };
        let mut cut = 0;
        for (bucket, slot) in table.slots() {
            let done = alter(&table, bucket, slot, cutter.reader.now, |listed| {
                cutter.next(listed, bucket).filter(|_| cutter.is_over(listed, over))
            });
            cut += u64::from(done);
        }
        Ok(cut)
    }
}

struct Cutter {
    reader: Reader,
    /// Lifetimes of flows whose zone nobody knows.
    others: Lifetimes,
    geometry: Geometry,
    /// When flows end that are given time.
    end: Option<u32>,
}

impl Cutter {
    fn is_over(&self, listed: &Listed, over: &Over<impl Fn(&FlowRow) -> bool, impl Fn(u32) -> bool>) -> bool {
        match listed.key {
            Some(key) => self.reader.row(listed, key).is_some_and(|row| (over.rows)(&row)),
            None => (over.rule_sets)(listed.detail.rule_set),
        }
    }

    /// The flow as it is when it is cut; `None` if it is already, or has ended.
    fn next(&self, listed: &Listed, bucket: u32) -> Option<Control> {
        let control = listed.control;
        if control.is_ended(self.reader.now) || control.state() == state::CUT {
            return None;
        }
        let next = match self.end {
            Some(end) if control.has(DRAINING) && control.end() <= end => return None,
            Some(end) => drain(control, end),
            None => cut_off(control, self.lifetimes(listed), self.reader.now),
        };
        // Nobody knows which filters before this bucket say that the flow may stand here, so they cannot be told that it
        // stays longer.
        let is_found = listed.key.is_some() || bucket < 1 << self.geometry.near_bits;
        Some(if is_found || control.has(PROTECTED) {
            next
        } else {
            next.ending(next.end().min(control.end()))
        })
    }

    fn lifetimes(&self, listed: &Listed) -> &Lifetimes {
        let settings = listed.key.and_then(|key| self.reader.zones.get(&zone_of(key)));
        settings.map_or(&self.others, |settings| &settings.lifetimes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use firewall_common::flow_table::control::USED;
    use firewall_common::flow_table::layout::Detail;

    use super::*;
    use crate::datapath::clock::Units;

    const NOW: u32 = 1000;

    fn next(end: Option<u32>, control: Control, key: Option<[u64; 5]>, bucket: u32) -> Option<Control> {
        let units = Units::at(250);
        let cutter = Cutter {
            reader: Reader { zones: BTreeMap::new(), units, now: NOW },
            others: lifetimes(&FlowTimeouts::default(), units),
            geometry: Geometry { near_bits: 2, far_bits: 3, outer_bits: 2 },
            end,
        };
        cutter.next(&Listed { control, detail: Detail::default(), key }, bucket)
    }

    const FLOW: Control = Control(USED | PROTECTED).in_state(state::ESTABLISHED).ending(NOW + 500);

    #[test]
    fn the_earlier_cut_counts_and_what_is_cut_stays_so() {
        let drained = next(Some(NOW + 50), FLOW, Some([0; 5]), 9).unwrap();
        assert!(drained.has(DRAINING) && drained.has(PROTECTED) && drained.end() == NOW + 50);
        assert_eq!(next(Some(NOW + 50), drained, Some([0; 5]), 9), None);
        assert_eq!(next(Some(NOW + 49), drained, Some([0; 5]), 9).unwrap().end(), NOW + 49);
        let cut = next(None, drained, Some([0; 5]), 9).unwrap();
        assert!(cut.state() == state::CUT && !cut.has(DRAINING | PROTECTED) && cut.end() > NOW);
        assert_eq!(next(None, cut, Some([0; 5]), 9), None);
        assert_eq!(next(None, FLOW.ending(NOW), Some([0; 5]), 9), None);
    }

    #[test]
    fn a_flow_without_key_lives_no_longer_where_the_filters_before_it_could_not_be_told() {
        let flow = Control(USED).in_state(state::UDP_ONE_WAY).ending(NOW + 5);
        assert_eq!(next(None, flow, None, 4).unwrap().end(), NOW + 5);
        assert!(next(None, flow, None, 3).unwrap().end() > NOW + 5);
        assert!(next(None, flow, Some([0; 5]), 4).unwrap().end() > NOW + 5);
    }
}
