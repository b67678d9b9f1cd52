//! Changes that are undone unless they are confirmed, and going back to an earlier generation.
//!
//! The programs go back by themselves when the deadline passes; the store follows at the next command that looks. The
//! kernel always moves first: whoever dies in between leaves a word in the kernel that says how it ended.

use std::time::{Duration, SystemTime};

use super::publish::{check_namespace, check_ownership, policy_in_force};
use super::repair::publish_stored;
use super::status::Flow;
use super::{ApplyError, Instance, orphans};
use crate::datapath::{Datapath, Unconfirmed};
use crate::store::{Author, Store, UnconfirmedGeneration, WriteLock};

/// A change that waits to be confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its generation.
    pub generation: u64,
    /// How long it stays in force.
    pub left: Duration,
}

/// What `confirm` has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confirmed {
    /// The generation that stays.
    pub generation: u64,
    /// How many flows were cut, or will be, as the change had asked.
    pub cut_flows: u64,
}

/// What `rollback` has done.
#[derive(Debug)]
pub struct RolledBack {
    /// The new generation, which says what the old one said.
    pub generation: u64,
    /// The live flows that have lost their rule by it.
    pub orphaned_flows: Vec<Flow>,
}

/// How it stands with an unconfirmed generation.
enum Standing {
    Pending(Pending),
    /// Confirmed by a process that did not live to store it.
    Confirmed,
    /// Its time is over. The generation that is in force in its stead, if the kernel has one.
    Over {
        fell_back: Option<u64>,
    },
}

/// Makes the change that waits to be confirmed stay.
pub fn confirm(instance: &Instance) -> Result<Confirmed, ApplyError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let Some(unconfirmed) = store.snapshot()?.unconfirmed()? else {
        return Err(ApplyError::NothingToConfirm);
    };
    let mut datapath = open(instance, &mut store)?;
    match standing(datapath.as_mut(), &unconfirmed)? {
        over @ Standing::Over { .. } => {
            finish(instance, over, &mut store, &lock, &unconfirmed, datapath.as_mut())?;
            return Err(ApplyError::NotConfirmedInTime { generation: unconfirmed.generation });
        }
        Standing::Pending(_) => {
            if let Some(datapath) = &mut datapath {
                datapath.confirm()?;
            }
        }
        Standing::Confirmed => {}
    }
    let transaction = store.begin(&lock)?;
    transaction.delete_unconfirmed()?;
    let policy = match &datapath {
        Some(datapath) => Some(policy_in_force(&transaction, datapath)?),
        None => None,
    };
    let interfaces = transaction.interfaces()?;
    transaction.commit()?;
    let cut_flows = match (&mut datapath, policy, unconfirmed.cut_after) {
        (Some(datapath), Some(policy), Some(delay)) => orphans::cut(datapath, &policy, &interfaces, delay)?,
        _ => 0,
    };
    Ok(Confirmed { generation: unconfirmed.generation, cut_flows })
}

