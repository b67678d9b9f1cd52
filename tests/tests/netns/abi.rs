//! An upgrade across a change of the ABI: `interface reload` takes over what another version has attached.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use aya::maps::{HashMap, MapData};
use firewall_common::abi::{ABI_VERSION, AnyFlowKey, KeyWords, map};
use firewall_common::flow_table::control::BEGUN_BY_EGRESS;
use firewall_common::flow_table::layout::SLOTS;
use firewall_common::flow_table::sweep::read;
use firewall_common::flow_table::{Control, Memory as _};
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use firewall_userspace::datapath::Datapath;
use nix::time::{ClockId, clock_getres, clock_gettime};

use crate::support::{
    Conversation, attached_programs, close_egress, files, json, on_every_hook, probe_during, protect,
    without_tcx,
};

on_every_hook!(
    what_earlier_versions_have_attached_is_taken_over_without_a_gap,
    a_takeover_that_was_killed_is_finished_by_the_next,
    pins_without_links_are_removed,
    what_an_unknown_version_has_attached_is_left_in_force,
);
without_tcx!(a_takeover_that_was_killed_is_finished_by_the_next);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";
const LATE_RULE: &str =
    "rule authorize app --ingress --protocol tcp --port 81 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn pins(host: &Host, version: u32) -> PathBuf {
    host.instance().bpffs_directory.join(format!("v{version}"))
}

/// Makes the pins look as another version has made them. The programs go on by the flow table of this version, whose maps are
/// theirs without a pin.
fn rename_pins(host: &Host, from: u32, to: u32) {
    if (1..ABI_VERSION).contains(&to) {
        let tables = [OldTable::of(host, Family::V4), OldTable::of(host, Family::V6)];
        assert!(tables.iter().any(|table| !table.flows.is_empty()), "no flows to be taken over");
        let maps = pins(host, from).join("maps");
        for name in TABLE_MAPS {
            fs::remove_file(maps.join(name)).unwrap();
        }
        tables.iter().for_each(|table| table.pin(&maps));
    }
    fs::rename(pins(host, from), pins(host, to)).unwrap();
}

/// What no version before 6 had.
const TABLE_MAPS: [&str; 6] = [
    map::FLOW_TABLE,
    map::FLOW_FILTERS,
    map::FLOW_LINES,
    map::FLOW_DETAILS,
    map::FLOW_RECORDS,
    map::FLOW_EVENTS,
];

/// The table of assured flows of one family as versions 1 to 5 had it: keys of 16 or 40 bytes, entries of 24.
struct OldTable {
    family: Family,
    flows: Vec<(Vec<u8>, [u8; 24])>,
}

impl OldTable {
    /// The flows that the host has.
    fn of(host: &Host, family: Family) -> Self {
        let datapath = Datapath::open(&host.instance().bpffs_directory).unwrap().unwrap();
        let table = datapath.flow_table().unwrap();
        let mut flows = Vec::new();
        for bucket in 0..table.geometry().buckets() {
            let listed = (0..SLOTS).filter_map(|slot| read(&table, bucket, slot));
            let named = listed.filter_map(|listed| Some((listed.key?, listed.control)));
            flows
                .extend(named.filter(|(key, _)| is_of(*key, family)).map(|(key, control)| old(key, control)));
        }
        Self { family, flows }
    }

    /// Pins it, and the table of half-open flows, which is empty.
    fn pin(&self, maps: &Path) {
        let family = if self.family == Family::V4 { "V4" } else { "V6" };
        let [assured, half_open] = ["FLOWS", "HALF_OPEN"].map(|name| maps.join(format!("{name}_{family}")));
        match self.family {
            Family::V4 => pin_table::<16>(&self.flows, &assured, &half_open),
            Family::V6 => pin_table::<40>(&self.flows, &assured, &half_open),
        }
    }
}

fn pin_table<const N: usize>(flows: &[(Vec<u8>, [u8; 24])], assured: &Path, half_open: &Path) {
    let new = || HashMap::<MapData, [u8; N], [u8; 24]>::create(1024, 0).unwrap();
    let mut table = new();
    for (key, entry) in flows {
        let key: [u8; N] = key.as_slice().try_into().unwrap();
        table.insert(key, *entry, 0).unwrap();
    }
    table.pin(assured).unwrap();
    new().pin(half_open).unwrap();
}

fn is_of(key: KeyWords, family: Family) -> bool {
    matches!(
        (AnyFlowKey::from_words(key), family),
        (AnyFlowKey::V4(_), Family::V4) | (AnyFlowKey::V6(_), Family::V6)
    )
}

/// Key and entry of a TCP flow in the old layout: of the two ends the lower one came first.
fn old(key: KeyWords, control: Control) -> (Vec<u8>, [u8; 24]) {
    let (ends, protocol, zone) = match AnyFlowKey::from_words(key) {
        AnyFlowKey::V4(key) => {
            let ends = [(key.local, key.local_port), (key.remote, key.remote_port)];
            (ends.map(|(address, port)| (address.0.to_bytes().to_vec(), port.get())), key.protocol, key.zone)
        }
        AnyFlowKey::V6(key) => {
            let ends = [(key.local, key.local_port), (key.remote, key.remote_port)];
            (ends.map(|(address, port)| (address.to_bytes().to_vec(), port.get())), key.protocol, key.zone)
        }
    };
    assert_eq!(protocol, 6, "only connections are made here");
    let local_is_first = ends[0] <= ends[1];
    let [first, second] = if local_is_first {
        ends
    } else {
        let [local, remote] = ends;
        [remote, local]
    };
    let mut old_key = [first.0, second.0].concat();
    old_key.extend([first.1.to_be_bytes(), second.1.to_be_bytes()].concat());
    old_key.extend([protocol, 0]);
    old_key.extend(zone.to_ne_bytes());

    let local_began = control.has(BEGUN_BY_EGRESS);
    let flags = (u8::from(local_began != local_is_first) * INITIATOR_IS_SECOND)
        | (u8::from(local_began) * STARTED_BY_EGRESS)
        | REPLIED;
    let [rule_set, generation, handshake, cut_at] = [1, 1, 0, 0];
    let mut entry = [0; 24];
    let words = [low_jiffies(), rule_set, generation, handshake, 0, cut_at];
    for (bytes, word) in entry.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&u32::to_ne_bytes(word));
    }
    entry[16] = ESTABLISHED;
    entry[17] = flags;
    (old_key, entry)
}

const ESTABLISHED: u8 = 3;
const INITIATOR_IS_SECOND: u8 = 1 << 0;
const STARTED_BY_EGRESS: u8 = 1 << 1;
const REPLIED: u8 = 1 << 2;

/// Low 32 bits of the kernel's clock: five minutes before they wrap when it boots.
fn low_jiffies() -> u32 {
    let coarse = ClockId::CLOCK_MONOTONIC_COARSE;
    let (tick, now) = (clock_getres(coarse).unwrap().tv_nsec(), clock_gettime(coarse).unwrap());
    let ticks = now.tv_sec() * (1_000_000_000 / tick) + now.tv_nsec() / tick;
    let before_wrap = 300 * (1_000_000_000 / tick);
    (ticks - before_wrap) as u32
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
