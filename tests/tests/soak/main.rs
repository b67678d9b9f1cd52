//! Floods from forged sources beside live traffic: a thousand established connections go on, five hundred idle ones are
//! there when they are needed, and new clients get through; in a table that the flood fills a hundred times over too.
//!
//! `SGFW_FLOOD_PACKETS` sets how many frames of each flood must arrive: a short run by default, ten million under
//! `cargo xtask test --soak`, which also prints the figures of nftables with conntrack, and of no firewall, under the
//! same load. Only what `sgfw` does is asserted, and nothing about time. Needs root and bpffs; without them the test says
//! that it skips, and fails if `SGFW_REQUIRE_BPF=1`.

mod figures;
mod firewall;
mod live;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use figures::{Figures, HEADER};
use firewall::{Firewall, TRACKED_PORT, Table, UNTRACKED_PORT, Usage};
use firewall_tests::flood::{Flood, FloodKind, Senders};
use firewall_tests::lab::{Family, Host, IngressHook, Lab, Topology};
use firewall_tests::prog::can_load_programs;
use firewall_tests::seed::number;
use live::{Clients, Established};

/// More than there are places in the table, in a few seconds.
const DEFAULT_PACKETS: u64 = 1_000_000;

/// The fewest and the most frames between two looks at the counters, which take longer than many frames.
const CHUNK: (u64, u64) = (100_000, 1_000_000);

const ESTABLISHED_CONNECTIONS: usize = 1000;

/// Others that say nothing during a flood.
const IDLE_CONNECTIONS: usize = 500;

/// A flood lasts at least until so many new clients have tried.
const LEAST_ATTEMPTS: u64 = 10;

/// The one at the untracked port comes first: it finds the flow table as the established connections left them.
const FLOODS: [FloodKind; 5] = [
    FloodKind::Syn { port: UNTRACKED_PORT },
    FloodKind::Syn { port: TRACKED_PORT },
    FloodKind::Acks { port: TRACKED_PORT },
    FloodKind::Datagrams { port: TRACKED_PORT, senders: Senders::Anybody { mask: 0, value: 0 } },
    FloodKind::Udp,
];

#[test]
fn floods_break_no_connection_and_keep_no_client_out() {
    if !can_load_programs() {
        return;
    }
    live::allow_many_files();
    println!("{HEADER}");
    if packets() <= DEFAULT_PACKETS {
        // Each family, hook and table once.
        flood_all(Firewall::Sgfw(IngressHook::Xdp, Table::Small), Family::V4, check);
        flood_all(Firewall::Sgfw(IngressHook::Tc, Table::Default), Family::V6, check);
        return;
    }
    for family in Family::ALL {
        for hook in [IngressHook::Xdp, IngressHook::Tc] {
            for table in [Table::Default, Table::Small] {
                flood_all(Firewall::Sgfw(hook, table), family, check);
            }
        }
        // These only add figures, which a short run is too short for.
        flood_all(Firewall::Nftables, family, |_, _| {});
        flood_all(Firewall::None, family, |_, _| {});
    }
}

/// What became of the live traffic, and what the firewall held before and after.
struct Outcome {
    figures: Figures,
    broken: Vec<String>,
    before: Usage,
    after: Usage,
}

/// Floods and live traffic are of one family.
fn flood_all(firewall: Firewall, family: Family, check: impl Fn(FloodKind, &Outcome)) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [TRACKED_PORT, UNTRACKED_PORT].map(|port| live::echo_server(app, port));
    firewall.protect(&lab, app);
    let mut established =
        Established::open(client, app.address(family), TRACKED_PORT, ESTABLISHED_CONNECTIONS);
    let mut idle = Established::open(client, app.address(family), TRACKED_PORT, IDLE_CONNECTIONS);
    for kind in FLOODS {
        let flood = Flood::prepare(&lab, app, family, kind).unwrap();
        let port = match kind {
            FloodKind::Syn { port } => port,
            _ => TRACKED_PORT,
        };
        let clients = Clients::new(client, app.address(family), port);
        let before = firewall.usage(app);
        let (figures, mut broken) = run(firewall, kind, &flood, &mut established, &clients, app);
        broken.extend(idle.talk(&AtomicBool::new(true)).1);
        println!("{family} {figures}");
        check(kind, &Outcome { figures, broken, before, after: firewall.usage(app) });
        assert_eq!(bad_checksums(app), 0, "the host threw frames of the flood away unread");
    }
}

/// Floods until enough frames have arrived and enough clients have tried. Returns what happened, and the errors of
/// broken connections.
fn run(
    firewall: Firewall,
    kind: FloodKind,
    flood: &Flood<'_>,
    established: &mut Established,
    clients: &Clients<'_>,
    app: &Host,
) -> (Figures, Vec<String>) {
    let (wanted, earlier) = (packets(), firewall.decided(app, kind));
    let (mut sent, mut arrived, mut time) = (0, 0, Duration::ZERO);
    let done = AtomicBool::new(false);
    let (exchanges, broken) = thread::scope(|scope| {
        let talking = scope.spawn(|| established.talk(&done));
        scope.spawn(|| clients.keep_connecting(&done));
        // Should this thread panic, the others must end all the same, or the scope would wait for them forever.
        let flooding = SetOnDrop(&done);
        while arrived < wanted || clients.attempts() < LEAST_ATTEMPTS {
            let frames = wanted.saturating_sub(arrived).clamp(CHUNK.0, CHUNK.1);
            time += flood.send(u32::try_from(frames).unwrap()).unwrap();
            sent += frames;
            let decided = firewall.decided(app, kind) - earlier;
            assert!(decided > arrived, "none of {frames} frames was decided as one of the flood");
            arrived = decided;
        }
        drop(flooding);
        talking.join().unwrap()
    });
    let (attempts, successes) = (clients.attempts(), clients.successes());
    let entries = firewall.usage(app).entries.values().sum();
    let figures = Figures { firewall, kind, sent, arrived, time, exchanges, attempts, successes, entries };
    (figures, broken)
}

fn check(kind: FloodKind, outcome: &Outcome) {
    let Outcome { figures, broken, before, after } = outcome;
    assert!(broken.is_empty(), "{} established connections broke: {}", broken.len(), broken[0]);
    let (attempts, successes) = (figures.attempts, figures.successes);
    assert!(successes * 100 >= attempts * 99, "of {attempts} new clients only {successes} got through");
    assert_eq!(after.memory, before.memory, "the maps have grown");
    assert!(after.entries.values().sum::<u64>() <= after.slots);
    for (class, flows) in &after.entries {
        // Half-open flows are what a flood may leave, and questions, with the host's answer that nobody listens.
        let growth = flows.saturating_sub(before.entries[class]);
        let allowed = if kind == FLOODS[0] { 0 } else { attempts };
        let may_grow = ["half-open", "one-way", "replied"].contains(&class.as_str()) && kind != FLOODS[0];
        assert!(may_grow || growth <= allowed, "{kind:?} has left {growth} {class} flows");
    }
}

/// Segments that the host has dropped for their checksums, in both families.
fn bad_checksums(host: &Host) -> u64 {
    let counters = host.run("nstat --zeros --ignore --json TcpInCsumErrors").expect_success();
    let counters: serde_json::Value = serde_json::from_str(&counters).unwrap();
    counters["kernel"]["TcpInCsumErrors"].as_u64().unwrap()
}

fn packets() -> u64 {
    number("SGFW_FLOOD_PACKETS").unwrap_or(DEFAULT_PACKETS)
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
