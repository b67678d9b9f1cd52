//! The library without the command line: protects an interface of a network namespace of its own, opens a port, and asks what
//! is in force. Needs root: `sudo cargo run -p firewall-userspace --example own_namespace`.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use firewall_common::abi::Direction;
use firewall_userspace::model::{IngressHook, Service, Tags};
use firewall_userspace::operations::commands::attach::{AttachRequest, attach};
use firewall_userspace::operations::commands::detach::detach;
use firewall_userspace::operations::commands::rules::{Peers, RuleRequest, authorize};
use firewall_userspace::operations::queries::tracking::{Tracking, tracking};
use firewall_userspace::operations::{ChangeOptions, Guard, Instance, Operator};
use nix::sched::{CloneFlags, unshare};

const INTERFACE: &str = "sgfw-example";

fn main() -> Result<(), Box<dyn Error>> {
    println!("port 443 is {}", run()?.name());
    Ok(())
}

/// Whether the port that it opens is tracked.
pub(crate) fn run() -> Result<Tracking, Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    for command in [format!("link add {INTERFACE} type veth"), format!("link set {INTERFACE} up")] {
        if !Command::new("ip").args(command.split(' ')).status()?.success() {
            return Err(format!("ip {command}").into());
        }
    }
    let directory = std::env::temp_dir().join(format!("sgfw-example-{}", std::process::id()));
    let instance = Instance {
        state_dir: directory.clone(),
        bpffs: PathBuf::from(format!("/sys/fs/bpf/sgfw-example-{}", std::process::id())),
        lock_timeout: Duration::from_secs(5),
    };
    let operator = Operator::default();
    let request = AttachRequest {
        interface: INTERFACE.to_owned(),
        groups: vec!["default".parse()?],
        ingress_hook: IngressHook::Tc,
        log_drops: false,
        audit: false,
        flow_entries: Some(1024),
        mount_bpffs: None,
    };
    let attached = attach(&instance, &operator, Guard::On, &request)?;
    attached.leftovers.iter().for_each(|left| eprintln!("warning: {left}"));
    let rule = RuleRequest {
        direction: Direction::Ingress,
        service: Service::new("tcp".parse()?, Some("443".parse()?), None)?,
        peers: Peers { cidrs: vec!["192.0.2.0/24".parse()?], ..Peers::default() },
    };
    let options = ChangeOptions::new(&operator, Guard::On);
    let added = authorize(&instance, options, &"default".parse()?, &rule, None, &Tags::default())?;
    let of_rule = tracking(&instance)?.get(&added.outcome[0].id).copied();
    detach(&instance, &operator, Guard::On, INTERFACE)?.iter().for_each(|left| eprintln!("warning: {left}"));
    std::fs::remove_dir_all(&directory)?;
    of_rule.ok_or_else(|| "the rule is not in force".into())
}
