//! `sgfw` killed before each of its steps, one after the other, instead of at random: no state that it can leave behind is
//! missed.
//!
//! The steps are the system calls by which a command changes something: elements of maps, pins and links, the files of the
//! store, and the end of the process, before which nobody has been told of the change.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, Step, Stepped, TcpServer, Topology, tcp_connect,
};

use super::{ALWAYS_OPEN, Change, NEVER_OPEN, PORTS, Stored, assert_in_force, rule, under_watch};
use serde_json::Value;

use crate::support::{attach, attached_programs, create_group, is_soak, json, on_every_hook, without_tcx};

on_every_hook!(
    a_change_is_whole_or_absent,
    a_change_that_cuts_flows_is_whole_or_absent,
    an_attachment_is_whole_or_absent,
    a_detachment_is_whole_or_absent,
    a_reload_leaves_an_interface_protected,
);
without_tcx!(
    an_attachment_is_whole_or_absent,
    a_detachment_is_whole_or_absent,
    a_reload_leaves_an_interface_protected,
);

/// Those of a change of the policy. While SQLite writes its files nothing of it is to be seen, so that it is killed in the
/// middle of that under `SGFW_SOAK=1` only.
fn steps_of_a_change() -> Vec<Step> {
    let mut steps = vec![Step::MapUpdate, Step::FileSync, Step::FileName, Step::Exit];
    if is_soak() {
        steps.push(Step::FileWrite);
    }
    steps
}

/// Those of what changes programs; that the policy which goes with it is whole is shown by the others.
const STEPS_OF_PROGRAMS: [Step; 5] =
    [Step::Attachment, Step::Filter, Step::FileSync, Step::FileName, Step::Exit];

/// How long a connection may take that nobody denies.
const PATIENCE: Duration = Duration::from_secs(1);

/// Far more than any command has.
pub(super) const MANY_STEPS: usize = 1000;

/// Whether what was committed differs from what was there before, and whether something else is in force still.
type Left = (bool, bool);
const NOTHING: Left = (false, false);
const COMMITTED: Left = (true, true);
const IN_FORCE: Left = (true, false);

fn a_change_is_whole_or_absent(hook: IngressHook) {
    under_watch(hook, |client, app| {
        let change = Change::Authorize(PORTS.start);
        let back = Change::Revoke(PORTS.start).command(app);
        killed_before_each_step(client, app, change, &change.command(app), || {
            if Stored::of(app).ports.contains(&PORTS.start) {
                app.sgfw(&back).expect_success();
            }
        });
    });
}

/// Flows that live on because the command did not come to cut them can be cut, and none is cut that has its rule.
fn a_change_that_cuts_flows_is_whole_or_absent(hook: IngressHook) {
    const PORT: u16 = PORTS.start;
    under_watch(hook, |client, app| {
        let authorize = format!("rule authorize app {}", rule(PORT));
        let open_three = || {
            [(); 3].map(|()| {
                TcpStream::connect_timeout(&(app.address(Family::V4), PORT).into(), PATIENCE).unwrap()
            })
        };
        app.sgfw(&authorize).expect_success();
        let mut conversations = client.namespace().run(open_three);
        let change = Change::Revoke(PORT);
        killed_before_each_step(client, app, change, &format!("{} --flows cut", change.command(app)), || {
            if Stored::of(app).ports.contains(&PORT) {
                assert_eq!(cut(app, &conversations), [false; 3], "flows that have their rule");
                return;
            }
            app.sgfw("flows cut-orphaned").expect_success();
            assert_eq!(cut(app, &conversations), [true; 3]);
            app.sgfw(&authorize).expect_success();
            conversations = client.namespace().run(open_three);
        });
        assert_eq!(cut(app, &conversations), [true; 3]);
    });
}

/// Whether the flow of each conversation is cut.
fn cut(app: &Host, conversations: &[TcpStream; 3]) -> [bool; 3] {
    let flows = json(app, "flows list");
    let flows = flows["Flows"].as_array().unwrap();
    conversations.each_ref().map(|conversation| {
        let ends = [conversation.local_addr(), conversation.peer_addr()].map(|end| end.unwrap().port());
        let is_its = |flow: &&Value| [&flow["Initiator"]["Port"], &flow["Responder"]["Port"]] == ends;
        flows.iter().find(is_its).unwrap()["CutInSeconds"] == 0
    })
}

fn an_attachment_is_whole_or_absent(hook: IngressHook) {
    let (lab, _servers) = detached();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let command = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
    // What a killed one has left is taken by the next, and then all is as it was: each begins alike, and none of its steps is
    // missed.
    let detach = || {
        if !is_stored(app) {
            attach(app, hook, "app");
        }
        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    };
    let left = programs_killed_before_each_step(client, app, &command, detach);
    assert_eq!(left, BTreeSet::from([false, true]), "stored or not");
    assert!(is_stored(app));
}

fn a_detachment_is_whole_or_absent(hook: IngressHook) {
    let (lab, _servers) = detached();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let again = || {
        if !is_stored(app) {
            attach(app, hook, "app");
        }
    };
    let command = format!("interface detach {INTERFACE}");
    let left = programs_killed_before_each_step(client, app, &command, again);
    assert_eq!(left, BTreeSet::from([false, true]), "stored or not");
    assert!(!is_stored(app));
}

