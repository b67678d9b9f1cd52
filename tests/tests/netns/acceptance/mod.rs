//! From the JSON of AWS groups to a host that enforces them, with nothing but what README.md shows.

use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Finished, Host, Lab, Topology, tcp_connect};

use crate::readme;
use crate::support::{Conversation, privileged};

/// What `aws ec2 describe-security-groups` prints.
const GROUPS: &str = include_str!("groups.json");

#[test]
fn groups_of_aws_are_enforced_by_the_commands_of_the_readme() {
    privileged(walk);
}

fn walk() {
    let lab = Lab::build(&Topology::star(["operator", "web", "app", "client"])).unwrap();
    let (web, app) = (lab.host("web"), lab.host("app"));
    let _web = [22, 80, 443, 8080].map(|port| Conversation::listen(web, port));
    let _app = [5432, 8080].map(|port| Conversation::listen(app, port));
    fs::write(lab.directory().join("groups.json"), GROUPS).unwrap();

    let mut transcript = String::new();
    for command in [
        "interface attach labnet0 --group default --audit",
        "import aws groups.json --interface labnet0=web --out policy.yaml",
        "plan -f policy.yaml",
        "apply -f policy.yaml --yes --confirm-timeout 60s",
        "confirm",
        "group add-member app 10.77.3.10/32 fd77:0:0:3::10/128",
        "interface set-options labnet0 --audit off",
    ] {
        transcript.push_str(&expect_transcript(in_directory(&lab, web, command), command));
    }
    expect_traffic(&lab);

    for command in ["export > export.yaml", "plan -f export.yaml --detailed-exitcode"] {
        transcript.push_str(&expect_transcript(in_directory(&lab, web, command), command));
    }
    readme::expect_transcript(1, &transcript);
}

/// Runs `sgfw` in a shell in the directory of the lab, where the files are.
fn in_directory(lab: &Lab, host: &Host, arguments: &str) -> Finished {
    let line = format!("cd {} && {}", lab.directory().display(), host.instance().line(arguments));
    host.run(&format!("sh -c {}", shell_words::quote(&line)))
}

/// What a terminal shows of a command that succeeds.
#[track_caller]
fn expect_transcript(finished: Finished, arguments: &str) -> String {
    let messages = finished.stderr();
    format!("web# sgfw {arguments}\n{}{messages}", finished.expect_success())
}

/// Each rule of the groups, and what no rule of them says.
#[track_caller]
fn expect_traffic(lab: &Lab) {
    let reaches = |from, to, family, port| tcp_connect(lab.host(from), lab.host(to).address(family), port);
    for family in Family::ALL {
        for port in [80, 443] {
            assert_eq!(reaches("client", "web", family, port), Open, "{family} {port}");
        }
        for port in [22, 8080] {
            assert_eq!(reaches("client", "web", family, port), Filtered, "{family} {port}");
        }
        assert_eq!(reaches("web", "app", family, 8080), Open, "{family}");
        assert_eq!(reaches("web", "app", family, 5432), Filtered, "{family}");
    }
    // The groups say so for IPv4 alone.
    assert_eq!(reaches("operator", "web", Family::V4, 22), Open);
    assert_eq!(reaches("operator", "web", Family::V6, 22), Filtered);
}
