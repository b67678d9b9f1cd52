//! The sets of peers that contain another one, and what they may reach.

use foldhash::HashMap;

use super::runs::Runs;
use super::work::{TooMuch, Work};

/// A set of blocks of peers, and the service pieces that they may reach.
type Set<'r> = (&'r Runs, &'r [usize]);

/// Sets of peers, to be asked for those that contain one of them.
pub(super) struct Wider<'r> {
    by_peers: &'r HashMap<Runs, Vec<usize>>,
    blocks: usize,
    /// The sets by their blocks, once anybody has asked.
    sets_with: Option<Vec<Vec<Set<'r>>>>,
}

impl<'r> Wider<'r> {
    pub(super) const fn new(by_peers: &'r HashMap<Runs, Vec<usize>>, blocks: usize) -> Self {
        Self { by_peers, blocks, sets_with: None }
    }

    /// The services of the sets of peers that contain a set, besides its own.
    pub(super) fn services(&mut self, peers: &Runs, work: &mut Work) -> Result<Vec<usize>, TooMuch> {
        let (by_peers, blocks) = (self.by_peers, self.blocks);
        let sets_with = self.sets_with.get_or_insert_with(|| sets_by_block(by_peers, blocks));
        // What contains the set has all of its blocks: the one that the fewest sets have leaves the fewest to look at.
        work.steps(peers.count() as usize)?;
        let of_block = peers.numbers().map(|block| &sets_with[block as usize]);
        let mut services = Vec::new();
        for (other, reached) in of_block.min_by_key(|sets| sets.len()).into_iter().flatten() {
            work.steps(peers.pieces())?;
            if other.count() > peers.count() && other.contains_all(peers) {
                work.steps(reached.len())?;
                services.extend_from_slice(reached);
            }
        }
        Ok(services)
    }
}

/// As many entries as there are pairs of a block and a service that differ, at most.
fn sets_by_block(by_peers: &HashMap<Runs, Vec<usize>>, blocks: usize) -> Vec<Vec<Set<'_>>> {
    let mut sets_with: Vec<Vec<Set<'_>>> = vec![Vec::new(); blocks];
    for (peers, services) in by_peers {
        peers.numbers().for_each(|block| sets_with[block as usize].push((peers, services)));
    }
    sets_with
}
