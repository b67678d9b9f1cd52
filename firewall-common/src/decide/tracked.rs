//! Packets of flows.

use super::case::{Case, Found};
use super::tables::{SocketOf, Tables};
use crate::abi::{Direction, KEY_IS_IPV6, KeyWords, flow_event, query_from};
use crate::flow_table::control::{BEGUN_BY_EGRESS, state};
use crate::flow_table::track::{self, Admitted, Glance, Tracked, Tracking};
use crate::flow_table::{Control, Hit, Memory, find, has_place, spot};
use crate::reason::Reason;

/// What the flow table says about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// It belongs to a flow, which says whether it passes.
    Decided(Reason),
    /// The rules decide.
    Rules,
    /// It belongs to a flow: [`track()`] says.
    Flow,
}

/// Looks the packet's flow up. Nearly every packet leaves its flow as it is, and is decided here.
///
/// AWS: "responses to allowed traffic are allowed regardless of the rules", and a tracked flow outlives the rule that
/// admitted it; so a live flow is all it takes. But what leaves by the interface that it came in by speaks for no host behind
/// another one: whoever is on the wire there could complete, and end, the connections of all of them.
#[inline(always)]
pub fn follow<T: Tables>(tables: &T, case: &mut Case) -> Following {
    let flows = tables.flows();
    case.spot = spot(flows, &case.key);
    case.found.is_some = 0;
    if case.facts.is_forwarded != 0 && tables.was_received_here() && !tables.leads_back_here(&case.key) {
        return Following::Rules;
    }
    match track::glance(flows, &case.spot, &case.facts) {
        Glance::NoFlow => Following::Rules,
        Glance::Undisturbed => Following::Decided(Reason::Tracked),
        Glance::Flow(hit) => {
            case.found = Found::of(&hit);
            Following::Flow
        }
    }
}

/// What the packet's flow says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// Whether it passes.
    Decided(Reason),
    /// The rules decide.
    Rules,
    /// Another CPU was faster: [`follow()`] is worth another try.
    Again,
}

/// Follows a packet of the flow that [`follow()`] has found; one try.
#[inline(always)]
pub fn track<T: Tables>(tables: &T, case: &mut Case) -> Followed {
    let flows = tables.flows();
    let (Some(settings), Some(hit)) = (tables.settings(case.half(), case.slot), hit(flows, &case.found))
    else {
        return Followed::Decided(Reason::Internal);
    };
    case.found.is_some = 0;
    let tracked = Tracked { key: &case.key, spot: &case.spot };
    let socket = || tables.socket(SocketOf::Packet(&case.key));
    match track::track(flows, tracked, hit, &case.facts, &settings.lifetimes, socket) {
        Tracking::Passes => Followed::Decided(Reason::Tracked),
        Tracking::Cut => Followed::Decided(Reason::FlowCut),
        Tracking::Again => Followed::Again,
        Tracking::Rules(None) => Followed::Rules,
        Tracking::Rules(Some(hit)) => {
            case.found = Found::of(&hit);
            Followed::Rules
        }
    }
}

/// What became of a packet that rules admit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// It is decided.
    Decided(Reason),
    /// Another CPU was faster: worth another try.
    Again,
    /// The same, without asking for a socket.
    AgainWithoutAsking,
}

/// Begins the flow of a packet that rules admit; one try. A RST, an ICMP error or a reply without a query begins none:
/// nothing may answer it.
#[inline(always)]
pub fn begin<T: Tables>(tables: &T, case: &Case, may_ask: bool) -> Beginning {
    let Some(settings) = tables.settings(case.half(), case.slot) else {
        return Beginning::Decided(Reason::Internal);
    };
    let flows = tables.flows();
    if case.rule_set == 0 {
        let has_place = has_place(flows, &case.spot, &settings.lifetimes, case.facts.now);
        let refused = Reason::of_register(case.refused);
        return Beginning::Decided(if has_place { refused } else { Reason::Management });
    }
    let tracked = Tracked { key: &case.key, spot: &case.spot };
    let admitted_by = u64::from(case.rule_set) | u64::from(case.generation) << 32;
    let ask = if may_ask { Some(|record| tables.socket(SocketOf::Record(record))) } else { None };
    let found = hit(flows, &case.found);
    match track::admitted(flows, tracked, found, admitted_by, &case.facts, &settings.lifetimes, ask) {
        Admitted::NoFlow | Admitted::Tracked => Beginning::Decided(Reason::Rule),
        Admitted::Begun(class) => {
            tables.count_flow_event(flow_event::BEGUN_IN_PLACE_OF + class.0);
            Beginning::Decided(Reason::Rule)
        }
        Admitted::Full if case.is_management != 0 => Beginning::Decided(Reason::Management),
        Admitted::Full => {
            tables.note_refusal();
            Beginning::Decided(Reason::FlowTableFull)
        }
        Admitted::Again => Beginning::Again,
        Admitted::AgainWithoutAsking => Beginning::AgainWithoutAsking,
    }
}

