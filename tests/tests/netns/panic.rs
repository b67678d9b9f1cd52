//! Panic mode: what is open stays open, and nobody but the operator begins anything.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, Reachability, TcpServer, Topology, UdpServer, ping,
    tcp_connect, udp_exchange,
};
use serde_json::Value;

use crate::support::{Conversation, json, on_every_hook, protect};

on_every_hook!(
    only_management_and_what_is_tracked_passes_until_it_ends,
    changes_take_effect_when_it_ends,
    an_interface_in_audit_mode_drops_too,
    an_interface_that_is_attached_meanwhile_is_closed,
);

const RULES: [&str; 2] = [
    "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16",
    "--ingress --protocol tcp --port 22 --cidr 10.77.0.0/16 --cidr fd77::/16",
];

/// The operator is on the first host.
fn operator_client_and_app() -> Lab {
    Lab::build(&Topology::star(["operator", "client", "app"])).unwrap()
}

fn declare(operator: &Host, app: &Host) {
    let [v4, v6] = Family::ALL.map(|family| operator.prefix(family));
    app.sgfw(&format!("management add {INTERFACE} {v4} {v6}")).expect_success();
}

/// What is configured, without what says that panic mode is on.
fn configuration(host: &Host) -> [Value; 3] {
    let interface = format!("interface show {INTERFACE}");
    [interface.as_str(), "group show app", "exempt list"].map(|command| json(host, command))
}

fn only_management_and_what_is_tracked_passes_until_it_ends(hook: IngressHook) {
    let lab = operator_client_and_app();
    let [operator, client, app] = ["operator", "client", "app"].map(|name| lab.host(name));
    let _conversing = [Conversation::listen(app, 80), Conversation::listen(client, 80)];
    let _ssh = TcpServer::start(app, 22, |_| Ok(())).unwrap();
    let _resolver = UdpServer::start_echo(client, 53).unwrap();
    protect(app, hook, "app", &RULES);
    declare(operator, app);
    let [v4, v6] = Family::ALL.map(|family| client.prefix(family));
    app.sgfw(&format!("exempt add --protocol udp --port 53 {v4} {v6}")).expect_success();
    let mut conversations = Family::ALL.map(|family| {
        [Conversation::open(client, app, family, 80), Conversation::open(app, client, family, 80)]
    });
    // From the operator, from others, outward, to an exempt server.
    let reachabilities = || {
        Family::ALL.map(|family| {
            let (app_address, client_address) = (app.address(family), client.address(family));
            [
                tcp_connect(operator, app_address, 22),
                tcp_connect(operator, app_address, 80),
                tcp_connect(client, app_address, 22),
                tcp_connect(client, app_address, 80),
                tcp_connect(app, client_address, 80),
                ping(app, client_address),
                udp_exchange(app, client_address, 53),
            ]
        })
    };
    let (before, everything) = (configuration(app), [[Open; 7]; 2]);
    assert_eq!(reachabilities(), everything);

    app.sgfw("panic on").expect_success();
    assert!(app.sgfw("status").expect_success().starts_with("PANIC MODE IS ON"));
    // Neighbours are found anew: neither ARP nor neighbour discovery is dropped.
    app.run(&format!("ip neigh flush dev {INTERFACE}")).expect_success();
    let only_the_operator: [Reachability; 7] =
        [Open, Filtered, Filtered, Filtered, Filtered, Filtered, Filtered];
    assert_eq!(reachabilities(), [only_the_operator; 2]);
    conversations.iter_mut().flatten().for_each(Conversation::exchange);
    assert_eq!(configuration(app), before);

    app.sgfw("panic off").expect_success();
    assert!(!app.sgfw("status").expect_success().contains("PANIC"));
    conversations.iter_mut().flatten().for_each(Conversation::exchange);
    assert_eq!(reachabilities(), everything);
    assert_eq!(configuration(app), before);
}

fn changes_take_effect_when_it_ends(hook: IngressHook) {
    let lab = operator_client_and_app();
    let [operator, client, app] = ["operator", "client", "app"].map(|name| lab.host(name));
    let _servers = [22, 80, 8080].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &RULES);
    declare(operator, app);
    app.sgfw("panic on").expect_success();
    let connect = |port| Family::ALL.map(|family| tcp_connect(client, app.address(family), port));

    let change = |arguments: &str| {
        let changed = app.sgfw(arguments);
        assert!(changed.stderr().contains("takes effect when `sgfw panic off`"), "{changed}");
        changed.expect_success();
    };
    change("rule authorize app --ingress --protocol tcp --port 8080 --cidr 10.77.0.0/16 --cidr fd77::/16");
    change("rule revoke app --ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16");
    assert_eq!(connect(8080), [Filtered; 2]);
    // What would close the operator's way afterwards is refused now, not when panic mode is to end.
    let revoke = "rule revoke app --ingress --protocol tcp --port 22 --cidr 10.77.0.0/16 --cidr fd77::/16";
    let _ = app.sgfw(revoke).expect_failure(5);
    // This is part of what is in force.
    let [v4, v6] = Family::ALL.map(|family| client.prefix(family));
    app.sgfw(&format!("management add {INTERFACE} {v4} {v6}")).expect_success();
    assert_eq!(connect(22), [Open; 2]);

    app.sgfw("panic off").expect_success();
    assert_eq!(connect(8080), [Open; 2]);
    assert_eq!(connect(80), [Filtered; 2]);
}

fn an_interface_in_audit_mode_drops_too(hook: IngressHook) {
    let lab = operator_client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 22, |_| Ok(())).unwrap();
    protect(app, hook, "app", &[]);
    app.sgfw(&format!("interface set-options {INTERFACE} --audit on")).expect_success();
    let connect = || Family::ALL.map(|family| tcp_connect(client, app.address(family), 22));
    assert_eq!(connect(), [Open; 2]);
    app.sgfw("panic on").expect_success();
    assert_eq!(connect(), [Filtered; 2]);
    app.sgfw("panic off").expect_success();
    assert_eq!(connect(), [Open; 2]);
}

fn an_interface_that_is_attached_meanwhile_is_closed(hook: IngressHook) {
    let lab = operator_client_and_app();
    let [operator, client, app] = ["operator", "client", "app"].map(|name| lab.host(name));
    let _servers = [22, 80].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    declare(operator, app);
    app.sgfw("panic on").expect_success();
    protect(app, hook, "app", &RULES);
    for family in Family::ALL {
        let address = app.address(family);
        assert_eq!(tcp_connect(operator, address, 22), Open);
        assert_eq!(tcp_connect(client, address, 80), Filtered);
    }
    app.sgfw("panic off").expect_success();
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
}
