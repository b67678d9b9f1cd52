//! What the kernel has lost, `sgfw status` says and `sgfw repair` puts right, without being told anything again.

use std::fs;
use std::path::PathBuf;

use firewall_common::abi::DEFAULT_FLOW_ENTRIES;
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, INTERFACE_INDEX, IngressHook, Lab, TcpServer, Topology, has_tcx, tcp_connect,
};
use serde_json::{Value, json};

use crate::support::{
    close_egress, create_group, filters, json, on_every_hook, probe_during, protect, without_tcx,
};

on_every_hook!(
    a_bpffs_that_was_cleaned_by_hand_is_repaired,
    links_that_were_removed_by_hand_are_repaired,
    one_link_that_was_removed_by_hand_is_repaired,
    one_link_that_was_detached_while_its_pin_stays_is_repaired,
    the_program_that_is_left_decides_during_the_repair,
    the_flow_table_keeps_its_size_over_a_reboot,
    one_map_that_was_removed_by_hand_is_repaired,
    an_interface_made_anew_is_repaired,
    a_renamed_interface_needs_no_repair,
    a_vanished_interface_keeps_its_part_of_a_group,
);
without_tcx!(
    links_that_were_removed_by_hand_are_repaired,
    one_link_that_was_removed_by_hand_is_repaired,
    one_link_that_was_detached_while_its_pin_stays_is_repaired,
    the_program_that_is_left_decides_during_the_repair,
    one_map_that_was_removed_by_hand_is_repaired,
    an_interface_made_anew_is_repaired,
    a_renamed_interface_needs_no_repair,
);

const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn a_bpffs_that_was_cleaned_by_hand_is_repaired(hook: IngressHook) {
    repaired_after(hook, |lab| fs::remove_dir_all(&lab.host("app").instance().bpffs_directory).unwrap());
}

fn links_that_were_removed_by_hand_are_repaired(hook: IngressHook) {
    repaired_after(hook, |lab| fs::remove_dir_all(links(lab.host("app"))).unwrap());
}

fn one_link_that_was_removed_by_hand_is_repaired(hook: IngressHook) {
    repaired_after(hook, |lab| fs::remove_file(link(lab.host("app"), "egress")).unwrap());
}

fn one_link_that_was_detached_while_its_pin_stays_is_repaired(hook: IngressHook) {
    for direction in DIRECTIONS {
        repaired_after(hook, |lab| {
            let app = lab.host("app");
            detach_link(app, direction);
            let status = app.sgfw("status");
            let warning = format!("{INTERFACE} has lost its {direction} program");
            assert!(status.stderr().contains(&warning), "{status}");
        });
    }
}

fn the_program_that_is_left_decides_during_the_repair(hook: IngressHook) {
    const DENIED: u16 = 9000;
    for (lost, left) in [("ingress", "egress"), ("egress", "ingress")] {
        let (lab, _servers) = protected(hook);
        let (client, app) = (lab.host("client"), lab.host("app"));
        close_egress(app, "app");
        detach_link(app, lost);
        let program = program_of(app, left);
        let (from, to) = if left == "egress" { (app, client) } else { (client, app) };
        let probed = probe_during(from, to, DENIED, || assert_eq!(outcome(app), "attached-again"));
        assert_eq!(probed.arrived, 0, "{left}, of {} while {lost} was repaired", probed.sent);
        assert_eq!(program_of(app, left), program, "{left}");
        assert_enforced(&lab);
    }
}

fn the_flow_table_keeps_its_size_over_a_reboot(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let app = lab.host("app");
    create_group(app, "app", &[ADMITTED]);
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
    let wipe = || fs::remove_dir_all(&app.instance().bpffs_directory).unwrap();
    let capacity = || json(app, "status")["FlowTable"]["Capacity"].as_u64().unwrap();
    app.sgfw(&format!("{attach} --flow-entries 4096")).expect_success();
    let small = capacity();
    assert!((4096..8192).contains(&small), "{small}");
    for attach_again in ["repair", &attach] {
        wipe();
        app.sgfw(attach_again).expect_success();
        assert_eq!(capacity(), small, "{attach_again}");
    }
    // Who begins anew gets the default.
    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    app.sgfw(&attach).expect_success();
    assert!(capacity() >= u64::from(DEFAULT_FLOW_ENTRIES));
}

fn an_interface_made_anew_is_repaired(hook: IngressHook) {
    repaired_after(hook, |lab| {
        lab.router().ip_batch("link delete to-app").unwrap();
        lab.connect(lab.host("app"), INTERFACE_INDEX).unwrap();
    });
}

/// The programs go on without the pin, so that only the commands can say that something is wrong, and until they give way
/// to new ones.
fn one_map_that_was_removed_by_hand_is_repaired(hook: IngressHook) {
    const DENIED: u16 = 9000;
    let (lab, _servers) = protected(hook);
    let (client, app) = (lab.host("client"), lab.host("app"));
    fs::remove_file(links(app).with_file_name("maps").join("GENERATION")).unwrap();
    assert_enforced(&lab);
    let error = app.sgfw("status").expect_failure(1);
    assert!(error.contains("GENERATION") && error.contains("`sgfw repair`"), "{error}");

    let probed = probe_during(client, app, DENIED, || assert_eq!(outcome(app), "attached-again"));
    assert_eq!(probed.arrived, 0, "of {} during the repair", probed.sent);
    assert_enforced(&lab);
    assert_eq!(json(app, "status")["NeedsRepair"], false);
    app.sgfw("rule authorize app --ingress --protocol tcp --port 22 --cidr 10.77.0.0/16").expect_success();
    assert_eq!(tcp_connect(client, app.address(Family::V4), 22), Open, "the new programs have the new maps");
}

