//! Two operators at once: what each did is stored and enforced.

use std::thread;

use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{json, on_every_hook, protect};

on_every_hook!(rules_of_two_operators_are_all_enforced);

/// Rules that each operator adds.
const RULES: u16 = 6;

fn rules_of_two_operators_are_all_enforced(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let operators = [8000, 9000];
    let ports: Vec<u16> = operators.into_iter().flat_map(|first| first..first + RULES).collect();
    let _servers: Vec<_> =
        ports.iter().map(|port| TcpServer::start(app, *port, |_| Ok(())).unwrap()).collect();
    protect(app, hook, "app", &[]);

    thread::scope(|scope| {
        for first in operators {
            scope.spawn(move || {
                for port in first..first + RULES {
                    let rule = format!(
                        "--ingress --protocol tcp --port {port} --cidr {}",
                        client.prefix(Family::V4)
                    );
                    app.sgfw(&format!("rule authorize app {rule}")).expect_success();
                }
            });
        }
    });

    let rules = json(app, "rule list app");
    let stored = rules["SecurityGroupRules"].as_array().unwrap().iter();
    let mut stored: Vec<u64> = stored
        .filter(|rule| rule["IsEgress"] == false)
        .filter_map(|rule| rule["FromPort"].as_u64())
        .collect();
    stored.sort_unstable();
    assert_eq!(stored, ports.iter().copied().map(u64::from).collect::<Vec<_>>());
    for port in ports {
        assert_eq!(tcp_connect(client, app.address(Family::V4), port), Open, "port {port}");
    }
}
