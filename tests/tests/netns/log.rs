//! `sgfw log` shows what is dropped, while it is dropped.

use std::fs;

use firewall_tests::lab::Reachability::Filtered;
use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, Topology, udp_exchange};

use crate::support::{attached_programs, close_egress, create_group, on_every_hook};

on_every_hook!(every_dropped_packet_is_logged_once, the_log_goes_on_when_programs_are_replaced);

fn every_dropped_packet_is_logged_once(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[]);
    close_egress(app, "app");
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook} --log drops");
    app.sgfw(&attach).expect_success();
    let mut log = app.start_sgfw("log");
    // The first line shows that it has begun to watch.
    log.wait_until(|log| {
        assert_eq!(udp_exchange(client, app.address(Family::V4), 1000), Filtered);
        about(&log.log(), 1000).next().is_some()
    });

    for family in Family::ALL {
        assert_eq!(udp_exchange(client, app.address(family), 1001), Filtered);
        assert_eq!(udp_exchange(app, client.address(family), 1002), Filtered);
    }
    // Lines come in order: with the last one all are there.
    assert_eq!(udp_exchange(client, app.address(Family::V4), 1003), Filtered);
    log.wait_until(|log| about(&log.log(), 1003).next().is_some());

    let text = log.log();
    for (port, direction) in [(1001, "ingress"), (1002, "egress")] {
        for family in Family::ALL {
            let address = client.address(family).to_string();
            let lines: Vec<_> = about(&text, port).filter(|line| line.contains(&address)).collect();
            assert_eq!(lines.len(), 1, "port {port} over {family}\n{text}");
            assert!(lines[0].contains(direction) && lines[0].contains("no-rule"), "{text}");
        }
    }
}

fn the_log_goes_on_when_programs_are_replaced(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "app", &[]);
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook} --log drops");
    app.sgfw(&attach).expect_success();
    let before = attached_programs(app);
    let mut log = app.start_sgfw("log");
    log.wait_until(|log| {
        assert_eq!(udp_exchange(client, app.address(Family::V4), 1000), Filtered);
        about(&log.log(), 1000).next().is_some()
    });
    // By a reload, and by a policy that outgrows its tables.
    let path = lab.directory().join("policy.yaml");
    let rules: String = (1..=4_000)
        .map(|rule| format!("      - {{protocol: tcp, ports: 443, cidr: '2001:db8::{rule:x}/128'}}\n"))
        .collect();
    let group = "version: 1\ngroups:\n  - name: app\n    description: scenario\n    ingress:\n";
    fs::write(&path, format!("{group}{rules}")).unwrap();
    let apply = format!("apply -f {} --yes --quiet", path.display());
    for (port, command) in [(1001, "interface reload"), (1002, &apply)] {
        app.sgfw(command).expect_success();
        assert_eq!(udp_exchange(client, app.address(Family::V4), port), Filtered);
        log.wait_until(|log| about(&log.log(), port).next().is_some());
    }
    let after = attached_programs(app);
    assert!(before.iter().all(|program| !after.contains(program)), "{before:?} {after:?}");
}

/// The lines about packets to `port`.
fn about(log: &str, port: u16) -> impl Iterator<Item = &str> {
    log.lines().filter(move |line| line.ends_with(&format!(":{port}")))
}
