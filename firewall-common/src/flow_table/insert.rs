//! Beginning a flow in the place of what is worth least.

use super::change::write_key;
use super::control::{
    BACKED, Class, Control, END, KEYED, Level, PENDING, PROTECTED, USED, VERSION, VERSIONS,
};
use super::find::differs;
use super::hash::Spot;
use super::layout::CHOICES;
use super::life::{Beside, Lifetimes, Socket, settle};
use super::marks::{Mark, mark};
use super::memory::Memory;
use super::{ATTEMPTS, one_more};
use crate::abi::KeyWords;
use crate::hint::hide;

/// A flow that begins.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// State, flags and end of life.
    pub control: Control,
    /// Rule set that admits it, and generation of the policy in the upper half.
    pub admitted_by: u64,
    /// What stands beside.
    pub beside: Beside,
}

/// How an insert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The flow is begun, in the place of a flow of this class.
    InPlaceOf(Class),
    /// Another CPU has begun it meanwhile.
    Same,
    /// All its places hold flows that nothing evicts.
    Refused,
    /// Another CPU was faster: worth another try.
    Contended,
    /// The same, and the socket of a flow was asked for, which has ended: worth another try, without asking.
    Asked,
    /// The socket of a flow was asked for, which goes on: worth another try, with another one.
    AskedInVain,
}

/// Bit of a random number that says whether one in doubt is asked.
const OF_DOUBT: u32 = 1 << 16;

/// A place and its worth, to be compared as one number, lowest first:
///
/// | bits | |
/// | --- | --- |
/// | 58–60 | level |
/// | 55–57 | protected flows in its bucket, so that they spread; 0 for streams, which go by time alone |
/// | 23–54 | when it last met a packet: the one idle longest goes first; 0 for an empty place |
/// | 21–22 | choice of the bucket: nearer ones first, which also fills a table by a tenth more than chance would |
/// | 2–20, 0–1 | chance, slot |
type Rank = u64;

const LEVEL_SHIFT: u32 = 58;
const CROWD_SHIFT: u32 = 55;
const TIME_SHIFT: u32 = 23;
const CHOICE_SHIFT: u32 = 21;
const CHANCE_SHIFT: u32 = 2;
const CHANCE: u64 = 0x7_ffff << CHANCE_SHIFT;

/// The other buckets are looked at unless the near one has this many places that are not protected, so that one is kept for
/// handshakes while there is room elsewhere.
const NEAR_RESERVE: u64 = 2;

#[inline(always)]
const fn level_of(rank: Rank) -> Level {
    Level((rank >> LEVEL_SHIFT) as u32 & 7)
}

/// What an insert looks for, and by what it tells what is worth least.
#[derive(Clone, Copy)]
struct Looks<'a> {
    spot: &'a Spot,
    lifetimes: &'a Lifetimes,
    now: u32,
    chance: u64,
}

/// What an insert sees in one line.
#[derive(Clone, Copy)]
struct View {
    best: Rank,
    /// Whether there is a live flow of the same key.
    same: u64,
    /// Slots with a flow whose socket may be asked for.
    backed: u64,
    /// Those of them that are in doubt.
    doubted: u64,
    /// Those of them that are not confirmed.
    unconfirmed: u64,
    /// Slots whose flows nothing evicts.
    crowd: u64,
}

impl View {
    const NOTHING: Self =
        Self { best: u64::MAX >> 1, same: 0, backed: 0, doubted: 0, unconfirmed: 0, crowd: 0 };

    /// Every other question goes to any of them: a half-closed connection is in doubt for as long as it goes on, and would hide
    /// those behind it whose sockets are gone.
    #[inline(always)]
    const fn worth_asking(&self, chance: u32) -> u64 {
        if self.unconfirmed != 0 {
            self.unconfirmed
        } else if self.doubted != 0 && chance & OF_DOUBT != 0 {
            self.doubted
        } else {
            self.backed
        }
    }
}

