//! The interfaces that programs know, by index.
//!
//! A program is the same on every interface, and finds the slot by the index of the interface that a packet is on. An interface
//! is entered before its first program is attached, and taken out after its last one is gone; what a program does not know it
//! drops. Each slot has one entry at most, so that what is left of devices that are gone never grows.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use firewall_common::abi::{INTERFACE_LINE_ENTRIES, INTERFACE_LINES, InterfaceEntry, map};

use super::array::Mapped;
use super::attach::LinkLayer;
use super::device::Device;
use super::live::LivePrograms;
use super::{Datapath, DatapathError};

impl Datapath {
    /// Makes an interface known to the programs.
    ///
    /// # Errors
    ///
    /// [`DatapathError::TooManyAlike`] where there is no room for it.
    pub(super) fn make_known(&self, slot: u32, name: &str, device: &Device) -> Result<(), DatapathError> {
        let entry = InterfaceEntry::new(device.index, slot, device.layer == LinkLayer::Ethernet);
        let table = self.interfaces()?;
        if !put(&table, entry) {
            return Err(DatapathError::TooManyAlike { interface: name.to_owned(), index: entry.index() });
        }
        Ok(())
    }

    /// The slots of those whose interfaces the programs do not know.
    ///
    /// # Errors
    ///
    /// [`DatapathError`] where the map cannot be read.
    pub fn unknown_slots(&self, live: &[LivePrograms]) -> Result<BTreeSet<u32>, DatapathError> {
        let table = self.interfaces()?;
        let is_known = |live: &LivePrograms| {
            let mut entries = table.words().iter().map(|word| InterfaceEntry(word.load(Ordering::Relaxed)));
            entries.any(|entry| (entry.slot(), entry.index()) == (live.slot, live.ifindex))
        };
        Ok(live.iter().filter(|live| !is_known(live)).map(|live| live.slot).collect())
    }

    /// Makes the interface of a slot unknown again, where there is a table: an earlier version has none.
    pub(super) fn make_unknown(&self, slot: u32) -> Result<(), DatapathError> {
        if self.missing_of(&[map::INTERFACES])?.is_some() {
            return Ok(());
        }
        forget(&self.interfaces()?, |entry| entry.slot() == slot);
        Ok(())
    }

    fn interfaces(&self) -> Result<Mapped, DatapathError> {
        self.mapped((map::INTERFACES, INTERFACE_LINE_ENTRIES), INTERFACE_LINES)
    }
}

/// Puts an entry in, and takes out what its slot had before; `false` if there is no room.
fn put(table: &Mapped, entry: InterfaceEntry) -> bool {
    let line = InterfaceEntry::line(entry.index());
    let entries = &table.words()[line as usize * INTERFACE_LINE_ENTRIES..][..INTERFACE_LINE_ENTRIES];
    let at = |wanted: u32| {
        let index = |word: u64| InterfaceEntry(word).index();
        entries.iter().find(|word| index(word.load(Ordering::Relaxed)) == wanted)
    };
    // One that another device had which is gone, or a free one.
    let Some(place) = at(entry.index()).or_else(|| at(InterfaceEntry::NONE.index())) else {
        return false;
    };
    place.store(entry.0, Ordering::Relaxed);
    forget(table, |other| other.slot() == entry.slot() && other != entry);
    true
}

fn forget(table: &Mapped, is_meant: impl Fn(InterfaceEntry) -> bool) {
    for word in table.words() {
        let entry = InterfaceEntry(word.load(Ordering::Relaxed));
        if entry != InterfaceEntry::NONE && is_meant(entry) {
            word.store(InterfaceEntry::NONE.0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datapath::array::new_array;

    /// `None` where maps cannot be created.
    fn table() -> Option<Mapped> {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: this test needs root");
            return None;
        }
        let data = new_array::<[u64; INTERFACE_LINE_ENTRIES]>(map::INTERFACES, INTERFACE_LINES).unwrap();
        Some(Mapped::new(map::INTERFACES, &data, INTERFACE_LINE_ENTRIES, INTERFACE_LINES).unwrap())
    }

    fn entries(table: &Mapped) -> Vec<InterfaceEntry> {
        let entries = table.words().iter().map(|word| InterfaceEntry(word.load(Ordering::Relaxed)));
        entries.filter(|entry| *entry != InterfaceEntry::NONE).collect()
    }

    #[test]
    fn devices_that_are_made_again_leave_nothing() {
        let Some(table) = table() else { return };
        let other = InterfaceEntry::new(7, 5, true);
        assert!(put(&table, other));
        for index in 100..100_100 {
            assert!(put(&table, InterfaceEntry::new(index, 3, index % 2 == 0)), "{index}");
        }
        let last = InterfaceEntry::new(100_099, 3, false);
        assert_eq!(entries(&table), [last, other], "by their lines");
    }

    #[test]
    fn a_line_has_room_for_eight_and_a_ninth_changes_nothing() {
        let Some(table) = table() else { return };
        let alike = |slot: u32| InterfaceEntry::new(1 + slot * INTERFACE_LINES, slot, true);
        for slot in 0..8 {
            assert!(put(&table, alike(slot)));
        }
        let before = entries(&table);
        assert!(!put(&table, alike(8)));
        assert_eq!(entries(&table), before);
        // Room is made by one that goes.
        forget(&table, |entry| entry.slot() == 2);
        assert!(put(&table, alike(8)));
        assert!(put(&table, alike(3)), "what is there is put there again");
    }
}
