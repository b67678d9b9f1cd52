//! Another size for the flow table, while packets flow.
//!
//! A second set of maps is pinned beside the first: a new flow table, into which the flows are copied, and the other maps as they
//! are. One exchange of the two directories makes it the instance's; then each interface gets programs that work by it. What began
//! or moved on meanwhile is copied once more. Whoever is killed in between leaves the directory that is not needed any more: the
//! next reload takes from it what is missing, and removes it.

use std::fs;

use aya::maps::MapData;
use aya::programs::loaded_programs;
use firewall_common::abi::map;
use firewall_common::flow_table::control::{IDENTITY, KEYED, PROTECTED, state};
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::life::Beside;
use firewall_common::flow_table::sweep::Listed;
use firewall_common::flow_table::{Change, Control, Fresh, Geometry, Memory as _, Time, change, find, spot};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::clock::Units;
use super::flow_table::{Added, FlowTable, TABLE_MAPS, random_secrets};
use super::{Datapath, DatapathError, PINNED_MAPS, RESIZED};

/// An instance whose flow table gets another size.
#[derive(Debug)]
pub struct Resize<'a> {
    datapath: &'a Datapath,
    /// The pins beside: those of the new table at first, of the old one after the exchange.
    beside: Datapath,
    /// Control words of the old table, by slot, as they were copied.
    copied: Vec<u64>,
    lost: u64,
}

impl Datapath {
    /// Makes a flow table with room for `flow_entries`, and copies the flows into it. Nothing uses it yet. `None` if the table has
    /// that size.
    ///
    /// # Errors
    ///
    /// [`DatapathError::FlowsDoNotFit`] where a protected flow finds no place, and others where the kernel refuses the maps.
    /// Everything is as it was then.
    pub fn resize(&self, flow_entries: u32) -> Result<Option<Resize<'_>>, DatapathError> {
        let geometry = Geometry::for_entries(flow_entries);
        if self.table_parameters()?.geometry == geometry {
            return Ok(None);
        }
        let beside = self.beside();
        let made = self.make(&beside, geometry).and_then(|()| copied(self, &beside, flow_entries));
        match made {
            Ok((copied, lost)) => Ok(Some(Resize { datapath: self, beside, copied, lost })),
            Err(error) => {
                beside.remove_maps()?;
                Err(error)
            }
        }
    }

    /// Takes the flows that a resize has left which was killed, if programs have worked by them. Returns how many are lost.
    ///
    /// To be called when all programs work by the maps of this instance.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn finish_resize(&self, was_in_use: bool) -> Result<u64, DatapathError> {
        let beside = self.beside();
        if !beside.maps_directory().exists() {
            return Ok(0);
        }
        let mut lost = 0;
        if was_in_use && beside.missing_of(&TABLE_MAPS)?.is_none() {
            self.wait_for_readers()?;
            beside.cut_drained_flows()?;
            let (from, to) = (beside.flow_table()?, self.flow_table()?);
            lost = copy_again(&from, &to, &[], Units::of_kernel()?.now()?);
        }
        beside.remove_maps()?;
        Ok(lost)
    }

    /// Whether a resize was killed while programs were to go from one table to the other.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a pin cannot be read.
    pub fn has_unfinished_resize(&self) -> Result<bool, DatapathError> {
        self.works_by(&self.beside())
    }

    /// Whether an attached program works by a flow table.
    fn works_by(&self, table: &Self) -> Result<bool, DatapathError> {
        let path = table.map_path(map::FLOW_LINES);
        if !path.exists() {
            return Ok(false);
        }
        let error = DatapathError::in_map(map::FLOW_LINES);
        let lines = MapData::from_pin(path).and_then(|lines| lines.info()).map_err(&error)?.id();
        let attached = self.program_ids()?;
        let uses = |maps: Option<Vec<u32>>| maps.is_some_and(|maps| maps.contains(&lines));
        let mut programs = loaded_programs().filter_map(Result::ok);
        Ok(programs.any(|program| attached.contains(&program.id()) && program.map_ids().is_ok_and(uses)))
    }

    fn beside(&self) -> Self {
        Self { root: self.root.clone(), maps: RESIZED }
    }

    fn make(&self, beside: &Self, geometry: Geometry) -> Result<(), DatapathError> {
        beside.remove_maps()?;
        let directory = beside.maps_directory();
        fs::create_dir(&directory).map_err(DatapathError::creating(&directory))?;
        // What happened is counted for each table anew.
        let is_shared = |name: &&str| !TABLE_MAPS.contains(name) && *name != map::FLOW_EVENTS;
        for name in PINNED_MAPS.into_iter().filter(is_shared) {
            let map = MapData::from_pin(self.map_path(name)).map_err(DatapathError::in_map(name))?;
            let path = beside.map_path(name);
            map.pin(&path).map_err(|source| DatapathError::Pin { path, source })?;
        }
        beside.create_maps(geometry, random_secrets()?)
    }
}

