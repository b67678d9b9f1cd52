//! The ruleset of `sgfw export --format nft` admits without sgfw what the groups admitted with it.

use std::fs;

use firewall_tests::lab::Reachability::{self, Filtered, Refused};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology, tcp_connect};

use crate::support::{attach, create_group, privileged};

#[test]
fn a_ruleset_does_what_the_groups_did() {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["client", "server"])).unwrap();
        let [client, server] = ["client", "server"].map(|name| lab.host(name));
        create_group(server, "clients", &[]);
        server.sgfw(&format!("group add-member clients {}", client.prefix(Family::V4))).expect_success();
        create_group(
            server,
            "web",
            &[
                "--ingress --protocol tcp --port 440-443 --cidr 0.0.0.0/0 --cidr ::/0",
                "--ingress --protocol tcp --port 8080 --source-group clients",
            ],
        );
        attach(server, IngressHook::Tc, "web");
        // Admitted ports refuse, for nothing listens; a reply to the server is tracked.
        let expected = [Refused, Refused, Refused, Filtered, Filtered, Filtered, Refused, Refused];
        assert_eq!(reachable(client, server), expected);

        let ruleset = lab.directory().join("ruleset.nft");
        fs::write(&ruleset, server.sgfw("export --format nft").expect_success()).unwrap();
        server.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        assert_eq!(reachable(client, server), [Refused; 8]);

        // Twice: it replaces itself.
        for _ in 0..2 {
            server.run(&format!("nft -f {}", ruleset.display())).expect_success();
            assert_eq!(reachable(client, server), expected);
        }
    });
}

fn reachable(client: &Host, server: &Host) -> [Reachability; 8] {
    let [v4, v6] = Family::ALL.map(|family| server.address(family));
    let [client_v4, client_v6] = Family::ALL.map(|family| client.address(family));
    [
        tcp_connect(client, v4, 443),
        tcp_connect(client, v6, 440),
        tcp_connect(client, v4, 8080),
        tcp_connect(client, v6, 8080),
        tcp_connect(client, v4, 444),
        tcp_connect(client, v6, 22),
        tcp_connect(server, client_v4, 22),
        tcp_connect(server, client_v6, 22),
    ]
}
