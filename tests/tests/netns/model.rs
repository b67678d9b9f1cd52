//! Changes of rules, prefix lists, tags and quotas of an attached host: what they do to traffic, and what they refuse.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, Reachability, TcpServer, Topology, tcp_connect,
};

use crate::support::{create_group, json, privileged, protect};

const HTTP: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16";

/// A client, and a host with a server on port 80 and a rule for it.
fn client_and_app(test: impl FnOnce(&Host, &Host)) {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let (client, app) = (lab.host("client"), lab.host("app"));
        let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
        protect(app, IngressHook::Tc, "app", &[HTTP]);
        assert_eq!(connect(client, app), Open);
        test(client, app);
    });
}

fn connect(client: &Host, app: &Host) -> Reachability {
    tcp_connect(client, app.address(Family::V4), 80)
}

/// The id of the one ingress rule.
fn rule(app: &Host) -> String {
    let rules = json(app, "rule list app")["SecurityGroupRules"].clone();
    let ingress = rules.as_array().unwrap().iter().find(|rule| rule["IsEgress"] == false).unwrap();
    ingress["SecurityGroupRuleId"].as_str().unwrap().to_owned()
}

#[test]
fn a_modified_rule_is_in_force() {
    client_and_app(|client, app| {
        let modify = |port: u16| {
            let rule = rule(app);
            app.sgfw(&format!("rule modify {rule} --protocol tcp --port {port} --cidr 10.77.0.0/16"))
                .expect_success();
        };
        modify(81);
        assert_eq!(connect(client, app), Filtered);
        modify(80);
        assert_eq!(connect(client, app), Open);
    });
}

#[test]
fn a_restored_version_of_a_prefix_list_is_in_force() {
    client_and_app(|client, app| {
        app.sgfw("prefix-list create lab --address-family ipv4 --max-entries 5 10.77.0.0/16")
            .expect_success();
        app.sgfw("rule authorize app --ingress --protocol tcp --port 80 --prefix-list lab").expect_success();
        app.sgfw(&format!("rule revoke app {HTTP}")).expect_success();
        assert_eq!(connect(client, app), Open);
        app.sgfw("prefix-list remove-entry lab 10.77.0.0/16").expect_success();
        assert_eq!(connect(client, app), Filtered);
        app.sgfw("prefix-list restore lab --version 1").expect_success();
        assert_eq!(connect(client, app), Open);
    });
}

#[test]
fn a_dry_run_leaves_what_is_in_force() {
    client_and_app(|client, app| {
        let generation = || json(app, "status")["Generation"].clone();
        let before = generation();
        let output = app.sgfw(&format!("rule revoke app {HTTP} --dry-run")).expect_success();
        assert!(output.contains(&rule(app)), "{output}");
        assert_eq!(generation(), before);
        assert_eq!(connect(client, app), Open);
    });
}

/// `docs/semantics.md`, cases 159 and 160, as far as they need an interface.
#[test]
fn an_interface_keeps_its_groups_and_has_no_more_than_the_quota() {
    client_and_app(|_, app| {
        let error = app.sgfw("group delete app").expect_failure(65);
        assert!(error.contains("error[DependencyViolation]") && error.contains(INTERFACE), "{error}");

        let groups: Vec<String> = (0..5).map(|number| format!("more{number}")).collect();
        groups.iter().for_each(|group| create_group(app, group, &[]));
        let five: String = groups.iter().map(|group| format!(" --group {group}")).collect();
        app.sgfw("quota set --preset aws").expect_success();
        let set_groups = |groups: &str| app.sgfw(&format!("interface set-groups {INTERFACE}{groups}"));
        set_groups(&five).expect_success();
        let error = set_groups(&format!("{five} --group app")).expect_failure(65);
        assert!(error.contains("error[SecurityGroupsPerInterfaceLimitExceeded]"), "{error}");

        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        let attach = |groups: &str| app.sgfw(&format!("interface attach {INTERFACE}{groups}"));
        let error = attach(&format!("{five} --group app")).expect_failure(65);
        assert!(error.contains("error[SecurityGroupsPerInterfaceLimitExceeded]"), "{error}");
        attach(&five).expect_success();
        app.sgfw("group delete app").expect_success();
    });
}
