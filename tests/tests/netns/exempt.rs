//! Exempt addresses: servers that a host may talk to whatever its rules say.

use firewall_tests::lab::Reachability::{Filtered, Open, Refused};
use firewall_tests::lab::{Family, Host, IngressHook, Lab, Topology, ping, tcp_connect, udp_exchange};

use crate::support::{close_egress, json, on_every_hook, protect, servers};

on_every_hook!(
    an_exempt_resolver_answers_a_closed_host,
    an_exempt_server_gets_in_from_its_port_alone,
    all_protocols_of_an_exempt_server_pass_both_ways,
);

fn resolver_and_app() -> Lab {
    Lab::build(&Topology::star(["resolver", "app"])).unwrap()
}

/// Neither in nor out, to begin with.
fn close(app: &Host, hook: IngressHook) {
    protect(app, hook, "app", &[]);
    close_egress(app, "app");
}

fn an_exempt_resolver_answers_a_closed_host(hook: IngressHook) {
    let lab = resolver_and_app();
    let (resolver, app) = (lab.host("resolver"), lab.host("app"));
    let _server = servers::dnsmasq(resolver);
    close(app, hook);
    let ask = |family, options: &str| {
        let address = resolver.address(family);
        app.run(&format!("dig @{address} db.example A +short +time=1 +tries=1 {options}"))
    };
    for family in Family::ALL {
        ask(family, "").expect_failure(9);
    }
    let [v4, v6] = Family::ALL.map(|family| resolver.prefix(family));
    let ids = app.sgfw(&format!("exempt add --protocol udp --port 53 {v4} {v6}")).expect_success();
    for family in Family::ALL {
        assert_eq!(ask(family, "").expect_success(), "10.77.4.10\n");
        assert_eq!(tcp_connect(app, resolver.address(family), 53), Filtered, "TCP is not exempt");
    }
    assert_eq!(
        json(app, "flows list")["Flows"].as_array().unwrap().len(),
        0,
        "exempt traffic keeps no state"
    );
    let status = app.sgfw("status").expect_success();
    assert!(status.contains("exempt-address") && status.contains(&v6), "{status}");

    app.sgfw(&format!("exempt add --protocol tcp --port 53 {v4} {v6}")).expect_success();
    for family in Family::ALL {
        assert_eq!(ask(family, "+tcp").expect_success(), "10.77.4.10\n");
    }
    app.sgfw(&format!("exempt remove {}", ids.replace('\n', " "))).expect_success();
    for family in Family::ALL {
        ask(family, "").expect_failure(9);
    }
}

fn an_exempt_server_gets_in_from_its_port_alone(hook: IngressHook) {
    let lab = resolver_and_app();
    let (resolver, app) = (lab.host("resolver"), lab.host("app"));
    close(app, hook);
    let [v4, v6] = Family::ALL.map(|family| resolver.prefix(family));
    app.sgfw(&format!("exempt add --protocol udp --port 53 {v4} {v6}")).expect_success();
    app.sgfw(&format!("exempt add --protocol tcp --port 53 {v4} {v6}")).expect_success();
    for family in Family::ALL {
        assert_eq!(udp_exchange(resolver, app.address(family), 53), Filtered);
        assert_eq!(tcp_connect(resolver, app.address(family), 80), Filtered);
        assert_eq!(ping(app, resolver.address(family)), Filtered);
        // Nobody listens, and the host's word for it passes as a reply of the server does.
        assert_eq!(tcp_connect(app, resolver.address(family), 53), Refused);
        assert_eq!(udp_exchange(app, resolver.address(family), 53), Refused);
    }
}

fn all_protocols_of_an_exempt_server_pass_both_ways(hook: IngressHook) {
    let lab = resolver_and_app();
    let (resolver, app) = (lab.host("resolver"), lab.host("app"));
    close(app, hook);
    let [v4, v6] = Family::ALL.map(|family| resolver.prefix(family));
    app.sgfw(&format!("exempt add --protocol all {v4} {v6}")).expect_success();
    for family in Family::ALL {
        assert_eq!(ping(app, resolver.address(family)), Open);
        assert_eq!(tcp_connect(app, resolver.address(family), 80), Refused);
    }
}
