//! Everything that an operator does with an interface, in one go, under connections that are held. It needs little of the
//! machine and loads programs twice, so that it also runs in guests with other kernels (`cargo xtask kernels
//! --flow`).

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::Reachability::{self, Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, UdpServer, ping, tcp_connect,
    udp_exchange,
};

use crate::support::{
    Conversation, attached_programs, close_egress, counters::counter, on_every_hook, protect, without_tcx,
};

on_every_hook!(an_interface_from_attach_to_detach);
without_tcx!(an_interface_from_attach_to_detach);

/// Whoever is that late is no policy of ours: a guest without hardware support is twenty times slower than the machine.
const PATIENCE: Duration = Duration::from_secs(60);

const INGRESS: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";
const EGRESS: &str = "--egress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn an_interface_from_attach_to_detach(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [client, app].map(|host| (Conversation::listen(host, 80), listen(host)));
    let mut held = Family::ALL.map(|family| Conversation::open(client, app, family, 80));

    // Attached under an open connection, which goes on.
    protect(app, hook, "app", &[INGRESS, EGRESS]);
    close_egress(app, "app");
    held.iter_mut().for_each(Conversation::exchange);
    assert_rules(client, app);

    // What is not confirmed goes back by itself.
    fs::write(lab.directory().join("policy.yaml"), POLICY).unwrap();
    let policy = lab.directory().join("policy.yaml");
    let apply = |timeout: &str| {
        let apply = format!("apply -f {} --yes --confirm-timeout {timeout}", policy.display());
        app.sgfw(&apply).expect_success();
    };
    let ports =
        || Family::ALL.map(|family| [80, 22].map(|port| tcp_connect(client, app.address(family), port)));
    // Long enough for a slow machine to see it in force.
    apply("10s");
    assert_eq!(ports(), [[Filtered, Open]; 2]);
    held.iter_mut().for_each(Conversation::exchange);
    wait_until("the change is undone", || ports() == [[Open, Filtered]; 2]);
    apply("10m");
    app.sgfw("confirm").expect_success();
    assert_eq!(ports(), [[Filtered, Open]; 2]);
    held.iter_mut().for_each(Conversation::exchange);
    app.sgfw("rollback").expect_success();
    assert_rules(client, app);

    let programs = attached_programs(app);
    app.sgfw("interface reload").expect_success();
    let reloaded = attached_programs(app);
    assert!(
        reloaded.len() == 2 && reloaded.iter().all(|id| !programs.contains(id)),
        "{programs:?} {reloaded:?}"
    );
    held.iter_mut().for_each(Conversation::exchange);
    assert_rules(client, app);

    app.sgfw("panic on").expect_success();
    assert_eq!(ports(), [[Filtered; 2]; 2]);
    held.iter_mut().for_each(Conversation::exchange);
    app.sgfw("panic off").expect_success();
    assert_rules(client, app);

    assert!(counter(app, "ingress", "no-rule").packets > 0 && counter(app, "egress", "no-rule").packets > 0);
    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    held.iter_mut().for_each(Conversation::exchange);
    assert_eq!(ports(), [[Open; 2]; 2]);
}

const POLICY: &str = "version: 1
groups:
  - name: app
    description: scenario
    ingress:
      - {protocol: tcp, ports: 22, cidr: 10.77.0.0/16}
      - {protocol: tcp, ports: 22, cidr: 'fd77::/16'}
";

/// What nobody may reach until a rule admits it, beside the port of the conversations.
fn listen(host: &Host) -> (TcpServer, UdpServer) {
    (TcpServer::start(host, 22, |_| Ok(())).unwrap(), UdpServer::start_echo(host, 53).unwrap())
}

/// Both directions in both families: the rules' services pass, others do not.
#[track_caller]
fn assert_rules(client: &Host, app: &Host) {
    for family in Family::ALL {
        let (app_address, client_address) = (app.address(family), client.address(family));
        let inward = [
            tcp_connect(client, app_address, 80),
            tcp_connect(client, app_address, 22),
            udp_exchange(client, app_address, 53),
            ping(client, app_address),
        ];
        assert_eq!(inward, [Open, Filtered, Filtered, Filtered], "to the host, {family}");
        let outward = [
            udp_exchange(app, client_address, 53),
            tcp_connect(app, client_address, 80),
            tcp_connect(app, client_address, 22),
            ping(app, client_address),
        ];
        let expected: [Reachability; 4] = [Open, Filtered, Filtered, Filtered];
        assert_eq!(outward, expected, "from the host, {family}");
    }
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "still not so: {what}");
        sleep(Duration::from_millis(100));
    }
}
