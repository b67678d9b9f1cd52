//! Any sequence of packets of one flow through `flow::start` and `flow::advance`.
//!
//! What may follow from what is stated here once more, by remembering what each side has sent instead of by states:
//! which packets make a flow assured, what a RST can do, when a flow is over, and what never changes.

#![no_main]

use arbitrary::Arbitrary;
use firewall_common::abi::{Be16, Direction, FlowEntry, Timeouts, flow_flag};
use firewall_common::flow::{FlowState, Step, advance, start};
use firewall_common::packet::icmp::{Icmp, Role};
use firewall_common::packet::{Tcp, Transport, tcp_flag};
use libfuzzer_sys::fuzz_target;

/// How far beyond the responder's SYN the acknowledgement that completes a handshake may lie (RFC 7413).
const HANDSHAKE_WINDOW: u32 = 65_536;

/// In ticks; each differs from the others.
const TIMEOUTS: Timeouts = Timeouts {
    tcp_syn: 600,
    tcp_established: 100_000,
    tcp_fin: 1200,
    tcp_closed: 100,
    udp: 300,
    udp_stream: 1800,
    icmp: 310,
    other: 6000,
};

#[derive(Arbitrary, Debug)]
struct Input {
    protocol: Protocol,
    started_by_egress: bool,
    rule_set: u32,
    generation: u32,
    now: u32,
    packets: Vec<Packet>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Other,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Packet {
    from_initiator: bool,
    /// Ticks since the packet before.
    pause: u16,
    flags: u8,
    sequence: u32,
    acknowledgement: Acknowledgement,
    has_data: bool,
}

/// The fuzzer cannot guess the one number that completes a handshake.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Acknowledgement {
    Any(u32),
    /// So many bytes beyond the last SYN of the responder.
    BeyondSyn(u32),
}

fuzz_target!(|input: Input| {
    let mut packets = input.packets.iter();
    let Some(first) = packets.next() else {
        return;
    };
    let direction = if input.started_by_egress { Direction::Egress } else { Direction::Ingress };
    let transport = transport(input.protocol, &Packet { from_initiator: true, ..*first }, 0);
    let started = start(&transport, direction, input.rule_set, input.generation, input.now);
    let Some(entry) = started else {
        assert!(has(&transport, tcp_flag::RST), "{transport:?} begins no flow");
        return;
    };
    assert!(!has(&transport, tcp_flag::RST), "a RST begins a flow");
    let expected = FlowEntry {
        last_seen: input.now,
        rule_set: input.rule_set,
        generation: input.generation,
        state: entry.state,
        flags: entry.flags,
        ..FlowEntry::default()
    };
    assert_eq!(entry, expected);
    assert_eq!(entry.started_by(), direction);
    let mut flow = Flow { entry, now: input.now, history: History::default() };
    for packet in packets {
        if !flow.follow(input.protocol, packet) {
            return;
        }
    }
});

/// A flow with what it must not forget.
struct Flow {
    entry: FlowEntry,
    now: u32,
    history: History,
}

#[derive(Default)]
struct History {
    replied: bool,
    assured: bool,
    /// Sequence number of the responder's last SYN, RSTs aside.
    responder_syn: Option<u32>,
    /// Whether each side has sent a FIN, and no data after it.
    finished: Sides,
    /// Whether a RST has reached the flow while it was established, and neither side alone has spoken since.
    is_reset: bool,
    spoke_since_reset: Sides,
}

#[derive(Default)]
struct Sides {
    initiator: bool,
    responder: bool,
}

impl Sides {
    fn side(&mut self, is_initiator: bool) -> &mut bool {
        if is_initiator { &mut self.initiator } else { &mut self.responder }
    }

    fn both(&self) -> bool {
        self.initiator && self.responder
    }
}

impl Flow {
    /// Follows a packet; `false` where the flow has ended.
    fn follow(&mut self, protocol: Protocol, packet: &Packet) -> bool {
        let state = self.state();
        self.now = self.now.wrapping_add(packet.pause.into());
        let idle = self.now.wrapping_sub(self.entry.last_seen);
        let is_expired = self.entry.is_expired(state, &TIMEOUTS, self.now);
        assert_eq!(is_expired, idle > state.timeout(&TIMEOUTS));
        if is_expired {
            return false;
        }
        let transport = transport(protocol, packet, self.history.responder_syn.unwrap_or_default());
        match advance(self.entry, state, &transport, packet.from_initiator, self.now) {
            Step::Restart => {
                assert!(self.is_over(), "{state:?} is not over");
                assert!(opens(&transport), "{transport:?} asks for no new flow");
                false
            }
            Step::Continue { entry: next, assures } => {
                assert!(!(self.is_over() && opens(&transport)), "a SYN goes on with {state:?}");
                self.check_entry(&next);
                self.check_assurance(&transport, packet, assures);
                self.check_reset(&transport, &next);
                self.remember(&transport, packet, assures);
                self.entry = next;
                self.check_state();
                true
            }
        }
    }

    fn state(&self) -> FlowState {
        FlowState::from_number(self.entry.state).expect("a state")
    }

    /// Both sides are done, or a RST was seen and not taken back.
    fn is_over(&self) -> bool {
        self.history.is_reset || self.history.finished.both()
    }

