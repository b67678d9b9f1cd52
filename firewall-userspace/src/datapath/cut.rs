//! Cutting flows: the operator ends them, now or after a while, because no rule admits them any more.
//!
//! A flow that is cut keeps its entry, marked with the time of the cut. Without one, the next packet of its responder
//! would begin the flow anew wherever the other direction is open, and with it the initiator would be back.

use std::net::IpAddr;
use std::time::Duration;

use bytemuck::Pod;
use firewall_common::abi::{Address, FlowEntry, FlowKey, Ipv4, Ipv6};

use super::clock::{jiffies_per_second, to_jiffies};
use super::flows::{FlowRow, Reader, V4_TABLES, V6_TABLES, v4, v6};
use super::{Datapath, DatapathError};

impl Datapath {
    /// Cuts, after `delay`, the live flows that `is_over` names. Returns how many there are of them. One that is to be
    /// cut earlier already stays so.
    ///
    /// To be called when the policy by which `is_over` judges is in force: what programs admit from then on is not over.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written; the flows before that are cut.
    pub fn cut_flows(
        &mut self,
        delay: Duration,
        is_over: impl Fn(&FlowRow) -> bool,
    ) -> Result<u64, DatapathError> {
        let cut = self.mark(delay, &is_over)?;
        // A program that was at work on an entry while it was marked may have moved an unmarked copy of it to the other
        // table. When it has ended there is nothing left that does not know of the marks.
        self.wait_for_readers()?;
        let moved = self.mark(delay, &is_over)?;
        self.forget_recent_flows()?;
        Ok(cut + moved)
    }

    fn mark(&self, delay: Duration, is_over: &impl Fn(&FlowRow) -> bool) -> Result<u64, DatapathError> {
        let reader = self.reader()?;
        let per_second = jiffies_per_second()?;
        let cut_at = match u32::try_from(delay.as_secs()).unwrap_or(u32::MAX) {
            // User space's clock may be a few ticks ahead of the programs', who must not wait for them.
            0 => reader.now.wrapping_sub(per_second),
            seconds => reader.now.wrapping_add(to_jiffies(seconds, per_second)),
        };
        // 0 is for flows that are not cut.
        let cut_at = cut_at.max(1);
        let mut marked = 0;
        for (table, assured) in V4_TABLES {
            marked += self.mark_in::<Ipv4>(table, assured, &reader, v4, cut_at, is_over)?;
        }
        for (table, assured) in V6_TABLES {
            marked += self.mark_in::<Ipv6>(table, assured, &reader, v6, cut_at, is_over)?;
        }
        Ok(marked)
    }

    fn mark_in<A: Address>(
        &self,
        table: &'static str,
        assured: bool,
        reader: &Reader,
        address: fn(A) -> IpAddr,
        cut_at: u32,
        is_over: &impl Fn(&FlowRow) -> bool,
    ) -> Result<u64, DatapathError>
    where
        FlowKey<A>: Pod,
    {
        let flows = self.flow_table::<A>(table)?;
        let mut marked = 0;
        flows.each_batch(|keys, entries| {
            for (key, entry) in keys.iter().zip(entries) {
                let Some(row) = reader.row(key, entry, assured, address) else { continue };
                if is_cut_before(entry, cut_at) || !is_over(&row) {
                    continue;
                }
                // Read once more: packets may have changed it since. One that does so between this and the next line
                // loses its change, which the flow's next packet makes again.
                if let Some(entry) = flows.get(key)? {
                    flows.overwrite(key, &FlowEntry { cut_at, ..entry })?;
                    marked += 1;
                }
            }
            Ok(())
        })?;
        Ok(marked)
    }
}

const fn is_cut_before(entry: &FlowEntry, cut_at: u32) -> bool {
    entry.cut_at != 0 && cut_at.wrapping_sub(entry.cut_at).cast_signed() >= 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_cut_counts_also_over_the_wrap_of_the_clock() {
        let entry = |cut_at| FlowEntry { cut_at, ..FlowEntry::default() };
        assert!(!is_cut_before(&entry(0), 5));
        assert!(is_cut_before(&entry(5), 5));
        assert!(is_cut_before(&entry(u32::MAX - 1), 5));
        assert!(!is_cut_before(&entry(6), 5));
    }
}
