//! What operations may cost: what a change reads and compiles, and what a listing keeps.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use firewall_common::abi::Direction;
use nix::sched::{CloneFlags, unshare};

use super::commands::attach::{AttachRequest, attach};
use super::commands::rules::{Peers, RuleRequest, RuleSelection};
use super::commands::{detach, document, groups, interfaces, panic, rules};
use super::flows::{Flow, OrphanedFlows};
use super::policy::COMPILED;
use super::queries::flows::flows;
use super::queries::plan;
use super::{ChangeOptions, Guard, Instance, OperationError, Operator};
use crate::datapath::Datapath;
use crate::document::Input;
use crate::model::{IngressHook, Service, Tags};
use crate::store::reads;

const INTERFACE: &str = "sgfw-budget0";

/// What one change has cost.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    /// Tables that were read more than once.
    read_again: Vec<(String, u32)>,
    compiled: u32,
}

/// Makes a change and says what it has cost.
fn cost<T, E: std::fmt::Debug>(change: impl FnOnce() -> Result<T, E>) -> Cost {
    reads::take();
    COMPILED.set(0);
    let _ = change().unwrap();
    let reads = reads::take();
    assert!(reads.len() > 3, "{reads:?}");
    Cost { read_again: reads.into_iter().filter(|(_, times)| *times > 1).collect(), compiled: COMPILED.get() }
}

fn no_more_than(compiled: u32) -> Cost {
    Cost { read_again: Vec::new(), compiled }
}

/// A pair of devices in a network namespace of this thread's own, and an instance; `None` where they cannot be made.
fn instance(test: &str) -> Option<(Instance, tempfile::TempDir)> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: this test needs root");
        return None;
    }
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    for command in [
        format!("link add {INTERFACE} type veth peer name sgfw-budget1"),
        format!("address add 10.99.0.1/24 dev {INTERFACE}"),
        format!("link set {INTERFACE} up"),
        "link set sgfw-budget1 up".to_owned(),
        "link set lo up".to_owned(),
    ] {
        assert!(Command::new("ip").args(command.split(' ')).status().unwrap().success(), "ip {command}");
    }
    let directory = tempfile::tempdir().unwrap();
    let instance = Instance {
        state_dir: directory.path().to_owned(),
        bpffs: PathBuf::from(format!("/sys/fs/bpf/sgfw-{test}-{}", std::process::id())),
        lock_timeout: Duration::from_secs(60),
    };
    Some((instance, directory))
}

fn to_attach(flow_entries: u32) -> AttachRequest {
    AttachRequest {
        interface: INTERFACE.to_owned(),
        groups: vec!["default".parse().unwrap()],
        ingress_hook: IngressHook::Tc,
        log_drops: false,
        audit: false,
        flow_entries: Some(flow_entries),
        mount_bpffs: None,
    }
}

/// Anonymous memory of this process, in bytes. The flow table is none: it is the kernel's, and mapped.
fn anonymous_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn neither_a_listing_nor_a_change_keeps_the_flows_that_it_goes_through() {
    const FLOWS: u32 = 300_000;
    const KEPT: u64 = 48 << 20;
    let Some((instance, _directory)) = instance("listing") else { return };
    let instance = &instance;
    let operator = Operator::default();
    let options = ChangeOptions::new(&operator, Guard::On);
    let _ = attach(instance, &operator, Guard::On, &to_attach(2 * FLOWS)).unwrap();
    let zone = instance.read(|snapshot| Ok(snapshot.interfaces()?[0].zone)).unwrap();
    Datapath::open(&instance.bpffs).unwrap().unwrap().begin_flows(zone, FLOWS);
    let before = anonymous_memory();
    let (mut listed, mut most) = (0, 0);
    let unnamed = flows(instance, |flow: Flow| {
        assert!(flow.is_orphaned && flow.interfaces == [INTERFACE]);
        if listed % 10_000 == 0 {
            most = anonymous_memory().max(most);
        }
        listed += 1;
        Ok::<_, OperationError>(())
    });
    assert_eq!((listed, unnamed.unwrap()), (FLOWS, 0));
    assert!(most < before + KEPT, "{most} bytes, {before} before");
    let cut = ChangeOptions { cut_after: Some(Duration::ZERO), ..options };
    let default = ["default".parse().unwrap()];
    let orphaned = interfaces::set_groups(instance, cut, INTERFACE, &default).unwrap().orphaned_flows;
    assert_eq!((orphaned.flows.len(), orphaned.count()), (OrphanedFlows::KEPT, u64::from(FLOWS)));
    assert!(anonymous_memory() < before + KEPT, "{before} before");
    detach::detach(instance, &operator, Guard::On, INTERFACE).unwrap();
    std::fs::remove_dir(&instance.bpffs).ok();
}

