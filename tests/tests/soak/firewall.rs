//! The firewalls that are held against each other, and the policy that all of them enforce: two TCP ports are open, one
//! to the forged sources and the lab's networks, which takes state, and one to everybody, which takes none.

use std::collections::BTreeMap;
use std::fs;

use firewall_tests::flood::{FloodKind, forged_sources};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab};
use serde_json::Value;

/// Open to some; replies need state.
pub(crate) const TRACKED_PORT: u16 = 7001;

/// Open to everybody in a group whose egress is open to everybody: no state is kept.
pub(crate) const UNTRACKED_PORT: u16 = 7002;

/// The networks of the lab.
fn clients(family: Family) -> &'static str {
    match family {
        Family::V4 => "10.77.0.0/16",
        Family::V6 => "fd77::/16",
    }
}

/// How large the flow table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Default,
    /// For [`SMALL_TABLE`] flows: a flood fills it a hundred times a second.
    Small,
}

/// Somewhat more than the live connections of these tests.
const SMALL_TABLE: u32 = 4096;

/// What protects the flooded host.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Firewall {
    Sgfw(IngressHook, Table),
    /// With conntrack, but for the untracked port.
    Nftables,
    None,
}

/// What a firewall holds.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// Live flows of each class.
    pub(crate) entries: BTreeMap<String, u64>,
    /// How many places there are for all of them.
    pub(crate) slots: u64,
    /// Bytes that the kernel accounts to the maps.
    pub(crate) memory: u64,
}

impl Firewall {
    /// Protects the host.
    #[track_caller]
    pub(crate) fn protect(self, lab: &Lab, app: &Host) {
        match self {
            Self::Sgfw(hook, table) => {
                app.sgfw("group create app --description flooded").expect_success();
                for family in Family::ALL {
                    let some = [clients(family), forged_sources(family)];
                    let everybody = [family.anywhere()];
                    for (port, peers) in [(TRACKED_PORT, &some[..]), (UNTRACKED_PORT, &everybody)] {
                        let peers = peers.join(" --cidr ");
                        let rule = format!("--ingress --protocol tcp --port {port} --cidr {peers}");
                        app.sgfw(&format!("rule authorize app {rule}")).expect_success();
                    }
                    let forged = forged_sources(family);
                    let datagrams = format!("--ingress --protocol udp --port {TRACKED_PORT} --cidr {forged}");
                    app.sgfw(&format!("rule authorize app {datagrams}")).expect_success();
                }
                let mut attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
                if table == Table::Small {
                    attach += &format!(" --flow-entries {SMALL_TABLE}");
                }
                app.sgfw(&attach).expect_success();
            }
            Self::Nftables => {
                let file = lab.directory().join("ruleset.nft");
                fs::write(&file, ruleset()).unwrap();
                app.run(&format!("nft --file {}", file.display())).expect_success();
            }
            Self::None => {}
        }
    }

    /// Packets decided so far as those of the flood have to be.
    #[track_caller]
    pub(crate) fn decided(self, app: &Host, kind: FloodKind) -> u64 {
        match self {
            Self::Sgfw(..) => ingress_packets(app, reason(kind)),
            Self::Nftables => {
                let counter = format!("nft --json list counter inet filter {}-frames", reason(kind));
                let json = json(app, &counter);
                number(&json["nftables"][1]["counter"]["packets"])
            }
            Self::None => {
                let json = json(app, &format!("ip -json -statistics link show dev {INTERFACE}"));
                number(&json[0]["stats64"]["rx"]["packets"])
            }
        }
    }

