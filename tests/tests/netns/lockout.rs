//! Whoever works over SSH cannot lock themselves out by mistake.

use firewall_tests::lab::{Family, Finished, Host, INTERFACE, Lab, Topology};

use crate::support::{create_group, privileged};

const SSH: &str = "--ingress --protocol tcp --port 22 --cidr";

#[test]
fn attaching_a_group_that_refuses_the_operators_ssh_is_refused() {
    over_ssh(|host, client| {
        create_group(host, "web", &["--ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0"]);
        let attach = format!("interface attach {INTERFACE} --group web");
        let error = over(host, client, &attach).expect_failure(5);
        let advice = format!("--port 22 --cidr {client}/");
        assert!(error.contains(&advice) && error.contains("--allow-lockout"), "{error}");
        assert_eq!(attached(host), 0, "the refusal changed something");

        host.sgfw(&format!("rule authorize web {SSH} {client}/{}", full_length(client))).expect_success();
        over(host, client, &attach).expect_success();
        assert_eq!(attached(host), 1);
    });
}

#[test]
fn revoking_the_rule_that_admits_the_operators_ssh_is_refused() {
    over_ssh(|host, client| {
        let everyone = if client.contains(':') { "::/0" } else { "0.0.0.0/0" };
        create_group(host, "web", &[&format!("{SSH} {everyone}")]);
        over(host, client, &format!("interface attach {INTERFACE} --group web")).expect_success();
        let rules = |host: &Host| host.sgfw("rule list web").expect_success();
        let before = rules(host);
        let revoke = format!("rule revoke web {SSH} {everyone}");
        let _ = over(host, client, &revoke).expect_failure(5);
        assert_eq!(rules(host), before);
        over(host, client, &format!("{revoke} --allow-lockout")).expect_success();
        assert_ne!(rules(host), before);
    });
}

#[test]
fn a_shell_in_sudo_is_recognised_by_the_process_tree() {
    over_ssh(|host, client| {
        create_group(host, "web", &[]);
        let sgfw = host.instance().line(&format!("interface attach {INTERFACE} --group web"));
        // sudo clears the environment; a second command keeps the outer shell from being replaced by the inner one.
        let inner = format!("env -u SSH_CONNECTION {sgfw}; exit $?");
        let line = format!("{} sh -c {}", connection(host, client), shell_words::quote(&inner));
        let _ = host.run(&line).expect_failure(5);
    });
}

#[test]
fn a_session_by_another_way_is_not_guarded() {
    over_ssh(|host, client| {
        create_group(host, "web", &[]);
        let line = host.instance().line(&format!("interface attach {INTERFACE} --group web"));
        host.run(&format!("env 'SSH_CONNECTION={client} 40000 192.0.2.1 22' {line}")).expect_success();
    });
}

#[test]
fn an_interface_in_audit_mode_locks_nobody_out_until_it_ends() {
    over_ssh(|host, client| {
        create_group(host, "web", &[]);
        over(host, client, &format!("interface attach {INTERFACE} --group web --audit")).expect_success();
        let audit =
            |switch: &str| over(host, client, &format!("interface set-options {INTERFACE} --audit {switch}"));
        let _ = audit("off").expect_failure(5);
        let show = host.sgfw(&format!("interface show {INTERFACE}")).expect_success();
        assert!(show.contains("Audit:         on\n"), "{show}");

        host.sgfw(&format!("rule authorize web {SSH} {client}/{}", full_length(client))).expect_success();
        audit("off").expect_success();
    });
}

#[test]
fn panic_mode_that_would_refuse_the_operators_ssh_is_refused() {
    over_ssh(|host, client| {
        create_group(host, "web", &[&format!("{SSH} {client}/{}", full_length(client))]);
        over(host, client, &format!("interface attach {INTERFACE} --group web")).expect_success();

        let error = over(host, client, "panic on").expect_failure(5);
        let declaration = format!("management add {INTERFACE} --port 22 {client}/{}", full_length(client));
        assert!(error.contains(&format!("`sgfw {declaration}`")), "{error}");
        assert!(!host.sgfw("status").expect_success().contains("PANIC"), "the refusal changed something");

        over(host, client, &declaration).expect_success();
        over(host, client, "panic on").expect_success();
        assert!(host.sgfw("status").expect_success().contains("PANIC"));
        let remove = declaration.replace(" add ", " remove ");
        let _ = over(host, client, &remove).expect_failure(5);
        over(host, client, "panic off").expect_success();
        over(host, client, &remove).expect_success();
        over(host, client, "panic on --allow-lockout").expect_success();
    });
}

/// Plays a scenario with an operator at an IPv4 and at an IPv6 address.
fn over_ssh(scenario: impl Fn(&Host, &str)) {
    privileged(|| {
        for family in [Family::V4, Family::V6] {
            let lab = Lab::build(&Topology::star(["operator", "server"])).unwrap();
            scenario(lab.host("server"), &lab.host("operator").address(family).to_string());
        }
    });
}

/// Runs `sgfw` as in an SSH session from `client`.
fn over(host: &Host, client: &str, arguments: &str) -> Finished {
    host.run(&format!("{} {}", connection(host, client), host.instance().line(arguments)))
}

fn connection(host: &Host, client: &str) -> String {
    let family = if client.contains(':') { Family::V6 } else { Family::V4 };
    format!("env 'SSH_CONNECTION={client} 40000 {} 22'", host.address(family))
}

fn full_length(address: &str) -> u8 {
    if address.contains(':') { 128 } else { 32 }
}

fn attached(host: &Host) -> usize {
    host.sgfw("interface list").expect_success().matches(INTERFACE).count()
}
