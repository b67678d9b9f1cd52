//! Settings of an interface: what they do to traffic, at once and without a reload.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, ping, tcp_connect,
};
use serde_json::{Value, json};

use crate::support::{Conversation, close_egress, json, on_every_hook, protect};

on_every_hook!(
    a_half_closed_connection_outlives_the_timeout_of_a_fin,
    a_timeout_holds_for_flows_that_exist,
    timeouts_outside_their_range_change_nothing,
    always_tracked_traffic_has_flows_and_the_rest_has_none,
    icmp_errors_by_rules_only_need_a_rule,
    a_strict_interface_begins_flows_by_a_syn_alone,
    arp_can_be_left_out_of_the_exemptions,
    settings_go_with_the_interface,
);

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn set(host: &Host, what: &str) {
    let (command, settings) = what.split_once(' ').unwrap();
    host.sgfw(&format!("interface set-{command} {INTERFACE} {settings}")).expect_success();
}

fn flows(host: &Host) -> Vec<Value> {
    json(host, "flows list")["Flows"].as_array().unwrap().clone()
}

/// The client says that it is done, the server answers late: no rule admits the answer, but its socket is there.
fn a_half_closed_connection_outlives_the_timeout_of_a_fin(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let answer_late = |mut client: TcpStream| {
        client.read_to_end(&mut Vec::new())?;
        sleep(Duration::from_millis(2500));
        client.write_all(b"late")
    };
    let _server = TcpServer::start(app, 80, answer_late).unwrap();
    let everybody = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";
    protect(app, hook, "app", &[everybody]);
    close_egress(app, "app");
    let late_answer = |family| {
        let address = (app.address(family), 80).into();
        let timeout = Duration::from_secs(4);
        client.namespace().run(|| {
            let mut connection = TcpStream::connect_timeout(&address, timeout).unwrap();
            connection.set_read_timeout(Some(timeout)).unwrap();
            connection.shutdown(Shutdown::Write).unwrap();
            let mut answer = [0; 4];
            connection.read_exact(&mut answer).map(|()| answer)
        })
    };
    set(app, "timeouts --tcp-fin 1");
    for family in Family::ALL {
        assert_eq!(late_answer(family).unwrap(), *b"late", "{family:?}");
    }
}

fn a_timeout_holds_for_flows_that_exist(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(client, 80);
    protect(app, hook, "app", &[]);
    let mut conversations = Family::ALL.map(|family| Conversation::open(app, client, family, 80));
    let programs = programs(app);
    set(app, "timeouts --tcp-established 60");
    conversations.iter_mut().for_each(Conversation::exchange);
    let expiry: Vec<u64> = flows(app).iter().map(|flow| flow["ExpiresInSeconds"].as_u64().unwrap()).collect();
    assert!(expiry.len() == 2 && expiry.iter().all(|seconds| (55..=60).contains(seconds)), "{expiry:?}");
    set(app, "timeouts --reset");
    conversations.iter_mut().for_each(Conversation::exchange);
    assert!(flows(app).iter().all(|flow| flow["ExpiresInSeconds"].as_u64() > Some(431_000)));
    assert_eq!(self::programs(app), programs, "nothing is loaded anew");
}

/// Ids of the programs on the host's interface.
fn programs(host: &Host) -> Value {
    let programs = host.run(&format!("bpftool -j net show dev {INTERFACE}")).expect_success();
    serde_json::from_str(&programs).unwrap()
}

fn timeouts_outside_their_range_change_nothing(hook: IngressHook) {
    let lab = client_and_app();
    let app = lab.host("app");
    protect(app, hook, "app", &[]);
    set(app, "timeouts --udp 45 --icmp 5");
    let timeouts = || {
        let interface = json(app, &format!("interface show {INTERFACE}"))["Interfaces"][0].clone();
        interface["ConnectionTrackingConfiguration"].clone()
    };
    let before = timeouts();
    assert_eq!((&before["UdpTimeout"], &before["IcmpTimeout"]), (&json!(45), &json!(5)));
    for out_of_range in
        ["--tcp-established 59", "--udp 61", "--udp-stream 181", "--tcp-syn 0", "--icmp 6 --udp 29"]
    {
        let message =
            app.sgfw(&format!("interface set-timeouts {INTERFACE} {out_of_range}")).expect_failure(65);
        assert!(message.contains("error[InvalidParameterValue]") && message.contains("help: "), "{message}");
    }
    assert_eq!(timeouts(), before);
}

