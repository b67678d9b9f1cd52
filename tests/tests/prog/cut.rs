//! Flows that the operator has cut: nothing of them passes but what the rules admit of their initiator.

use std::time::Duration;

use firewall_common::abi::Direction;
use firewall_common::reason::Reason;
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _};
use firewall_userspace::datapath::{FlowRow, Over};

use crate::unconfirmed::policy;

const IN: Arrival = Arrival::new(0, Direction::Ingress);
const OUT: Arrival = Arrival::new(0, Direction::Egress);

const OPEN: &str = "stock-egress\nauthorize in tcp 22 C/32\nauthorize in udp 53 C/32\nauthorize in icmp C/32";
const CLOSED: &str = "stock-egress";

/// A TCP connection, a UDP exchange and a ping, of which the host is the responder.
const BEGINNING: [(Arrival, &str, Reason); 7] = [
    (IN, "tcp C:40000>E:22 SYN", Reason::Rule),
    (OUT, "tcp E:22>C:40000 SYN+ACK", Reason::Tracked),
    (IN, "tcp C:40000>E:22 ACK", Reason::Tracked),
    (IN, "udp C:40000>E:53", Reason::Rule),
    (OUT, "udp E:53>C:40000", Reason::Tracked),
    (IN, "icmp C>E 8/0", Reason::Rule),
    (OUT, "icmp E>C 0/0", Reason::Tracked),
];
const INITIATOR: [&str; 3] = ["tcp C:40000>E:22 ACK data=10", "udp C:40000>E:53", "icmp C>E 8/0"];
const RESPONDER: [&str; 3] = ["tcp E:22>C:40000 ACK data=10", "udp E:53>C:40000", "icmp E>C 0/0"];

#[test]
fn a_cut_flow_is_over_for_both_ends() {
    with_flows(|harness| {
        harness.publish(&policy(CLOSED)).unwrap();
        // AWS: tracked flows outlive their rule.
        expect(harness, IN, &INITIATOR, Reason::Tracked);
        expect(harness, OUT, &RESPONDER, Reason::Tracked);

        assert_eq!(cut(harness, Duration::ZERO, |_| true), 3);
        // Egress is open to any peer: without a trace of the flow, what the responder sends would begin it anew.
        expect(harness, OUT, &RESPONDER, Reason::FlowCut);
        expect(harness, IN, &INITIATOR, Reason::NoRule);
        expect(harness, IN, &["tcp C:40000>E:22 SYN"], Reason::NoRule);
        expect(harness, OUT, &RESPONDER, Reason::FlowCut);
    });
}

#[test]
fn the_initiator_of_a_cut_flow_begins_it_anew_where_a_rule_admits_it_again() {
    with_flows(|harness| {
        cut(harness, Duration::ZERO, |_| true);
        expect(harness, IN, &INITIATOR, Reason::Rule);
        expect(harness, OUT, &RESPONDER, Reason::Tracked);
    });
}

#[test]
fn the_responder_of_a_cut_flow_may_open_a_connection_of_its_own() {
    with_flows(|harness| {
        harness.publish(&policy(CLOSED)).unwrap();
        cut(harness, Duration::ZERO, |_| true);
        expect(harness, OUT, &["tcp E:22>C:40000 SYN"], Reason::Rule);
        expect(harness, IN, &["tcp C:40000>E:22 SYN+ACK"], Reason::Tracked);
    });
}

#[test]
fn only_the_flows_that_are_meant_are_cut() {
    with_flows(|harness| {
        harness.publish(&policy(CLOSED)).unwrap();
        assert_eq!(cut(harness, Duration::ZERO, |flow| flow.protocol == 17), 1);
        expect(harness, OUT, &[RESPONDER[1]], Reason::FlowCut);
        expect(harness, OUT, &[RESPONDER[0], RESPONDER[2]], Reason::Tracked);
    });
}

#[test]
fn what_is_cut_gives_its_place_back_at_its_end() {
    with_flows(|harness| {
        harness.publish(&policy(CLOSED)).unwrap();
        cut(harness, Duration::ZERO, |_| true);
        harness.wait(3000).unwrap();
        expect(harness, OUT, &RESPONDER, Reason::FlowCut);
        harness.wait(700).unwrap();
        assert_eq!(harness.flows().unwrap(), 0);
        // From then on it is a stranger's packet like any other.
        expect(harness, OUT, &RESPONDER[..2], Reason::Rule);
    });
}

#[test]
fn a_cut_flow_makes_room_for_any_other() {
    with_flows(|harness| {
        cut(harness, Duration::ZERO, |_| true);
        harness.fill().unwrap();
        assert_eq!(harness.flows().unwrap(), 0);
    });
}

#[test]
fn a_draining_flow_lives_until_its_time() {
    with_flows(|harness| {
        harness.publish(&policy(CLOSED)).unwrap();
        cut(harness, Duration::from_secs(3600), |_| true);
        expect(harness, OUT, &RESPONDER, Reason::Tracked);
        // The earlier cut counts, and a later one changes nothing any more.
        assert_eq!(cut(harness, Duration::from_secs(1), |_| true), 3);
        assert_eq!(cut(harness, Duration::from_secs(3600), |_| true), 0);
        expect(harness, OUT, &RESPONDER, Reason::Tracked);
        harness.wait(2).unwrap();
        expect(harness, OUT, &RESPONDER, Reason::FlowCut);
        expect(harness, IN, &INITIATOR, Reason::NoRule);
    });
}

/// How many flows were cut.
fn cut(harness: &mut Harness, after: Duration, rows: impl Fn(&FlowRow) -> bool) -> u64 {
    harness.datapath().cut_flows(after, &Over { rows, rule_sets: |_| false }).unwrap()
}

fn with_flows(test: impl Fn(&mut Harness)) {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::new(ingress).unwrap();
        harness.publish(&policy(OPEN)).unwrap();
        for (arrival, frame, reason) in BEGINNING {
            expect(&mut harness, arrival, &[frame], reason);
        }
        test(&mut harness);
    }
}

#[track_caller]
fn expect(harness: &mut Harness, arrival: Arrival, frames: &[&str], reason: Reason) {
    for frame in frames {
        assert_eq!(harness.decide(arrival, &parse_frame(frame).unwrap()).unwrap(), reason, "{frame}");
    }
}
