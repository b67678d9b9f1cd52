//! An upgrade across a change of the ABI: `interface reload` takes over what another version has attached.

use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use aya::maps::{HashMap, Map as AyaMap, MapData};
use bytemuck::Pod;
use firewall_common::abi::{ABI_VERSION, Address, Direction, FlowEntry, FlowKey, Ipv4, Ipv6, map};
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{
    Conversation, attached_programs, close_egress, files, json, on_every_hook, probe_during, protect,
};

on_every_hook!(
    what_earlier_versions_have_attached_is_taken_over_without_a_gap,
    a_takeover_that_was_killed_is_finished_by_the_next,
    pins_without_links_are_removed,
    what_an_unknown_version_has_attached_is_left_in_force,
);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";
const LATE_RULE: &str =
    "rule authorize app --ingress --protocol tcp --port 81 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn pins(host: &Host, version: u32) -> PathBuf {
    host.instance().bpffs_directory.join(format!("v{version}"))
}

/// Makes the pins look as another version has made them. The flow tables of all earlier versions have the layout of this
/// one's, but for the order of the ends in a key.
fn rename_pins(host: &Host, from: u32, to: u32) {
    if (1..ABI_VERSION).contains(&to) {
        let maps = pins(host, from).join("maps");
        let [v4, v6] = Family::ALL.map(|family| host.address(family));
        add_keys_by_order::<Ipv4, 16>(&maps.join(map::FLOWS_V4), v4);
        add_keys_by_order::<Ipv6, 40>(&maps.join(map::FLOWS_V6), v6);
    }
    fs::rename(pins(host, from), pins(host, to)).unwrap();
}

/// Adds each of the host's flows under the key that versions 1 to 5 gave it: the end with the lower address first. The flow
/// under its own key stays, for the programs are those of this version. What that becomes when it is read as an old one has
/// another local end, and is left out when this is done again.
fn add_keys_by_order<A: Address, const N: usize>(table: &Path, host: IpAddr)
where
    FlowKey<A>: Pod,
{
    const INITIATOR_IS_SECOND: u8 = 1 << 0;
    let flows = AyaMap::HashMap(MapData::from_pin(table).unwrap());
    let mut flows: HashMap<_, [u8; N], [u8; size_of::<FlowEntry>()]> = flows.try_into().unwrap();
    let all: Vec<_> = flows.iter().map(Result::unwrap).collect();
    for (key, entry) in all {
        let (key, entry): (FlowKey<A>, FlowEntry) =
            (bytemuck::pod_read_unaligned(&key), bytemuck::pod_read_unaligned(&entry));
        let own: Ipv6Addr = match host {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        if key.local.widen().to_bytes() != own.octets() {
            continue;
        }
        let (local, remote) = ((key.local, key.local_port), (key.remote, key.remote_port));
        let local_is_first = key.local.widen().to_bytes() <= key.remote.widen().to_bytes();
        let (first, second) = if local_is_first { (local, remote) } else { (remote, local) };
        let local_began = entry.started_by() == Direction::Egress;
        let initiator = if local_began == local_is_first { 0 } else { INITIATOR_IS_SECOND };
        let key = FlowKey {
            local: first.0,
            local_port: first.1,
            remote: second.0,
            remote_port: second.1,
            query_from: 0,
            ..key
        };
        let entry = FlowEntry { flags: entry.flags | initiator, ..entry };
        let (key, entry): ([u8; N], [u8; size_of::<FlowEntry>()]) =
            (bytemuck::bytes_of(&key).try_into().unwrap(), bytemuck::cast(entry));
        flows.insert(key, entry, 0).unwrap();
    }
}

/// Revokes the rule that has admitted the conversations and admits another port instead: they live by their flows alone.
#[track_caller]
fn orphan_flows(app: &Host) {
    app.sgfw(&format!("rule revoke app {ADMITTED}")).expect_success();
    app.sgfw(&format!("rule authorize app {}", ADMITTED.replace("80", "82"))).expect_success();
}

/// Whether the rules are in force that [`orphan_flows`] has left.
#[track_caller]
fn assert_in_force(client: &Host, app: &Host) {
    for family in Family::ALL {
        let address = app.address(family);
        let reachabilities = [80, 81, 82].map(|port| tcp_connect(client, address, port));
        assert_eq!(reachabilities, [Filtered, Filtered, Open]);
        assert_eq!(tcp_connect(app, client.address(family), 81), Filtered);
    }
}

fn what_earlier_versions_have_attached_is_taken_over_without_a_gap(hook: IngressHook) {
    for version in 1..ABI_VERSION {
        is_taken_over_without_a_gap(hook, version);
    }
}

fn is_taken_over_without_a_gap(hook: IngressHook, version: u32) {
    const PORT: u16 = 9000;
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    let _others = [(app, 81), (app, 82), (client, 81)]
        .map(|(host, port)| TcpServer::start(host, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    conversations.iter_mut().for_each(Conversation::exchange);
    orphan_flows(app);
    rename_pins(app, ABI_VERSION, version);
    // Versions before 4 did not have these.
    for name in [map::PROMOTION, map::RECENT_V4, map::RECENT_V6, map::RECENT_MARKS] {
        fs::remove_file(pins(app, version).join("maps").join(name)).unwrap();
    }
    let programs = attached_programs(app);

    for command in ["status", "interface list", LATE_RULE, &format!("interface detach {INTERFACE}")] {
        let error = app.sgfw(command).expect_failure(65);
        assert!(error.contains(&format!("ABI {version}")), "{error}");
        assert!(error.contains("`sgfw interface reload`"), "{error}");
    }
    assert_in_force(client, app);
    conversations.iter_mut().for_each(Conversation::exchange);

    let mut outward = None;
    let inward = probe_during(client, app, PORT, || {
        outward = Some(probe_during(app, client, PORT, || {
            let reloaded = json(app, "interface reload");
            assert_eq!(reloaded["Interfaces"][0]["Name"], INTERFACE);
            conversations.iter_mut().for_each(Conversation::exchange);
        }));
    });
    assert_eq!(inward.arrived, 0, "of {} that may not enter", inward.sent);
    assert_eq!(outward.unwrap().arrived, 0, "of {} that may not leave", outward.unwrap().sent);

    assert!(!pins(app, version).exists(), "pins of version {version} are left");
    let new = attached_programs(app);
    assert!(new.len() == 2 && new.iter().all(|id| !programs.contains(id)), "{programs:?} {new:?}");
    assert_in_force(client, app);
    assert_eq!(json(app, "status")["Interfaces"][0]["Attached"], true);
    app.sgfw(LATE_RULE).expect_success();
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 81), Open);
    }
    conversations.iter_mut().for_each(Conversation::exchange);
    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    assert!(!app.instance().bpffs_directory.exists(), "pins are left");
}

