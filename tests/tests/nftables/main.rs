//! Ring d, the other half: random policies and conversations, decided by the programs and by nftables with conntrack.
//!
//! A firewall that many trust, written by others, is a check on `docs/semantics.md` itself: where the verdicts differ,
//! it must be for a reason that is listed as a [`Difference`]. Conversations are of TCP, UDP (large datagrams in
//! fragments) and ICMP, with ICMP errors about them. What the two cannot agree on by design is not played:
//!
//! - Fragments that do not make up one datagram: conntrack puts datagrams together before the rules, and lets none of
//!   it through if that fails; the programs decide each fragment.
//! - Headers that lie: the stack drops most of them before nftables.
//! - DHCP, neighbour discovery, ARP: exempt here, ordinary or out of sight there.
//! - Portless protocols: conntrack has trackers of its own for some.
//! - Changes of the policy and passing time: conntrack cannot be made older.
//!
//! `SGFW_SEED` repeats a run, `SGFW_NFTABLES_PACKETS` sets how many packets are compared.

mod conversations;
mod fragments;
mod network;
mod policies;
mod ruleset;

use std::collections::BTreeMap;

use conversations::{Conversations, Turn};
use firewall_common::reason::Verdict;
use firewall_tests::packets::Frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _, Policy, Step};
use firewall_tests::seed::{number, seed};
use network::Network;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

/// What takes a few seconds.
const DEFAULT_PACKETS: usize = 2000;

/// How many times as many packets a comparison takes at most, until every direction, family and verdict has come up.
const PATIENCE: usize = 10;

/// Loading a ruleset and publishing a policy take longer than many packets.
const PACKETS_PER_POLICY: usize = 200;

/// Why the verdicts on a packet may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Difference {
    /// The flow began with a SYN-ACK or a FIN that a rule admits. The programs pick it up like any connection in
    /// mid-stream, so that its other packets pass in both directions. To conntrack such a segment is invalid: it passes
    /// by the rule, and so does each further one of its direction, but replies have no flow.
    PickedUpByAnySegment,
    /// Fragments overtook the first one of their datagram, whose ports a rule or a flow admits. The programs keep no
    /// packet back, so that they drop what comes before the ports are known; conntrack waits until the datagram is
    /// complete.
    FragmentsBeforeTheFirst,
    /// A stranger sent it in the name of an end, with a number that is in nobody's window, or under the host's own address.
    /// Conntrack follows the numbers, and the stack drops what cannot come from outside; here the host itself is left to ignore
    /// it. That it harms the conversation in neither is what is compared.
    Blind,
}

#[test]
fn xdp_and_tc_egress_decide_as_nftables() {
    compare(Ingress::Xdp);
}

#[test]
fn tc_ingress_and_tc_egress_decide_as_nftables() {
    compare(Ingress::Tc);
}

fn compare(ingress: Ingress) {
    if !can_load_programs() {
        return;
    }
    let (seed, wanted) = (seed(), packets());
    println!("{ingress:?}: SGFW_NFTABLES_PACKETS={wanted}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut harness = Harness::new(ingress).unwrap();
    let network = Network::build().unwrap();
    let mut conversations = Conversations::default();
    let mut tally = Tally::default();
    // What is rare under the policies of one seed comes up under those that follow.
    while tally.packets < wanted || (!tally.is_varied() && tally.packets < PATIENCE * wanted) {
        let policy = policies::policy(&mut random);
        harness.forget_state().unwrap();
        harness.publish(&policy).unwrap();
        network.load(&ruleset::ruleset(&policy)).unwrap();
        conversations.end_all();
        for _ in 0..PACKETS_PER_POLICY {
            let turn = conversations.next(&mut random);
            let ours = decide(&mut harness, &turn);
            let theirs = network.decide(turn.direction, &turn.packet, &turn.frames);
            if ours.iter().all(|verdict| *verdict == theirs) {
                tally.add_agreement(&turn, theirs);
            } else {
                let difference =
                    turn.difference(&ours, theirs).unwrap_or_else(|| report(seed, &policy, &turn, &ours));
                *tally.differences.entry(difference).or_default() += 1;
            }
            tally.packets += 1;
            let passes = !ours.contains(&Verdict::Drop);
            conversations.decided(turn, if passes { Verdict::Pass } else { Verdict::Drop });
        }
    }
    println!("{ingress:?}: {tally:?}");
    tally.check_variety();
}

/// The verdict on each frame of the packet.
fn decide(harness: &mut Harness, turn: &Turn) -> Vec<Verdict> {
    let arrival = Arrival::new(0, turn.direction);
    turn.frames.iter().map(|frame| harness.decide_bytes(arrival, frame).unwrap().verdict()).collect()
}

fn report(seed: u64, policy: &Policy, turn: &Turn, ours: &[Verdict]) -> ! {
    let mut conversation = String::new();
    for (direction, packet) in turn.so_far.iter().chain([&(turn.direction, turn.packet.clone())]) {
        let arrival = Arrival::new(0, *direction);
        let step = Step::Frame { arrival, frame: Frame::ip(packet.clone()), expected: None };
        conversation.push_str(&format!("{step}\n"));
    }
    panic!(
        "the programs answer {ours:?}, nftables does not (SGFW_SEED={seed}), to the last of\n{conversation}(frame {} is \
         the first of the packet) under\n{}",
        turn.frames.first,
        ruleset::ruleset(policy)
    );
}

fn packets() -> usize {
    number("SGFW_NFTABLES_PACKETS").unwrap_or(DEFAULT_PACKETS)
}

/// How the packets were decided.
#[derive(Debug, Default)]
struct Tally {
    packets: usize,
    /// By direction, family and verdict.
    agreements: BTreeMap<[&'static str; 3], usize>,
    /// Those on datagrams in fragments, by family and verdict.
    in_fragments: BTreeMap<[&'static str; 2], usize>,
    differences: BTreeMap<Difference, usize>,
}

impl Tally {
    fn add_agreement(&mut self, turn: &Turn, verdict: Verdict) {
        let family = if turn.packet.source.is_ipv6() { "IPv6" } else { "IPv4" };
        let verdict = if verdict == Verdict::Pass { "pass" } else { "drop" };
        *self.agreements.entry([turn.direction.name(), family, verdict]).or_default() += 1;
        if turn.frames.are_fragments() {
            *self.in_fragments.entry([family, verdict]).or_default() += 1;
        }
    }

    /// Two firewalls that drop everything, or see nothing, agree too.
    fn check_variety(&self) {
        assert!(
            self.is_varied(),
            "not every direction, family and verdict came up, of fragments too: {self:?}"
        );
    }

    fn is_varied(&self) -> bool {
        self.agreements.len() == 2 * 2 * 2 && self.in_fragments.len() == 2 * 2
    }
}
