//! `interface reload`, which an upgrade of the package runs, replaces the programs and nothing else.

use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, Topology};

use crate::support::counters::counter;
use crate::support::{
    Conversation, attached_programs, close_egress, is_soak, json, on_every_hook, probe_during, protect,
    without_tcx,
};

on_every_hook!(programs_are_replaced_without_a_gap, what_is_not_attached_is_not_reloaded);
without_tcx!(programs_are_replaced_without_a_gap, what_is_not_attached_is_not_reloaded);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

/// The bug of CVE-2023-27595 and of the Datadog and Cilium outage of 2022: an upgrade that lets packets by.
fn programs_are_replaced_without_a_gap(hook: IngressHook) {
    const PORT: u16 = 9000;
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    let mut programs = attached_programs(app);
    let denied = counter(app, "ingress", "no-rule").packets;

    let mut outward = None;
    let inward = probe_during(client, app, PORT, || {
        outward = Some(probe_during(app, client, PORT, || {
            for _ in 0..if is_soak() { 20 } else { 4 } {
                let reloaded = json(app, &format!("interface reload {INTERFACE}"));
                assert_eq!(reloaded["Interfaces"][0]["Name"], INTERFACE);
                let new = attached_programs(app);
                assert!(
                    new.len() == 2 && new.iter().all(|id| !programs.contains(id)),
                    "{programs:?} {new:?}"
                );
                programs = new;
                conversations.iter_mut().for_each(Conversation::exchange);
            }
        }));
    });

    assert_eq!(inward.arrived, 0, "of {} that may not enter", inward.sent);
    assert_eq!(outward.unwrap().arrived, 0, "of {} that may not leave", outward.unwrap().sent);
    // The counters have gone on as if nothing had happened: each one of them is there.
    let start = Instant::now();
    while counter(app, "ingress", "no-rule").packets - denied < inward.sent {
        assert!(start.elapsed() < Duration::from_secs(5), "packets were not counted");
        sleep(Duration::from_millis(20));
    }
}

fn what_is_not_attached_is_not_reloaded(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    assert_eq!(json(app, "interface reload")["Interfaces"], serde_json::json!([]));
    protect(app, hook, "app", &[]);
    let programs = attached_programs(app);

    // All or nothing: the interface that is attached keeps its programs too.
    let error = app.sgfw(&format!("interface reload {INTERFACE} lo")).expect_failure(65);

    assert!(
        error.contains("interface lo is not attached") && error.contains("sgfw interface list"),
        "{error}"
    );
    assert_eq!(attached_programs(app), programs);
    app.sgfw("interface reload").expect_success();
    assert_ne!(attached_programs(app), programs);
}
