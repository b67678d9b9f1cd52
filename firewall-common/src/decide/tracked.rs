//! Packets of live flows.

use super::Context;
use super::recent::{Place, is_steady, leaves_steady};
use super::tables::{FlowHandle, FlowTables, Table};
use crate::abi::{Address, Direction, FlowEntry, FlowKey};
use crate::flow::{FlowState, Step, advance, start};
use crate::packet::Transport;
use crate::reason::Reason;

/// What the flow tables say about a packet.
pub(super) enum Tracking {
    /// It belongs to a live flow.
    Decided(Reason),
    /// It does not; the rules decide.
    NoFlow {
        /// The table of assured flows holds an entry of the packet's key that is expired or over. A flow that begins
        /// now takes its place; until a rule has admitted one it stays, so that nothing a blind sender forges can end
        /// a flow.
        replaces_assured: bool,
    },
}

/// The entries of a key.
pub(super) struct Found<H> {
    /// The live one.
    pub(super) live: Option<Live<H>>,
    /// Whether there is an expired one among the assured.
    stale_assured: bool,
}

/// A live flow, with what it takes to change it.
pub(super) struct Live<H> {
    table: Table,
    handle: H,
    pub(super) entry: FlowEntry,
    /// `None` for one that was cut.
    pub(super) state: Option<FlowState>,
}

/// Looks the packet's flow up and follows it.
///
/// AWS: "responses to allowed traffic are allowed regardless of the rules", and a tracked flow outlives the rule that
/// admitted it; so a live flow is all it takes.
#[inline(always)]
pub(super) fn follow<A: Address, T: FlowTables<A>>(
    key: Option<&FlowKey<A>>,
    transport: &Transport,
    tables: &T,
    context: &Context<'_>,
) -> Tracking {
    let Some(key) = key else {
        return Tracking::NoFlow { replaces_assured: false };
    };
    let place = Place::of(key, tables);
    let leaves_steady = leaves_steady(transport);
    if leaves_steady && place.holds(key, tables, context) {
        return Tracking::Decided(Reason::Tracked);
    }
    let promotion = tables.promotion();
    let mut found = find(key, tables, context);
    if found.live.is_none() && !found.stale_assured && tables.promotion() != promotion {
        // Another CPU may have promoted the flow between the two lookups.
        found.live =
            tables.flow(Table::Assured, key).and_then(|handle| live(Table::Assured, handle, context));
    }
    let Some(flow) = found.live else {
        return Tracking::NoFlow { replaces_assured: found.stale_assured };
    };
    // By the hook, which nobody outside can choose.
    let from_initiator = context.direction == flow.entry.started_by();
    let Some(state) = flow.state else {
        // What the initiator sends, or whoever opens a connection anew, is for the rules to decide. Dropping the rest keeps
        // a cut flow from coming back as one that the responder has begun.
        if from_initiator || opens(transport) {
            return Tracking::NoFlow { replaces_assured: flow.table == Table::Assured };
        }
        return Tracking::Decided(Reason::FlowCut);
    };
    match advance(flow.entry, state, transport, from_initiator, context.now) {
        Step::Restart => Tracking::NoFlow { replaces_assured: flow.table == Table::Assured },
        Step::Continue { entry: next, assures } if assures && flow.table == Table::HalfOpen => {
            Tracking::Decided(promote(key, &next, tables, context))
        }
        Step::Continue { entry: next, .. } => {
            let last_seen = store(&flow.handle, &flow.entry, &next, context);
            let was_steady = flow.table == Table::Assured && is_steady(&flow.entry);
            if was_steady && leaves_steady {
                place.remember(key, last_seen, tables);
            } else if was_steady {
                place.forget(tables);
            }
            Tracking::Decided(Reason::Tracked)
        }
    }
}

