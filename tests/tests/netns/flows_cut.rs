//! `--flows keep|cut|drain`: what becomes of live conversations when the rule that admitted them goes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology};
use serde_json::Value;

use crate::support::{create_group, json, on_every_hook, protect};

on_every_hook!(
    a_dry_run_shows_the_flows_that_a_change_would_concern,
    a_change_says_which_flows_have_lost_their_rule,
    kept_flows_live_until_they_are_cut,
    cut_flows_end_at_once_and_for_both_sides,
    drained_flows_live_for_a_while,
    an_unconfirmed_change_cuts_nothing_until_it_is_confirmed,
);

const PORT: u16 = 80;
const OTHER_PORT: u16 = 81;

/// Between namespaces words take microseconds.
const SILENCE: Duration = Duration::from_millis(400);

/// Far more than a drain of two seconds takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Both ends of a connection that a client has opened to the app.
struct Connection {
    client: TcpStream,
    app: TcpStream,
}

impl Connection {
    fn open(lab: &Lab, family: Family, listener: &TcpListener) -> Self {
        let (client, app) = (lab.host("client"), lab.host("app"));
        let address = (app.address(family), listener.local_addr().unwrap().port()).into();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let client = client.namespace().run(connect).unwrap();
        let (app, _) = listener.accept().unwrap();
        let mut connection = Self { client, app };
        assert!(connection.lives());
        connection
    }

    /// Whether words of both sides arrive.
    fn lives(&mut self) -> bool {
        arrives(&mut self.client, &mut self.app) && arrives(&mut self.app, &mut self.client)
    }

    /// Whether words of neither side arrive.
    fn is_dead(&mut self) -> bool {
        !arrives(&mut self.client, &mut self.app) && !arrives(&mut self.app, &mut self.client)
    }
}

fn arrives(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    from.write_all(b"x").unwrap();
    to.set_read_timeout(Some(SILENCE)).unwrap();
    match to.read_exact(&mut [0; 1]) {
        Ok(()) => true,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
        Err(error) => panic!("{error}"),
    }
}

/// An app that admits two ports over both families and may send whatever it likes, and a conversation at each port.
struct Stage {
    lab: Lab,
    /// At the port of those whose rule will go.
    listener: TcpListener,
    /// Those whose rule will go.
    affected: Vec<Connection>,
    /// Those whose rule stays.
    others: Vec<Connection>,
}

impl Stage {
    fn new(hook: IngressHook) -> Self {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let [rule, other] = [PORT, OTHER_PORT].map(rule);
        protect(lab.host("app"), hook, "app", &[&rule, &other]);
        // Bound once: a child that another test starts may hold a closed listener, and with it the port, for a moment.
        let [listener, other_listener] = [PORT, OTHER_PORT].map(|port| {
            let listen = || TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
            lab.host("app").namespace().run(listen).unwrap()
        });
        let open = |listener| Family::ALL.map(|family| Connection::open(&lab, family, listener)).into();
        let (affected, others) = (open(&listener), open(&other_listener));
        Self { lab, listener, affected, others }
    }

    fn app(&self) -> &Host {
        self.lab.host("app")
    }

    fn revoke(&self, flows: &str) {
        self.app().sgfw(&format!("rule revoke app {} {flows}", rule(PORT))).expect_success();
    }

    fn all_live(&mut self) -> bool {
        self.affected.iter_mut().chain(&mut self.others).all(Connection::lives)
    }

    /// Checks that the affected conversations are over, and only those.
    #[track_caller]
    fn expect_cut(&mut self) {
        assert!(self.affected.iter_mut().all(Connection::is_dead));
        assert!(self.others.iter_mut().all(Connection::lives));
        assert_eq!(cut_in(self.app(), "flows list", PORT), [Some(0), Some(0)]);
        assert_eq!(cut_in(self.app(), "flows list", OTHER_PORT), [None, None]);
        let text = self.app().sgfw("flows list").expect_success();
        assert_eq!(text.lines().filter(|line| line.contains(" cut ")).count(), 2, "{text}");
    }
}

fn rule(port: u16) -> String {
    format!("--ingress --protocol tcp --port {port} --cidr 10.77.0.0/16 --cidr fd77::/16")
}

/// In how many seconds each of the listed flows to a port is cut, if it is; 0 if it has been.
#[track_caller]
fn cut_in(host: &Host, listing: &str, port: u16) -> Vec<Option<u64>> {
    let flows = json(host, listing);
    let flows = flows["Flows"].as_array().unwrap().iter();
    let of_port = flows.filter(|flow| flow["Responder"]["Port"] == port);
    of_port.map(|flow| flow["CutInSeconds"].as_u64()).collect()
}

/// Every way of taking the rule away, with what becomes of the flows, the words for it and the seconds to the cut.
fn a_dry_run_shows_the_flows_that_a_change_would_concern(hook: IngressHook) {
    const FATES: [(&str, &str, Option<u64>); 3] = [
        ("keep", "2 flows would live on by state (`sgfw flows list --orphaned`)", None),
        ("cut", "2 flows would be cut", Some(0)),
        ("drain=5m", "2 flows would be cut in 5m", Some(300)),
    ];
    let mut stage = Stage::new(hook);
    create_group(stage.app(), "other", &[&rule(OTHER_PORT)]);
    let changes = [
        format!("rule revoke app {}", rule(PORT)),
        format!("interface set-groups {INTERFACE} --group other"),
    ];
    let before = json(stage.app(), "rule list")["SecurityGroupRules"].clone();
    for change in &changes {
        for (flows, fate, cut_after) in FATES {
            let command = format!("{change} --flows {flows} --dry-run");
            let shown = stage.app().sgfw(&command);
            let said = shown.stderr();
            assert_eq!(listed_ports(&said), [PORT, PORT], "{shown}");
            assert!(said.lines().any(|line| line == fate), "{shown}");
            let outcome = json(stage.app(), &command);
            assert_eq!(orphaned_ports(&outcome), [PORT, PORT], "{command}: {outcome}");
            assert_eq!(outcome["CutAfterSeconds"].as_u64(), cut_after, "{command}");
        }
    }
    assert!(stage.all_live());
    assert_eq!(json(stage.app(), "rule list")["SecurityGroupRules"], before);
    assert!(cut_in(stage.app(), "flows list --orphaned", PORT).is_empty());
}