impl Resize<'_> {
    /// Makes the new table that of the instance. Programs that are loaded from now on work by it.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Io`] where the pins cannot be exchanged; everything is as it was then.
    pub fn exchange(self) -> Result<Self, DatapathError> {
        let (present, beside) = (self.datapath.maps_directory(), self.beside.maps_directory());
        let flags = RenameFlags::RENAME_EXCHANGE;
        let exchanged = renameat2(AT_FDCWD, &present, AT_FDCWD, &beside, flags);
        if let Err(errno) = exchanged {
            self.beside.remove_maps()?;
            return Err(DatapathError::io("exchange", &present)(errno_error(errno)));
        }
        Ok(self)
    }

    /// Goes back to the old table, if all programs work by that still. Otherwise the next reload takes along what is in it.
    ///
    /// # Errors
    ///
    /// As [`exchange`](Self::exchange).
    pub fn take_back(self) -> Result<(), DatapathError> {
        if self.datapath.works_by(self.datapath)? {
            return Ok(());
        }
        self.exchange()?.beside.remove_maps()
    }

    /// Copies what began or moved on since, when all programs work by the new table, and forgets the old one. Returns how many
    /// flows found no place, or could not be copied because their addresses were not recorded.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where a map cannot be read or written.
    pub fn finish(self) -> Result<u64, DatapathError> {
        // Until then a program may still be at work on the old one.
        self.datapath.wait_for_readers()?;
        self.beside.cut_drained_flows()?;
        let (from, to) = (self.beside.flow_table()?, self.datapath.flow_table()?);
        let lost = copy_again(&from, &to, &self.copied, Units::of_kernel()?.now()?);
        self.beside.remove_maps()?;
        Ok(self.lost + lost)
    }
}

fn errno_error(errno: Errno) -> std::io::Error {
    errno.into()
}

/// The control words that were copied, and how many flows the new table has not taken.
fn copied(from: &Datapath, to: &Datapath, flow_entries: u32) -> Result<(Vec<u64>, u64), DatapathError> {
    from.cut_drained_flows()?;
    let now = Units::of_kernel()?.now()?;
    let first = copy(&from.flow_table()?, &to.flow_table()?, now);
    if first.protected_without_room > 0 {
        return Err(DatapathError::FlowsDoNotFit { flows: first.protected_without_room, flow_entries });
    }
    let has_come = to.occupancy()?.flows();
    Ok((first.copied, first.live.saturating_sub(has_come)))
}

/// What the first copy has come to.
struct FirstCopy {
    copied: Vec<u64>,
    live: u64,
    protected_without_room: u64,
}

/// Copies the live flows, protected ones first: they take the places of others, and none takes theirs.
fn copy(from: &FlowTable, to: &FlowTable, now: u32) -> FirstCopy {
    let slots = from.parameters().geometry.slots() as usize;
    let mut first = FirstCopy { copied: vec![0; slots], live: 0, protected_without_room: 0 };
    for protected in [true, false] {
        from.each(|bucket, slot, listed| {
            let control = listed.control;
            if control.has(PROTECTED) != protected || control.is_ended(now) {
                return;
            }
            // As they are counted where they have come.
            first.live += u64::from(control.state() != state::CUT);
            let Some(key) = listed.key else { return };
            let added = to.add(&key, &fresh(&listed), now, |_| true);
            if protected && added == Added::NoRoom {
                first.protected_without_room += 1;
            }
            if let Some(copied) = first.copied.get_mut((bucket * SLOTS + slot) as usize) {
                *copied = control.0;
            }
        });
    }
    first
}

/// Copies what is not as it was `copied`: what began since, and what moved on, unless programs have moved the copy on too. Returns
/// how many found no place.
fn copy_again(from: &FlowTable, to: &FlowTable, copied: &[u64], now: u32) -> u64 {
    let mut without_room = 0;
    from.each(|bucket, slot, listed| {
        let control = listed.control;
        let before = copied.get((bucket * SLOTS + slot) as usize).copied().unwrap_or(0);
        let (false, Some(key)) = (control.is_ended(now) || before == control.0, listed.key) else {
            return;
        };
        let is_same = (before ^ control.0) & IDENTITY == 0;
        if is_same && moved_on(to, &key, Control(before), &listed, now) {
            return;
        }
        without_room += u64::from(to.add(&key, &fresh(&listed), now, |_| true) == Added::NoRoom);
    });
    without_room
}