fn always_tracked_traffic_has_flows_and_the_rest_has_none(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0"]);
    let tracking = || {
        let rules = json(app, "rule list app")["SecurityGroupRules"].as_array().unwrap().clone();
        let ingress = rules.iter().filter(|rule| rule["IsEgress"] == false);
        ingress.map(|rule| rule["Tracking"].clone()).collect::<Vec<_>>()
    };
    let mut conversations = Vec::new();
    let mut flows_after_a_connection_of_each_family = || {
        conversations.extend(Family::ALL.map(|family| Conversation::open(client, app, family, 80)));
        conversations.iter_mut().for_each(Conversation::exchange);
        flows(app).len()
    };
    assert_eq!(flows_after_a_connection_of_each_family(), 0);
    assert_eq!(tracking(), ["untracked", "untracked"]);

    let v4 = client.prefix(Family::V4);
    set(app, &format!("options --always-track-prefix {v4}"));
    // Connections that were untracked are picked up in mid-stream.
    assert_eq!(flows_after_a_connection_of_each_family(), 2);
    assert_eq!(tracking(), ["partly", "untracked"]);

    set(app, "options --always-track on");
    assert_eq!(flows_after_a_connection_of_each_family(), 6);
    assert_eq!(tracking(), ["tracked", "tracked"]);

    set(app, "options --always-track off");
    assert_eq!(tracking(), ["untracked", "untracked"]);
}

fn icmp_errors_by_rules_only_need_a_rule(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    lab.router().ip_batch("link set to-client mtu 1300").unwrap();
    protect(app, hook, "app", &[]);
    set(app, "options --icmp-errors rules-only");
    let learns_mtu = |family| {
        let destination = client.address(family);
        app.run(&format!("ping -n -c 1 -W 0.4 -M do -s 1400 {destination}")).expect_failure(1);
        app.run(&format!("ip route get {destination}")).expect_success().contains("mtu 1300")
    };
    for family in Family::ALL {
        assert!(!learns_mtu(family), "{family:?}");
    }
    set(app, "options --icmp-errors related");
    for family in Family::ALL {
        assert!(learns_mtu(family), "{family:?}");
    }
}

fn a_strict_interface_begins_flows_by_a_syn_alone(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(client, 80);
    protect(app, hook, "app", &[]);
    set(app, "options --tcp-strict on");
    for family in Family::ALL {
        assert_eq!(tcp_connect(app, client.address(family), 80), Open);
    }
    let counters = json(app, "status")["Counters"].as_array().unwrap().clone();
    assert!(!counters.iter().any(|counter| counter["Reason"] == "not-a-syn"), "{counters:?}");
    // An ACK that belongs to no connection.
    app.run(&format!(
        "nmap -Pn -n -sA -p 80 --max-retries 0 --host-timeout 3s {}",
        client.address(Family::V4)
    ))
    .expect_success();
    let counters = json(app, "status")["Counters"].as_array().unwrap().clone();
    assert!(counters.iter().any(|counter| counter["Reason"] == "not-a-syn"), "{counters:?}");
}

fn arp_can_be_left_out_of_the_exemptions(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    let resolve_and_ping = || {
        app.run(&format!("ip neighbour flush dev {INTERFACE}")).expect_success();
        ping(app, client.address(Family::V4))
    };
    assert_eq!(resolve_and_ping(), Open);
    set(app, "options --exempt arp=off");
    assert_eq!(resolve_and_ping(), Filtered);
    assert!(!app.sgfw("status").expect_success().contains(" arp"));
    set(app, "options --exempt arp=on");
    assert_eq!(resolve_and_ping(), Open);
}

fn settings_go_with_the_interface(hook: IngressHook) {
    let lab = client_and_app();
    let app = lab.host("app");
    protect(app, hook, "app", &[]);
    set(app, "timeouts --udp 60");
    set(app, "options --tcp-strict on --exempt non-ip=off --exempt dhcp-client=off");
    let interface = || json(app, "interface list")["Interfaces"][0].clone();
    let listed = interface();
    assert_eq!(listed["ConnectionTrackingConfiguration"]["UdpTimeout"], 60);
    assert_eq!(listed["TcpStrict"], true);
    assert_eq!(listed["Exempt"], json!(["arp", "neighbor-discovery", "multicast-listener"]));
    let shown = app.sgfw(&format!("interface show {INTERFACE}")).expect_success();
    assert!(shown.contains("TCP strict:    on"), "{shown}");

    // Detached and attached again it is a new interface.
    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    app.sgfw(&format!("interface attach {INTERFACE} --group app --ingress-hook {hook}")).expect_success();
    assert_eq!(interface()["TcpStrict"], false);
}
