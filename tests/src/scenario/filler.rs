//! The flows that fill a table, and how to count others beside them: on the lines of a table, wherever that is.

use firewall_common::flow_table::control::{Control, PROTECTED, USED, VERSION, VERSIONS, state};
use firewall_common::flow_table::layout::Slot;
use firewall_common::flow_table::{Class, Line};

/// A number that no key is hashed to but by a chance of 2^-64 each.
const FINGERPRINT: u64 = 0x6669_6c6c_6564_0001;

/// Has established flows that never end take each place of a line that holds no live protected flow.
pub fn fill(line: &mut Line, now: u32) {
    for slot in &mut line.slots {
        if !is_kept(slot, now) {
            let version = slot.control.wrapping_add(VERSION) & VERSIONS;
            let control = Control(version | USED | PROTECTED).in_state(state::ESTABLISHED).ending(u32::MAX);
            *slot = Slot { fingerprint: FINGERPRINT, control: control.0 };
        }
    }
}

/// How many live flows stand in a line, those of [`fill`] aside.
#[must_use]
pub fn live_flows(line: &Line, now: u32) -> usize {
    let is_live = |slot: &&Slot| {
        let control = Control(slot.control);
        slot.fingerprint != FINGERPRINT && control.is_published() && !control.is_ended(now)
    };
    line.slots.iter().filter(is_live).count()
}

fn is_kept(slot: &Slot, now: u32) -> bool {
    let class = Control(slot.control).class(now);
    Control(slot.control).has(PROTECTED) && class != Class::EMPTY
}
