//! What nmap finds is what the rules admit, not a port more.

use firewall_tests::lab::{Family, Host, IngressHook, Lab, TcpServer, Topology, UdpServer};

use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(nmap_finds_exactly_the_admitted_ports);

/// Ports with a server, whether they are admitted or not.
const LISTENING: [u16; 6] = [22, 80, 443, 3306, 8001, 8080];

fn nmap_finds_exactly_the_admitted_ports(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["scanner", "app"])).unwrap();
    let (scanner, app) = (lab.host("scanner"), lab.host("app"));
    let _tcp = LISTENING.map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    let _udp = [53, 123].map(|port| UdpServer::start_echo(app, port).unwrap());
    protect(
        app,
        hook,
        "app",
        &[
            "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol tcp --port 443 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol tcp --port 8000-8002 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol udp --port 161 --cidr 10.77.0.0/16 --cidr fd77::/16",
        ],
    );
    close_egress(app, "app");
    for family in Family::ALL {
        for method in ["-sT", "-sS"] {
            let found = scan(scanner, app, family, &format!("{method} -p 1-1024,3306,7999-8003,8080"));
            // Closed: admitted, but nobody listens.
            assert_eq!(
                found,
                ["80/open", "443/open", "8000/closed", "8001/open", "8002/closed"],
                "{method} {family}"
            );
        }
        let found = scan(scanner, app, family, "-sU -p 53,123,161");
        assert_eq!(found, ["53/open", "123/open|filtered", "161/closed"], "{family}");
    }
}

/// Ports and their states as nmap reports them, but for those it found filtered.
fn scan(from: &Host, to: &Host, family: Family, what: &str) -> Vec<String> {
    let six = if family == Family::V6 { "-6" } else { "" };
    let line = format!(
        "nmap {six} -Pn -n --max-retries 1 --max-rtt-timeout 100ms --min-rate 3000 {what} -oG - {}",
        to.address(family)
    );
    let report = from.run(&line).expect_success();
    let ports = report
        .lines()
        .filter_map(|line| line.split_once("Ports: "))
        .flat_map(|(_, ports)| ports.split('\t').next().unwrap_or_default().split(", "));
    let states = ports.filter_map(|port| {
        let mut fields = port.split('/');
        Some(format!("{}/{}", fields.next()?, fields.next()?))
    });
    states.filter(|state| !state.ends_with("/filtered")).collect()
}
