//! `sgfw flows expire`: expired entries go, live flows stay, however sweep and packets meet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::maps::{HashMap, Map, MapData};
use firewall_common::abi::{Be16, DEFAULT_FLOW_ENTRIES, FlowEntry, FlowKey, Ipv4, map, query_from};
use firewall_common::flow::FlowState;
use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology, ping};
use firewall_userspace::datapath::Datapath;

use crate::support::{Conversation, json, on_every_hook, privileged, protect};

on_every_hook!(an_expired_flow_is_removed_and_a_live_one_is_not);

type Flows = HashMap<MapData, [u8; 16], [u8; size_of::<FlowEntry>()]>;

/// Ticks that are more than any timeout of these tests, whatever the tick rate.
const LONG_AGO: u32 = 10_000_000;

/// `BPF_ANY` of `linux/bpf.h`: create or overwrite.
const BPF_ANY: u64 = 0;

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// How many entries a sweep removed, over all tables.
fn expire(host: &Host) -> u64 {
    sweep(host).iter().map(|(_, removed)| removed).sum()
}

/// How many entries a sweep removed from each table.
fn sweep(host: &Host) -> Vec<(String, u64)> {
    let swept = json(host, "flows expire");
    let tables = swept["FlowTables"].as_array().unwrap().iter();
    let tables: Vec<_> = tables
        .map(|table| (table["Name"].as_str().unwrap().to_owned(), table["Removed"].as_u64().unwrap()))
        .collect();
    assert_eq!(tables.len(), 4);
    tables
}

fn an_expired_flow_is_removed_and_a_live_one_is_not(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(client, 80);
    protect(app, hook, "app", &[]);
    let mut conversations = Family::ALL.map(|family| Conversation::open(app, client, family, 80));
    for family in Family::ALL {
        assert_eq!(ping(app, client.address(family)), Open);
    }
    assert_eq!(expire(app), 0);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --icmp 1")).expect_success();
    // Soon after the timeout and the two seconds for which a sweep leaves an expired flow alone.
    let (start, mut removed) = (Instant::now(), 0);
    while removed < 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "{removed} flows were removed");
        sleep(Duration::from_millis(100));
        removed += expire(app);
    }
    assert_eq!((removed, expire(app)), (2, 0));
    conversations.iter_mut().for_each(Conversation::exchange);
    assert_eq!(json(app, "flows list")["Flows"].as_array().unwrap().len(), 2);
}

/// A sweep reads thousands of entries and then takes them out one by one; meanwhile each of them is refreshed.
#[test]
fn no_flow_is_lost_that_is_refreshed_during_the_sweep() {
    privileged(|| {
        const FLOWS: u16 = 4000;
        const ROUNDS: usize = 20;
        let lab = client_and_app();
        let app = lab.host("app");
        let (mut flows, live) = protected(&lab);
        let expired = FlowEntry { last_seen: live.last_seen.wrapping_sub(LONG_AGO), ..live };
        let datapath = Datapath::open(&app.instance().bpffs_directory).unwrap().unwrap();
        let mut removed = 0;
        for _ in 0..ROUNDS {
            (0..FLOWS).for_each(|number| insert(&mut flows, number.into(), &expired));
            let is_refreshed = AtomicBool::new(false);
            thread::scope(|scope| {
                let sweeping = scope.spawn(|| {
                    let mut removed = 0;
                    while !is_refreshed.load(Ordering::Acquire) {
                        removed +=
                            datapath.expire_flows().unwrap().iter().map(|row| row.removed).sum::<u64>();
                    }
                    removed
                });
                (0..FLOWS).for_each(|number| insert(&mut flows, number.into(), &live));
                is_refreshed.store(true, Ordering::Release);
                removed += sweeping.join().unwrap();
            });
            let lost = (0..FLOWS).filter(|number| flows.get(&key(u32::from(*number)), 0).is_err()).count();
            assert_eq!(lost, 0, "of {FLOWS}");
        }
        assert!(removed > 0, "the sweep and the refresher should have met");
    });
}

#[test]
fn a_table_that_fills_up_is_warned_about_until_it_is_swept() {
    privileged(|| {
        let lab = client_and_app();
        let app = lab.host("app");
        let (mut flows, live) = protected(&lab);
        assert_eq!(app.sgfw("status").stderr(), "");
        let many = (DEFAULT_FLOW_ENTRIES * 82).div_ceil(100);
        let expired = FlowEntry { last_seen: live.last_seen.wrapping_sub(LONG_AGO), ..live };
        (0..many).for_each(|number| insert(&mut flows, number, &expired));
        let status = app.sgfw("status");
        assert!(status.stderr().contains("warning: FLOWS_V4 is 82 % full"), "{status}");
        assert!(status.stdout().contains(" 82 %"), "{status}");
        // What the ping has left in another table may be over by now.
        let removed = sweep(app).into_iter().find(|(name, _)| name == map::FLOWS_V4);
        assert_eq!(removed.map(|(_, removed)| removed), Some(u64::from(many)));
        assert_eq!(app.sgfw("status").stderr(), "");
    });
}

/// Protects the app. Returns its table of assured IPv4 flows and an entry that is live now.
fn protected(lab: &Lab) -> (Flows, FlowEntry) {
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, IngressHook::Tc, "app", &[]);
    assert_eq!(ping(app, client.address(Family::V4)), Open);
    let live: FlowEntry = {
        let half_open = open(app, map::HALF_OPEN_V4);
        bytemuck::pod_read_unaligned(&half_open.iter().next().unwrap().unwrap().1)
    };
    assert_eq!(live.state, FlowState::IcmpQuery as u8);
    (open(app, map::FLOWS_V4), live)
}

fn open(host: &Host, name: &str) -> Flows {
    let directory = std::fs::read_dir(&host.instance().bpffs_directory).unwrap().next().unwrap().unwrap();
    let data = MapData::from_pin(directory.path().join("maps").join(name)).unwrap();
    Flows::try_from(Map::from_map_data(data).unwrap()).unwrap()
}

fn insert(flows: &mut Flows, number: u32, entry: &FlowEntry) {
    flows.insert(key(number), bytemuck::cast::<_, [u8; size_of::<FlowEntry>()]>(*entry), BPF_ANY).unwrap();
}

/// Keys of as many flows as one likes, in the zone of the first interface.
fn key(number: u32) -> [u8; 16] {
    bytemuck::cast(FlowKey {
        local: Ipv4::from_bytes(number.to_be_bytes()),
        remote: Ipv4::from_bytes([192, 0, 2, 1]),
        local_port: Be16::new(1),
        remote_port: Be16::new(8),
        protocol: 1,
        query_from: query_from::REMOTE,
        zone: 1,
    })
}
