//! How much is done for an effect before a part of it is left out.
//!
//! What a policy may be is bounded (`compile`, `LIMITS`), but two of them side by side can distinguish the product of what
//! each does, and there are sets of peers of which none contains another, each to be compared with all. Nobody reads the
//! answer to that, and nobody is to wait for it. Counted, and not timed: the same policies have the same answer everywhere.

/// Pairs of peers and a service on which the policies are compared. One takes up to 20 bytes.
const PAIRS: u64 = 1 << 24;
/// Comparisons of two sets, by their runs. They take a few nanoseconds each.
const STEPS: u64 = 1 << 28;
/// Ranges of peers in all regions. One takes 34 bytes, and a hundred as text.
const RANGES: u64 = 1 << 22;

/// What may still be done.
#[derive(Debug)]
pub(super) struct Work {
    pairs: u64,
    steps: u64,
    ranges: u64,
}

/// Everything that may be done was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMuch;

impl Default for Work {
    fn default() -> Self {
        Self { pairs: PAIRS, steps: STEPS, ranges: RANGES }
    }
}

impl Work {
    /// So many pairs are compared.
    pub(super) fn pairs(&mut self, count: usize) -> Result<(), TooMuch> {
        take(&mut self.pairs, count)
    }

    /// So many runs are compared.
    pub(super) fn steps(&mut self, count: usize) -> Result<(), TooMuch> {
        take(&mut self.steps, count)
    }

    /// A region has so many ranges of peers.
    pub(super) fn ranges(&mut self, count: usize) -> Result<(), TooMuch> {
        take(&mut self.ranges, count)
    }
}

fn take(left: &mut u64, count: usize) -> Result<(), TooMuch> {
    *left = left.checked_sub(count as u64).ok_or(TooMuch)?;
    Ok(())
}

#[cfg(test)]
impl Work {
    /// As much of each.
    pub(super) const fn of(count: u64) -> Self {
        Self { pairs: count, steps: count, ranges: count }
    }
}
