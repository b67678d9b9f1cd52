//! A host stays on its network however closed it is: neighbour discovery and ARP are exempt.

use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(neighbours_are_found_again_after_they_expired);

fn neighbours_are_found_again_after_they_expired(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16"]);
    close_egress(app, "app");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
        for known in ["-4", "-6"] {
            app.run(&format!("ip {known} neighbour flush dev {INTERFACE}")).expect_success();
        }
        lab.router().ip_batch("neighbour flush dev to-app").unwrap();
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
}
