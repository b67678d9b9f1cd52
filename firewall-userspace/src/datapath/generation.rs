//! The generation word: which policy is in force, and until when if nobody confirms it.
//!
//! The programs themselves go back to the generation before an unconfirmed one when its deadline passes: see
//! [`generation_in_force`]. Here the word is read as they read it, confirmed, and settled afterwards.

use std::time::Duration;

use aya::maps::{Array, MapData};
use firewall_common::abi::{
    BARRIER_SLOT, CONFIRMATION_DEADLINE, GENERATION_WORD, MAX_INTERFACES, RECENT_EPOCH, UNCONFIRMED, map,
};
use firewall_common::decide::generation_in_force;

use super::clock::{jiffies, jiffies_per_second};
use super::publish::Settings;
use super::{Datapath, DatapathError};

/// A generation that waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unconfirmed {
    /// Its number.
    pub generation: u64,
    /// How long it stays in force. Nothing once the deadline has passed: then the generation before it is in force.
    pub left: Option<Duration>,
}

impl Datapath {
    /// The generation in force; 0 if nothing was ever published.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be read.
    pub fn generation(&self) -> Result<u64, DatapathError> {
        let (word, deadline) = (self.generation_element(GENERATION_WORD)?, self.deadline()?);
        Ok(generation_in_force(word, jiffies()?, || deadline))
    }

    /// The generation that waits to be confirmed, or would if its deadline had not passed.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be read.
    pub fn unconfirmed(&self) -> Result<Option<Unconfirmed>, DatapathError> {
        let word = self.generation_element(GENERATION_WORD)?;
        if word & UNCONFIRMED == 0 {
            return Ok(None);
        }
        let left = self.deadline()?.saturating_sub(jiffies()?);
        let milliseconds = left.saturating_mul(1000) / u64::from(jiffies_per_second()?);
        let left = (left != 0).then(|| Duration::from_millis(milliseconds));
        Ok(Some(Unconfirmed { generation: word & !UNCONFIRMED, left }))
    }

    /// Makes an unconfirmed generation stay. Whether its deadline has passed is for the caller to see before.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be written.
    pub fn confirm(&mut self) -> Result<(), DatapathError> {
        self.set_generation(self.generation_element(GENERATION_WORD)? & !UNCONFIRMED)
    }

    /// Puts the policy before an unconfirmed generation into force, for good and under a new number, which is returned.
    /// It stands in the other half still.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be written.
    pub fn fall_back(&mut self) -> Result<u64, DatapathError> {
        let unconfirmed = self.generation_element(GENERATION_WORD)? & !UNCONFIRMED;
        // In the same half as the number before.
        let generation = unconfirmed + 1;
        self.set_generation(generation)?;
        Ok(generation)
    }

    /// Writes the generation word, and returns when no program works by the previous one any more.
    pub(super) fn set_generation(&self, generation: u64) -> Result<(), DatapathError> {
        self.set_generation_element(GENERATION_WORD, generation)?;
        self.wait_for_readers()
    }

    /// As [`set_generation`](Self::set_generation), for a generation that is in force until somebody confirms it or the
    /// time is over.
    pub(super) fn set_unconfirmed(&self, generation: u64, within: Duration) -> Result<(), DatapathError> {
        let milliseconds = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let ticks = milliseconds.saturating_mul(u64::from(jiffies_per_second()?)) / 1000;
        // Before the word that makes it count. No program looks at it now: no generation is unconfirmed.
        self.set_generation_element(CONFIRMATION_DEADLINE, jiffies()?.saturating_add(ticks))?;
        self.set_generation(generation | UNCONFIRMED)
    }

    /// Every update of an outer map from user space ends with `synchronize_rcu` (`maybe_wait_bpf_programs` in the
    /// kernel), so writing a slot that no program reads waits for all programs that may still read the retired half,
    /// and the next publication may overwrite it.
    pub(super) fn wait_for_readers(&self) -> Result<(), DatapathError> {
        let settings = Settings::create(MAX_INTERFACES, 0).map_err(DatapathError::in_map(map::SETTINGS))?;
        self.put(map::SETTINGS, BARRIER_SLOT, &settings)
    }

    /// Has every CPU look its recent flows up anew: to be called when entries of live flows were changed.
    ///
    /// # Errors
    ///
    /// [`DatapathError::Map`] where the map cannot be written.
    pub fn forget_recent_flows(&mut self) -> Result<(), DatapathError> {
        let epoch = self.generation_element(RECENT_EPOCH)?;
        self.set_generation_element(RECENT_EPOCH, epoch.wrapping_add(1))
    }

    fn deadline(&self) -> Result<u64, DatapathError> {
        self.generation_element(CONFIRMATION_DEADLINE)
    }

    fn generation_element(&self, index: u32) -> Result<u64, DatapathError> {
        let words: Array<MapData, u64> = self.map(map::GENERATION)?;
        words.get(&index, 0).map_err(DatapathError::in_map(map::GENERATION))
    }

    fn set_generation_element(&self, index: u32, value: u64) -> Result<(), DatapathError> {
        let mut words: Array<MapData, u64> = self.map(map::GENERATION)?;
        words.set(index, value, 0).map_err(DatapathError::in_map(map::GENERATION))
    }
}
