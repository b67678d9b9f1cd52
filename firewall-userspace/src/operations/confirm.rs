//! Changes that wait to be confirmed, and are undone if nobody does.
//!
//! The programs go back by themselves when the deadline passes; the store follows at the next command that looks. The
//! kernel always moves first: whoever dies in between leaves a word in the kernel that says how it ended.

use std::time::{Duration, SystemTime};

use super::guard::{check_namespace, check_ownership};
use super::operator::Author;
use super::policy::policy_stored;
use super::publish::{Published, after_the_word, publish_stored};
use super::{Instance, Leftover, OperationError, Operator};
use crate::datapath::{Datapath, Unconfirmed};
use crate::store::{Snapshot, Store, UnconfirmedGeneration, WriteLock};

/// A change that waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its generation.
    pub generation: u64,
    /// How long it stays in force.
    pub left: Duration,
}

impl From<Pending> for OperationError {
    fn from(Pending { generation, left }: Pending) -> Self {
        Self::AwaitingConfirmation { generation, left }
    }
}

/// How it stands with an unconfirmed generation.
pub(super) enum Standing {
    Pending(Pending),
    /// Confirmed by a process that did not live to store it.
    Confirmed,
    /// Its time is over. The generation that is in force in its stead, if the kernel has one.
    Over {
        fell_back: Option<u64>,
    },
}

impl Instance {
    /// Reads from the store.
    pub(super) fn read<T>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, OperationError>,
    ) -> Result<T, OperationError> {
        let mut store = Store::open(&self.state_dir, self.lock_timeout)?;
        if store.snapshot()?.unconfirmed()?.is_some() {
            // So that a change that was not confirmed in time is not shown. Whoever may not settle that, or finds another
            // process at it, sees the store as it is.
            let _ = lock(&Self { lock_timeout: Duration::ZERO, ..self.clone() });
        }
        query(&store.snapshot()?)
    }
}

/// The store, and the lock that a change needs. While a change waits to be confirmed there is none.
pub(super) fn lock(instance: &Instance) -> Result<(Store, WriteLock), OperationError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    match settle(instance, &mut store, &lock)? {
        Some(pending) => Err(pending.into()),
        None => Ok((store, lock)),
    }
}

/// The change that waits to be confirmed, if there is one. One whose time is over is undone in the store too.
pub(super) fn settle(
    instance: &Instance,
    store: &mut Store,
    lock: &WriteLock,
) -> Result<Option<Pending>, OperationError> {
    let Some(unconfirmed) = store.snapshot()?.unconfirmed()? else {
        return Ok(None);
    };
    let mut datapath = open(instance, store)?;
    match standing(datapath.as_mut(), &unconfirmed)? {
        Standing::Pending(pending) => Ok(Some(pending)),
        over => finish(instance, over, store, lock, &unconfirmed, datapath.as_mut()).map(|()| None),
    }
}

/// The change that waits to be confirmed, seen without changing anything.
pub(super) fn pending(
    datapath: Option<&Datapath>,
    unconfirmed: Option<UnconfirmedGeneration>,
) -> Result<Option<Pending>, OperationError> {
    let Some(unconfirmed) = unconfirmed else {
        return Ok(None);
    };
    let left = match datapath {
        Some(datapath) => match datapath.unconfirmed()? {
            Some(Unconfirmed { generation, left }) if generation == unconfirmed.generation => left,
            _ => None,
        },
        None => left_by_wall_clock(&unconfirmed),
    };
    Ok(left.map(|left| Pending { generation: unconfirmed.generation, left }))
}

