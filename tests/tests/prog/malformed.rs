//! Frames whose bytes contradict themselves, on both hooks and in the core: dropped with the reason that says why,
//! whatever the rules.

use firewall_common::abi::Direction;
use firewall_common::reason::{Reason, Verdict};
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _, Policy, Step, notation};
use firewall_tests::simulator::Simulator;

const ETHERNET_HEADER: usize = 14;

const INGRESS: Arrival = Arrival::new(0, Direction::Ingress);

/// One frame of each kind, all admitted by [`everything`].
const KINDS: [&str; 14] = [
    "tcp C:40000>E:22 SYN",
    "tcp C:40000>E:22 ACK data=40 options=12",
    "udp C:4000>E:53 data=40",
    "icmp C>E 8/0",
    "icmp R>E 3/4 quoting (tcp E:40000>D:443)",
    "47 C>E data=40",
    "tcp C6:40000>E6:22 SYN",
    "tcp C6:40000>E6:22 SYN ext=hbh,dst,ah,rh2,mob",
    "udp C6:4000>E6:53 data=40 ext=atomic",
    "icmpv6 C6>E6 128/0",
    "47 C6>E6 data=40",
    "tcp C:40000>E:22 SYN vlan=8100.5",
    "tcp C6:40000>E6:22 SYN vlan=88a8.5,8100.7",
    "udp C:4000>E:53 data=40 frag=first:9",
];

/// Every engine that reads bytes.
struct Engines {
    core: Simulator,
    kernel: Vec<Harness>,
}

impl Engines {
    /// `None` where programs cannot be loaded.
    fn with_policy(policy: &Policy) -> Option<Self> {
        if !can_load_programs() {
            return None;
        }
        let mut engines = Self {
            core: Simulator::default(),
            kernel: Ingress::ALL.into_iter().map(|ingress| Harness::new(ingress).unwrap()).collect(),
        };
        engines.core.publish(policy).unwrap();
        for harness in &mut engines.kernel {
            harness.publish(policy).unwrap();
        }
        Some(engines)
    }

    /// The reason that all agree on. State is forgotten, so that each frame is judged by itself.
    fn decide(&mut self, frame: &[u8], what: &str) -> Reason {
        let reason = self.core.decide_bytes(INGRESS, frame);
        self.core.forget_state();
        for harness in self.kernel.iter_mut().filter(|harness| harness.can_run(INGRESS, frame)) {
            let in_kernel =
                harness.decide_bytes(INGRESS, frame).unwrap_or_else(|error| panic!("{what}: {error:#}"));
            assert_eq!(in_kernel, reason, "{what}: the kernel and the core differ");
            harness.forget_state().unwrap();
        }
        reason
    }

    fn expect(&mut self, frame: &[u8], reason: Reason, what: &str) {
        assert_eq!(self.decide(frame, what), reason, "{what}");
    }
}

/// Everything from everywhere is admitted, so that only what is malformed is dropped.
fn everything() -> Policy {
    policy("authorize in -1 0.0.0.0/0\nauthorize in -1 ::/0")
}

fn policy(text: &str) -> Policy {
    let scenario = notation::parse(&format!("case policy\n{text}\nwait 0")).unwrap().remove(0);
    match scenario.steps.into_iter().next() {
        Some(Step::Publish(policy)) => policy,
        other => panic!("{text} begins with {other:?}"),
    }
}

fn bytes(frame: &str) -> Vec<u8> {
    parse_frame(frame).unwrap().to_bytes()
}

#[test]
fn a_frame_cut_anywhere_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    for kind in KINDS {
        let whole = bytes(kind);
        assert_eq!(engines.decide(&whole, kind).verdict(), Verdict::Pass, "{kind}");
        for length in 0..whole.len() {
            let what = format!("{kind}, cut to {length} of {} bytes", whole.len());
            let reason = engines.decide(&whole[..length], &what);
            assert!(matches!(reason, Reason::Truncated | Reason::BadLength), "{what}: {reason:?}");
        }
    }
}

#[test]
fn padding_behind_the_packet_is_not_part_of_it() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    for kind in KINDS {
        let mut frame = bytes(kind);
        let reason = engines.decide(&frame, kind);
        frame.resize(frame.len() + 50, 0);
        engines.expect(&frame, reason, &format!("{kind} with padding"));
    }
    // A TCP header that only the padding completes.
    let mut frame = bytes("tcp C:40000>E:22 SYN cut=16");
    frame.extend([0; 50]);
    engines.expect(&frame, Reason::Truncated, "a TCP header in the padding");
}

#[test]
fn an_ipv4_header_length_that_cannot_be_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    let frame = bytes("tcp C:40000>E:22 SYN");
    for words in 0..=15 {
        let mut frame = frame.clone();
        frame[14] = 0x40 | words;
        let expected = match words {
            0..5 => Reason::BadHeaderLength,
            5 => Reason::Rule,
            // The TCP header would begin later, and end behind the packet.
            6..=10 => Reason::Truncated,
            _ => Reason::BadLength,
        };
        engines.expect(&frame, expected, &format!("header of {words} words in a packet of 40 bytes"));
    }
}

#[test]
fn an_ip_version_that_is_not_the_ethertypes_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    for kind in ["tcp C:40000>E:22 SYN", "tcp C6:40000>E6:22 SYN"] {
        let whole = bytes(kind);
        for version in (0..16_u8).filter(|version| *version != whole[14] >> 4) {
            let mut frame = whole.clone();
            frame[14] = version << 4 | 5;
            engines.expect(&frame, Reason::BadHeaderLength, &format!("{kind} as version {version}"));
        }
    }
}

