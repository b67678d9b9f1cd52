//! Another size for the flow table, while packets flow.
//!
//! The flows are copied into a new table, which takes the place of the old one ([`replacement`](super::replacement)). What began or
//! moved on meanwhile is copied once more.

use firewall_common::abi::map;
use firewall_common::flow_table::control::{IDENTITY, KEYED, PROTECTED, state};
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::life::Beside;
use firewall_common::flow_table::sweep::Listed;
use firewall_common::flow_table::{Change, Control, Fresh, Geometry, Memory as _, Time, change, find, spot};

use super::clock::Units;
use super::flow_table::{Added, FlowTable, TABLE_MAPS, random_secrets};
use super::{Datapath, DatapathError};

impl Datapath {
    /// Gives the flow table room for `flow_entries`. Returns how many flows found no place, or could not be copied because their
    /// addresses were not recorded; `None` if the table has that size.
    ///
    /// # Errors
    ///
    /// [`DatapathError::FlowsDoNotFit`] where a protected flow finds no place, and others where the kernel refuses maps or programs:
    /// everything is as it was then.
    pub fn resize(&self, flow_entries: u32) -> Result<Option<u64>, DatapathError> {
        let geometry = Geometry::for_entries(flow_entries);
        if self.table_parameters()?.geometry == geometry {
            return Ok(None);
        }
        // What happened is counted for each table anew.
        let replaced: Vec<&'static str> = TABLE_MAPS.into_iter().chain([map::FLOW_EVENTS]).collect();
        let (replacement, (copied, lost)) = self.replacement(&replaced, |beside| {
            beside.create_maps(geometry, random_secrets()?)?;
            copied(self, beside, flow_entries)
        })?;
        replacement.put_in_place()?;
        let lost = lost + self.take_flows(replacement.beside(), &copied)?;
        replacement.forget()?;
        Ok(Some(lost))
    }

    /// Takes the flows of another table, if there is one beside, by which programs have worked.
    pub(super) fn take_flows_of(&self, beside: &Self) -> Result<u64, DatapathError> {
        let is_another = beside.missing_of(&TABLE_MAPS)?.is_none()
            && beside.table_parameters()?.secrets != self.table_parameters()?.secrets;
        if is_another { self.take_flows(beside, &[]) } else { Ok(0) }
    }

    /// Takes the flows of the old table that are not as they were `copied`. No program works by it any more.
    fn take_flows(&self, beside: &Self, copied: &[u64]) -> Result<u64, DatapathError> {
        beside.cut_drained_flows()?;
        let (from, to) = (beside.flow_table()?, self.flow_table()?);
        Ok(copy_again(&from, &to, copied, Units::of_kernel()?.now()?))
    }
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
