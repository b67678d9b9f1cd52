//! Bulk traffic flows. How fast it flows is measured by the benchmarks, not here.

use firewall_tests::lab::{Family, IngressHook, Lab, Topology};

use crate::support::{on_every_hook, protect};

on_every_hook!(iperf3_moves_data_both_ways);

fn iperf3_moves_data_both_ways(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &["--ingress --protocol tcp --port 5201 --cidr 10.77.0.0/16 --cidr fd77::/16"]);
    for family in Family::ALL {
        for direction in ["", "--reverse"] {
            // A server that still closes one test refuses the next as "busy", so each test has a server of its own.
            let mut server = app.start("iperf3 --server --one-off --forceflush");
            server.wait_until(|server| server.log().contains("Server listening"));
            let line = format!("iperf3 --client {} --bytes 64M {direction}", app.address(family));
            let report = client.run(&line).expect_success();
            assert!(report.contains("iperf Done"), "{report}");
        }
    }
}
