//! A tagged frame is judged by the packet in it, whatever the tags are and whoever takes them out of the frame.
//!
//! XDP and the egress hook find every tag in the frame, ingress by TC finds the outer one in the packet's metadata: the
//! kernel has taken it out, as hardware does with `rxvlan on`. A frame that hardware has stripped before XDP is to XDP a
//! frame without that tag.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, Namespace, PacketSocket, Topology, UdpServer, receive,
};
use firewall_tests::packets::{Content, Frame, Packet, Transport, VlanTag};

use crate::support::counters::packets_during;
use crate::support::{close_egress, hardware_address, on_every_hook, protect};

on_every_hook!(
    tags_hide_nothing_that_arrives,
    tags_hide_nothing_that_leaves,
    a_priority_tag_reaches_the_server
);

const ADMITTED: u16 = 53;
const DENIED: u16 = 54;

/// The router's end of the link.
const FAR_END: &str = "to-app";

/// Stacks of tags with one and two of them, the outer one first: 802.1Q, 802.1ad, a type from before that, priority
/// tags (VLAN 0), QinQ, and mixtures (CVE-2021-27853, CVE-2021-27854, CVE-2021-27861, CVE-2021-27862).
const STACKS: [&[(u16, u16)]; 8] = [
    &[(0x8100, 5)],
    &[(0x88a8, 5)],
    &[(0x9100, 5)],
    &[(0x8100, 0)],
    &[(0x8100, 5), (0x8100, 7)],
    &[(0x88a8, 5), (0x8100, 7)],
    &[(0x8100, 0), (0x8100, 7)],
    &[(0x88a8, 5), (0x8100, 0)],
];

/// One tag more than are followed.
const DEEPER_STACKS: [&[(u16, u16)]; 3] = [
    &[(0x8100, 1), (0x8100, 2), (0x8100, 3)],
    &[(0x88a8, 1), (0x88a8, 2), (0x8100, 3)],
    &[(0x8100, 0), (0x8100, 0), (0x8100, 0)],
];

fn tags_hide_nothing_that_arrives(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    protect(app, hook, "app", &["--ingress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0"]);
    close_egress(app, "app");
    let link = TaggedLink::new(app, "ingress", (lab.router(), FAR_END), (app.namespace(), INTERFACE));
    for offload in ["on", "off"] {
        set_offload(&lab, offload);
        link.assert_judged_by_the_packet(|family| (app.link().router(family), app.address(family)));
    }
}

fn tags_hide_nothing_that_leaves(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    protect(app, hook, "app", &["--egress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0"]);
    close_egress(app, "app");
    let link = TaggedLink::new(app, "egress", (app.namespace(), INTERFACE), (lab.router(), FAR_END));
    for offload in ["on", "off"] {
        set_offload(&lab, offload);
        link.assert_judged_by_the_packet(|family| (app.address(family), app.link().router(family)));
    }
}

/// A host takes a frame with a priority tag for its own (IEEE 802.1Q), and the answer has none.
fn a_priority_tag_reaches_the_server(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    let _server = UdpServer::start_echo(app, ADMITTED).unwrap();
    protect(app, hook, "app", &["--ingress --protocol udp --port 53 --cidr 0.0.0.0/0 --cidr ::/0"]);
    close_egress(app, "app");
    let sender = PacketSocket::open(lab.router(), FAR_END, 0).unwrap();
    for family in Family::ALL {
        let (router, server) = (app.link().router(family), app.address(family));
        let receiver = lab.router().run(|| UdpSocket::bind((router, 0))).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let transport = udp(receiver.local_addr().unwrap().port(), ADMITTED);
        let mut frame = tagged(&[(0x8100, 0)], Packet::new(router, server, transport));
        frame[..6].copy_from_slice(&hardware_address(app));

        sender.send(&frame).unwrap();

        let (length, from) = receive(&receiver, &mut [0; 64]).expect("the server should answer");
        assert_eq!((length, from), (DATA.into(), (server, ADMITTED).into()));
    }
}

/// A link on which one host sends tagged frames, and what the other's network stack is given of them.
struct TaggedLink<'a> {
    /// Whose `sgfw` judges them.
    judge: &'a Host,
    direction: &'static str,
    sender: PacketSocket,
    receivers: Vec<PacketSocket>,
}