/// Begins a flow that [`find`](super::find()) has not found. What was found ended or cut is cleared before.
///
/// One try; [`insert`] makes several. Programs try by calling the function in which this stands again, so that the verifier
/// looks at it once.
///
/// It takes the place of what is worth least among all places of the key ([`Level`]), never that of a protected flow: the
/// exchange that claims the slot compares the whole word, of which the mark of protection is a bit, so that protection
/// and eviction exclude each other. From the claim to the publication the slot, its tag, its details and its record have one
/// writer. Two CPUs that begin one flow claim the same slot in turn, and the second sees that the flow is there; if a place
/// came free in between, both entries stand, lookups find the first, and the other one goes by its time.
///
/// If only protected flows are left, the socket of one that was backed by a socket is asked for, by its record: `ask`, if there
/// is one. One that is not confirmed first, then one in doubt or any, for a socket may die without a packet that tells; chance
/// says which. Whether a doubt's short time is over does not matter: a connection that the host has no more holds no place
/// against one that begins.
#[inline(always)]
pub fn insert_once<M: Memory>(
    memory: &M,
    spot: &Spot,
    key: &KeyWords,
    fresh: &Fresh,
    lifetimes: &Lifetimes,
    now: u32,
    ask: Option<impl FnOnce(M::Place) -> Socket>,
) -> Inserted {
    let looks = Looks { spot, lifetimes, now, chance: u64::from(memory.random()) };
    let Some(view) = survey(memory, &looks) else {
        return Inserted::Refused;
    };
    if view.same != 0 {
        return Inserted::Same;
    }
    let level = level_of(view.best);
    if level == Level::PROTECTED {
        let Some(ask) = ask else {
            return Inserted::Refused;
        };
        if view.backed == 0 {
            return Inserted::Refused;
        }
        let chance = memory.random();
        let turned = turned(view.worth_asking(chance), chance);
        let ended = end_without_socket(memory, spot, turned, lifetimes, now, ask);
        return if ended { Inserted::Asked } else { Inserted::AskedInVain };
    }
    let place = ((view.best >> CHOICE_SHIFT) as u32 & 3, view.best as u32 & 3);
    match take(memory, spot, place, level, key, fresh, now) {
        Some(class) => Inserted::InPlaceOf(class),
        None => Inserted::Contended,
    }
}

/// The same, as often as it may help.
#[inline(always)]
pub fn insert<M: Memory>(
    memory: &M,
    spot: &Spot,
    key: &KeyWords,
    fresh: &Fresh,
    lifetimes: &Lifetimes,
    now: u32,
    mut ask: impl FnMut(M::Place) -> Socket,
) -> Inserted {
    let mut may_ask = true;
    let mut attempt = 0;
    loop {
        let ask = if may_ask && attempt < ATTEMPTS { Some(&mut ask) } else { None };
        let inserted = insert_once(memory, spot, key, fresh, lifetimes, now, ask);
        match inserted {
            Inserted::Contended | Inserted::Asked | Inserted::AskedInVain if attempt < ATTEMPTS => {
                attempt += 1;
            }
            _ => return inserted,
        }
        if inserted == Inserted::Asked {
            may_ask = false;
        }
    }
}

/// Whether a flow has a place: an empty one, or that of a flow which may be evicted.
#[inline(always)]
pub fn has_place<M: Memory>(memory: &M, spot: &Spot, lifetimes: &Lifetimes, now: u32) -> bool {
    let looks = Looks { spot, lifetimes, now, chance: 0 };
    survey(memory, &looks).is_some_and(|view| level_of(view.best) != Level::PROTECTED)
}

/// Looks at the near bucket, and at all if that has no empty place or only few that are not protected.
#[inline(always)]
fn survey<M: Memory>(memory: &M, looks: &Looks<'_>) -> Option<View> {
    let mut all = View::NOTHING;
    touch(memory, looks.spot);
    let mut choice = 0;
    while choice < CHOICES {
        let view = view(memory, looks, choice)?;
        all.best = least(all.best, view.best);
        all.same = hide(all.same | view.same);
        all.backed = hide(all.backed | view.backed);
        all.doubted = hide(all.doubted | view.doubted);
        all.unconfirmed = hide(all.unconfirmed | view.unconfirmed);
        if choice == 0 && level_of(view.best) == Level::EMPTY && view.crowd + NEAR_RESERVE <= 4 {
            break;
        }
        choice = one_more(choice);
    }
    Some(all)
}

