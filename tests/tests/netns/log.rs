//! `sgfw log` shows what is dropped, while it is dropped.

use firewall_tests::lab::Reachability::Filtered;
use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, Topology, udp_exchange};

use crate::support::{close_egress, create_group, on_every_hook};

on_every_hook!(every_dropped_packet_is_logged_once);

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

/// The lines about packets to `port`.
fn about(log: &str, port: u16) -> impl Iterator<Item = &str> {
    log.lines().filter(move |line| line.ends_with(&format!(":{port}")))
}
