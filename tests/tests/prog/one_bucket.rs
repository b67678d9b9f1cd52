//! Two CPUs at work in one bucket of the flow table, whose places they take from each other all the time: no flow is taken for
//! another one, no protected flow is lost, and nothing is left half done.

use std::collections::BTreeMap;

use firewall_common::abi::{AnyFlowKey, Direction, KeyWords};
use firewall_common::flow_table::control::{PENDING, PROTECTED, USED};
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::sweep::read;
use firewall_common::flow_table::{Memory as _, find, spot};
use firewall_common::reason::Reason;
use firewall_tests::packets::notation::parse_frame;
use firewall_tests::prog::{Harness, Ingress, can_load_programs};
use firewall_tests::scenario::{Arrival, Firewall as _};
use firewall_tests::seed::seed;
use firewall_userspace::datapath::{DatapathError, FlowTable};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

use crate::two_cpus::{on_cpu, two_cpus};
use crate::unconfirmed::policy;

const OUT: Arrival = Arrival::new(0, Direction::Egress);
const IN: Arrival = Arrival::new(0, Direction::Ingress);

const POLICY: &str = "authorize in tcp 22 C/32\nauthorize in udp 53 C/32\nauthorize in tcp 22 C6/128";

/// Connections that are there from the beginning: fewer than the places of one bucket and the others that are theirs by choice,
/// so that all the others have to share what is left.
const CONNECTIONS: usize = 14;
/// Ports of the peer whose flows stand in the same near bucket.
const OTHERS: usize = 200;
const FRAMES: usize = 100_000;

#[test]
fn two_cpus_in_one_bucket_lose_no_protected_flow_and_mistake_none() {
    if !can_load_programs() {
        return;
    }
    for ingress in Ingress::ALL {
        let mut harness = Harness::with_flow_entries(ingress, 1).unwrap();
        harness.publish(&policy(POLICY)).unwrap();
        let ports = ports_of_one_bucket(&mut harness);
        let (connected, others) = ports.split_at(CONNECTIONS);
        let connected: Vec<u16> =
            connected.iter().copied().filter(|port| connect(&mut harness, *port)).collect();
        assert!(connected.len() > 4, "{}", connected.len());
        hammer(&harness, &connected, others);

        let table = harness.datapath().flow_table().unwrap();
        check(&table, &connected);
        harness.datapath().each_flow(|_| Ok::<_, DatapathError>(())).unwrap();
        for port in &connected {
            for (arrival, frame) in [
                (OUT, format!("tcp E:22>C:{port} ACK data=10")),
                (IN, format!("tcp C:{port}>E:22 ACK data=10")),
            ] {
                let bytes = parse_frame(&frame).unwrap().to_bytes();
                harness.counted(arrival).unwrap();
                assert_eq!(harness.decide_bytes(arrival, &bytes).unwrap(), Reason::Tracked, "{frame}");
            }
        }
    }
}

/// Ports whose TCP flows with the host's port 22 share the near bucket of the first one.
fn ports_of_one_bucket(harness: &mut Harness) -> Vec<u16> {
    let mut ports = Vec::new();
    let mut bucket = None;
    for port in 1024..u16::MAX {
        let frame = parse_frame(&format!("tcp C:{port}>E:22 SYN")).unwrap();
        assert_eq!(harness.decide(IN, &frame).unwrap(), Reason::Rule);
        let table = harness.datapath().flow_table().unwrap();
        let near = spot(&table, &only_key(&table)).bucket(0);
        harness.forget_state().unwrap();
        if *bucket.get_or_insert(near) == near {
            ports.push(port);
        }
        if ports.len() == CONNECTIONS + OTHERS {
            return ports;
        }
    }
    panic!("not enough ports");
}

fn only_key(table: &FlowTable) -> KeyWords {
    let keys: Vec<KeyWords> = listed(table).into_iter().filter_map(|listed| listed.1).collect();
    assert_eq!(keys.len(), 1);
    keys[0]
}

