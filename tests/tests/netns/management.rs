//! Management prefixes: no change closes the way that the operator has declared.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{attach, create_group, json, privileged, protect};

const SSH: &str = "--ingress --protocol tcp --port 22 --cidr";

/// Plays a scenario on a host that its operator reaches by two prefixes.
fn managed(scenario: impl Fn(&Host, &Host)) {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["operator", "app"])).unwrap();
        scenario(lab.host("operator"), lab.host("app"));
    });
}

/// Declares the networks of the lab.
fn declare(app: &Host) {
    app.sgfw(&format!("management add {INTERFACE} 10.77.0.0/16 fd77::/16")).expect_success();
}

/// The command between backquotes that a message proposes first.
#[track_caller]
fn proposed(message: &str) -> &str {
    let proposal = message.split('`').nth(1).and_then(|command| command.strip_prefix("sgfw "));
    proposal.unwrap_or_else(|| panic!("nothing proposed: {message}"))
}

#[test]
fn a_prefix_that_is_not_admitted_is_refused_with_the_rule_that_would() {
    managed(|operator, app| {
        let _server = TcpServer::start(app, 22, |_| Ok(())).unwrap();
        protect(app, IngressHook::Tc, "app", &[]);
        for family in Family::ALL {
            let prefix = operator.prefix(family);
            let add = format!("management add {INTERFACE} {prefix}");
            let error = app.sgfw(&add).expect_failure(5);
            assert!(error.contains(&format!("tcp 22 from {prefix} on {INTERFACE}")), "{error}");
            assert_eq!(tcp_connect(operator, app.address(family), 22), Filtered);

            app.sgfw(proposed(&error)).expect_success();
            app.sgfw(&add).expect_success();
            assert_eq!(tcp_connect(operator, app.address(family), 22), Open);
        }
        assert_eq!(json(app, "management list")["ManagementPrefixes"].as_array().unwrap().len(), 2);
    });
}

#[test]
fn the_part_that_would_be_closed_is_named() {
    managed(|_, app| {
        let rules = [
            &format!("{SSH} 10.77.0.0/17 --cidr fd77::/16"),
            &format!("{SSH} 10.77.128.0/18"),
            &format!("{SSH} 10.77.192.0/18"),
            // Of another service, so that the address has a class that does not count.
            "--ingress --protocol tcp --port 80 --cidr 10.77.130.0/24",
        ];
        protect(app, IngressHook::Tc, "app", &rules);
        declare(app);
        let revoke = |cidr: &str| app.sgfw(&format!("rule revoke app {SSH} {cidr}"));
        let before = json(app, "rule list");
        let error = revoke("10.77.128.0/18").expect_failure(5);
        assert!(error.contains(&format!("tcp 22 from 10.77.128.0/18 on {INTERFACE}")), "{error}");
        assert!(error.contains("management prefix 10.77.0.0/16"), "{error}");
        let error = revoke("fd77::/16").expect_failure(5);
        assert!(error.contains(&format!("tcp 22 from fd77::/16 on {INTERFACE}")), "{error}");
        assert_eq!(json(app, "rule list"), before);

        // Covered by another rule, none of these is needed.
        app.sgfw(&format!("rule authorize app {SSH} 10.0.0.0/8")).expect_success();
        for cidr in ["10.77.0.0/17", "10.77.128.0/18", "10.77.192.0/18"] {
            revoke(cidr).expect_success();
        }
        let _ = revoke("10.0.0.0/8").expect_failure(5);
        app.sgfw(&format!("rule revoke app {SSH} 10.0.0.0/8 --allow-lockout")).expect_success();
    });
}

#[test]
fn every_port_of_a_range_counts() {
    managed(|_, app| {
        protect(
            app,
            IngressHook::Tc,
            "app",
            &["--ingress --protocol udp --port 60000-60009 --cidr 10.77.0.0/16"],
        );
        let add = |ports: &str| {
            app.sgfw(&format!("management add {INTERFACE} --protocol udp --port {ports} 10.77.0.0/16"))
        };
        let _ = add("60000-60010").expect_failure(5);
        let _ = add("59999-60000").expect_failure(5);
        add("60001-60009").expect_success();
    });
}

#[test]
fn changes_of_the_interface_are_checked_too() {
    managed(|_, app| {
        declare(app);
        create_group(app, "web", &["--ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0"]);
        create_group(app, "admin", &[&format!("{SSH} 10.77.0.0/16 --cidr fd77::/16")]);
        let error = app.sgfw(&format!("interface attach {INTERFACE} --group web")).expect_failure(5);
        assert!(error.contains("`sgfw rule authorize web "), "{error}");
        assert_eq!(json(app, "interface list")["Interfaces"].as_array().unwrap().len(), 0);

        app.sgfw(&format!("interface attach {INTERFACE} --group web --audit")).expect_success();
        let audit_off = format!("interface set-options {INTERFACE} --audit off");
        let _ = app.sgfw(&audit_off).expect_failure(5);
        app.sgfw(&format!("interface set-groups {INTERFACE} --group web --group admin")).expect_success();
        app.sgfw(&audit_off).expect_success();
        let _ = app.sgfw(&format!("interface set-groups {INTERFACE} --group web")).expect_failure(5);

        app.sgfw(&format!("management remove {INTERFACE} 10.77.0.0/16 fd77::/16")).expect_success();
        app.sgfw(&format!("interface set-groups {INTERFACE} --group web")).expect_success();
    });
}

#[test]
fn other_interfaces_and_other_prefixes_are_not_guarded() {
    managed(|_, app| {
        app.sgfw("management add other0 0.0.0.0/0 ::/0").expect_success();
        create_group(app, "app", &[]);
        attach(app, IngressHook::Tc, "app");
        app.sgfw(&format!("rule authorize app {SSH} 10.77.0.0/16")).expect_success();
        app.sgfw(&format!("rule revoke app {SSH} 10.77.0.0/16")).expect_success();
    });
}
