//! Two CPUs at work on one flow: whatever they see of it at once, it lives on and every packet is counted.
//!
//! A host's connection is one CPU's on its way out and another's on its way in, so this is what happens all the time.

use std::sync::Barrier;
use std::thread;

use firewall_common::abi::Direction;
use firewall_common::reason::{Reason, Verdict};
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _};
use firewall_tests::seed::seed;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::unconfirmed::policy;

const ROUNDS: usize = 2000;
/// Frames of each CPU in a round.
const FRAMES: usize = 8;

const OUT: Arrival = Arrival::new(0, Direction::Egress);
const IN: Arrival = Arrival::new(0, Direction::Ingress);

const HANDSHAKE: [(Arrival, &str); 3] =
    [(OUT, "tcp E:40000>D:443 SYN"), (IN, "tcp D:443>E:40000 SYN+ACK"), (OUT, "tcp E:40000>D:443 ACK")];

/// What an end may send of a connection that lives: none of it may be dropped, and none needs a rule.
const INITIATOR: [&str; 4] = [
    "tcp E:40000>D:443 ACK",
    "tcp E:40000>D:443 ACK data=10",
    "tcp E:40000>D:443 FIN+ACK",
    "tcp E:40000>D:443 RST+ACK",
];
const RESPONDER: [&str; 4] = [
    "tcp D:443>E:40000 ACK",
    "tcp D:443>E:40000 ACK data=10",
    "tcp D:443>E:40000 FIN+ACK",
    "tcp D:443>E:40000 RST+ACK",
];

/// The port is used again and again, in the midst of what is under way of its last connection.
const REOPENING: [&str; 5] = [
    "tcp E:40000>D:443 SYN",
    "tcp E:40000>D:443 ACK",
    "tcp E:40000>D:443 ACK data=10",
    "tcp E:40000>D:443 FIN+ACK",
    "tcp E:40000>D:443 RST+ACK",
];
const ACCEPTING: [&str; 5] = [
    "tcp D:443>E:40000 SYN+ACK",
    "tcp D:443>E:40000 ACK",
    "tcp D:443>E:40000 ACK data=10",
    "tcp D:443>E:40000 FIN+ACK",
    "tcp D:443>E:40000 RST+ACK",
];

#[test]
fn no_end_and_no_reset_that_two_cpus_see_at_once_loses_a_flow() {
    for ingress in Ingress::ALL {
        let Some(mut harness) = connected(ingress) else { return };
        run_on_two_cpus(&harness, &INITIATOR, &RESPONDER);
        for arrival in [OUT, IN] {
            let counted = harness.counted(arrival).unwrap();
            assert_eq!(counted.into_iter().collect::<Vec<_>>(), [(Reason::Tracked, total())]);
        }
        assert_eq!(harness.flows().unwrap(), 1);
    }
}

#[test]
fn a_port_that_is_used_again_while_two_cpus_see_it_always_has_a_flow() {
    for ingress in Ingress::ALL {
        let Some(mut harness) = connected(ingress) else { return };
        run_on_two_cpus(&harness, &REOPENING, &ACCEPTING);
        let counted = [OUT, IN].map(|arrival| harness.counted(arrival).unwrap());
        println!("{ingress:?}: {counted:?}");
        for reasons in &counted {
            assert_eq!(reasons.values().sum::<u64>(), total());
        }
        assert!(counted[0].get(&Reason::Rule).is_some_and(|count| *count > 1), "connections began anew");
        assert_eq!(counted[1].keys().collect::<Vec<_>>(), [&Reason::Tracked], "replies need a flow");
        assert_eq!(harness.flows().unwrap(), 1);
    }
}

/// Both CPUs have seen the flow a moment ago. A forged RST that one of them sees puts it in doubt, and what the other one sees
/// of both ends afterwards takes that back.
#[test]
fn what_one_cpu_sees_of_a_flow_counts_for_another() {
    for ingress in Ingress::ALL {
        let Some(mut harness) = connected(ingress) else { return };
        let [first, last] = two_cpus();
        let data = [(OUT, INITIATOR[1]), (IN, RESPONDER[1])];
        run_on(first, &harness, &data);
        run_on(last, &harness, &data);
        run_on(last, &harness, &[(IN, RESPONDER[3])]);
        run_on(first, &harness, &data);
        harness.wait(7200).unwrap();
        run_on(first, &harness, &[(IN, RESPONDER[1])]);
        assert_eq!(
            harness.counted(IN).unwrap().keys().collect::<Vec<_>>(),
            [&Reason::Tracked],
            "{ingress:?}"
        );
    }
}

fn run_on(cpu: usize, harness: &Harness, frames: &[(Arrival, &str)]) {
    on_cpu(cpu, || {
        for (arrival, frame) in frames {
            let _verdict = harness.run(*arrival, &parse_frame(frame).unwrap().to_bytes()).unwrap();
        }
    });
}

fn total() -> u64 {
    (ROUNDS * FRAMES) as u64
}

/// A harness with one established connection; `None` where programs cannot be loaded.
fn connected(ingress: Ingress) -> Option<Harness> {
    if !can_load_programs() {
        return None;
    }
    let mut harness = Harness::new(ingress).unwrap();
    harness.publish(&policy("authorize out tcp 443 D/32")).unwrap();
    for (arrival, frame) in HANDSHAKE {
        assert_eq!(harness.decide(arrival, &parse_frame(frame).unwrap()).unwrap().verdict(), Verdict::Pass);
    }
    Some(harness)
}

/// Sends frames of either end from a CPU of its own. Each round begins on both CPUs at once.
fn run_on_two_cpus(harness: &Harness, initiator: &[&str], responder: &[&str]) {
    let seed = seed();
    let start = Barrier::new(2);
    let [first, last] = two_cpus();
    thread::scope(|scope| {
        for (cpu, arrival, frames) in [(first, OUT, initiator), (last, IN, responder)] {
            let start = &start;
            let random = StdRng::seed_from_u64(seed ^ cpu as u64);
            scope.spawn(move || on_cpu(cpu, || run_rounds(harness, arrival, frames, random, start)));
        }
    });
}

/// Runs something on a CPU, in a thread of its own.
pub(crate) fn on_cpu(cpu: usize, run: impl FnOnce() + Send) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut only = CpuSet::new();
            only.set(cpu).unwrap();
            sched_setaffinity(Pid::from_raw(0), &only).unwrap();
            run();
        });
    });
}

fn run_rounds(harness: &Harness, arrival: Arrival, frames: &[&str], mut random: StdRng, start: &Barrier) {
    let frames: Vec<_> = frames.iter().map(|frame| parse_frame(frame).unwrap().to_bytes()).collect();
    for _ in 0..ROUNDS {
        start.wait();
        for _ in 0..FRAMES {
            let frame = frames.choose(&mut random).unwrap();
            let _verdict = harness.run(arrival, frame).unwrap();
            // So that the CPUs do not stay in step.
            for _ in 0..random.random_range(0..200) {
                std::hint::spin_loop();
            }
        }
    }
}

/// The first and the last CPU that this process may use: the same one if it has no other.
pub(crate) fn two_cpus() -> [usize; 2] {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect();
    [cpus[0], cpus[cpus.len() - 1]]
}