    /// What it holds now.
    #[track_caller]
    pub(crate) fn usage(self, app: &Host) -> Usage {
        match self {
            Self::Sgfw(..) => {
                let table = status(app)["FlowTable"].take();
                let classes = table["Classes"].as_array().unwrap().iter();
                let entries = classes.map(|row| (text(&row["Class"]), number(&row["Flows"]))).collect();
                Usage { entries, slots: number(&table["Slots"]), memory: map_memory(app) }
            }
            Self::Nftables => {
                let path = "/proc/sys/net/netfilter/nf_conntrack_count";
                let count = app.namespace().run(|| fs::read_to_string(path)).unwrap();
                let count = count.trim().parse().unwrap();
                Usage { entries: [("conntrack".to_owned(), count)].into(), ..Usage::default() }
            }
            Self::None => Usage::default(),
        }
    }
}

/// The reason under which frames of a flood are counted; nftables' counters are named after it.
fn reason(kind: FloodKind) -> &'static str {
    match kind {
        FloodKind::Syn { port: UNTRACKED_PORT } => "untracked",
        FloodKind::Syn { .. } | FloodKind::Acks { .. } | FloodKind::Datagrams { .. } => "rule",
        FloodKind::Udp => "no-rule",
    }
}

/// The policy as one would write it for nftables: established flows first, then a lookup in a set of intervals.
fn ruleset() -> String {
    let tracked = |family| {
        let peers = [clients(family), forged_sources(family)];
        peers.map(|peer| format!("{peer} . {TRACKED_PORT}")).join(", ")
    };
    let [tracked_v4, tracked_v6] = Family::ALL.map(tracked);
    let [forged_v4, forged_v6] = Family::ALL.map(forged_sources);
    format!(
        "table inet filter {{
            counter untracked-frames {{ }}
            counter rule-frames {{ }}
            counter no-rule-frames {{ }}
            set tracked_v4 {{
                type ipv4_addr . inet_service
                flags interval
                elements = {{ {tracked_v4} }}
            }}
            set tracked_v6 {{
                type ipv6_addr . inet_service
                flags interval
                elements = {{ {tracked_v6} }}
            }}
            chain before_conntrack_in {{
                type filter hook prerouting priority raw
                tcp dport {UNTRACKED_PORT} notrack
            }}
            chain before_conntrack_out {{
                type filter hook output priority raw
                tcp sport {UNTRACKED_PORT} notrack
            }}
            chain input {{
                type filter hook input priority filter
                policy drop
                ct state established,related accept
                tcp dport {UNTRACKED_PORT} counter name untracked-frames accept
                ip saddr . tcp dport @tracked_v4 counter name rule-frames accept
                ip6 saddr . tcp dport @tracked_v6 counter name rule-frames accept
                ip saddr {forged_v4} udp dport {TRACKED_PORT} counter name rule-frames accept
                ip6 saddr {forged_v6} udp dport {TRACKED_PORT} counter name rule-frames accept
                meta l4proto ipv6-icmp accept
                counter name no-rule-frames
            }}
            chain output {{
                type filter hook output priority filter
                policy accept
            }}
        }}\n"
    )
}

fn ingress_packets(app: &Host, reason: &str) -> u64 {
    let status = status(app);
    let rows = status["Counters"].as_array().unwrap().iter();
    rows.filter(|row| row["Direction"] == "ingress" && row["Reason"] == reason)
        .map(|row| number(&row["Packets"]))
        .sum()
}

fn status(app: &Host) -> Value {
    let output = app.sgfw("--output json status").expect_success();
    serde_json::from_str(&output).unwrap()
}

/// Bytes of all pinned maps.
fn map_memory(app: &Host) -> u64 {
    // Programs are pinned a directory below.
    let directory = app.instance().bpffs_directory.display().to_string();
    let pins = app.run(&format!("find {directory} -path */maps/* -type f -not -path */maps/*/*"));
    let pins = pins.expect_success();
    let memory =
        |pin: &str| number(&json(app, &format!("bpftool --json map show pinned {pin}"))["bytes_memlock"]);
    pins.lines().map(memory).sum()
}

fn json(host: &Host, line: &str) -> Value {
    let output = host.run(line).expect_success();
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{line}: {error}: {output}"))
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}
