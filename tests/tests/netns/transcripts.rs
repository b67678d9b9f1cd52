//! What `sgfw` says where interfaces are attached, word for word. Recorded anew with `SNAPSHOTS=overwrite`.

use firewall_tests::lab::{Host, Lab, Topology};
use firewall_tests::transcript::{Sandbox, check, transcripts};

use crate::support::privileged;

#[test]
fn commands_say_what_they_said() {
    privileged(|| {
        let differences: Vec<String> = transcripts("lab")
            .iter()
            .filter_map(|path| {
                let lab = Lab::build(&Topology::star(["host"])).unwrap();
                let host = lab.host("host");
                add_interfaces(host);
                check(path, &Sandbox::on(host)).err()
            })
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
    });
}

/// The interfaces that examples name. They lead nowhere, and speak only when they are made to: counters stay as they are.
fn add_interfaces(host: &Host) {
    for interface in ["eth1", "eth2"] {
        host.run(&format!("ip link add {interface} type veth peer name {interface}-peer")).expect_success();
        for end in [interface, &format!("{interface}-peer")] {
            host.run(&format!("sysctl --quiet net.ipv6.conf.{end}.disable_ipv6=1")).expect_success();
        }
    }
}
