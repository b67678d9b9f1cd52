//! How full the flow table is, and what became of flows that found it full.

use std::time::{Duration, SystemTime};

use aya::maps::{MapData, PerCpuArray};
use firewall_common::abi::{flow_event, map};
use firewall_common::flow_table::Class;
use firewall_common::flow_table::control::state;

use super::clock::{Units, jiffies, jiffies_per_second};
use super::{Datapath, DatapathError};

/// The flow table in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// The classes of flows, in the order in which a new flow takes their places.
    pub classes: Vec<ClassRow>,
    /// Live flows of any kind for which there are places at the least.
    pub capacity: u64,
    /// All places.
    pub slots: u64,
    /// Packets dropped because all places of their flows held ones that nothing evicts, since the table was made.
    pub refused: u64,
    /// When the first of them was.
    pub first_refused_at: Option<SystemTime>,
}

/// A class of flows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassRow {
    /// Its name.
    pub name: &'static str,
    /// Live flows.
    pub flows: u64,
    /// Live flows whose places new ones have taken, since the table was made.
    pub evicted: u64,
}

impl Occupancy {
    /// Live flows.
    #[must_use]
    pub fn flows(&self) -> u64 {
        self.classes.iter().map(|class| class.flows).sum()
    }

    /// Flows that make room for no other, those in doubt aside.
    #[must_use]
    pub fn protected(&self) -> u64 {
        let is_kept = |class: &&ClassRow| class.name == Class::PROTECTED.name();
        self.classes.iter().filter(is_kept).map(|class| class.flows).sum()
    }

    /// How much of the capacity they take; more than 100 where chance has been kind.
    #[must_use]
    pub fn percent(&self) -> u64 {
        self.protected() * 100 / self.capacity.max(1)
    }

    fn new(numbers: &Numbers, capacity: u32, slots: u32, first_refused_at: Option<SystemTime>) -> Self {
        let mut classes: Vec<ClassRow> = Vec::new();
        for class in (Class::EMPTY.0 + 1)..=Class::PROTECTED.0 {
            let name = Class(class).name();
            if classes.last().is_none_or(|last| last.name != name) {
                classes.push(ClassRow { name, ..ClassRow::default() });
            }
            if let Some(row) = classes.last_mut() {
                row.flows += numbers.flows.get(class as usize).copied().unwrap_or(0);
                row.evicted += numbers.events.get(event(class)).copied().unwrap_or(0);
            }
        }
        let refused = numbers.events.get(flow_event::REFUSED as usize).copied().unwrap_or(0);
        Self { classes, capacity: capacity.into(), slots: slots.into(), refused, first_refused_at }
    }
}

const fn event(class: u32) -> usize {
    (flow_event::BEGUN_IN_PLACE_OF + class) as usize
}

/// By number of the class, and of the event.
struct Numbers {
    flows: [u64; Class::PROTECTED.0 as usize + 1],
    events: [u64; flow_event::COUNT as usize],
}

impl Datapath {
    /// How full the flow table is.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read.
    pub fn occupancy(&self) -> Result<Occupancy, DatapathError> {
        let (table, now) = (self.flow_table()?, Units::of_kernel()?.now()?);
        let geometry = table.parameters().geometry;
        let (events, first_refused) = self.flow_events()?;
        let mut numbers = Numbers { flows: [0; _], events };
        for (bucket, slot) in table.slots() {
            let control = table.control(bucket, slot);
            let class = control.class(now);
            // What was cut keeps packets out, and is no flow any more.
            if control.is_published()
                && control.state() != state::CUT
                && let Some(flows) = numbers.flows.get_mut(class.0 as usize)
            {
                *flows += 1;
            }
        }
        let first_refused_at = first_refused.map(time_of).transpose()?;
        Ok(Occupancy::new(&numbers, geometry.guaranteed(), geometry.slots(), first_refused_at))
    }

    /// The sums over all CPUs, and when the first packet was refused, in jiffies.
    fn flow_events(&self) -> Result<([u64; flow_event::COUNT as usize], Option<u64>), DatapathError> {
        let events: PerCpuArray<MapData, u64> = self.map(map::FLOW_EVENTS)?;
        let of_cpus = |index| events.get(&index, 0).map_err(DatapathError::in_map(map::FLOW_EVENTS));
        let mut sums = [0; flow_event::COUNT as usize];
        for (index, sum) in (0..).zip(&mut sums) {
            *sum = of_cpus(index)?.iter().sum();
        }
        let first = of_cpus(flow_event::FIRST_REFUSED_AT)?.iter().copied().filter(|time| *time != 0).min();
        Ok((sums, first))
    }
}

/// The time of day at which the kernel's clock showed so many jiffies.
fn time_of(then: u64) -> Result<SystemTime, DatapathError> {
    let since = jiffies()?.saturating_sub(then).saturating_mul(1000) / u64::from(jiffies_per_second()?);
    Ok(SystemTime::now() - Duration::from_millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_of_both_sides_are_one_class_to_people_and_empty_places_are_none() {
        let mut numbers = Numbers { flows: [0; _], events: [0; _] };
        for (class, flows) in (0..).zip(&mut numbers.flows) {
            *flows = 10 + class;
        }
        numbers.events[..12].copy_from_slice(&[99, 1, 2, 3, 0, 0, 3, 4, 8, 0, 9, 0]);
        numbers.events[flow_event::REFUSED as usize] = 5;
        let occupancy = Occupancy::new(&numbers, 100, 150, None);
        let rows: Vec<_> = occupancy.classes.iter().map(|row| (row.name, row.flows, row.evicted)).collect();
        assert_eq!(
            rows,
            [
                ("closing", 11, 1),
                ("half-open", 25, 5),
                ("one-way", 29, 0),
                ("replied", 33, 7),
                ("stream", 37, 8),
                ("doubted", 20, 9),
                ("protected", 21, 0)
            ]
        );
        assert_eq!((occupancy.flows(), occupancy.percent(), occupancy.refused), (176, 21, 5));
    }
}