fn a_renamed_interface_needs_no_repair(hook: IngressHook) {
    let (lab, _servers) = protected(hook);
    let app = lab.host("app");
    app.run(&format!("ip link set {INTERFACE} name labnet7")).expect_success();
    assert_enforced(&lab);
    assert_eq!(json(app, "status")["NeedsRepair"], false);
    assert_eq!(outcome(app), "in-force");
    app.sgfw("rule authorize app --ingress --protocol tcp --port 22 --cidr 10.77.0.0/16").expect_success();
    assert_eq!(tcp_connect(lab.host("client"), app.address(Family::V4), 22), Open);
}

/// A rule of the group that admits the group: its own addresses are peers of it for as long as it is stored.
fn a_vanished_interface_keeps_its_part_of_a_group(hook: IngressHook) {
    let (lab, _servers) = protected(hook);
    let app = lab.host("app");
    let before = reachable_from_group(app);
    assert_ne!(before, json!([]));
    lab.router().ip_batch("link delete to-app").unwrap();

    let status = app.sgfw("status").expect_success();
    assert!(status.contains("no interface"), "{status}");
    assert_eq!(outcome(app), "no-interface");
    // The change publishes while the interface is gone.
    app.sgfw("rule authorize app --ingress --protocol tcp --port 8080 --cidr 10.0.0.0/8").expect_success();
    assert_eq!(reachable_from_group(app), before);
}

/// The peers that a rule for the group itself would make reachable: its members, as the policy is compiled from them.
fn reachable_from_group(app: &Host) -> Value {
    let policy = app.instance().state_directory.with_file_name("policy.yaml");
    let text = "version: 1\ngroups:\n  - name: app\n    description: scenario\n    ingress:\n      \
                - {protocol: tcp, ports: 6000, group: app}\n";
    fs::write(&policy, text).unwrap();
    json(app, &format!("plan -f {}", policy.display()))["Effect"]["NewlyReachable"].clone()
}

/// Status says that `lose` lost the programs, and the repair, which may be repeated, brings all back as it was.
fn repaired_after(hook: IngressHook, lose: impl FnOnce(&Lab)) {
    let (lab, _servers) = protected(hook);
    let app = lab.host("app");
    let before = json(app, "interface list");
    lose(&lab);
    let status = json(app, "status");
    assert_eq!((&status["NeedsRepair"], &status["Interfaces"][0]["Attached"]), (&json!(true), &json!(false)));

    assert_eq!(outcome(app), "attached-again");
    assert_enforced(&lab);
    assert_eq!(json(app, "interface list"), before);
    let status = json(app, "status");
    assert_eq!(status["NeedsRepair"], false);
    assert_eq!(outcome(app), "in-force");
    assert_eq!(json(app, "status")["Generation"], status["Generation"], "nothing was left to repair");
}

fn protected(hook: IngressHook) -> (Lab, [TcpServer; 2]) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let servers = [80, 22].map(|port| TcpServer::start(lab.host("app"), port, |_| Ok(())).unwrap());
    protect(lab.host("app"), hook, "app", &[ADMITTED]);
    (lab, servers)
}

fn assert_enforced(lab: &Lab) {
    let (client, app) = (lab.host("client"), lab.host("app"));
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        assert_eq!(tcp_connect(client, app.address(family), 22), Filtered);
    }
}

fn outcome(host: &Host) -> String {
    let repaired = json(host, "repair");
    repaired["Interfaces"][0]["Outcome"].as_str().unwrap().to_owned()
}

/// What somebody does who knows of links and filters and not of sgfw.
#[track_caller]
fn detach_link(host: &Host, direction: &str) {
    if !has_tcx() {
        host.run(&format!("tc filter delete dev {INTERFACE} {direction}")).expect_success();
        return;
    }
    host.run(&format!("bpftool link detach pinned {}", link(host, direction).display())).expect_success();
}

#[track_caller]
fn program_of(host: &Host, direction: &str) -> Value {
    if !has_tcx() {
        return filters(host, direction)[0]["options"]["prog"]["id"].clone();
    }
    let shown = host.run(&format!("bpftool --json link show pinned {}", link(host, direction).display()));
    serde_json::from_str::<Value>(&shown.expect_success()).unwrap()["prog_id"].clone()
}

fn link(host: &Host, direction: &str) -> PathBuf {
    let mut links = fs::read_dir(links(host)).unwrap().flatten().map(|entry| entry.path());
    links.find(|path| path.to_string_lossy().contains(&format!("-{direction}-"))).unwrap()
}

fn links(host: &Host) -> PathBuf {
    let versions = fs::read_dir(&host.instance().bpffs_directory).unwrap().flatten();
    versions.map(|entry| entry.path().join("links")).next().unwrap()
}