pub(super) fn standing(
    datapath: Option<&mut Datapath>,
    unconfirmed: &UnconfirmedGeneration,
) -> Result<Standing, OperationError> {
    let generation = unconfirmed.generation;
    let Some(datapath) = datapath else {
        // Nothing is attached, or nothing is since a reboot.
        let left = left_by_wall_clock(unconfirmed);
        return Ok(left.map_or(Standing::Over { fell_back: None }, |left| {
            Standing::Pending(Pending { generation, left })
        }));
    };
    match datapath.unconfirmed()? {
        Some(Unconfirmed { left: Some(left), .. }) => Ok(Standing::Pending(Pending { generation, left })),
        // What is left to do the next publication does.
        Some(Unconfirmed { left: None, generation }) => {
            Ok(Standing::Over { fell_back: Some(fall_back(datapath, generation)?.0) })
        }
        None if datapath.generation()? == generation => Ok(Standing::Confirmed),
        // Fallen back, or never in force.
        None => Ok(Standing::Over { fell_back: Some(datapath.generation()?) }),
    }
}

/// Goes back in the kernel. Returns the generation in force, and what is left to do.
pub(super) fn fall_back(
    datapath: &mut Datapath,
    unconfirmed: u64,
) -> Result<(u64, Vec<Leftover>), OperationError> {
    let fell_back = datapath.fall_back();
    let is_back = || Ok(datapath.unconfirmed()?.is_none() && datapath.generation()? > unconfirmed);
    let leftovers = after_the_word(fell_back.map(drop), is_back)?;
    Ok((datapath.generation()?, leftovers))
}

pub(super) fn finish(
    instance: &Instance,
    standing: Standing,
    store: &mut Store,
    lock: &WriteLock,
    unconfirmed: &UnconfirmedGeneration,
    datapath: Option<&mut Datapath>,
) -> Result<(), OperationError> {
    match standing {
        Standing::Over { fell_back } => {
            let nobody = nobody(unconfirmed);
            follow_as(store, lock, unconfirmed, fell_back, &nobody.author)?;
            make_sure(instance, &nobody, store, lock, datapath)
        }
        Standing::Pending(_) | Standing::Confirmed => {
            let transaction = store.begin(lock)?;
            transaction.delete_unconfirmed()?;
            Ok(transaction.commit()?)
        }
    }
}

/// What the kernel went back to was published before and must not have been touched since. It is read back, and if it is
/// not what is stored, that is published anew.
pub(super) fn make_sure(
    instance: &Instance,
    operator: &Operator,
    store: &mut Store,
    lock: &WriteLock,
    datapath: Option<&mut Datapath>,
) -> Result<(), OperationError> {
    let Some(datapath) = datapath else {
        return Ok(());
    };
    let policy = policy_stored(&store.snapshot()?, datapath)?;
    if datapath.holds(&policy)? {
        return Ok(());
    }
    // What is left to do the next publication does.
    let Published { .. } = publish_stored(instance, operator, store, lock, datapath)?;
    Ok(())
}

/// Who undoes what was not confirmed in time: whoever finds it so has not asked for it.
fn nobody(unconfirmed: &UnconfirmedGeneration) -> Operator {
    let command = format!("generation {} was not confirmed in time", unconfirmed.generation);
    Operator { author: Author { user: "sgfw".to_owned(), command }, session: None }
}

/// Lets the store follow a kernel that went back.
pub(super) fn follow_as(
    store: &mut Store,
    lock: &WriteLock,
    unconfirmed: &UnconfirmedGeneration,
    fell_back: Option<u64>,
    author: &Author,
) -> Result<(), OperationError> {
    let generation = fell_back.unwrap_or(0).max(unconfirmed.generation + 1);
    let transaction = store.begin(lock)?;
    transaction.rewind_to(unconfirmed.previous)?;
    transaction.delete_unconfirmed()?;
    transaction.set_generation(generation, author)?;
    Ok(transaction.commit()?)
}

pub(super) fn open(instance: &Instance, store: &mut Store) -> Result<Option<Datapath>, OperationError> {
    let snapshot = store.snapshot()?;
    let datapath = instance.datapath(&snapshot.interfaces()?)?;
    if let Some(datapath) = &datapath {
        let pinned = datapath.pinned_slots()?;
        check_ownership(instance, &snapshot, &pinned)?;
        check_namespace(&snapshot, &pinned)?;
    }
    Ok(datapath)
}

fn left_by_wall_clock(unconfirmed: &UnconfirmedGeneration) -> Option<Duration> {
    unconfirmed.until.duration_since(SystemTime::now()).ok()
}