/// Control and key of each flow, with its fingerprint.
fn listed(table: &FlowTable) -> Vec<(u64, Option<KeyWords>, u64)> {
    let mut all = Vec::new();
    for bucket in 0..table.geometry().buckets() {
        for slot in 0..SLOTS {
            let line = table.line(bucket).unwrap();
            let fingerprint = table.load(line, slot * 2);
            let control = table.load(line, slot * 2 + 1);
            assert_eq!(control & PENDING, 0, "a slot is left half done");
            if let Some(flow) = read(table, bucket, slot) {
                all.push((control, flow.key, fingerprint));
            }
        }
    }
    all
}

fn connect(harness: &mut Harness, port: u16) -> bool {
    let frames = [
        (IN, format!("tcp C:{port}>E:22 SYN")),
        (OUT, format!("tcp E:22>C:{port} SYN+ACK")),
        (IN, format!("tcp C:{port}>E:22 ACK")),
    ];
    let reasons =
        frames.map(|(arrival, frame)| harness.decide(arrival, &parse_frame(&frame).unwrap()).unwrap());
    reasons == [Reason::Rule, Reason::Tracked, Reason::Tracked]
}

/// Both CPUs begin flows, go on with handshakes, and talk on the connections, all at once.
fn hammer(harness: &Harness, connected: &[u16], others: &[u16]) {
    let seed = seed();
    let [first, last] = two_cpus();
    std::thread::scope(|scope| {
        for (number, cpu) in [first, last].into_iter().enumerate() {
            let mut random = StdRng::seed_from_u64(seed ^ number as u64);
            scope.spawn(move || {
                on_cpu(cpu, || {
                    for _ in 0..FRAMES {
                        let (arrival, frame) = frame(&mut random, connected, others);
                        let bytes = parse_frame(&frame).unwrap().to_bytes();
                        let _verdict = harness.run(arrival, &bytes).unwrap();
                    }
                });
            });
        }
    });
}

/// Nothing that ends a connection: not even the host's own RST.
fn frame(random: &mut StdRng, connected: &[u16], others: &[u16]) -> (Arrival, String) {
    let other = others.choose(random).unwrap();
    let port = connected.choose(random).unwrap();
    match random.random_range(0..10) {
        0..3 => (IN, format!("tcp C:{other}>E:22 SYN")),
        3 => (OUT, format!("tcp E:22>C:{other} SYN+ACK")),
        4 => (IN, format!("tcp C:{other}>E:22 ACK ack=5")),
        5 => (IN, format!("tcp C:{other}>E:22 RST")),
        6 => (IN, format!("tcp C:{port}>E:22 ACK data=10")),
        7 => (OUT, format!("tcp E:22>C:{port} ACK data=10")),
        8 => (IN, format!("tcp C:{port}>E:22 RST")),
        _ => (IN, format!("tcp C:{port}>E:22 SYN")),
    }
}

fn check(table: &FlowTable, connected: &[u16]) {
    let mut protected: BTreeMap<KeyWords, usize> = BTreeMap::new();
    for (control, key, fingerprint) in listed(table) {
        assert_ne!(control & USED, 0);
        let Some(key) = key else {
            assert_eq!(control & PROTECTED, 0, "a protected flow without a key");
            continue;
        };
        assert_eq!(spot(table, &key).fingerprint, fingerprint, "the key of another flow");
        if control & PROTECTED != 0 {
            *protected.entry(key).or_default() += 1;
            let hit = find(table, &spot(table, &key), 0).unwrap();
            assert_ne!(hit.control.0 & PROTECTED, 0, "a lookup finds a flow that is not the protected one");
        }
    }
    let ports: Vec<u16> = protected
        .keys()
        .map(|key| match AnyFlowKey::from_words(*key) {
            AnyFlowKey::V4(key) => key.remote_port.get(),
            AnyFlowKey::V6(key) => key.remote_port.get(),
        })
        .collect();
    for port in connected {
        assert!(ports.contains(port), "the connection of port {port} is lost");
    }
    assert!(protected.values().all(|times| *times == 1), "{protected:?}");
}
