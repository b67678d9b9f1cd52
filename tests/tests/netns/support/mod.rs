//! What the scenarios share: running on each hook, protecting a host, servers, conversations.

mod attacker;
mod behind;
mod conversation;
pub(crate) mod counters;
mod denied_probe;
pub(crate) mod servers;

use std::fs;
use std::path::{Path, PathBuf};

use firewall_tests::lab::{Host, INTERFACE, IngressHook, missing_privilege};
use serde_json::Value;

pub(crate) use attacker::Attacker;
pub(crate) use behind::{InnerNetwork, put_behind};
pub(crate) use conversation::Conversation;
pub(crate) use denied_probe::{probe_during, probe_watched};

/// Makes a test of each scenario (`fn(IngressHook)`) for each ingress hook.
macro_rules! on_every_hook {
    ($($scenario:ident),+ $(,)?) => {
        $(mod $scenario {
            #[test]
            fn on_xdp() {
                crate::support::privileged(|| super::$scenario(firewall_tests::lab::IngressHook::Xdp));
            }

            #[test]
            fn on_tc() {
                crate::support::privileged(|| super::$scenario(firewall_tests::lab::IngressHook::Tc));
            }
        })+
    };
}
pub(crate) use on_every_hook;

/// Runs `scenario` if this process may make namespaces and load programs, and says so if not.
pub(crate) fn privileged(scenario: impl FnOnce()) {
    let Some(missing) = missing_privilege() else {
        return scenario();
    };
    let required = std::env::var_os("SGFW_REQUIRE_BPF").is_some_and(|value| value == "1");
    assert!(!required, "SGFW_REQUIRE_BPF=1, but this test needs {missing}");
    eprintln!("skipped: needs {missing}");
}

/// Whether the long form of a test is wanted.
pub(crate) fn is_soak() -> bool {
    std::env::var_os("SGFW_SOAK").is_some_and(|value| value == "1")
}

/// Gives the host's interface a new group with `rules`, each as `sgfw rule authorize GROUP` takes it.
///
/// Like every new group it lets everything out, until [`close_egress`].
#[track_caller]
pub(crate) fn protect(host: &Host, hook: IngressHook, group: &str, rules: &[&str]) {
    create_group(host, group, rules);
    attach(host, hook, group);
}

/// Creates a group with `rules`.
#[track_caller]
pub(crate) fn create_group(host: &Host, group: &str, rules: &[&str]) {
    host.sgfw(&format!("group create {group} --description scenario")).expect_success();
    for rule in rules {
        host.sgfw(&format!("rule authorize {group} {rule}")).expect_success();
    }
}

/// Attaches to the host's interface, and makes sure that it is the wanted hook that decides.
#[track_caller]
pub(crate) fn attach(host: &Host, hook: IngressHook, group: &str) {
    host.sgfw(&format!("interface attach {INTERFACE} --group {group} --ingress-hook {hook}"))
        .expect_success();
    let in_force = match hook {
        IngressHook::Xdp => "xdp-native",
        IngressHook::Tc => "tcx",
    };
    assert_eq!(json(host, "interface list")["Interfaces"][0]["IngressHook"], in_force);
}

/// Revokes the egress rules that every new group has.
#[track_caller]
pub(crate) fn close_egress(host: &Host, group: &str) {
    let revoke = format!("rule revoke {group} --egress --protocol all --cidr 0.0.0.0/0 --cidr ::/0");
    host.sgfw(&revoke).expect_success();
}

/// What a command of `sgfw` says as JSON.
#[track_caller]
pub(crate) fn json(host: &Host, arguments: &str) -> Value {
    let output = host.sgfw(&format!("--output json {arguments}")).expect_success();
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// The Ethernet address of a host's interface.
#[track_caller]
pub(crate) fn hardware_address(host: &Host) -> [u8; 6] {
    let links = host.run(&format!("ip -json link show dev {INTERFACE}")).expect_success();
    let links: Value = serde_json::from_str(&links).unwrap();
    let digits = links[0]["address"].as_str().unwrap().split(':');
    let bytes: Vec<u8> = digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// The ids of the programs whose links the host's `sgfw` has pinned.
#[track_caller]
pub(crate) fn attached_programs(host: &Host) -> Vec<u64> {
    let pins = files(&host.instance().bpffs_directory);
    let links = pins.iter().filter_map(|pin| {
        let link = host.run(&format!("bpftool --json link show pinned {}", pin.display())).success().ok()?;
        serde_json::from_str::<Value>(&link).unwrap()["prog_id"].as_u64()
    });
    links.collect()
}

/// The files below `directory`, at any depth.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}
