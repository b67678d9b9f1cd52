//! The state diagram of ARCHITECTURE.md is the code's: every transition that packets can cause is drawn, and no other.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeSet;

use firewall_common::abi::{Be16, Direction, FlowEntry};
use firewall_common::flow::{FlowState, Step, advance, start};
use firewall_common::packet::icmp::{Icmp, Role};
use firewall_common::packet::{Tcp, Transport, tcp_flag};

const ISN: u32 = 100;

/// A transition as the diagram has it; `[*]` is where flows begin and end.
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

/// The edges that the state machine takes, found by giving each packet to each entry that packets can bring about.
fn real() -> BTreeSet<Edge> {
    let mut edges = BTreeSet::new();
    let mut known: Vec<FlowEntry> = Vec::new();
    for packet in packets() {
        if let Some(entry) = start(&packet, Direction::Ingress, 1, 1, 0) {
            edges.insert(("[*]".to_owned(), name(&entry)));
            known.push(entry);
        }
    }
    let mut next = 0;
    while let Some(entry) = known.get(next).copied() {
        next += 1;
        for (packet, from_initiator) in
            packets().into_iter().flat_map(|packet| [(packet, true), (packet, false)])
        {
            let state = FlowState::from_number(entry.state).unwrap();
            if !belongs_to(state, &packet) {
                continue;
            }
            match advance(entry, state, &packet, from_initiator, 0) {
                Step::Restart => edges.insert((name(&entry), "[*]".to_owned())),
                Step::Continue { entry: after, .. } => {
                    if !known.contains(&after) {
                        known.push(after);
                    }
                    after.state != entry.state && edges.insert((name(&entry), name(&after)))
                }
            };
        }
    }
    edges
}

fn name(entry: &FlowEntry) -> String {
    format!("{:?}", FlowState::from_number(entry.state).unwrap())
}

/// Whether the packet can have the key of a flow in this state.
fn belongs_to(state: FlowState, packet: &Transport) -> bool {
    match state {
        FlowState::UdpOneWay | FlowState::UdpReplied | FlowState::UdpAskedAgain | FlowState::UdpStream => {
            matches!(packet, Transport::Udp { .. })
        }
        FlowState::IcmpQuery => matches!(packet, Transport::Icmp(_)),
        FlowState::Portless => matches!(packet, Transport::Portless),
        _ => matches!(packet, Transport::Tcp(_)),
    }
}

/// One packet of each kind that the state machine tells apart.
fn packets() -> Vec<Transport> {
    let tcp = |flags, acknowledgement, has_data| {
        let ports = (Be16::new(40_000), Be16::new(22));
        Transport::Tcp(Tcp {
            source_port: ports.0,
            destination_port: ports.1,
            sequence: ISN,
            acknowledgement,
            flags,
            has_data,
        })
    };
    let identifier = Be16::new(7);
    let icmp = |icmp_type, role| Transport::Icmp(Icmp { icmp_type, code: 0, role });
    vec![
        tcp(tcp_flag::SYN, 0, false),
        tcp(tcp_flag::SYN | tcp_flag::ACK, 1, false),
        tcp(tcp_flag::ACK, ISN + 1, false),
        tcp(tcp_flag::ACK, ISN.wrapping_sub(1), false),
        tcp(tcp_flag::ACK, ISN + 1, true),
        tcp(tcp_flag::FIN | tcp_flag::ACK, ISN + 1, false),
        tcp(tcp_flag::RST, 0, false),
        Transport::Udp { source_port: Be16::new(5353), destination_port: Be16::new(53) },
        icmp(8, Role::Query { identifier }),
        icmp(0, Role::Reply { identifier, query_type: 8 }),
        icmp(3, Role::Error),
        Transport::Portless,
        Transport::LaterFragment,
    ]
}
