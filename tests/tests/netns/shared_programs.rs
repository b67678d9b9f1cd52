//! One set of programs for all interfaces, which find the slot of a packet by the index of its interface.

use std::collections::BTreeSet;
use std::path::Path;

use aya::maps::{Array, Map, MapData};
use firewall_common::abi::{INTERFACE_LINE_ENTRIES, INTERFACE_LINES, map};
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{attached_programs, create_group, json, on_every_hook, protect};

on_every_hook!(
    interfaces_share_programs_and_each_has_its_policy,
    an_interface_of_the_highest_index_is_known,
    what_the_programs_do_not_know_is_dropped,
);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0";

/// A second device of the host, whose peer is in the same namespace: nothing but its attachment matters.
fn add_device(host: &Host, name: &str, index: Option<u32>) {
    let index = index.map_or(String::new(), |index| format!("index {index}"));
    host.run(&format!("ip link add name {name} {index} type veth peer name {name}-peer")).expect_success();
    host.run(&format!("ip link set {name} up")).expect_success();
    host.run(&format!("ip link set {name}-peer up")).expect_success();
}

/// The ids of the programs of all interfaces.
fn programs(host: &Host) -> BTreeSet<u64> {
    attached_programs(host).into_iter().collect()
}

fn interfaces_share_programs_and_each_has_its_policy(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [80, 81].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &[ADMITTED]);
    let before = programs(app);
    create_group(app, "other", &["--ingress --protocol tcp --port 81 --cidr 0.0.0.0/0 --cidr ::/0"]);
    add_device(app, "second", None);

    app.sgfw(&format!("interface attach second --group other --ingress-hook {hook}")).expect_success();

    assert_eq!(programs(app), before, "loaded again");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        assert_eq!(tcp_connect(client, app.address(family), 81), Filtered);
    }
    app.sgfw("interface detach second").expect_success();
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        assert_eq!(tcp_connect(client, app.address(family), 81), Filtered);
    }
}

fn an_interface_of_the_highest_index_is_known(hook: IngressHook) {
    const HIGHEST: u32 = i32::MAX.cast_unsigned();
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    create_group(app, "app", &[]);
    add_device(app, "highest", Some(HIGHEST));
    app.sgfw(&format!("interface attach highest --group app --ingress-hook {hook}")).expect_success();
    // Neighbour discovery and the like of the device that came up, in both directions.
    app.run("ping -6 -c 1 -W 1 -I highest ff02::1").stdout();
    app.run("ping -6 -c 1 -W 1 -I highest-peer ff02::1").stdout();
    let counters = json(app, "status")["Counters"].clone();
    let counted: BTreeSet<_> =
        counters.as_array().unwrap().iter().map(|row| row["Interface"].as_str().unwrap()).collect();
    assert_eq!(counted, BTreeSet::from(["highest"]), "{counters}");
}

fn what_the_programs_do_not_know_is_dropped(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    protect(app, hook, "app", &[ADMITTED]);
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
    forget_interfaces(&app.instance().bpffs_directory);
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Filtered);
    }
    let status = app.sgfw("status");
    assert!(
        status.stderr().contains("unknown-interface") && status.stdout().contains("unknown-interface"),
        "{status}"
    );

    app.sgfw("repair").expect_success();

    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
}

#[test]
fn an_interface_too_many_of_like_index_is_refused() {
    crate::support::privileged(|| {
        let lab = Lab::build(&Topology::star(["app"])).unwrap();
        let app = lab.host("app");
        create_group(app, "app", &[]);
        let places = u32::try_from(INTERFACE_LINE_ENTRIES).unwrap();
        for number in 1..=places + 1 {
            add_device(app, &format!("d{number}"), Some(1000 + number * INTERFACE_LINES));
        }
        for number in 1..=places {
            app.sgfw(&format!("interface attach d{number} --group app")).expect_success();
        }
        let last = format!("interface attach d{} --group app", places + 1);
        let error = app.sgfw(&last).expect_failure(1);
        assert!(error.contains("have an index that is the same modulo 256"), "{error}");
        let status = json(app, "interface list");
        assert_eq!(status["Interfaces"].as_array().unwrap().len(), places as usize, "{status}");
        // One that is gone makes room.
        app.sgfw("interface detach d3").expect_success();
        app.sgfw(&last).expect_success();
    });
}

/// Overwrites the table of interfaces with nothing.
fn forget_interfaces(bpffs: &Path) {
    let data = MapData::from_pin(bpffs.join("v6/maps").join(map::INTERFACES)).unwrap();
    let mut table: Array<MapData, [u64; INTERFACE_LINE_ENTRIES]> =
        Map::from_map_data(data).unwrap().try_into().unwrap();
    for line in 0..INTERFACE_LINES {
        table.set(line, [0; INTERFACE_LINE_ENTRIES], 0).unwrap();
    }
}