fn a_change_says_which_flows_have_lost_their_rule(hook: IngressHook) {
    const UNUSED_PORT: u16 = 82;
    let stage = Stage::new(hook);
    let app = stage.app();
    app.sgfw(&format!("rule authorize app {}", rule(UNUSED_PORT))).expect_success();
    let unconcerned = app.sgfw(&format!("rule revoke app {}", rule(UNUSED_PORT)));
    assert!(!unconcerned.stderr().contains("flow"), "{unconcerned}");

    let kept = app.sgfw(&format!("rule revoke app {}", rule(PORT)));
    assert_eq!(listed_ports(&kept.stderr()), [PORT, PORT], "{kept}");
    assert!(kept.stderr().contains("2 flows live on by state"), "{kept}");
    // Those that had lost theirs before are cut too.
    let cut = app.sgfw(&format!("rule revoke app {} --flows cut", rule(OTHER_PORT)));
    assert_eq!(listed_ports(&cut.stderr()), [PORT, PORT, OTHER_PORT, OTHER_PORT], "{cut}");
    assert!(cut.stderr().contains("4 flows are cut"), "{cut}");
    let rollback = json(app, "rollback");
    assert_eq!(orphaned_ports(&rollback), [0_u16; 0], "what is cut has no more to lose");
}

/// The ports of the flows that are listed on standard error.
fn listed_ports(said: &str) -> Vec<u16> {
    let flows = said.lines().filter(|line| line.contains(" -> "));
    let port = |line: &str| line.split(" -> ").nth(1)?.split(',').next()?.rsplit(':').next()?.parse().ok();
    sorted(flows.map(|line| port(line).unwrap()).collect())
}

/// The same of those in the outcome of a change.
fn orphaned_ports(outcome: &Value) -> Vec<u16> {
    let flows = outcome["OrphanedFlows"].as_array().unwrap().iter();
    sorted(flows.map(|flow| flow["Responder"]["Port"].as_u64().unwrap().try_into().unwrap()).collect())
}

fn sorted(mut ports: Vec<u16>) -> Vec<u16> {
    ports.sort_unstable();
    ports
}

fn kept_flows_live_until_they_are_cut(hook: IngressHook) {
    let mut stage = Stage::new(hook);
    assert!(cut_in(stage.app(), "flows list --orphaned", PORT).is_empty());
    stage.revoke("--flows keep");
    assert!(stage.all_live());
    assert_eq!(cut_in(stage.app(), "flows list --orphaned", PORT), [None, None]);
    assert!(cut_in(stage.app(), "flows list --orphaned", OTHER_PORT).is_empty());

    assert_eq!(json(stage.app(), "flows cut-orphaned")["CutFlows"], 2);
    stage.expect_cut();
    assert_eq!(json(stage.app(), "flows cut-orphaned")["CutFlows"], 0);
}

fn cut_flows_end_at_once_and_for_both_sides(hook: IngressHook) {
    let mut stage = Stage::new(hook);
    stage.revoke("--flows cut");
    stage.expect_cut();
    // The cut concerns flows, not the port: where the rule comes back, connections do.
    let authorize = format!("rule authorize app {}", rule(PORT));
    stage.app().sgfw(&authorize).expect_success();
    drop(Connection::open(&stage.lab, Family::V4, &stage.listener));
}

fn drained_flows_live_for_a_while(hook: IngressHook) {
    let mut stage = Stage::new(hook);
    stage.revoke("--flows drain=2s");
    assert!(stage.others.iter_mut().all(Connection::lives));
    let start = Instant::now();
    while !stage.affected.iter_mut().all(Connection::is_dead) {
        assert!(start.elapsed() < PATIENCE, "flows live on after their time");
        sleep(Duration::from_millis(50));
    }
    stage.expect_cut();
}

fn an_unconfirmed_change_cuts_nothing_until_it_is_confirmed(hook: IngressHook) {
    let mut stage = Stage::new(hook);
    let policy = stage.lab.directory().join("policy.yaml");
    let text = format!(
        "version: 1
groups:
  - name: app
    description: scenario
    ingress:
      - {{protocol: tcp, ports: {OTHER_PORT}, cidr: 10.77.0.0/16}}
      - {{protocol: tcp, ports: {OTHER_PORT}, cidr: \"fd77::/16\"}}
"
    );
    fs::write(&policy, text).unwrap();
    let apply = format!("apply -f {} --yes --confirm-timeout 10m --flows cut", policy.display());
    stage.app().sgfw(&apply).expect_success();
    assert!(stage.all_live());
    stage.app().sgfw("rollback").expect_success();
    assert!(stage.all_live());

    stage.app().sgfw(&apply).expect_success();
    assert!(stage.all_live());
    assert_eq!(json(stage.app(), "confirm")["CutFlows"], 2);
    stage.expect_cut();
}
