//! Audit mode: what would be dropped passes, and is counted as such.

use std::net::{Ipv6Addr, UdpSocket};
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, receive, tcp_connect,
};

use crate::support::{Conversation, close_egress, create_group, json, on_every_hook, probe_watched, protect};

on_every_hook!(
    denied_packets_pass_and_are_counted_in_both_directions,
    every_packet_is_counted_once,
    the_end_of_audit_mode_is_atomic,
    established_connections_do_not_notice,
    a_connection_that_passed_is_tracked_from_the_hosts_answer_on,
    an_interface_can_begin_in_audit_mode,
);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn audit(host: &Host, switch: &str) {
    host.sgfw(&format!("interface set-options {INTERFACE} --audit {switch}")).expect_success();
}

/// A row of the counters: direction, verdict, reason.
type Row<'a> = [&'a str; 3];

const WOULD_DROP_INGRESS: Row<'_> = ["ingress", "would-drop", "no-rule"];
const WOULD_DROP_EGRESS: Row<'_> = ["egress", "would-drop", "no-rule"];

fn packets(host: &Host, row: Row<'_>) -> u64 {
    let status = json(host, "status");
    let mut rows = status["Counters"].as_array().unwrap().iter();
    let row = rows.find(|counter| [&counter["Direction"], &counter["Verdict"], &counter["Reason"]] == row);
    row.map_or(0, |row| row["Packets"].as_u64().unwrap())
}

/// The packets of all rows of one direction but those of exempt traffic, which come and go as they like.
fn all_packets(host: &Host, direction: &str) -> u64 {
    let status = json(host, "status");
    let rows = status["Counters"].as_array().unwrap().iter().filter(|row| row["Direction"] == direction);
    rows.filter(|row| !row["Reason"].as_str().unwrap().starts_with("exempt-"))
        .map(|row| row["Packets"].as_u64().unwrap())
        .sum()
}

fn denied_packets_pass_and_are_counted_in_both_directions(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [TcpServer::start(app, 22, |_| Ok(())), TcpServer::start(client, 22, |_| Ok(()))];
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let reachabilities = || {
        Family::ALL.map(|family| {
            [tcp_connect(client, app.address(family), 22), tcp_connect(app, client.address(family), 22)]
        })
    };
    assert_eq!(reachabilities(), [[Filtered; 2]; 2]);
    let dropped = ["ingress", "egress"].map(|direction| packets(app, [direction, "drop", "no-rule"]));

    audit(app, "on");
    let would_drop = [WOULD_DROP_INGRESS, WOULD_DROP_EGRESS];
    assert_eq!(would_drop.map(|row| packets(app, row)), [0; 2]);
    assert_eq!(reachabilities(), [[Open; 2]; 2]);
    assert!(would_drop.iter().all(|row| packets(app, *row) >= 4), "{:#}", json(app, "status")["Counters"]);
    let status = app.sgfw("status");
    let warning = format!("warning: {INTERFACE} is in audit mode: nothing is dropped\n");
    assert!(status.stderr().contains(&warning), "{status}");
    assert_eq!(json(app, "interface list")["Interfaces"][0]["Audit"], true);

    audit(app, "off");
    let still = ["ingress", "egress"].map(|direction| packets(app, [direction, "drop", "no-rule"]));
    assert_eq!(still, dropped, "something was dropped in audit mode");
    assert_eq!(reachabilities(), [[Filtered; 2]; 2]);
    assert_eq!(json(app, "interface list")["Interfaces"][0]["Audit"], false);
}

fn every_packet_is_counted_once(hook: IngressHook) {
    const DATAGRAMS: u64 = 25;
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    // Takes the datagrams, so that the host has nothing to answer.
    let receiver = app.namespace().run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 9000))).unwrap();
    receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    protect(app, hook, "app", &[ADMITTED]);
    audit(app, "on");
    let before = (all_packets(app, "ingress"), packets(app, WOULD_DROP_INGRESS));

    for family in Family::ALL {
        let sender = client.namespace().run(|| UdpSocket::bind((client.address(family), 0))).unwrap();
        for _ in 0..DATAGRAMS {
            sender.send_to(b"would be dropped", (app.address(family), 9000)).unwrap();
            receive(&receiver, &mut [0; 64]).expect("nothing is dropped");
        }
    }

    let sent = 2 * DATAGRAMS;
    let after = (all_packets(app, "ingress"), packets(app, WOULD_DROP_INGRESS));
    assert_eq!(after, (before.0 + sent, before.1 + sent));
}

fn the_end_of_audit_mode_is_atomic(hook: IngressHook) {
    const PORT: u16 = 9000;
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[ADMITTED]);
    for _ in 0..3 {
        let probed = probe_watched(client, app, PORT, |arrivals| {
            audit(app, "on");
            sleep(Duration::from_millis(200));
            assert_ne!(arrivals.take(), 0, "audit mode drops");
            audit(app, "off");
            arrivals.take();
            sleep(Duration::from_millis(300));
        });
        assert_eq!(probed.arrived, 0, "of {} after audit mode was off", probed.sent);
    }
}

fn established_connections_do_not_notice(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    let tracked = |row: Row<'_>| packets(app, row);
    for switch in ["on", "off", "on", "off"] {
        audit(app, switch);
        let before = tracked(["ingress", "pass", "tracked"]);
        conversations.iter_mut().for_each(Conversation::exchange);
        assert!(tracked(["ingress", "pass", "tracked"]) >= before + 2, "with audit {switch}");
    }
    assert_eq!(packets(app, WOULD_DROP_INGRESS), 0);
    assert_eq!(packets(app, WOULD_DROP_EGRESS), 0);
}

/// What the documentation of the option warns about.
fn a_connection_that_passed_is_tracked_from_the_hosts_answer_on(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 8080);
    protect(app, hook, "app", &[]);
    audit(app, "on");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 8080));
    conversations.iter_mut().for_each(Conversation::exchange);
    assert_eq!(packets(app, WOULD_DROP_INGRESS), 2, "the SYN of each");

    audit(app, "off");
    conversations.iter_mut().for_each(Conversation::exchange);
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 8080), Filtered);
    }
}

fn an_interface_can_begin_in_audit_mode(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 22, |_| Ok(())).unwrap();
    create_group(app, "app", &[]);
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook} --audit");
    let attached = app.sgfw(&attach);
    assert!(attached.stderr().contains(&format!("{INTERFACE} is attached in audit mode; ")), "{attached}");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 22), Open);
    }
    audit(app, "off");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 22), Filtered);
    }
}