#[inline(always)]
fn hit<M: Memory>(flows: &M, found: &Found) -> Option<Hit<M::Place>> {
    if found.is_some == 0 {
        return None;
    }
    Some(Hit {
        line: flows.line(found.bucket)?,
        bucket: found.bucket,
        slot: found.slot & 3,
        choice: found.choice & 3,
        control: Control(found.control),
    })
}

/// Whether there is a live flow of the case's key: that of the packet which an ICMP error quotes. Its key holds the side
/// that the packet went out from, so that nothing else needs to be compared.
#[inline(always)]
pub fn is_live<T: Tables>(tables: &T, case: &Case) -> bool {
    live(tables, &case.key, case.facts.now).is_some()
}

#[inline(always)]
fn live<T: Tables>(tables: &T, key: &KeyWords, now: u32) -> Option<Control> {
    let flows = tables.flows();
    let control = find(flows, &spot(flows, key), now)?.control;
    if control.is_ended(now) || control.state() == state::CUT { None } else { Some(control) }
}

/// Whether a packet that would begin a flow leaves by the interface that it came in by, and the way back to its source is
/// not clearly by the same one. Its "responder", whom anybody may have named, would be let in by such a flow.
///
/// It came in here if the kernel says so; or if the host has not made it and ingress has begun a flow with a packet of the
/// same two ends, which shows it where a device on top of the interface (a bridge, a macvlan) has taken the packet and sent
/// it back.
#[inline(always)]
pub fn is_hairpin<T: Tables>(tables: &T, case: &Case) -> bool {
    let begins_flow = case.rule_set != 0 && case.facts.begins_flow();
    if case.direction() == Direction::Ingress || !begins_flow || case.facts.is_forwarded == 0 {
        return false;
    }
    let came_in_here = tables.was_received_here()
        || live(tables, &mirrored(&case.key), case.facts.now)
            .is_some_and(|control| !control.has(BEGUN_BY_EGRESS));
    came_in_here && !tables.leads_back_here(&case.key)
}

/// The key that the other hook of the same interface gives a packet which goes through both.
#[inline(always)]
fn mirrored(key: &KeyWords) -> KeyWords {
    const PORTS: u64 = 0xffff_ffff;
    let [l0, l1, r0, r1, last] = *key;
    let query_from = (last >> 40) as u8 & 0x7f;
    let last = if query_from == query_from::EITHER {
        last & !PORTS | u64::from((last as u32).rotate_left(16))
    } else {
        // Identifier and type of a query belong to neither end; the other one asks.
        last ^ u64::from(query_from::LOCAL ^ query_from::REMOTE) << 40
    };
    if last & KEY_IS_IPV6 != 0 { [r0, r1, l0, l1, last] } else { [0, 0, 0, r1.rotate_left(32), last] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Address, Be16, FlowKey, Ipv4, Ipv6};

    fn key<A: Address>(local: A, remote: A, (local_port, remote_port): (u16, u16), from: u8) -> KeyWords {
        let (local_port, remote_port) = (Be16::new(local_port), Be16::new(remote_port));
        A::key_words(&FlowKey {
            local,
            remote,
            local_port,
            remote_port,
            protocol: 6,
            query_from: from,
            zone: 7,
        })
    }

    #[test]
    fn the_mirrored_key_is_that_of_the_other_hook() {
        let (a, b) = (Ipv4::from_bytes([1, 2, 3, 4]), Ipv4::from_bytes([5, 6, 7, 8]));
        assert_eq!(
            mirrored(&key(a, b, (22, 80), query_from::EITHER)),
            key(b, a, (80, 22), query_from::EITHER)
        );
        assert_eq!(mirrored(&key(a, b, (7, 8), query_from::LOCAL)), key(b, a, (7, 8), query_from::REMOTE));
        let (a, b) = (Ipv6::from_bytes([1; 16]), Ipv6::from_bytes([2; 16]));
        assert_eq!(
            mirrored(&key(a, b, (22, 80), query_from::EITHER)),
            key(b, a, (80, 22), query_from::EITHER)
        );
        assert_eq!(mirrored(&key(a, b, (7, 8), query_from::REMOTE)), key(b, a, (7, 8), query_from::LOCAL));
    }
}
