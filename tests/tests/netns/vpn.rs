//! Interfaces without an Ethernet header, as VPNs have them.

use std::net::IpAddr;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, Lab, Process, TcpServer, Topology, ping, tcp_connect};

use crate::support::{create_group, json, privileged};

/// The interface at either end of the tunnel.
const TUNNEL: &str = "vpn0";

#[test]
fn a_tunnel_is_protected_on_tc() {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let (client, app) = (lab.host("client"), lab.host("app"));
        let _tunnel = [start_end(client, app, 1), start_end(app, client, 2)];
        let _servers = [80, 22].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
        create_group(
            app,
            "vpn",
            &["--ingress --protocol tcp --port 80 --cidr 10.88.0.0/24 --cidr fd88::/64"],
        );

        app.sgfw(&format!("interface attach {TUNNEL} --group vpn")).expect_success();

        assert_eq!(json(app, "status")["Interfaces"][0]["IngressHook"], "tcx");
        for family in Family::ALL {
            assert_eq!(tcp_connect(client, address(family, 2), 80), Open);
            assert_eq!(tcp_connect(client, address(family, 2), 22), Filtered);
            assert_eq!(ping(client, address(family, 2)), Filtered);
            assert_eq!(ping(app, address(family, 1)), Open);
        }
    });
}

#[test]
fn xdp_on_a_tunnel_is_refused() {
    privileged(|| {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let (client, app) = (lab.host("client"), lab.host("app"));
        let _tunnel = start_end(app, client, 2);
        create_group(app, "vpn", &[]);

        let attach = format!("interface attach {TUNNEL} --group vpn --ingress-hook xdp");
        let error = app.sgfw(&attach).expect_failure(65);

        assert!(error.contains(TUNNEL) && error.contains("--ingress-hook tc"), "{error}");
        assert_eq!(json(app, "interface list")["Interfaces"], serde_json::json!([]));
    });
}

/// One end of a tunnel: IP packets in UDP datagrams between the hosts' own addresses.
#[track_caller]
fn start_end(host: &Host, to: &Host, number: u8) -> Process {
    let [here, there] = [host, to].map(|host| host.address(Family::V4));
    let mut end = host.start(&format!(
        "socat TUN,tun-name={TUNNEL},iff-no-pi,iff-up UDP-DATAGRAM:{there}:7000,bind={here}:7000"
    ));
    end.wait_until(|_| host.run(&format!("ip link show dev {TUNNEL}")).success().is_ok());
    let [v4, v6] = Family::ALL.map(|family| address(family, number));
    let commands = format!("address add {v4}/24 dev {TUNNEL}\naddress add {v6}/64 dev {TUNNEL} nodad\n");
    host.namespace().ip_batch(&commands).unwrap();
    end
}

/// The address of an end of the tunnel.
fn address(family: Family, number: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 88, 0, number].into(),
        Family::V6 => [0xfd88, 0, 0, 0, 0, 0, 0, number.into()].into(),
    }
}