/// Goes back: from a change that waits to be confirmed to the one before it, else to the generation `to`, or the last
/// but one.
pub fn rollback(instance: &Instance, to: Option<u64>) -> Result<RolledBack, ApplyError> {
    let (mut store, lock) = instance.lock_unsettled()?;
    let unconfirmed = store.snapshot()?.unconfirmed()?;
    if let Some(unconfirmed) = unconfirmed {
        let mut datapath = open(instance, &mut store)?;
        match standing(datapath.as_mut(), &unconfirmed)? {
            Standing::Pending(pending) if to.is_none_or(|to| to == unconfirmed.previous) => {
                let fell_back = datapath.as_mut().map(Datapath::fall_back).transpose()?;
                follow_as(&mut store, &lock, &unconfirmed, fell_back, &instance.author)?;
                make_sure(instance, &mut store, &lock, datapath.as_mut())?;
                let generation = fell_back.unwrap_or(pending.generation + 1);
                return Ok(RolledBack { generation, orphaned_flows: Vec::new() });
            }
            Standing::Pending(pending) => return Err(pending.into()),
            standing => finish(instance, standing, &mut store, &lock, &unconfirmed, datapath.as_mut())?,
        }
    }
    drop((store, lock));
    let changed = instance.change_with_flows(|transaction| {
        let history = transaction.history()?;
        let found = match to {
            Some(to) => history.iter().find(|generation| generation.number == to),
            None => history.get(1),
        };
        let to = found.ok_or(ApplyError::UnknownGeneration { generation: to })?.number;
        if transaction.has_attached_since(to)? {
            return Err(ApplyError::AttachedSince { generation: to });
        }
        // Who goes back does not mean to end a panic.
        let is_panic = transaction.is_panic()?;
        transaction.rewind_to(to)?;
        if transaction.is_panic()? != is_panic {
            transaction.set_panic(is_panic)?;
        }
        Ok(())
    })?;
    let generation = instance.read(|snapshot| Ok(snapshot.generation()?))?;
    Ok(RolledBack { generation, orphaned_flows: changed.orphaned_flows })
}

/// The change that waits to be confirmed, if there is one. One whose time is over is undone in the store too.
pub(super) fn settle(
    instance: &Instance,
    store: &mut Store,
    lock: &WriteLock,
) -> Result<Option<Pending>, ApplyError> {
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
) -> Result<Option<Pending>, ApplyError> {
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

fn standing(
    datapath: Option<&mut Datapath>,
    unconfirmed: &UnconfirmedGeneration,
) -> Result<Standing, ApplyError> {
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
        Some(Unconfirmed { left: None, .. }) => Ok(Standing::Over { fell_back: Some(datapath.fall_back()?) }),
        None if datapath.generation()? == generation => Ok(Standing::Confirmed),
        // Fallen back, or never in force.
        None => Ok(Standing::Over { fell_back: Some(datapath.generation()?) }),
    }
}

fn finish(
    instance: &Instance,
    standing: Standing,
    store: &mut Store,
    lock: &WriteLock,
    unconfirmed: &UnconfirmedGeneration,
    datapath: Option<&mut Datapath>,
) -> Result<(), ApplyError> {
    match standing {
        Standing::Over { fell_back } => {
            follow(store, lock, unconfirmed, fell_back)?;
            make_sure(instance, store, lock, datapath)
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
fn make_sure(
    instance: &Instance,
    store: &mut Store,
    lock: &WriteLock,
    datapath: Option<&mut Datapath>,
) -> Result<(), ApplyError> {
    let Some(datapath) = datapath else {
        return Ok(());
    };
    let policy = policy_in_force(&store.snapshot()?, datapath)?;
    if datapath.holds(&policy)? {
        return Ok(());
    }
    publish_stored(instance, store, lock, datapath).map(drop)
}

/// Lets the store follow a kernel that went back by itself.
fn follow(
    store: &mut Store,
    lock: &WriteLock,
    unconfirmed: &UnconfirmedGeneration,
    fell_back: Option<u64>,
) -> Result<(), ApplyError> {
    let author = Author {
        user: "sgfw".to_owned(),
        command: format!("generation {} was not confirmed in time", unconfirmed.generation),
    };
    follow_as(store, lock, unconfirmed, fell_back, &author)
}

fn follow_as(
    store: &mut Store,
    lock: &WriteLock,
    unconfirmed: &UnconfirmedGeneration,
    fell_back: Option<u64>,
    author: &Author,
) -> Result<(), ApplyError> {
    let generation = fell_back.unwrap_or(0).max(unconfirmed.generation + 1);
    let transaction = store.begin(lock)?;
    transaction.rewind_to(unconfirmed.previous)?;
    transaction.delete_unconfirmed()?;
    transaction.set_generation(generation, author)?;
    Ok(transaction.commit()?)
}

fn open(instance: &Instance, store: &mut Store) -> Result<Option<Datapath>, ApplyError> {
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
