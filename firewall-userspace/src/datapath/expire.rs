//! Sweeping expired flows out of the flow tables. The programs take an expired entry for none, so this is for memory
//! alone, and must never take a live flow.

use std::collections::BTreeMap;

use bytemuck::Pod;
use firewall_common::abi::{Address, FlowEntry, FlowKey, InterfaceSettings, Ipv4, Ipv6};
use firewall_common::flow::FlowState;

use super::batch::{HashTable, Inserted};
use super::clock::{idle, jiffies_now};
use super::flows::{V4_TABLES, V6_TABLES};
use super::{Datapath, DatapathError};

/// How long an entry must be over before it is swept: more than user space's clock can differ from the programs'.
const GRACE_SECONDS: u32 = 2;

/// What was swept out of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredFlows {
    /// Name of the table.
    pub table: &'static str,
    /// Entries removed.
    pub removed: u64,
}

impl Datapath {
    /// Removes expired entries from every flow table. Any number of processes may do it at a time, while packets flow.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn expire_flows(&self) -> Result<Vec<ExpiredFlows>, DatapathError> {
        let zones = self.zones()?;
        let mut expired = Vec::new();
        for (table, _) in V4_TABLES {
            expired.push(ExpiredFlows { table, removed: sweep(&self.flow_table::<Ipv4>(table)?, &zones)? });
        }
        for (table, _) in V6_TABLES {
            expired.push(ExpiredFlows { table, removed: sweep(&self.flow_table::<Ipv6>(table)?, &zones)? });
        }
        Ok(expired)
    }
}

type Flows<A> = HashTable<FlowKey<A>, FlowEntry>;
type Zones = BTreeMap<u16, InterfaceSettings>;

fn sweep<A: Address>(flows: &Flows<A>, zones: &Zones) -> Result<u64, DatapathError>
where
    FlowKey<A>: Pod,
{
    let mut removed = 0;
    let mut without_room = Vec::new();
    flows.each_batch(|keys, entries| {
        let now = jiffies_now()?;
        let over = keys.iter().zip(entries).filter(|(key, entry)| is_over(key, entry, zones, now));
        for (key, _) in over {
            match take_expired(flows, key, zones)? {
                Taken::Expired => removed += 1,
                Taken::NoRoom(entry) => without_room.push((*key, entry)),
                Taken::Nothing => {}
            }
        }
        Ok(())
    })?;
    for (key, entry) in without_room {
        // By now the sweep has made room. If it has not, the table is full of live flows, and this one has met that.
        let _ = flows.insert_new(&key, &entry)?;
    }
    Ok(removed)
}

enum Taken {
    Expired,
    Nothing,
    /// A live flow that a new one has taken the place of in the instant that it was out of the table.
    NoRoom(FlowEntry),
}

/// Removes an entry that was over when it was read. A new flow of the same key may have overwritten it since; that one
/// is put back, unless one yet newer is there. In between, a packet of it is judged like one in mid-stream.
fn take_expired<A: Address>(flows: &Flows<A>, key: &FlowKey<A>, zones: &Zones) -> Result<Taken, DatapathError>
where
    FlowKey<A>: Pod,
{
    let Some(entry) = flows.take(key)? else {
        return Ok(Taken::Nothing);
    };
    // The time is read again, and after the entry, so that the last packet of a live one is not ahead of it.
    if is_over(key, &entry, zones, jiffies_now()?) {
        return Ok(Taken::Expired);
    }
    Ok(match flows.insert_new(key, &entry)? {
        Inserted::New | Inserted::Existing => Taken::Nothing,
        Inserted::NoRoom => Taken::NoRoom(entry),
    })
}

/// Whether an entry has been no live flow for longer than the grace. What cannot be judged is left alone: a zone without
/// an interface may be about to get one.
fn is_over<A>(key: &FlowKey<A>, entry: &FlowEntry, zones: &Zones, now: u32) -> bool {
    let (Some(settings), Some(state)) = (zones.get(&key.zone), FlowState::from_number(entry.state)) else {
        return false;
    };
    let grace = GRACE_SECONDS.saturating_mul(settings.jiffies_per_second);
    let idle = idle(entry.last_seen, now, settings.jiffies_per_second);
    idle > state.timeout(&settings.timeouts).saturating_add(grace)
}

#[cfg(test)]
mod tests {
    use firewall_common::abi::Timeouts;

    use super::*;

    const ZONE: u16 = 7;

    fn is_over_after(idle: u32, timeout: u32, zone: u16) -> bool {
        let timeouts = Timeouts { udp: timeout, ..Timeouts::default() };
        let settings =
            InterfaceSettings { jiffies_per_second: 100, timeouts, ..InterfaceSettings::default() };
        // The clock has just wrapped.
        let now = 5_u32;
        let entry = FlowEntry {
            last_seen: now.wrapping_sub(idle),
            state: FlowState::UdpOneWay as u8,
            ..FlowEntry::default()
        };
        let key = FlowKey::<Ipv4> { zone, ..FlowKey::default() };
        is_over(&key, &entry, &Zones::from([(ZONE, settings)]), now)
    }

    #[test]
    fn an_entry_is_over_two_seconds_after_its_timeout() {
        assert!(!is_over_after(0, 3000, ZONE));
        assert!(!is_over_after(3200, 3000, ZONE));
        assert!(is_over_after(3201, 3000, ZONE));
    }

    #[test]
    fn a_packet_later_than_the_clock_that_was_read_is_no_old_one() {
        let ahead = 0_u32.wrapping_sub(30);
        assert!(!is_over_after(ahead, 3000, ZONE));
    }

    #[test]
    fn flows_of_a_zone_without_an_interface_are_left_alone() {
        assert!(!is_over_after(1_000_000, 3000, ZONE + 1));
    }
}