impl<'a> TaggedLink<'a> {
    fn new(judge: &'a Host, direction: &'static str, from: End<'_>, to: End<'_>) -> Self {
        // The kernel takes one tag out, two if the outer one is a priority tag. What is left is the frame's type.
        let types = [0x0800, 0x86dd, 0x8100, 0x88a8, 0x9100];
        let receivers = types.map(|ethertype| PacketSocket::open(to.0, to.1, ethertype).unwrap());
        let sender = PacketSocket::open(from.0, from.1, 0).unwrap();
        Self { judge, direction, sender, receivers: receivers.into() }
    }

    /// Of one admitted and one denied packet in each family, exactly the admitted ones pass.
    #[track_caller]
    fn assert_judged_by_the_packet(&self, ends: impl Fn(Family) -> (std::net::IpAddr, std::net::IpAddr)) {
        let packets = |port: u16| {
            Family::ALL.map(|family| {
                let (source, destination) = ends(family);
                Packet::new(source, destination, udp(free_port(), port))
            })
        };
        for stack in STACKS {
            assert_eq!(self.passed_of(stack, &packets(ADMITTED), "rule"), 2, "{stack:x?}");
            assert_eq!(self.passed_of(stack, &packets(DENIED), "no-rule"), 0, "{stack:x?}");
        }
        for stack in DEEPER_STACKS {
            assert_eq!(self.passed_of(stack, &packets(ADMITTED), "unknown-encapsulation"), 0, "{stack:x?}");
        }
    }

    /// Sends the packets under `stack`, sees that each is judged with `reason`, and returns how many arrive.
    #[track_caller]
    fn passed_of(&self, stack: &[(u16, u16)], packets: &[Packet], reason: &str) -> usize {
        self.receivers.iter().for_each(|receiver| while receiver.receive().is_some() {});
        let judged = packets_during(self.judge, self.direction, reason, || {
            for packet in packets {
                // A host that drops its own frame tells the sender so; the counter tells the reason as well.
                let _ = self.sender.send_once(&tagged(stack, packet.clone()));
            }
        });
        assert_eq!(judged, packets.len() as u64, "{stack:x?}: {reason}");
        // What was counted has been given to the stack long before the counters were read.
        packets.iter().filter(|packet| self.has_received(packet)).count()
    }

    fn has_received(&self, packet: &Packet) -> bool {
        let bytes = packet.to_bytes();
        let deadline = Instant::now() + Duration::from_millis(20);
        while Instant::now() < deadline {
            let mut frames = self.receivers.iter().filter_map(PacketSocket::receive);
            if frames.any(|frame| frame.ends_with(&bytes)) {
                return true;
            }
        }
        false
    }
}

/// A namespace and its end of the link.
type End<'a> = (&'a Namespace, &'a str);

/// Bytes of data in a datagram.
const DATA: u16 = 26;

fn udp(source_port: u16, destination_port: u16) -> Transport {
    Transport::Udp { source_port, destination_port, data: DATA }
}

fn tagged(stack: &[(u16, u16)], packet: Packet) -> Vec<u8> {
    let tags = stack.iter().map(|(ethertype, vlan)| VlanTag { ethertype: *ethertype, vlan: *vlan });
    Frame { tags: tags.collect(), content: Content::Ip(packet) }.to_bytes()
}

/// A source port that no earlier packet had, so that each packet needs a rule.
fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Whether the ends of the link put tags into the frame and take them out themselves, or the driver does.
#[track_caller]
fn set_offload(lab: &Lab, state: &str) {
    let ends: [End<'_>; 2] = [(lab.host("app").namespace(), INTERFACE), (lab.router(), FAR_END)];
    for (namespace, interface) in ends {
        for feature in ["rxvlan", "txvlan", "rx-vlan-stag-hw-parse", "tx-vlan-stag-hw-insert"] {
            let mut ethtool = namespace.command("ethtool");
            let output = ethtool.args(["-K", interface, feature, state]).output().unwrap();
            assert!(output.status.success(), "{feature}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
