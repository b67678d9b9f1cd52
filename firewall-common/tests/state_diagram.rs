//! The state diagram of the flow table is the code's: every transition that packets can cause is drawn, and no other.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::{BTreeSet, HashSet};

use firewall_common::flow_table::Control;
use firewall_common::flow_table::control::state;
use firewall_common::flow_table::life::{
    Beside, Facts, Lifetimes, Socket, Step, asks_for_socket, begin, follow, kind, remember_syn,
};
use firewall_common::packet::tcp_flag::{ACK, FIN, RST, SYN};

const ISN: u32 = 100;
const NOW: u32 = 1000;
/// What follows one packet by as much is late for a doubt, and in time for a handshake.
const LATER: u32 = 50;
const TWO_SECONDS: u32 = 16;

/// A transition as the diagram has it; `[*]` is where flows begin.
type Edge = (String, String);

#[test]
fn the_diagram_has_the_transitions_of_the_code_and_no_other() {
    let drawn = drawn();
    let real = real();
    let missing: Vec<_> = real.difference(&drawn).collect();
    let invented: Vec<_> = drawn.difference(&real).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "not drawn: {missing:?}; not in the code: {invented:?}"
    );
}

/// The edges of the mermaid diagram.
fn drawn() -> BTreeSet<Edge> {
    let page = include_str!("../../ARCHITECTURE.md");
    let diagram = page.split("stateDiagram-v2").nth(1).unwrap().split("```").next().unwrap();
    let edge = |line: &str| {
        let (from, rest) = line.trim().split_once(" --> ")?;
        let to = rest.split(':').next()?;
        Some((from.to_owned(), to.trim().to_owned()))
    };
    diagram.lines().filter_map(edge).collect()
}

/// The edges that the state machine takes, found by giving each packet, sooner and later, with each answer about the socket,
/// to each flow that packets can bring about.
fn real() -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    let mut known = HashSet::new();
    let mut open = Vec::new();
    for facts in packets(NOW) {
        if let Some(control) = begin(&facts, &lifetimes()) {
            edges.insert(("[*]".to_owned(), name(control)));
            open.push((control, Beside::begun(NOW)));
        }
    }
    while let Some((control, beside)) = open.pop() {
        let (control, beside) = at_once(control, beside);
        if !known.insert((control.0, beside.0)) {
            continue;
        }
        for facts in [NOW, NOW + LATER].into_iter().flat_map(packets) {
            if !belongs_to(control, &facts) {
                continue;
            }
            let asks = asks_for_socket(control, beside, &facts, &lifetimes());
            let answers = [Socket::Connected, Socket::TimeWait, Socket::None];
            for answer in if asks { answers.map(Some).to_vec() } else { vec![None] } {
                let (next, beside) = match follow(control, beside, &facts, &lifetimes(), answer) {
                    Step::Continue(next, beside) => (next, beside),
                    Step::Rules => remember_syn(control, beside, &facts),
                    Step::Over => continue,
                    Step::Cut(_) => unreachable!("nobody cuts"),
                };
                if next.state() != control.state() {
                    edges.insert((name(control), name(next)));
                }
                open.push((next, beside));
            }
        }
    }
    edges
}

/// The flow as if everything of it had happened just now, so that there are not too many of them.
fn at_once(control: Control, beside: Beside) -> (Control, Beside) {
    let now = u64::from(NOW);
    let times = if is_tcp(control.state()) { now << 48 | now << 32 } else { now << 32 };
    (control.ending(NOW + 1000), Beside(beside.0 & 0xffff_ffff | times))
}

fn lifetimes() -> Lifetimes {
    let mut lifetimes = Lifetimes([1000; 16]);
    for short in [state::CLOSED, state::TIME_WAIT] {
        lifetimes.0[short as usize] = LATER - 1;
    }
    lifetimes
}

const fn is_tcp(state: u64) -> bool {
    state <= state::PICKED_UP
}

fn name(control: Control) -> String {
    match control.state() {
        state::SYN_SENT => "SynSent",
        state::SYN_RECEIVED => "SynReceived",
        state::ESTABLISHED => "Established",
        state::FIN_WAIT => "FinWait",
        state::TIME_WAIT => "TimeWait",
        state::CLOSED => "Closed",
        state::PICKED_UP => "PickedUp",
        state::UDP_ONE_WAY => "UdpOneWay",
        state::UDP_REPLIED => "UdpReplied",
        state::UDP_STREAM => "UdpStream",
        state::ICMP_QUERY => "IcmpQuery",
        state::ICMP_REPLIED => "IcmpReplied",
        state::PORTLESS => "Portless",
        state::PORTLESS_REPLIED => "PortlessReplied",
        _ => "?",
    }
    .to_owned()
}

/// Whether the packet can have the key of a flow in this state. Flows begin by ingress here; a query and its reply come
/// from two sides, for the key says who asks.
fn belongs_to(control: Control, facts: &Facts) -> bool {
    match control.state() {
        state if is_tcp(state) => facts.kind == kind::TCP,
        state::UDP_ONE_WAY | state::UDP_REPLIED | state::UDP_STREAM => facts.kind == kind::UDP,
        state::ICMP_QUERY | state::ICMP_REPLIED => {
            let asker = if facts.is_egress == 0 { kind::QUERY } else { kind::REPLY };
            facts.kind == asker
        }
        _ => facts.kind == kind::PORTLESS,
    }
}

/// One packet of each kind that the state machine tells apart, from either side, and what the host forwards.
fn packets(now: u32) -> Vec<Facts> {
    let mut packets = Vec::new();
    for (is_egress, is_forwarded) in [(0, 0), (1, 0), (1, 1)] {
        let plain = Facts { now, second: TWO_SECONDS / 2, is_egress, is_forwarded, ..Facts::default() };
        for kind in [kind::REPLY, kind::UDP, kind::QUERY, kind::PORTLESS] {
            packets.push(Facts { kind, ..plain });
        }
        let tcp = |tcp_flags, acknowledgement, data_length| Facts {
            kind: kind::TCP,
            tcp_flags,
            sequence: ISN,
            acknowledgement,
            data_length,
            ..plain
        };
        packets.extend([
            tcp(SYN, 0, 0),
            tcp(SYN | ACK, ISN + 1, 0),
            tcp(SYN | ACK, 1, 0),
            tcp(SYN | FIN | ACK, ISN + 1, 1),
            tcp(ACK, ISN + 1, 0),
            tcp(ACK, 1, 0),
            tcp(ACK, ISN + 1, 1),
            tcp(FIN | ACK, ISN + 1, 0),
            tcp(FIN | ACK, 1, 0),
            tcp(RST, 0, 0),
        ]);
    }
    packets
}
