//! What the scenarios share: running on each hook, protecting a host, servers, conversations.

mod attacker;
mod behind;
mod conversation;
pub(crate) mod counters;
mod denied_probe;
pub(crate) mod servers;

use std::fs;
use std::path::{Path, PathBuf};

use firewall_tests::lab::{Host, INTERFACE, IngressHook, has_tcx, missing_privilege};
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

/// Makes a test of each scenario (`fn(IngressHook)`) on TC where the kernel has no TCX.
macro_rules! without_tcx {
    ($($scenario:ident),+ $(,)?) => {
        mod without_tcx {
            $(#[test]
            fn $scenario() {
                crate::support::privileged(|| {
                    firewall_tests::lab::without_tcx(|| super::$scenario(firewall_tests::lab::IngressHook::Tc));
                });
            })+
        }
    };
}
pub(crate) use without_tcx;

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
        IngressHook::Tc => tc_in_force(),
    };
    let interface = &json(host, "interface list")["Interfaces"][0];
    assert_eq!(interface["IngressHook"], in_force);
    assert_eq!(interface["EgressHook"], tc_in_force());
}

/// What TC programs are attached by.
pub(crate) fn tc_in_force() -> &'static str {
    if has_tcx() { "tcx" } else { "clsact" }
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

/// The ids of the programs on the host's interface: of the links that its `sgfw` has pinned, and of filters.
#[track_caller]
pub(crate) fn attached_programs(host: &Host) -> Vec<u64> {
    let pins = files(&host.instance().bpffs_directory);
    let links = pins.iter().filter_map(|pin| {
        let link = host.run(&format!("bpftool --json link show pinned {}", pin.display())).success().ok()?;
        serde_json::from_str::<Value>(&link).unwrap()["prog_id"].as_u64()
    });
    let filters = ["ingress", "egress"].into_iter().flat_map(|direction| filters(host, direction));
    links.chain(filters.filter_map(|filter| filter["options"]["prog"]["id"].as_u64())).collect()
}

/// The filters of one direction of the host's interface, as `tc` shows them.
#[track_caller]
pub(crate) fn filters(host: &Host, direction: &str) -> Vec<Value> {
    let shown = host.run(&format!("tc -json filter show dev {INTERFACE} {direction}")).expect_success();
    let filters: Vec<Value> = serde_json::from_str(&shown).unwrap_or_default();
    // Without the entries that stand for all filters of a priority.
    filters.into_iter().filter(|filter| filter["options"].is_object()).collect()
}

/// The files below `directory`, at any depth; none if there is no such directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let entries = entries.flatten();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}
