//! Replies pass with nothing in the opposite direction's rules, and nothing but replies does.

use firewall_tests::lab::Reachability::{Filtered, Open, Refused};
use firewall_tests::lab::{
    Family, IngressHook, Lab, TcpServer, Topology, UdpServer, ping, tcp_connect, udp_exchange,
};

use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(replies_leave_without_egress_rules, replies_enter_without_ingress_rules);

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn replies_leave_without_egress_rules(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [client, app].map(|host| (tcp_server(host, 80), UdpServer::start_echo(host, 53).unwrap()));
    protect(
        app,
        hook,
        "app",
        &[
            "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol udp --port 53 --cidr 10.77.0.0/16 --cidr fd77::/16",
            "--ingress --protocol icmp --cidr 10.77.0.0/16",
            "--ingress --protocol icmpv6 --cidr fd77::/16",
        ],
    );
    close_egress(app, "app");
    for family in Family::ALL {
        let (inside, outside) = (app.address(family), client.address(family));
        assert_eq!(tcp_connect(client, inside, 80), Open);
        assert_eq!(udp_exchange(client, inside, 53), Open);
        assert_eq!(ping(client, inside), Open);
        assert_eq!(tcp_connect(app, outside, 80), Filtered);
        assert_eq!(udp_exchange(app, outside, 53), Filtered);
        assert_eq!(ping(app, outside), Filtered);
    }
}

fn replies_enter_without_ingress_rules(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [client, app].map(|host| (tcp_server(host, 80), UdpServer::start_echo(host, 53).unwrap()));
    protect(app, hook, "app", &[]);
    for family in Family::ALL {
        let (inside, outside) = (app.address(family), client.address(family));
        assert_eq!(tcp_connect(app, outside, 80), Open);
        // The reset is a reply too, and so is the error that nobody listens on a UDP port.
        assert_eq!(tcp_connect(app, outside, 81), Refused);
        assert_eq!(udp_exchange(app, outside, 53), Open);
        assert_eq!(udp_exchange(app, outside, 54), Refused);
        assert_eq!(ping(app, outside), Open);
        assert_eq!(tcp_connect(client, inside, 80), Filtered);
        assert_eq!(udp_exchange(client, inside, 53), Filtered);
        assert_eq!(ping(client, inside), Filtered);
    }
}

fn tcp_server(host: &firewall_tests::lab::Host, port: u16) -> TcpServer {
    TcpServer::start(host, port, |_| Ok(())).unwrap()
}