#[test]
fn a_length_that_lies_either_way_admits_nothing_hidden() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    let frame = bytes("tcp C:40000>E:22 SYN");
    for length in 0..=60_u16 {
        let mut frame = frame.clone();
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        let expected = match length {
            0..20 => Reason::BadLength,
            20..40 => Reason::Truncated,
            40 => Reason::Rule,
            _ => Reason::BadLength,
        };
        engines.expect(&frame, expected, &format!("total length {length}"));
    }
    let frame = bytes("tcp C6:40000>E6:22 SYN");
    for length in 0..=40_u16 {
        let mut frame = frame.clone();
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        let expected = match length {
            0..20 => Reason::Truncated,
            20 => Reason::Rule,
            _ => Reason::BadLength,
        };
        engines.expect(&frame, expected, &format!("payload length {length}"));
    }
}

#[test]
fn a_udp_length_that_lies_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    for kind in ["udp C:4000>E:53 data=40", "udp C6:4000>E6:53 data=40"] {
        let whole = bytes(kind);
        let udp = whole.len() - 48;
        for length in 0..=60_u16 {
            let mut frame = whole.clone();
            frame[udp + 4..udp + 6].copy_from_slice(&length.to_be_bytes());
            let expected = if (8..=48).contains(&length) { Reason::Rule } else { Reason::BadLength };
            engines.expect(&frame, expected, &format!("{kind} with UDP length {length}"));
        }
    }
}

#[test]
fn a_tcp_header_length_that_lies_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    let whole = bytes("tcp C:40000>E:22 SYN data=8");
    for words in 0..=15_u8 {
        let mut frame = whole.clone();
        frame[14 + 20 + 12] = words << 4;
        let expected = if (5..=7).contains(&words) { Reason::Rule } else { Reason::BadTransportHeader };
        engines.expect(&frame, expected, &format!("TCP header of {words} words in a segment of 28 bytes"));
    }
}

#[test]
fn only_flags_that_hosts_send_pass() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    let whole = bytes("tcp C:40000>E:22 SYN");
    for flags in 0..=u8::MAX {
        let mut frame = whole.clone();
        frame[14 + 20 + 13] = flags;
        let [fin, syn, rst, ack] = [0x01, 0x02, 0x04, 0x10].map(|flag| flags & flag != 0);
        let makes_sense = match (syn, rst, fin) {
            (true, false, false) | (false, true, false) => true,
            (false, false, _) => ack,
            _ => false,
        };
        let expected = if makes_sense { Reason::Rule } else { Reason::BadTransportHeader };
        engines.expect(&frame, expected, &format!("TCP flags {flags:#04x}"));
    }
}

#[test]
fn extension_headers_whose_lengths_lie_lead_to_no_ports() {
    let Some(mut engines) = Engines::with_policy(&policy("authorize in tcp 22 ::/0")) else {
        return;
    };
    // The length of the first extension header; where it leads is not where the TCP header is.
    let whole = bytes("tcp C6:40000>E6:22 SYN ext=dst data=64");
    for units in 0..=u8::MAX {
        let mut frame = whole.clone();
        frame[14 + 40 + 1] = units;
        let reason = engines.decide(&frame, &format!("destination options of {units} units"));
        assert_eq!(reason == Reason::Rule, units == 0, "destination options of {units} units: {reason:?}");
    }
    // An authentication header counts in 4 bytes (RFC 4302), every other in 8.
    let mut frame = bytes("tcp C6:40000>E6:22 SYN ext=ah data=64");
    engines.expect(&frame, Reason::Rule, "an authentication header of 16 bytes");
    frame[14 + 40 + 1] = 1;
    assert_eq!(engines.decide(&frame, "an authentication header of 12 bytes").verdict(), Verdict::Drop);
}

#[test]
fn extension_headers_beyond_the_bound_are_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    // 512 bytes of extension headers are followed, 520 are not.
    for (units, expected) in [(63_u8, Reason::Rule), (64, Reason::TooManyExtensionHeaders)] {
        let mut frame = bytes("tcp C6:40000>E6:22 SYN ext=dst");
        let extra = usize::from(units) * 8;
        frame[14 + 40 + 1] = units;
        frame.splice(14 + 48..14 + 48, vec![0; extra]);
        let payload_length = u16::try_from(8 + extra + 20).unwrap();
        frame[18..20].copy_from_slice(&payload_length.to_be_bytes());
        engines.expect(&frame, expected, &format!("destination options of {} bytes", 8 + extra));
    }
}

#[test]
fn ip_in_an_llc_header_is_dropped() {
    let Some(mut engines) = Engines::with_policy(&everything()) else {
        return;
    };
    let snap = [0xaa, 0xaa, 0x03, 0, 0, 0];
    for (inner, expected) in [
        ([0x08, 0x00], Reason::UnknownEncapsulation),
        ([0x86, 0xdd], Reason::UnknownEncapsulation),
        ([0x08, 0x06], Reason::UnknownEncapsulation),
        ([0x81, 0x00], Reason::UnknownEncapsulation),
        // Cisco's and others' own protocols.
        ([0x20, 0x00], Reason::ExemptNonIp),
    ] {
        for tags in [&[][..], &[0x81, 0x00, 0x00, 0x05]] {
            let packet = &bytes("tcp C:40000>E:22 SYN")[ETHERNET_HEADER..];
            let length = u16::try_from(8 + packet.len()).unwrap().to_be_bytes();
            let addresses = &bytes("arp")[..12];
            let frame = [addresses, tags, &length, &snap, &inner, packet].concat();
            // CVE-2021-27853 and its siblings.
            engines.expect(
                &frame,
                expected,
                &format!("Ethertype {inner:02x?} in SNAP, {} bytes of tags", tags.len()),
            );
        }
    }
}
