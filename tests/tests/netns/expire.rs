//! `sgfw flows expire`: ended flows go, live ones stay, however sweep and packets meet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_common::abi::{Be16, FlowKey, Ipv4, KeyWords, query_from};
use firewall_common::flow_table::control::{Control, PROTECTED, state};
use firewall_common::flow_table::life::{Beside, Lifetimes, Socket};
use firewall_common::flow_table::{Fresh, Inserted, clear, find, insert, spot};
use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology, ping};
use firewall_userspace::datapath::{Datapath, FlowTable};

use crate::support::{Conversation, create_group, json, on_every_hook, privileged, protect};

on_every_hook!(an_expired_flow_is_removed_and_a_live_one_is_not);

/// Longer than any kernel of these tests runs, and much longer ago than any has started; in units of the table's clock.
const FAR_OFF: u32 = u32::MAX;
const LONG_AGO: u32 = 1;

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// How many flows a sweep removed.
#[track_caller]
fn expire(host: &Host) -> u64 {
    json(host, "flows expire")["Removed"].as_u64().unwrap()
}

fn an_expired_flow_is_removed_and_a_live_one_is_not(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(client, 80);
    protect(app, hook, "app", &[]);
    // It counts from a flow's next packet.
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --icmp 3")).expect_success();
    let mut conversations = Family::ALL.map(|family| Conversation::open(app, client, family, 80));
    for family in Family::ALL {
        assert_eq!(ping(app, client.address(family)), Open);
    }
    let (start, mut removed) = (Instant::now(), 0);
    while removed < 2 {
        assert!(start.elapsed() < Duration::from_secs(60), "{removed} flows were removed");
        sleep(Duration::from_millis(100));
        removed += expire(app);
    }
    assert_eq!((removed, expire(app)), (2, 0));
    conversations.iter_mut().for_each(Conversation::exchange);
    assert_eq!(json(app, "flows list")["Flows"].as_array().unwrap().len(), 2);
}

/// A sweep looks at thousands of ended flows and takes them out one by one; meanwhile packets begin each of them anew.
#[test]
fn no_flow_is_lost_that_is_refreshed_during_the_sweep() {
    privileged(|| {
        const FLOWS: u32 = 4000;
        const ROUNDS: usize = 20;
        let lab = client_and_app();
        let app = lab.host("app");
        protect(app, IngressHook::Tc, "app", &[]);
        let datapath = Datapath::open(&app.instance().bpffs_directory).unwrap().unwrap();
        let table = datapath.flow_table().unwrap();
        let mut removed = 0;
        for _ in 0..ROUNDS {
            (0..FLOWS).for_each(|number| begin(&table, number, LONG_AGO));
            let is_refreshed = AtomicBool::new(false);
            thread::scope(|scope| {
                let sweeping = scope.spawn(|| {
                    let mut removed = 0;
                    while !is_refreshed.load(Ordering::Acquire) {
                        removed += datapath.expire_flows(|_, _| true).unwrap().removed;
                    }
                    removed
                });
                (0..FLOWS).for_each(|number| begin(&table, number, FAR_OFF));
                is_refreshed.store(true, Ordering::Release);
                removed += sweeping.join().unwrap();
            });
            let lost = (0..FLOWS).filter(|number| !lives(&table, *number)).count();
            assert_eq!(lost, 0, "of {FLOWS}");
            (0..FLOWS).for_each(|number| end(&table, number));
        }
        assert!(removed > 0, "the sweep and the packets should have met");
    });
}

#[test]
fn a_table_that_fills_up_with_connections_is_warned_about() {
    privileged(|| {
        let lab = client_and_app();
        let app = lab.host("app");
        create_group(app, "app", &[]);
        app.sgfw(&format!("interface attach {INTERFACE} --group app --ingress-hook tc --flow-entries 4096"))
            .expect_success();
        assert_eq!(app.sgfw("status").stderr(), "");
        let capacity = json(app, "status")["FlowTable"]["Capacity"].as_u64().unwrap();
        let datapath = Datapath::open(&app.instance().bpffs_directory).unwrap().unwrap();
        let table = datapath.flow_table().unwrap();
        let many = u32::try_from((capacity * 82).div_ceil(100)).unwrap();
        // Ended ones are none, however many.
        (0..many).for_each(|number| begin(&table, number, LONG_AGO));
        assert_eq!(app.sgfw("status").stderr(), "");
        (0..many).for_each(|number| begin(&table, number, FAR_OFF));
        let status = app.sgfw("status");
        assert!(status.stderr().contains("warning: the flow table is 82 % full of connections"), "{status}");
        (0..many).for_each(|number| end(&table, number));
        assert_eq!(app.sgfw("status").stderr(), "");
    });
}

/// Begins a protected flow, as a packet does: what is found ended is cleared first.
fn begin(table: &FlowTable, number: u32, until: u32) {
    let (key, now) = (key(number), LONG_AGO);
    let spot = spot(table, &key);
    if let Some(hit) = find(table, &spot, now) {
        clear(table, &spot, &hit);
    }
    let control = Control(PROTECTED).in_state(state::ESTABLISHED).ending(until);
    let fresh = Fresh { control, admitted_by: 1, beside: Beside::default() };
    let begun = insert(table, &spot, &key, &fresh, &Lifetimes::default(), now, |_| Socket::None);
    assert!(matches!(begun, Inserted::InPlaceOf(_)), "{begun:?}");
}

fn lives(table: &FlowTable, number: u32) -> bool {
    find(table, &spot(table, &key(number)), LONG_AGO).is_some_and(|hit| hit.control.end() == FAR_OFF)
}

fn end(table: &FlowTable, number: u32) {
    let spot = spot(table, &key(number));
    let hit = find(table, &spot, LONG_AGO).unwrap();
    assert!(clear(table, &spot, &hit));
}

/// Keys of as many flows as one likes, in the zone of the first interface.
fn key(number: u32) -> KeyWords {
    FlowKey {
        local: Ipv4::from_bytes(number.to_be_bytes()),
        remote: Ipv4::from_bytes([192, 0, 2, 1]),
        local_port: Be16::new(1),
        remote_port: Be16::new(8),
        protocol: 1,
        query_from: query_from::REMOTE,
        zone: 1,
    }
    .words()
}
