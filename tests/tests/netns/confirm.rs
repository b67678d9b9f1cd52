//! Changes that are undone unless they are confirmed, and going back: what is in force and what is stored, together.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use firewall_common::abi::{CellLine, HALVES, map};
use firewall_common::decide::Half;
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Finished, Host, INTERFACE, IngressHook, Lab, Reachability};
use firewall_tests::lab::{TcpServer, Topology, tcp_connect};

use crate::support::{Conversation, files, json, on_every_hook, protect, without_tcx};

on_every_hook!(
    what_is_not_confirmed_is_undone_with_no_process_running,
    a_confirmation_that_comes_too_late_says_so,
    what_is_confirmed_stays,
    a_pending_change_refuses_others_and_can_be_rolled_back_at_once,
    rolling_back_restores_an_older_generation,
    what_is_gone_back_to_is_read_back_and_mended,
);
without_tcx!(
    what_is_not_confirmed_is_undone_with_no_process_running,
    a_pending_change_refuses_others_and_can_be_rolled_back_at_once,
);

/// What the group admits before and after the change.
const OLD_PORT: u16 = 80;
const NEW_PORT: u16 = 81;

/// What the ports of before and after answer to new connections.
type Ports = (Reachability, Reachability);

const BEFORE: Ports = (Open, Filtered);
const AFTER: Ports = (Filtered, Open);

/// Far more than the programs and a busy machine need to go back once the deadline has passed.
const PATIENCE: Duration = Duration::from_secs(60);

/// An app that admits one port, and a policy file that admits another one instead.
struct Stage {
    lab: Lab,
    _servers: [TcpServer; 2],
}

impl Stage {
    fn new(hook: IngressHook) -> Self {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let servers = [OLD_PORT, NEW_PORT].map(|port| Conversation::listen(lab.host("app"), port));
        let rule = format!("--ingress --protocol tcp --port {OLD_PORT} --cidr 10.77.0.0/16");
        protect(lab.host("app"), hook, "app", &[&rule]);
        let policy = format!(
            "version: 1
groups:
  - name: app
    description: scenario
    ingress:
      - {{protocol: tcp, ports: {NEW_PORT}, cidr: 10.77.0.0/16}}
"
        );
        fs::write(lab.directory().join("policy.yaml"), policy).unwrap();
        let stage = Self { lab, _servers: servers };
        assert_eq!(stage.ports(), BEFORE);
        stage
    }

    fn app(&self) -> &Host {
        self.lab.host("app")
    }

    fn apply_for(&self, timeout: &str) -> Finished {
        let policy = self.lab.directory().join("policy.yaml");
        self.app().sgfw(&format!("apply -f {} --yes --confirm-timeout {timeout}", policy.display()))
    }

    fn ports(&self) -> Ports {
        let answer = |port| tcp_connect(self.lab.host("client"), self.app().address(Family::V4), port);
        (answer(OLD_PORT), answer(NEW_PORT))
    }

    /// Waits for the programs to go back. No `sgfw` runs meanwhile.
    #[track_caller]
    fn wait_until_undone(&self) {
        let start = Instant::now();
        while self.ports() != BEFORE {
            assert!(start.elapsed() < PATIENCE, "the change is still in force");
            sleep(Duration::from_millis(100));
        }
    }

    fn converse(&self, port: u16) -> Conversation {
        Conversation::open(self.lab.host("client"), self.app(), Family::V4, port)
    }
}

/// All that the store says, as an operator sees it.
fn stored(host: &Host) -> Vec<String> {
    let listings = ["group list", "rule list", "prefix-list list", "interface list"];
    listings.map(|listing| host.sgfw(&format!("-o json {listing}")).expect_success()).to_vec()
}

/// Numbers and commands of the history, the newest first.
fn history(host: &Host) -> Vec<(u64, String)> {
    let history = json(host, "history list");
    let generations = history["Generations"].as_array().unwrap().iter();
    let row = |generation: &serde_json::Value| {
        let command = generation["Command"].as_str().unwrap().to_owned();
        (generation["Generation"].as_u64().unwrap(), command)
    };
    generations.map(row).collect()
}

fn what_is_not_confirmed_is_undone_with_no_process_running(hook: IngressHook) {
    let stage = Stage::new(hook);
    let before = stored(stage.app());
    let mut old = stage.converse(OLD_PORT);
    stage.apply_for("5s").expect_success();
    assert_eq!(stage.ports(), AFTER);
    let mut new = stage.converse(NEW_PORT);
    old.exchange();

    stage.wait_until_undone();
    // Flows live on whichever way the policy goes.
    old.exchange();
    new.exchange();
    assert_eq!(stored(stage.app()), before);
    let history = history(stage.app());
    let [(undone_by, undone), (applied, apply), ..] = &history[..] else { panic!("{history:?}") };
    assert!(undone_by > applied, "{history:?}");
    assert!(undone.contains(&format!("generation {applied} was not confirmed in time")), "{history:?}");
    assert!(apply.contains("--confirm-timeout 5s"), "{history:?}");

    let status = stage.app().sgfw("status");
    assert_eq!(status.stderr(), "", "store and kernel should agree");
    // The next change starts from what is in force.
    stage
        .app()
        .sgfw("rule authorize app --ingress --protocol tcp --port 82 --cidr 10.77.0.0/16")
        .expect_success();
    assert_eq!(stage.ports(), BEFORE);
}