    /// What the first packet said stays, and time does not run backwards.
    fn check_entry(&self, next: &FlowEntry) {
        let origin = flow_flag::STARTED_BY_EGRESS;
        assert_eq!(next.flags & origin, self.entry.flags & origin);
        assert_eq!(next.rule_set, self.entry.rule_set);
        assert_eq!(next.generation, self.entry.generation);
        assert_eq!((next.padding, next.cut_at), (0, self.entry.cut_at));
        assert!(next.last_seen == self.now || next.last_seen == self.entry.last_seen);
    }

    /// Only the initiator's answer to a reply makes a flow assured; of TCP in a handshake, only the acknowledgement of
    /// the responder's SYN.
    fn check_assurance(&self, transport: &Transport, packet: &Packet, assures: bool) {
        if !assures {
            return;
        }
        assert!(packet.from_initiator, "the responder assures");
        assert!(self.history.replied, "nothing was answered");
        let Transport::Tcp(tcp) = transport else {
            return;
        };
        assert!(!tcp.has(tcp_flag::RST), "a RST assures");
        if matches!(self.state(), FlowState::SynSent | FlowState::SynReceived) {
            let syn = self.history.responder_syn.expect("a SYN of the responder");
            let beyond = tcp.acknowledgement.wrapping_sub(syn.wrapping_add(1));
            assert!(tcp.has(tcp_flag::ACK) && beyond < HANDSHAKE_WINDOW, "{beyond} beyond the SYN");
        }
    }

    /// A RST changes nothing but the state of an established flow, and renews only the timeout that it shortens.
    fn check_reset(&self, transport: &Transport, next: &FlowEntry) {
        if !has(transport, tcp_flag::RST) {
            return;
        }
        if !self.history.assured || self.history.is_reset {
            assert_eq!(*next, self.entry, "a RST changes a flow that is not established");
            return;
        }
        assert_eq!(FlowState::from_number(next.state), Some(FlowState::Closed));
    }

    fn remember(&mut self, transport: &Transport, packet: &Packet, assures: bool) {
        let is_picked_up = self.state() == FlowState::PickedUp;
        let history = &mut self.history;
        let Transport::Tcp(tcp) = transport else {
            history.replied |= !packet.from_initiator;
            history.assured |= assures;
            return;
        };
        if tcp.has(tcp_flag::RST) {
            if history.assured && !history.is_reset {
                history.is_reset = true;
                history.spoke_since_reset = Sides::default();
            }
            return;
        }
        history.replied |= !packet.from_initiator;
        history.assured |= assures;
        if !history.assured {
            if !is_picked_up && !packet.from_initiator && tcp.has(tcp_flag::SYN) {
                history.responder_syn = Some(tcp.sequence);
                let finished = history.finished.side(false);
                *finished = tcp.has(tcp_flag::FIN) || (*finished && !tcp.has_data);
            }
            return;
        }
        if history.is_reset {
            *history.spoke_since_reset.side(packet.from_initiator) = true;
            if history.spoke_since_reset.both() {
                history.is_reset = false;
                history.finished = Sides::default();
            }
            return;
        }
        let finished = history.finished.side(packet.from_initiator);
        *finished = tcp.has(tcp_flag::FIN) || (*finished && !tcp.has_data);
    }

    /// The state says what has happened.
    fn check_state(&self) {
        let history = &self.history;
        let finished = &history.finished;
        match self.state() {
            FlowState::SynSent => assert!(!history.assured && history.responder_syn.is_none()),
            FlowState::SynReceived => assert!(!history.assured && history.responder_syn.is_some()),
            FlowState::PickedUp | FlowState::UdpOneWay | FlowState::UdpReplied => assert!(!history.assured),
            FlowState::Closed => assert!(history.assured && history.is_reset),
            FlowState::Established => {
                assert!(history.assured && !history.is_reset);
                assert!(!finished.initiator && !finished.responder);
            }
            FlowState::FinWait => {
                assert!(history.assured && !history.is_reset);
                assert_ne!(finished.initiator, finished.responder);
            }
            FlowState::TimeWait => assert!(history.assured && !history.is_reset && finished.both()),
            FlowState::UdpAskedAgain | FlowState::UdpStream => assert!(history.assured),
            FlowState::IcmpQuery | FlowState::Portless => {}
        }
    }
}

fn transport(protocol: Protocol, packet: &Packet, responder_syn: u32) -> Transport {
    let (source_port, destination_port) = (Be16::new(40_000), Be16::new(22));
    match protocol {
        Protocol::Tcp => Transport::Tcp(Tcp {
            source_port,
            destination_port,
            sequence: packet.sequence,
            acknowledgement: match packet.acknowledgement {
                Acknowledgement::Any(number) => number,
                Acknowledgement::BeyondSyn(bytes) => responder_syn.wrapping_add(bytes),
            },
            flags: packet.flags,
            has_data: packet.has_data,
        }),
        Protocol::Udp => Transport::Udp { source_port, destination_port },
        Protocol::Icmp => {
            let identifier = Be16::new(7);
            let (icmp_type, role) = if packet.from_initiator {
                (8, Role::Query { identifier })
            } else {
                (0, Role::Reply { identifier, query_type: 8 })
            };
            Transport::Icmp(Icmp { icmp_type, code: 0, role })
        }
        Protocol::Other => Transport::Portless,
    }
}

fn has(transport: &Transport, flag: u8) -> bool {
    matches!(transport, Transport::Tcp(tcp) if tcp.has(flag))
}

fn opens(transport: &Transport) -> bool {
    has(transport, tcp_flag::SYN) && !has(transport, tcp_flag::ACK)
}