/// Has a copy be as its flow is now, if it is as it was copied.
fn moved_on(to: &FlowTable, key: &[u64; 5], before: Control, listed: &Listed, now: u32) -> bool {
    let spot = spot(to, key);
    let Some(mut hit) = find(to, &spot, now) else {
        return false;
    };
    if carried(hit.control) != carried(before) {
        return false;
    }
    if let Some(details) = to.details(hit.bucket) {
        // Before the control word that says what it means.
        to.store(details, hit.control_word(), listed.detail.beside);
    }
    let next = |control: Control| {
        if carried(control) == carried(before) {
            Control(control.0 & (IDENTITY | KEYED) | carried(listed.control))
        } else {
            control
        }
    };
    change(to, &spot, &mut hit, Time { now, renewal: 1 }, next) == Change::Done
}

/// What a control word says of the flow, and not of its slot.
const fn carried(control: Control) -> u64 {
    control.0 & !(IDENTITY | KEYED)
}

fn fresh(listed: &Listed) -> Fresh {
    let detail = listed.detail;
    Fresh {
        control: Control(carried(listed.control)),
        admitted_by: u64::from(detail.generation) << 32 | u64::from(detail.rule_set),
        beside: Beside(detail.beside),
    }
}

#[cfg(test)]
mod tests {
    use firewall_common::flow_table::control::DOUBT;
    use firewall_common::flow_table::sweep::alter;

    use super::*;
    use crate::datapath::flow_table::tests::{NOW, flow, key, table};

    fn control_of(table: &FlowTable, number: u32) -> Option<Control> {
        find(table, &spot(table, &key(number)), NOW).map(|hit| hit.control)
    }

    fn move_on(table: &FlowTable, number: u32, next: impl Fn(Control) -> Control) {
        let moved = table.slots().any(|(bucket, slot)| {
            alter(table, bucket, slot, NOW, |listed| {
                (listed.key == Some(key(number))).then(|| next(listed.control))
            })
        });
        assert!(moved);
    }

    #[test]
    fn protected_flows_all_come_along_or_are_counted() {
        let (Some(from), Some(small)) = (table(4096), table(1024)) else { return };
        let Some(large) = table(8192) else { return };
        for number in 0..3000 {
            from.add(&key(number), &flow(PROTECTED, state::ESTABLISHED), NOW, |_| true);
        }
        for number in 3000..3500 {
            from.add(&key(number), &flow(0, state::UDP_STREAM), NOW, |_| true);
        }
        let copied = copy(&from, &large, NOW);
        assert_eq!((copied.live, copied.protected_without_room), (3500, 0));
        for number in 0..3500 {
            let [old, new] = [&from, &large].map(|table| control_of(table, number).unwrap());
            assert_eq!(carried(old), carried(new));
        }
        let copied = copy(&from, &small, NOW);
        assert!(copied.protected_without_room >= 3000 - u64::from(small.geometry().slots()));
    }

    #[test]
    fn what_moved_on_in_one_table_is_so_afterwards_and_what_began_is_there() {
        let (Some(from), Some(to)) = (table(1024), table(2048)) else { return };
        let established = flow(PROTECTED, state::ESTABLISHED);
        for number in 0..5 {
            from.add(&key(number), &established, NOW, |_| true);
        }
        let first = copy(&from, &to, NOW);
        move_on(&from, 1, |control| control.in_state(state::CLOSED).without(PROTECTED));
        move_on(&to, 2, |control| control.with(DOUBT));
        move_on(&from, 3, |control| control.in_state(state::CLOSED));
        move_on(&to, 3, |control| control.with(DOUBT));
        from.add(&key(5), &established, NOW, |_| true);
        assert_eq!(copy_again(&from, &to, &first.copied, NOW), 0);
        let state_of = |number| {
            let control = control_of(&to, number).unwrap();
            (control.state(), control.has(PROTECTED), control.has(DOUBT))
        };
        assert_eq!(state_of(0), (state::ESTABLISHED, true, false));
        assert_eq!(state_of(1), (state::CLOSED, false, false));
        assert_eq!(state_of(2), (state::ESTABLISHED, true, true));
        // Both have: that of the table by which programs work counts.
        assert_eq!(state_of(3), (state::ESTABLISHED, true, true));
        assert_eq!(state_of(5), (state::ESTABLISHED, true, false));
    }
}