fn a_confirmation_that_comes_too_late_says_so(hook: IngressHook) {
    let stage = Stage::new(hook);
    let before = stored(stage.app());
    stage.apply_for("1s").expect_success();
    stage.wait_until_undone();
    let error = stage.app().sgfw("confirm").expect_failure(1);
    assert!(error.contains("was not confirmed in time"), "{error}");
    assert_eq!(stored(stage.app()), before);
    assert_eq!(stage.ports(), BEFORE);
}

fn what_is_confirmed_stays(hook: IngressHook) {
    let stage = Stage::new(hook);
    let mut old = stage.converse(OLD_PORT);
    stage.apply_for("5s").expect_success();
    let pending = stored(stage.app());
    stage.app().sgfw("confirm").expect_success();
    // Past the deadline that was.
    sleep(Duration::from_secs(6));
    assert_eq!(stage.ports(), AFTER);
    assert_eq!(stored(stage.app()), pending);
    old.exchange();
    let error = stage.app().sgfw("confirm").expect_failure(65);
    assert!(error.contains("no change waits to be confirmed"), "{error}");
}

fn a_pending_change_refuses_others_and_can_be_rolled_back_at_once(hook: IngressHook) {
    let stage = Stage::new(hook);
    let app = stage.app();
    let before = stored(app);
    let (first, _) = *history(app).last().unwrap();
    let mut old = stage.converse(OLD_PORT);
    stage.apply_for("10m").expect_success();
    let mut new = stage.converse(NEW_PORT);
    let pending = stored(app);
    for change in [
        "group create other --description scenario",
        "rule authorize app --ingress --protocol tcp --port 82 --cidr 10.77.0.0/16",
        &format!("interface set-options {INTERFACE} --audit on"),
        &format!("interface detach {INTERFACE}"),
        "flows cut-orphaned",
        "panic on",
        &format!("rollback {first}"),
    ] {
        let error = app.sgfw(change).expect_failure(75);
        assert!(error.contains("`sgfw confirm`") && error.contains("`sgfw rollback`"), "{change}: {error}");
    }
    assert_eq!(stored(app), pending);
    assert_eq!(stage.ports(), AFTER);

    app.sgfw("rollback").expect_success();
    assert_eq!(stage.ports(), BEFORE);
    assert_eq!(stored(app), before);
    old.exchange();
    new.exchange();
    app.sgfw("group create other --description scenario").expect_success();
}

fn rolling_back_restores_an_older_generation(hook: IngressHook) {
    let stage = Stage::new(hook);
    let app = stage.app();
    let before = stored(app);
    let attached = history(app)[0].0;
    let mut old = stage.converse(OLD_PORT);
    for change in [
        "prefix-list create offices --address-family ipv4 --max-entries 2 192.0.2.0/24",
        "rule authorize app --ingress --protocol tcp --port 443 --prefix-list offices",
        "group create other --description scenario",
        &format!("rule revoke app --ingress --protocol tcp --port {OLD_PORT} --cidr 10.77.0.0/16"),
        &format!("rule authorize app --ingress --protocol tcp --port {NEW_PORT} --cidr 10.77.0.0/16"),
    ] {
        app.sgfw(change).expect_success();
    }
    let after = stored(app);
    let changed = history(app)[0].0;
    assert_eq!(stage.ports(), AFTER);

    app.sgfw(&format!("rollback {attached}")).expect_success();
    assert_eq!(stored(app), before);
    assert_eq!(stage.ports(), BEFORE);
    app.sgfw(&format!("rollback {changed}")).expect_success();
    assert_eq!(stored(app), after);
    assert_eq!(stage.ports(), AFTER);
    old.exchange();

    let error = app.sgfw(&format!("rollback {}", attached - 1)).expect_failure(65);
    assert!(error.contains("attached or detached"), "{error}");
    assert_eq!(stored(app), after);
    let error = app.sgfw("rollback 100000").expect_failure(65);
    assert!(error.contains("not in the history"), "{error}");
}

/// Whoever tampers with the maps while a change waits to be confirmed does not decide what comes after it.
fn what_is_gone_back_to_is_read_back_and_mended(hook: IngressHook) {
    let stage = Stage::new(hook);
    let app = stage.app();
    stage.apply_for("60s").expect_success();
    let idle = (json(app, "status")["Generation"]["InForce"].as_u64().unwrap() & 1) ^ 1;
    let emptied = empty_cells(app, idle);
    assert!(emptied > 0, "there are no cells in the half before");
    app.sgfw("rollback").expect_success();
    assert_eq!(stage.ports(), BEFORE);

    // What was not touched is not published once more.
    stage.apply_for("60s").expect_success();
    let before = history(app)[0].0;
    app.sgfw("rollback").expect_success();
    assert_eq!(stage.ports(), BEFORE);
    assert_eq!(history(app)[0].0, before + 1);
}

/// Removes every cell from a half of the arena, and says how many lines of them there were.
fn empty_cells(host: &Host, half: u64) -> usize {
    type Line = [u64; size_of::<CellLine>() / size_of::<u64>()];
    let directory = &host.instance().bpffs_directory;
    let pin = files(directory).into_iter().find(|pin| pin.ends_with(format!("maps/{}", map::CELLS)));
    let map = Map::from_map_data(MapData::from_pin(pin.unwrap()).unwrap()).unwrap();
    let mut lines: Array<_, Line> = map.try_into().unwrap();
    let elements_each = lines.len() / HALVES;
    let mut emptied = 0;
    for index in 0..elements_each {
        let element = Half::of_generation(half).element(elements_each, index);
        emptied += usize::from(lines.get(&element, 0).unwrap() != Line::default());
        lines.set(element, Line::default(), 0).unwrap();
    }
    emptied
}