fn a_reload_leaves_an_interface_protected(hook: IngressHook) {
    under_watch(hook, |client, app| {
        let left = programs_killed_before_each_step(client, app, "interface reload", || {
            assert_eq!(json(app, "status")["NeedsRepair"], false);
        });
        assert_eq!(left, BTreeSet::from([true]));
    });
}

/// Kills `command`, which makes `change`, before each of its steps. After each, `reset` brings back what it is to change.
fn killed_before_each_step(
    client: &Host,
    app: &Host,
    change: Change,
    command: &str,
    mut reset: impl FnMut(),
) {
    let port = PORTS.start;
    let mut left = BTreeSet::new();
    for last in 0..MANY_STEPS {
        let before = Stored::of(app);
        let wanted = change.made_of(&before).unwrap();
        let stepped = app.sgfw_killed(command, &steps_of_a_change(), last);
        let after = Stored::of(app);
        assert!(after == before || after == wanted, "{stepped:?} {last}: {after:?}");
        let is_behind = is_behind(app);
        let in_force = if is_behind { &before } else { &after };
        assert_eq!(reaches(client, app, port), in_force.ports.contains(&port), "{stepped:?} {last}");
        if let Stepped::Ended(code) = stepped {
            assert_eq!((code, after, is_behind), (0, wanted, false), "the whole command");
            assert_eq!(left, BTreeSet::from([NOTHING, COMMITTED, IN_FORCE]), "of {last} steps");
            println!("{command}: {last} steps");
            return;
        }
        left.insert((after == wanted, is_behind));
        mend(app, last, &after);
        if is_behind {
            assert_in_force(client, app, &Stored::of(app), port);
        }
        reset();
    }
    panic!("{command} has no end");
}

/// Whether the store is newer than what is in force, which status says then, with the command that mends it.
#[track_caller]
pub(super) fn is_behind(app: &Host) -> bool {
    let status = json(app, "status");
    let [stored, in_force] = ["Stored", "InForce"].map(|of| status["Generation"][of].as_u64().unwrap());
    assert!(stored >= in_force, "{status:#}");
    assert_eq!(status["NeedsRepair"], stored > in_force);
    if stored > in_force {
        let text = app.sgfw("status").expect_success();
        let said = format!("Generation {stored} is stored, but {in_force} is in force");
        assert!(text.contains(&said) && text.contains("`sgfw repair`"), "{text}");
    }
    stored > in_force
}

/// Any change puts into force what was left, and so does the repair.
fn mend(app: &Host, turn: usize, stored: &Stored) {
    match (turn % 2, stored.has_extra_group) {
        (0, _) => app.sgfw("repair"),
        (_, true) => app.sgfw("group delete extra"),
        (_, false) => app.sgfw("group create extra --description scenario"),
    }
    .expect_success();
}

/// Kills `command` before each of its steps that concern programs; `reset` goes before. After the repair an interface that
/// is stored is protected, and one that is not is open. Returns which of both there was.
fn programs_killed_before_each_step(
    client: &Host,
    app: &Host,
    command: &str,
    mut reset: impl FnMut(),
) -> BTreeSet<bool> {
    let mut left = BTreeSet::new();
    for last in 0..MANY_STEPS {
        reset();
        let stepped = app.sgfw_killed(command, &STEPS_OF_PROGRAMS, last);
        if let Stepped::Ended(code) = stepped {
            assert_eq!(code, 0, "{command}");
            println!("{command}: {last} steps");
            return left;
        }
        let status = app.sgfw("status");
        if json(app, "status")["NeedsRepair"] == true {
            let said = format!("{}{}", status.stdout(), status.stderr());
            assert!(said.contains("`sgfw repair`"), "{stepped:?} {last}: {status}");
            app.sgfw("repair").expect_success();
        }
        assert_eq!(json(app, "status")["NeedsRepair"], false, "{stepped:?} {last}");
        let is_stored = is_stored(app);
        assert_eq!(reaches(client, app, NEVER_OPEN), !is_stored, "{stepped:?} {last}");
        assert!(reaches(client, app, ALWAYS_OPEN), "{stepped:?} {last}");
        let programs = attached_programs(app);
        assert_eq!(programs.len(), if is_stored { 2 } else { 0 }, "{stepped:?} {last}: {programs:?}");
        left.insert(is_stored);
    }
    panic!("{command} has no end");
}

/// A host with a group and servers, and nothing attached.
fn detached() -> (Lab, [TcpServer; 2]) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let app = lab.host("app");
    let servers = [ALWAYS_OPEN, NEVER_OPEN].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    create_group(
        app,
        "app",
        &[&format!("--ingress --protocol tcp --port {ALWAYS_OPEN} --cidr 10.77.0.0/16")],
    );
    (lab, servers)
}

fn is_stored(app: &Host) -> bool {
    !json(app, "interface list")["Interfaces"].as_array().unwrap().is_empty()
}

#[track_caller]
pub(super) fn reaches(client: &Host, app: &Host, port: u16) -> bool {
    match tcp_connect(client, app.address(Family::V4), port) {
        Open => true,
        Filtered => false,
        other => panic!("port {port}: {other}"),
    }
}
