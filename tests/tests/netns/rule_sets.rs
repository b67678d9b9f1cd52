//! Sets of rules are forgotten when nothing names them, and not before.

use std::fs;

use firewall_tests::lab::{Family, Host, IngressHook, Lab, Topology};
use rusqlite::Connection;
use serde_json::{Value, json as object};

use crate::support::{Conversation, json, on_every_hook, protect};

on_every_hook!(what_nothing_names_goes_and_what_a_flow_names_stays);

/// Hosts with a rule each, so that a rule around all of them is in as many sets.
const HOSTS: u32 = 1200;
const TOGGLES: u32 = 5;
const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16";
const BROAD: &str = "--ingress --protocol tcp --port 0-65535 --cidr 192.0.0.0/8";

fn what_nothing_names_goes_and_what_a_flow_names_stays(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &[ADMITTED]);
    let mut conversation = Conversation::open(client, app, Family::V4, 80);
    conversation.exchange();
    let rules = rules_of_flow(app);
    assert_eq!(rules.len(), 1);

    // The rule of the flow is gone with this, and the flow lives on.
    let document = lab.directory().join("hosts.json");
    fs::write(&document, hosts().to_string()).unwrap();
    app.sgfw(&format!("apply --yes --file {}", document.display())).expect_success();
    let mut highest = 0;
    for _ in 0..TOGGLES {
        app.sgfw(&format!("rule authorize app {BROAD}")).expect_success();
        // It is another rule each time, in sets of its own.
        let (newest, _) = rule_sets(app);
        assert!(newest > highest, "{newest} was given before");
        highest = newest;
        app.sgfw(&format!("rule revoke app {BROAD}")).expect_success();
    }
    let (_, rows) = rule_sets(app);
    // With the broad rule a policy needs three rows for each host; without it, one. Each toggle makes two.
    let all_that_ever_were = HOSTS * (1 + 2 * TOGGLES);
    assert!(rows < i64::from(all_that_ever_were - 2 * 2 * HOSTS), "{rows} rows of {all_that_ever_were}");

    conversation.exchange();
    assert_eq!(rules_of_flow(app), rules, "what has admitted a live flow is known");
    app.sgfw("rollback").expect_success();
    conversation.exchange();
    assert_eq!(rules_of_flow(app), rules);
}

/// The policy of so many hosts.
fn hosts() -> Value {
    let host = |number: u32| object!({"protocol": "tcp", "ports": 7, "cidr": format!("192.0.{}.{}/32", number / 256, number % 256)});
    object!({
        "version": 1,
        "groups": [{"name": "app", "description": "scenario", "ingress": (0..HOSTS).map(host).collect::<Vec<_>>()}],
    })
}

fn rules_of_flow(host: &Host) -> Vec<Value> {
    let flows = json(host, "flows list");
    let flow = flows["Flows"].as_array().unwrap().iter().find(|flow| flow["Protocol"] == "tcp");
    flow.unwrap()["Rules"].as_array().unwrap().clone()
}

/// The highest number of a set, and how many rows there are.
fn rule_sets(host: &Host) -> (i64, i64) {
    let store = Connection::open(host.instance().state_directory.join("sgfw.db")).unwrap();
    let query = "SELECT max(id), count(*) FROM rule_sets";
    store.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}
