//! Enforcement needs no process: killing every `sgfw` changes nothing.

use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{Conversation, create_group, json, on_every_hook, protect};

on_every_hook!(killing_a_watching_sgfw_changes_nothing, a_killed_change_is_whole_or_absent,);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn killing_a_watching_sgfw_changes_nothing(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    let _closed = TcpServer::start(app, 22, |_| Ok(())).unwrap();
    create_group(app, "app", &[ADMITTED]);
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook} --log drops");
    app.sgfw(&attach).expect_success();

    let mut log = app.start_sgfw("log");
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    // A line of the log shows that it runs, so that there is something to kill.
    log.wait_until(|log| {
        assert_eq!(tcp_connect(client, app.address(Family::V4), 22), Filtered);
        log.log().contains("no-rule")
    });
    conversations.iter_mut().for_each(Conversation::exchange);
    log.kill();

    conversations.iter_mut().for_each(Conversation::exchange);
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        assert_eq!(tcp_connect(client, app.address(family), 22), Filtered);
    }
}

/// Whenever a command dies, the rules in force afterwards are the rules in the store.
fn a_killed_change_is_whole_or_absent(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect(app, hook, "app", &[ADMITTED]);
    let mut conversation = Conversation::open(client, app, Family::V4, 80);
    let ports = 9000..9010;
    let _servers: Vec<_> =
        ports.clone().map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap()).collect();

    for (port, milliseconds) in ports.clone().zip((0..).step_by(3)) {
        let change = app.start_sgfw(&format!("rule authorize app {}", rule(port)));
        sleep(Duration::from_millis(milliseconds));
        change.kill();
        conversation.exchange();
    }
    // The next change publishes what a killed one stored and did not publish.
    app.sgfw(&format!("rule authorize app {}", rule(9999))).expect_success();
    for port in ports {
        let expected = if is_stored(app, port) { Open } else { Filtered };
        assert_eq!(tcp_connect(client, app.address(Family::V4), port), expected, "port {port}");
    }
    conversation.exchange();
}

fn rule(port: u16) -> String {
    format!("--ingress --protocol tcp --port {port} --cidr 10.77.0.0/16")
}

fn is_stored(host: &Host, port: u16) -> bool {
    let rules = json(host, "rule list app");
    rules["SecurityGroupRules"].as_array().unwrap().iter().any(|rule| rule["FromPort"] == port)
}