fn a_takeover_that_was_killed_is_finished_by_the_next(hook: IngressHook) {
    const PORT: u16 = 9000;
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    let _others = [(app, 81), (app, 82), (client, 81)]
        .map(|(host, port)| TcpServer::start(host, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let mut conversation = Conversation::open(client, app, Family::V4, 80);
    conversation.exchange();
    orphan_flows(app);
    let probed = probe_during(client, app, PORT, || {
        for milliseconds in (0..160).step_by(20) {
            rename_pins(app, ABI_VERSION, 1);
            let reload = app.start_sgfw("interface reload");
            sleep(Duration::from_millis(milliseconds));
            reload.kill();
            conversation.exchange();
            app.sgfw("interface reload").expect_success();
            assert!(!pins(app, 1).exists(), "killed after {milliseconds} ms, pins of version 1 are left");
            conversation.exchange();
        }
    });
    assert_eq!(probed.arrived, 0, "of {}", probed.sent);
    assert_in_force(client, app);
}

/// Nothing of it is in force, so that it takes no programs from an interface.
fn pins_without_links_are_removed(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    protect(app, hook, "app", &[]);
    let programs = attached_programs(app).len();
    fs::create_dir_all(pins(app, 1).join("maps")).unwrap();
    let error = app.sgfw("status").expect_failure(65);
    assert!(error.contains("`sgfw interface reload`"), "{error}");
    app.sgfw("interface reload").expect_success();
    assert!(!pins(app, 1).exists());
    assert_eq!(attached_programs(app).len(), programs);
    app.sgfw("status").expect_success();
}

fn what_an_unknown_version_has_attached_is_left_in_force(hook: IngressHook) {
    const UNKNOWN: u32 = 9;
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    let _others = [(app, 81), (app, 82), (client, 81)]
        .map(|(host, port)| TcpServer::start(host, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    conversations.iter_mut().for_each(Conversation::exchange);
    orphan_flows(app);
    rename_pins(app, ABI_VERSION, UNKNOWN);
    let before = (files(&app.instance().bpffs_directory), attached_programs(app));

    for _ in 0..2 {
        let error = app.sgfw("interface reload").expect_failure(65);
        assert!(error.contains("ABI 9"), "{error}");
        assert_eq!((files(&app.instance().bpffs_directory), attached_programs(app)), before);
        assert_in_force(client, app);
        conversations.iter_mut().for_each(Conversation::exchange);
    }

    rename_pins(app, UNKNOWN, ABI_VERSION);
    app.sgfw(LATE_RULE).expect_success();
}
