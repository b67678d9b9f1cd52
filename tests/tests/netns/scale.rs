//! Large policies on an attached interface: a file of a hundred thousand prefixes and twenty thousand rules is applied, and a
//! single rule on top of it changes what it says and nothing else.

use std::fmt::Write as _;
use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, IngressHook, Lab, Reachability, Topology, tcp_connect};

use crate::support::{Conversation, attach, create_group, privileged};

const ENTRIES: u32 = 50_000;
const RULES: u32 = 20_000;

const LISTED: u16 = 80;
const OTHER: u16 = 81;

#[test]
fn a_large_policy_is_applied_and_changed_by_single_rules() {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["listed", "stranger", "app"])).unwrap();
        let [listed, stranger, app] = ["listed", "stranger", "app"].map(|name| lab.host(name));
        let _servers = [LISTED, OTHER].map(|port| Conversation::listen(app, port));
        create_group(app, "app", &[]);
        attach(app, IngressHook::Tc, "app");

        let path = lab.directory().join("policy.yaml");
        fs::write(&path, policy(listed)).unwrap();
        app.sgfw(&format!("apply -f {} --yes --quiet", path.display())).expect_success();
        let mut conversation = Conversation::open(listed, app, Family::V4, LISTED);
        for family in Family::ALL {
            let reaches = |from: &Host, port| tcp_connect(from, app.address(family), port);
            assert_eq!([reaches(listed, LISTED), reaches(listed, OTHER)], [Open, Filtered]);
            assert_eq!([reaches(stranger, LISTED), reaches(stranger, OTHER)], [Filtered, Filtered]);
        }

        let peers = Family::ALL.map(|family| format!("--cidr {}", stranger.prefix(family))).join(" ");
        let rule = format!("app --ingress --protocol tcp --port {OTHER} {peers}");
        let reach = |expected: [Reachability; 2]| {
            for family in Family::ALL {
                let reaches = |from| tcp_connect(from, app.address(family), OTHER);
                assert_eq!([reaches(listed), reaches(stranger)], expected);
            }
        };
        app.sgfw(&format!("rule authorize {rule}")).expect_success();
        reach([Filtered, Open]);
        app.sgfw(&format!("rule revoke {rule}")).expect_success();
        reach([Filtered, Filtered]);
        conversation.exchange();
    });
}

/// A list of each family with one host of the lab in it, and rules for hosts that are not there.
fn policy(listed: &Host) -> String {
    let mut policy = "version: 1\nprefix_lists:\n".to_owned();
    for family in Family::ALL {
        let name = family_name(family);
        let most = ENTRIES + 1;
        writeln!(policy, "  - name: {name}\n    family: {name}\n    max_entries: {most}\n    entries:")
            .unwrap();
        for number in 0..ENTRIES {
            writeln!(policy, "      - {{cidr: {}}}", elsewhere(family, 2 * number)).unwrap();
        }
        writeln!(policy, "      - {{cidr: {}}}", listed.prefix(family)).unwrap();
    }
    policy.push_str("groups:\n  - name: app\n    description: scenario\n    ingress:\n");
    for family in Family::ALL {
        let list = family_name(family);
        writeln!(policy, "      - {{protocol: tcp, ports: {LISTED}, prefix_list: {list}}}").unwrap();
    }
    for number in 0..RULES {
        let host = elsewhere(Family::V4, 2 * number + 1);
        writeln!(policy, "      - {{protocol: tcp, ports: {}, cidr: {host}}}", 1000 + number % 20).unwrap();
    }
    policy
}

const fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    }
}

/// A host that the lab does not have.
fn elsewhere(family: Family, number: u32) -> String {
    match family {
        Family::V4 => format!("100.{}.{}.{}/32", 64 + (number >> 16), number >> 8 & 0xff, number & 0xff),
        Family::V6 => format!("2001:db8::{:x}:{:x}/128", number >> 16, number & 0xffff),
    }
}
