//! Audit mode: what would be dropped passes, and is counted apart.

use firewall_common::abi::Direction;
use firewall_common::reason::{Decision, Reason};
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _};

use crate::unconfirmed::policy;

const IN: Arrival = Arrival::new(0, Direction::Ingress);
const OUT: Arrival = Arrival::new(0, Direction::Egress);

/// Frames, with the reason that they have with and without audit mode.
const FRAMES: [(Arrival, &str, Reason); 4] = [
    (IN, "tcp C:40000>E:22 SYN", Reason::Rule),
    (OUT, "tcp E:22>C:40000 SYN+ACK", Reason::Tracked),
    (IN, "tcp C:40000>E:23 SYN", Reason::NoRule),
    (OUT, "udp E:40000>C:53", Reason::NoRule),
];

#[test]
fn in_audit_mode_what_would_be_dropped_passes_and_is_counted_apart() {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::new(ingress).unwrap();
        let mut policy = policy("authorize in tcp 22 C/32");
        for audit in [false, true, false] {
            policy.interfaces.get_mut(&0).unwrap().options.audit = audit;
            harness.publish(&policy).unwrap();
            harness.forget_state().unwrap();
            for (arrival, frame, reason) in FRAMES {
                let bytes = parse_frame(frame).unwrap().to_bytes();
                // Verdict and counter agree, or this is an error.
                let decision = harness.decision(arrival, &bytes).unwrap();
                assert_eq!(decision.reason(), reason, "{frame}");
                assert_eq!(decision.is_audited(), Decision::new(reason, audit).is_audited(), "{frame}");
            }
            let mut runt = parse_frame("tcp C:40000>E:22 SYN").unwrap().to_bytes();
            runt.truncate(40);
            assert_eq!(harness.decision(IN, &runt).unwrap().is_audited(), audit, "malformed");
            harness.reconcile().unwrap();
        }
    }
}
