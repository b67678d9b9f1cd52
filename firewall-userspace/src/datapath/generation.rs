//! The generation word: which policy is in force, and until when if nobody confirms it.
//!
//! The programs themselves go back to the generation before an unconfirmed one when its deadline passes: see
//! [`generation_in_force`]. Here the word is read as they read it, confirmed, and settled afterwards.

use std::sync::atomic::{Ordering, fence};
use std::time::Duration;

use aya::maps::{Array, MapData};
use firewall_common::abi::{CONFIRMATION_DEADLINE, GENERATION_WORD, UNCONFIRMED, map};
use firewall_common::decide::generation_in_force;

use super::clock::{jiffies, jiffies_per_second};
use super::receipt::{Digest, Receipt};
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
        self.set_generation(self.generation_element(GENERATION_WORD)? & !UNCONFIRMED, None)
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
        self.set_generation(generation, None)?;
        Ok(generation)
    }

    /// Writes the generation word, and returns when no program works by the previous one any more. `addresses_v6` is of
    /// the policy, where that is known.
    pub(super) fn set_generation(
        &self,
        word: u64,
        addresses_v6: Option<Digest>,
    ) -> Result<(), DatapathError> {
        // What was written to the half comes before the word that names it.
        fence(Ordering::SeqCst);
        self.set_generation_element(GENERATION_WORD, word)?;
        self.leave(Receipt::new(word, addresses_v6))
    }

    /// As [`set_generation`](Self::set_generation), for a generation that is in force until somebody confirms it or the
    /// time is over.
    pub(super) fn set_unconfirmed(
        &self,
        generation: u64,
        within: Duration,
        addresses_v6: Option<Digest>,
    ) -> Result<(), DatapathError> {
        let milliseconds = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let ticks = milliseconds.saturating_mul(u64::from(jiffies_per_second()?)) / 1000;
        // Before the word that makes it count. No program looks at it now: no generation is unconfirmed.
        self.set_generation_element(CONFIRMATION_DEADLINE, jiffies()?.saturating_add(ticks))?;
        self.set_generation(generation | UNCONFIRMED, addresses_v6)
    }

    /// What the publisher of the generation in force has left, unless it was killed before that.
    pub(super) fn receipt_in_force(&self) -> Result<Option<Receipt>, DatapathError> {
        let word = self.generation_element(GENERATION_WORD)?;
        Ok(Some(self.receipt()?).filter(|receipt| receipt.is_for(word)))
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
