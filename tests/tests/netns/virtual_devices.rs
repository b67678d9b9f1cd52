//! Bridges, their ports and macvlan devices are protected like any other interface.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, ping, tcp_connect,
};

use crate::support::{create_group, json, on_every_hook};

on_every_hook!(
    a_bridge_device_is_protected,
    a_bridge_port_is_protected,
    what_a_bridge_forwards_is_judged_at_its_port,
    a_macvlan_device_is_protected,
);

const BRIDGE: &str = "br0";

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

/// Bridges have no XDP of their own: what the operator gets is generic XDP.
fn a_bridge_device_is_protected(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    build_bridge(lab.host("app"));
    attach(lab.host("app"), hook, BRIDGE, "xdp-generic");
    assert_protected(&lab, lab.host("app"));
}

fn a_bridge_port_is_protected(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    build_bridge(lab.host("app"));
    attach(lab.host("app"), hook, INTERFACE, "xdp-native");
    assert_protected(&lab, lab.host("app"));
}

/// A guest behind the bridge, as virtual machines and containers are, with an address of the same network.
fn what_a_bridge_forwards_is_judged_at_its_port(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app", "guest"])).unwrap();
    let (app, guest) = (lab.host("app"), lab.host("guest"));
    build_bridge(app);
    lab.router().ip_batch("link delete to-guest").unwrap();
    app.namespace()
        .ip_batch(&format!(
            "link add guest0 type veth peer name {INTERFACE} netns {}\n\
             link set guest0 master {BRIDGE}\n\
             link set guest0 up\n",
            guest.namespace().name()
        ))
        .unwrap();
    let [v4, v6] = Family::ALL.map(|family| guest_address(app, family));
    let [router_v4, router_v6] = Family::ALL.map(|family| app.link().router(family));
    guest
        .namespace()
        .ip_batch(&format!(
            "link set {INTERFACE} up\n\
             address add {v4}/24 dev {INTERFACE}\n\
             address add {v6}/64 dev {INTERFACE} nodad\n\
             route add default via {router_v4}\n\
             route add default via {router_v6}\n"
        ))
        .unwrap();
    let _servers = [80, 22].map(|port| TcpServer::start(guest, port, |_| Ok(())).unwrap());
    attach(app, hook, INTERFACE, "xdp-native");

    let client = lab.host("client");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, guest_address(app, family), 80), Open);
        assert_eq!(tcp_connect(client, guest_address(app, family), 22), Filtered);
        assert_eq!(ping(client, guest_address(app, family)), Filtered);
        assert_eq!(ping(guest, client.address(family)), Open);
    }
}

fn a_macvlan_device_is_protected(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let app = lab.host("app");
    app.namespace()
        .ip_batch(&format!(
            "link add macvlan0 link {INTERFACE} type macvlan mode bridge\nlink set macvlan0 up\n"
        ))
        .unwrap();
    move_addresses(app, "macvlan0");
    // Linux answers ARP for any of its addresses on any interface: the router would learn the unprotected
    // lower device's MAC, or the macvlan device's, whichever answered first.
    app.namespace().configure(&format!("net/ipv4/conf/{INTERFACE}/arp_ignore"), "1").unwrap();
    lab.router().ip_batch("neighbour flush all\n").unwrap();
    attach(app, hook, "macvlan0", "xdp-generic");
    assert_protected(&lab, app);
}

/// Makes the host's interface a port of a bridge, which takes its addresses over.
#[track_caller]
fn build_bridge(host: &Host) {
    host.namespace()
        .ip_batch(&format!(
            "link add {BRIDGE} type bridge forward_delay 0\n\
             link set {INTERFACE} master {BRIDGE}\n\
             link set {BRIDGE} up\n"
        ))
        .unwrap();
    move_addresses(host, BRIDGE);
}

#[track_caller]
fn move_addresses(host: &Host, device: &str) {
    let [v4, v6] = Family::ALL.map(|family| host.address(family));
    let [router_v4, router_v6] = Family::ALL.map(|family| host.link().router(family));
    host.namespace()
        .ip_batch(&format!(
            // Routes of IPv6 go with the interface, not with the address.
            "link set {INTERFACE} down\n\
             address flush dev {INTERFACE}\n\
             link set {INTERFACE} up\n\
             address add {v4}/24 dev {device}\n\
             address add {v6}/64 dev {device} nodad\n\
             route add default via {router_v4}\n\
             route add default via {router_v6}\n"
        ))
        .unwrap();
}

#[track_caller]
fn attach(host: &Host, hook: IngressHook, device: &str, on_xdp: &str) {
    create_group(host, "app", &[ADMITTED]);
    host.sgfw(&format!("interface attach {device} --group app --ingress-hook {hook}")).expect_success();
    let in_force = match hook {
        IngressHook::Xdp => on_xdp,
        IngressHook::Tc => "tcx",
    };
    assert_eq!(json(host, "interface list")["Interfaces"][0]["IngressHook"], in_force);
}

/// The rule admits what it says and nothing else, and the host's own traffic goes out and is answered.
#[track_caller]
fn assert_protected(lab: &Lab, app: &Host) {
    let client = lab.host("client");
    let _servers = [80, 22].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open, "{family}");
        assert_eq!(tcp_connect(client, app.address(family), 22), Filtered, "{family}");
        assert_eq!(ping(client, app.address(family)), Filtered, "{family}");
        assert_eq!(ping(app, client.address(family)), Open, "{family}");
    }
}

/// An address in the network of the host's link.
fn guest_address(host: &Host, family: Family) -> std::net::IpAddr {
    match host.address(family) {
        std::net::IpAddr::V4(address) => (u32::from(address) + 1).to_be_bytes().into(),
        std::net::IpAddr::V6(address) => (u128::from(address) + 1).to_be_bytes().into(),
    }
}
