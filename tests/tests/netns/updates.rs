//! Changes of the policy under live traffic: no established flow loses a packet.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use firewall_tests::lab::Reachability::Filtered;
use firewall_tests::lab::{Family, Host, IngressHook, Lab, Topology, tcp_connect};

use crate::support::{Conversation, json, on_every_hook, protect};

on_every_hook!(updates_do_not_disturb_established_flows);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn updates_do_not_disturb_established_flows(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &[ADMITTED]);
    let conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));

    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let talkers = conversations.map(|mut conversation| {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    conversation.exchange();
                }
                conversation
            })
        });
        for port in 9000..9010 {
            let rule = format!("--ingress --protocol tcp --port {port} --cidr 192.0.2.0/24");
            app.sgfw(&format!("rule authorize app {rule}")).expect_success();
            app.sgfw(&format!("rule revoke app {rule}")).expect_success();
        }
        // Not even the end of the rule that admitted them ends tracked flows (AWS: "keep").
        app.sgfw(&format!("rule revoke app {ADMITTED}")).expect_success();
        done.store(true, Ordering::Relaxed);
        for talker in talkers {
            talker.join().unwrap().exchange();
        }
    });

    assert_eq!(dropped(app), 0, "packets of established flows were dropped");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Filtered);
    }
}

/// Packets that the host's firewall has dropped. Not what TCP has sent again: on a busy machine it does so without a loss.
fn dropped(host: &Host) -> u64 {
    let status = json(host, "status");
    let counters = status["Counters"].as_array().unwrap().iter();
    counters.filter(|row| row["Verdict"] == "drop").map(|row| row["Packets"].as_u64().unwrap()).sum()
}