/// Loads a word of each line that may be looked at, so that their cache misses come at once and not one after the other.
#[inline(always)]
fn touch<M: Memory>(memory: &M, spot: &Spot) {
    let one = |choice| memory.line(spot.bucket(choice)).map(|line| memory.load(line, 0));
    let _ = (one(0), one(1), one(2), one(3));
}

#[inline(always)]
fn view<M: Memory>(memory: &M, looks: &Looks<'_>, choice: u32) -> Option<View> {
    let line = memory.line(looks.spot.bucket(choice))?;
    let mut all = View::NOTHING;
    one_slot(memory, line, (choice, 0), looks, &mut all);
    one_slot(memory, line, (choice, 1), looks, &mut all);
    one_slot(memory, line, (choice, 2), looks, &mut all);
    one_slot(memory, line, (choice, 3), looks, &mut all);
    // Of the levels below, those of streams alone are odd, but for what is closing.
    let level = u64::from(level_of(all.best).0);
    let is_stream = hide(level & (level >> 1 ^ level >> 2) & 1);
    // Four at most, and the number has room for seven.
    all.best += hide(all.crowd * (is_stream ^ 1)) << CROWD_SHIFT | u64::from(choice) << CHOICE_SHIFT;
    Some(all)
}

/// Adds a slot to a view, without a branch.
#[inline(always)]
fn one_slot<M: Memory>(
    memory: &M,
    line: M::Place,
    (choice, slot): (u32, u32),
    looks: &Looks<'_>,
    all: &mut View,
) {
    let Looks { spot, lifetimes, now, chance } = *looks;
    let control = memory.load(line, slot * 2 + 1);
    let fingerprint = memory.load(line, slot * 2);
    let level = u64::from(Control(control).class(now).level().0);
    let is_empty = hide(level.wrapping_sub(1) >> 63);
    let other = (fingerprint ^ spot.fingerprint) | differs(control, spot);
    let is_same = hide(hide((other | hide(other).wrapping_neg()) >> 63) ^ 1);
    all.same = hide(all.same | (is_same * (is_empty ^ 1)));
    all.crowd = hide(all.crowd + ((level + 1) >> 3));
    // Protected, backed, keyed and published; apart, lest the compiler compares all bits at once.
    let backed = hide(control >> 48 & control >> 50) & hide(control >> 56 & control >> 58) & 1;
    let doubted = backed & hide(control >> 49);
    let place = choice * 4 + slot;
    all.backed = hide(all.backed | backed << place);
    all.doubted = hide(all.doubted | doubted << place);
    all.unconfirmed = hide(all.unconfirmed | (doubted & hide(control >> 59)) << place);
    let is_taken = is_empty ^ 1;
    let lifetime = u64::from(lifetimes.of(Control(control).state()));
    let met = (control.wrapping_sub(lifetime) & END) * is_taken;
    // Chance comes by slot, so that of equals each is the first for somebody; not among empty places, so that two CPUs that
    // begin one flow claim the same.
    let turn = (chance >> (slot * 4) << CHANCE_SHIFT & CHANCE) * is_taken;
    let rank = level << LEVEL_SHIFT | met << TIME_SHIFT | turn | u64::from(slot);
    all.best = least(all.best, rank);
}

/// The lesser of two numbers below 2^63, without a branch.
#[inline(always)]
fn least(a: u64, b: u64) -> u64 {
    let a_is_less = hide(hide(a).wrapping_sub(hide(b)) >> 63);
    b.wrapping_add(a.wrapping_sub(b).wrapping_mul(a_is_less))
}

