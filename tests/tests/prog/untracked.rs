//! What is untracked for every peer passes by its service: the programs look neither for the peer nor for a cell.

use firewall_common::abi::Direction;
use firewall_common::reason::Reason;
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::Arrival;
use firewall_tests::scenario::input::policy_input;
use firewall_userspace::compile::{RuleSetIds, compile};

use crate::unconfirmed::policy;

const OPEN: &str =
    "stock-egress\nauthorize in tcp 80 0.0.0.0/0\nauthorize in tcp 80 ::/0\nauthorize in tcp 22 C/32";

const FRAMES: [(Direction, &str, Reason); 6] = [
    (Direction::Ingress, "tcp C:40000>E:80 SYN", Reason::Untracked),
    (Direction::Egress, "tcp E:80>C:40000 SYN+ACK", Reason::Untracked),
    (Direction::Ingress, "tcp C6:40000>E6:80 SYN", Reason::Untracked),
    (Direction::Egress, "tcp E6:80>C6:40000 SYN+ACK", Reason::Untracked),
    (Direction::Ingress, "udp C:40000>E:80", Reason::NoRule),
    (Direction::Ingress, "tcp C:40000>E:81 SYN", Reason::NoRule),
];

#[test]
fn untracked_packets_need_neither_their_peer_nor_a_cell() {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::new(ingress).unwrap();
        let mut tables = compile(&policy_input(&policy(OPEN)).unwrap(), &mut RuleSetIds::default()).unwrap();
        tables.cells.clear();
        tables.addresses_v4.clear();
        tables.addresses_v6.clear();
        harness.datapath().prepare(&tables, 0).unwrap().activate(None).unwrap();
        for (direction, frame, reason) in FRAMES {
            let arrival = Arrival::new(0, direction);
            let bytes = parse_frame(frame).unwrap().to_bytes();
            assert_eq!(harness.decide_bytes(arrival, &bytes).unwrap(), reason, "{frame}");
        }
        // This one is tracked, and its cell is gone.
        let ssh = parse_frame("tcp C:40000>E:22 SYN").unwrap().to_bytes();
        let arrival = Arrival::new(0, Direction::Ingress);
        assert_eq!(harness.decide_bytes(arrival, &ssh).unwrap(), Reason::NoRule);
    }
}