#[test]
fn a_change_reads_each_table_once_and_compiles_what_was_before_it_and_what_it_makes() {
    let Some((instance, _directory)) = instance("reads") else { return };
    let instance = &instance;
    let operator = Operator::default();
    let options = ChangeOptions::new(&operator, Guard::On);
    let cut = ChangeOptions { cut_after: Some(Duration::ZERO), ..options };
    let web = &"web".parse().unwrap();
    let (name, description) = ("web".parse().unwrap(), "a tier".parse().unwrap());
    let _ = groups::create(instance, options, name, description, Tags::default()).unwrap();
    let request = |port: &str| RuleRequest {
        direction: Direction::Ingress,
        service: Service::new("tcp".parse().unwrap(), Some(port.parse().unwrap()), None).unwrap(),
        peers: Peers { cidrs: vec!["10.99.0.0/24".parse().unwrap()], ..Peers::default() },
    };
    let authorize =
        |port: &str| rules::authorize(instance, options, web, &request(port), None, &Tags::default());
    let request_to_attach = AttachRequest {
        interface: INTERFACE.to_owned(),
        groups: vec!["default".parse().unwrap()],
        ingress_hook: IngressHook::Tc,
        log_drops: false,
        audit: false,
        flow_entries: Some(1024),
        mount_bpffs: None,
    };
    assert_eq!(
        cost(|| attach(instance, &operator, Guard::On, &request_to_attach)),
        no_more_than(1),
        "attach"
    );
    // What the host begins is a flow, so that what was before a change is asked for.
    let neighbour = "neighbour add 10.99.0.2 lladdr 02:00:00:00:00:02 dev sgfw-budget0";
    assert!(Command::new("ip").args(neighbour.split(' ')).status().unwrap().success());
    let address = "10.99.0.2:80".parse().unwrap();
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).unwrap_err();
    assert_eq!(cost(|| authorize("443")), no_more_than(1), "authorize");
    let both = ["web".parse().unwrap(), "default".parse().unwrap()];
    let set_groups = |options, groups| interfaces::set_groups(instance, options, INTERFACE, groups);
    assert_eq!(cost(|| set_groups(options, &both)), no_more_than(2), "set-groups");
    assert_eq!(cost(|| authorize("80")), no_more_than(1), "authorize, in force");
    let of_80 = RuleSelection::Properties(web.clone(), request("80"));
    assert_eq!(cost(|| rules::revoke(instance, cut, &of_80)), no_more_than(2), "revoke --flows cut");
    // What is stored must compile too, so that panic mode can end.
    let _ = panic::set(instance, options, true).unwrap();
    assert_eq!(cost(|| authorize("81")), no_more_than(2), "authorize, in panic mode");
    let _ = panic::set(instance, options, false).unwrap();
    let text = "version: 1\ngroups:\n  - name: web\n    description: a tier\n    ingress:\n      \
                - {protocol: tcp, ports: 22, cidr: 10.99.0.0/24}\n";
    let policy = instance.state_dir.join("policy.yaml");
    std::fs::write(&policy, text).unwrap();
    let document = crate::document::read(&[Input::Path(policy)]).unwrap();
    let planned = plan::plan(instance, document).unwrap();
    let apply = || document::apply(instance, options, &planned.saved, &planned.difference.changes);
    assert_eq!(cost(apply), no_more_than(2), "apply");
    assert_eq!(cost(|| detach::detach(instance, &operator, Guard::On, INTERFACE)), no_more_than(0), "detach");
    std::fs::remove_dir(&instance.bpffs).ok();
}