/// Takes a slot over, if what stands there is still worth no more, and says what did.
#[inline(always)]
fn take<M: Memory>(
    memory: &M,
    spot: &Spot,
    (choice, slot): (u32, u32),
    level: Level,
    key: &KeyWords,
    fresh: &Fresh,
    now: u32,
) -> Option<Class> {
    let bucket = spot.bucket(choice);
    let (Some(line), Some(filter), Some(details)) =
        (memory.line(bucket), memory.filter(bucket), memory.details(bucket))
    else {
        return None;
    };
    let control_word = (slot & 3) * 2 + 1;
    let old = memory.load(line, control_word);
    let class = Control(old).class(now);
    if class.level().0 > level.0 {
        return None;
    }
    // Before the flow can be found.
    let spilled = match fresh.control.has(PROTECTED) {
        true => Mark::Protected,
        false => Mark::Until(fresh.control.end()),
    };
    if !mark(memory, spot, choice, spilled, now) {
        return None;
    }
    let version = old.wrapping_add(VERSION) & VERSIONS;
    if memory.compare_exchange(line, control_word, old, version | USED | PENDING) != old {
        if fresh.control.has(PROTECTED) {
            mark(memory, spot, choice, Mark::Released, now);
        }
        return None;
    }
    // From here on the slot, its tag, its details and its record are ours.
    memory.store_tag(filter, slot & 3, spot.tag);
    memory.store(line, (slot & 3) * 2, spot.fingerprint);
    memory.store(details, (slot & 3) * 2, fresh.admitted_by);
    memory.store(details, (slot & 3) * 2 + 1, fresh.beside.0);
    // A flood whose flows evict each other writes no keys.
    let evicts = class.0 >= Class::HALF_OPEN.0 && class.0 < Class::REPLIED.0;
    let keyed = !evicts && write_key(memory, bucket * 4 + (slot & 3), key);
    let keyed = if keyed { KEYED } else { 0 };
    memory.publish(line, control_word, version | USED | keyed | spot.print | fresh.control.0);
    Some(class)
}

/// A mask of sixteen places, turned around by chance so that each of its bits may be the lowest, and by how much.
#[inline(always)]
fn turned(mask: u64, chance: u32) -> (u64, u32) {
    let by = chance & 15;
    (mask >> by | mask << (16 - by) & 0xffff, by)
}

/// Asks for the socket of one flow, and ends the flow if there is none.
#[inline(always)]
fn end_without_socket<M: Memory>(
    memory: &M,
    spot: &Spot,
    (backed, by): (u64, u32),
    lifetimes: &Lifetimes,
    now: u32,
    ask: impl FnOnce(M::Place) -> Socket,
) -> bool {
    let which = (lowest(backed) + by) & 15;
    let (bucket, slot) = (spot.bucket(which >> 2), which & 3);
    let (Some(line), Some(record)) = (memory.line(bucket), memory.record(bucket * 4 + slot)) else {
        return false;
    };
    let control_word = slot * 2 + 1;
    let old = memory.load(line, control_word);
    if old & (PROTECTED | BACKED | KEYED | PENDING) != PROTECTED | BACKED | KEYED {
        return false;
    }
    // Here a handshake that the host waits for is worth less than the flow that begins: strangers could begin any number.
    let socket = match ask(record) {
        Socket::Opening => Socket::None,
        other => other,
    };
    let settled = settle(Control(old), socket, lifetimes, now);
    // If another flow has taken the slot since, with another key in the record, its version differs and the exchange fails. The
    // buckets before this one keep a count for the flow that ends here, which claims too much and is counted again by user space.
    memory.compare_exchange(line, control_word, old, settled.0) == old && !settled.has(PROTECTED)
}

/// The lowest bit that is set, of sixteen.
#[inline(always)]
fn lowest(mask: u64) -> u32 {
    let mut number = 0;
    let mut rest = mask;
    macro_rules! step {
        ($bits:literal) => {
            let none = hide((rest & ((1 << $bits) - 1)).wrapping_sub(1) >> 63);
            number += none * $bits;
            rest >>= none * $bits;
        };
    }
    step!(8);
    step!(4);
    step!(2);
    step!(1);
    let _ = rest;
    number as u32 & 15
}