/// Begins the flow of a packet that rules admit, half-open. A RST, an ICMP error or a reply without a query begins none:
/// nothing may answer it. Nor does a packet whose source cannot be where it came from: its "responder", whom anybody may
/// have named, would be let in.
#[inline(always)]
pub(super) fn begin<A: Address, T: FlowTables<A>>(
    key: &FlowKey<A>,
    transport: &Transport,
    rule_set: u32,
    replaces_assured: bool,
    tables: &T,
    context: &Context<'_>,
) -> Reason {
    let Some(entry) = start(transport, context.direction, rule_set, context.generation, context.now) else {
        return Reason::Rule;
    };
    if context.direction == Direction::Egress
        && tables.was_received_here()
        && !tables.leads_back_here(&key.local, &key.remote)
    {
        return Reason::Hairpin;
    }
    if is_under_pressure(tables.pressure(), context)
        || tables.insert_flow(Table::HalfOpen, key, &entry).is_err()
    {
        return Reason::FlowTableFull;
    }
    if replaces_assured {
        // Last, so that the key is never without an entry. Should another CPU have promoted the new flow meanwhile, its
        // entry goes, and its next packet is judged as one in mid-stream: by the rule that has just admitted it.
        tables.remove_flow(Table::Assured, key);
    }
    Reason::Rule
}

/// Finds the live entry of a key, among the assured flows first: that is where nearly every packet's is.
///
/// An expired entry counts as none. It is left where it is: a new flow of the same key overwrites it, and user space
/// sweeps the rest.
#[inline(always)]
pub(super) fn find<A: Address, T: FlowTables<A>>(
    key: &FlowKey<A>,
    tables: &T,
    context: &Context<'_>,
) -> Found<T::Handle> {
    let mut stale_assured = false;
    if let Some(handle) = tables.flow(Table::Assured, key) {
        let live = live(Table::Assured, handle, context);
        if live.is_some() {
            return Found { live, stale_assured };
        }
        stale_assured = true;
    }
    let live = tables.flow(Table::HalfOpen, key).and_then(|handle| live(Table::HalfOpen, handle, context));
    Found { live, stale_assured }
}

#[inline(always)]
fn live<H: FlowHandle>(table: Table, handle: H, context: &Context<'_>) -> Option<Live<H>> {
    let entry = handle.read();
    // A number that no version of the program has written: not a flow that anything can be concluded from.
    let state = FlowState::from_number(entry.state)?;
    if entry.is_expired(state, &context.settings.timeouts, context.now) {
        return None;
    }
    let state = if entry.is_cut(context.now) { None } else { Some(state) };
    Some(Live { table, handle, entry, state })
}

#[inline(always)]
const fn opens(transport: &Transport) -> bool {
    matches!(transport, Transport::Tcp(tcp) if tcp.opens())
}

/// Moves a flow to the table that nothing evicts.
///
/// Between the two steps the flow is in both tables and the assured one is found first. Two CPUs may both promote it:
/// they write the same entry.
#[inline(always)]
fn promote<A: Address, T: FlowTables<A>>(
    key: &FlowKey<A>,
    next: &FlowEntry,
    tables: &T,
    context: &Context<'_>,
) -> Reason {
    if tables.insert_flow(Table::Assured, key, next).is_err() {
        tables.set_pressure(context.now);
        return Reason::FlowTableFull;
    }
    tables.mark_promotion();
    tables.remove_flow(Table::HalfOpen, key);
    Reason::Tracked
}

/// A flow that could not become assured would end in mid-handshake, so for a second after one has found no room, new
/// ones are not even begun: AWS drops "packets that would need a new entry" (`conntrack_allowance_exceeded`).
#[inline(always)]
const fn is_under_pressure(pressure: u32, context: &Context<'_>) -> bool {
    pressure != 0 && context.now.wrapping_sub(pressure) < context.settings.jiffies_per_second
}

/// Writes back what changed, and returns the time in the entry. Most packets change nothing but that, and it is written
/// at most once a second, so that an established flow costs no dirty cache line per packet.
#[inline(always)]
fn store<H: FlowHandle>(handle: &H, entry: &FlowEntry, next: &FlowEntry, context: &Context<'_>) -> u32 {
    if next.state != entry.state || next.flags != entry.flags || next.handshake != entry.handshake {
        handle.write(next);
        return next.last_seen;
    }
    if next.last_seen.wrapping_sub(entry.last_seen) >= context.settings.jiffies_per_second {
        handle.touch(next.last_seen);
        return next.last_seen;
    }
    entry.last_seen
}
