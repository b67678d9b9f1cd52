//! Devices that a host may lack, or that only a machine has: VLAN devices, bonds, cards with XDP of their own.
//! `cargo xtask guest` runs these in a guest, with the modules of its kernel.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, Lab, Namespace, TcpServer, Topology, ping, tcp_connect};

use crate::support::{Conversation, create_group, json};

const RULE: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

/// The router's end of the link.
const FAR_END: &str = "to-app";

/// Addresses of the guest's cards (`xtask/src/kernels/guest.rs`), the host's and the router's end of a cable.
const VIRTIO: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];
const VMXNET3: [&str; 2] = ["52:54:00:00:00:04", "52:54:00:00:00:05"];

/// The machine hands this card frames that are larger than the network's, and does not let its driver turn that off.
const WITH_OFFLOADS: &str = "52:54:00:00:00:03";

#[test]
#[ignore = "needs the VLAN module: `cargo xtask guest`"]
fn a_vlan_is_protected_on_its_device_and_below_it() {
    const VLAN: &str = "vlan5";
    let lab = lab();
    let app = lab.host("app");
    for (namespace, lower) in [(app.namespace(), INTERFACE), (lab.router(), FAR_END)] {
        let add = format!("link add {VLAN} link {lower} type vlan id 5\nlink set {VLAN} up\n");
        namespace.ip_batch(&add).unwrap();
    }
    move_addresses(app.namespace(), Side::Host(app), INTERFACE, VLAN);
    move_addresses(lab.router(), Side::Router(app), FAR_END, VLAN);
    for offload in ["on", "off"] {
        for (namespace, lower) in [(app.namespace(), INTERFACE), (lab.router(), FAR_END)] {
            for feature in ["rxvlan", "txvlan"] {
                set_feature(namespace, lower, feature, offload);
            }
        }
        for (device, hook, in_force) in [
            (VLAN, "auto", "tcx"),
            (VLAN, "xdp", "xdp-generic"),
            (INTERFACE, "tc", "tcx"),
            (INTERFACE, "xdp", "xdp-native"),
        ] {
            assert_protected(&lab, device, hook, in_force, || ());
        }
    }
}

#[test]
#[ignore = "needs the bonding module: `cargo xtask guest`"]
fn a_bond_is_protected_whichever_of_its_devices_carries_it() {
    const BOND: &str = "bond0";
    let lab = lab();
    let (app, router) = (lab.host("app"), lab.router());
    router
        .ip_batch(&format!(
            "link add to-app1 type veth peer name labnet1 netns {}\n\
             link add br0 type bridge forward_delay 0\n\
             link set {FAR_END} master br0\n\
             link set to-app1 master br0\n\
             link set to-app1 up\n\
             link set br0 up\n",
            app.namespace().name()
        ))
        .unwrap();
    move_addresses(router, Side::Router(app), FAR_END, "br0");
    app.namespace()
        .ip_batch(&format!(
            "link add {BOND} type bond mode active-backup miimon 20\n\
             link set {INTERFACE} down\n\
             address flush dev {INTERFACE}\n\
             link set {INTERFACE} master {BOND}\n\
             link set labnet1 master {BOND}\n\
             link set {BOND} up\n"
        ))
        .unwrap();
    give_addresses(app.namespace(), Side::Host(app), BOND);
    let active = || {
        let link = app.run(&format!("ip -details -json link show dev {BOND}")).expect_success();
        let link: serde_json::Value = serde_json::from_str(&link).unwrap();
        link[0]["linkinfo"]["info_data"]["active_slave"].as_str().unwrap_or_default().to_owned()
    };
    let fail_over = || {
        let failing = active();
        app.namespace().ip_batch(&format!("link set {failing} down\n")).unwrap();
        wait_until("the other device carries the bond", || {
            ![failing.as_str(), ""].contains(&active().as_str())
        });
        app.namespace().ip_batch(&format!("link set {failing} up\n")).unwrap();
    };
    wait_until("the bond has a device", || !active().is_empty());
    // Of software, so that `auto` does not take native XDP.
    for (hook, in_force) in [("auto", "tcx"), ("tc", "tcx"), ("xdp", "xdp-native")] {
        assert_protected(&lab, BOND, hook, in_force, fail_over);
    }
}

#[test]
#[ignore = "needs the cards of a guest: `cargo xtask guest`"]
fn virtio_net_decides_by_its_own_xdp() {
    assert_native_xdp(VIRTIO);
}

#[test]
#[ignore = "needs the cards of a guest: `cargo xtask guest`"]
fn vmxnet3_decides_by_its_own_xdp() {
    assert_native_xdp(VMXNET3);
}

#[track_caller]
fn assert_native_xdp(cable: [&str; 2]) {
    let lab = lab();
    let app = lab.host("app");
    lab.router().ip_batch(&format!("link delete {FAR_END}\n")).unwrap();
    take_card(cable[0], app.namespace(), INTERFACE);
    take_card(cable[1], lab.router(), FAR_END);
    give_addresses(lab.router(), Side::Router(app), FAR_END);
    give_addresses(app.namespace(), Side::Host(app), INTERFACE);
    for (hook, in_force) in [("auto", "xdp-native"), ("xdp", "xdp-native"), ("tc", "tcx")] {
        assert_protected(&lab, INTERFACE, hook, in_force, || ());
    }
}

/// virtio-net has native XDP and refuses it while frames come larger than a page. It says so once, when it is asked; from
/// then on `status` knows that native XDP was not to be had.
#[test]
#[ignore = "needs the cards of a guest: `cargo xtask guest`"]
fn a_card_that_refuses_native_xdp_decides_elsewhere_and_says_why() {
    let lab = lab();
    let app = lab.host("app");
    lab.router().ip_batch(&format!("link delete {FAR_END}\n")).unwrap();
    take_card(WITH_OFFLOADS, app.namespace(), INTERFACE);
    create_group(app, "app", &[RULE]);
    for (hook, in_force) in [("auto", "tcx"), ("xdp", "xdp-generic")] {
        let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
        let attached = app.sgfw(&attach);
        let said = attached.stderr();
        attached.expect_success();
        let reason = said.lines().find(|line| line.starts_with("native XDP was refused: "));
        assert!(reason.is_some_and(|reason| reason.contains("GRO_HW")), "{hook}: {said}");
        assert_eq!(json(app, "interface list")["Interfaces"][0]["IngressHook"], in_force, "{hook}");
        let status = app.sgfw("status --verbose").expect_success();
        let because = "not with these offloads";
        let line = status.lines().find(|line| line.starts_with(INTERFACE) && line.contains(because));
        assert!(line.is_some_and(|line| line.contains(in_force)), "{hook}: {status}");
        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    }
}

fn lab() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// Attaches to `device`, and sees that the rule admits what it says and nothing else, both ways of saying it, while two
/// connections go on through everything, `meanwhile` too, until the device is open again.
#[track_caller]
fn assert_protected(lab: &Lab, device: &str, hook: &str, in_force: &str, meanwhile: impl Fn()) {
    let (client, app) = (lab.host("client"), lab.host("app"));
    let context = format!("{device}, {hook}");
    let _servers = (Conversation::listen(app, 80), TcpServer::start(app, 22, |_| Ok(())).unwrap());
    let mut held = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    let ports =
        || Family::ALL.map(|family| [80, 22].map(|port| tcp_connect(client, app.address(family), port)));
    assert_eq!(ports(), [[Open; 2]; 2], "{context}");
    if app.sgfw("group show app").success().is_err() {
        create_group(app, "app", &[RULE]);
    }

    app.sgfw(&format!("interface attach {device} --group app --ingress-hook {hook}")).expect_success();
    assert_eq!(json(app, "interface list")["Interfaces"][0]["IngressHook"], in_force, "{context}");
    for _ in 0..2 {
        assert_eq!(ports(), [[Open, Filtered]; 2], "{context}");
        for family in Family::ALL {
            assert_eq!(ping(client, app.address(family)), Filtered, "{context}");
            assert_eq!(ping(app, client.address(family)), Open, "{context}");
        }
        held.iter_mut().for_each(Conversation::exchange);
        meanwhile();
    }

    app.sgfw(&format!("interface detach {device}")).expect_success();
    held.iter_mut().for_each(Conversation::exchange);
    assert_eq!(ports(), [[Open; 2]; 2], "{context}");
}

/// Which end of a host's link.
#[derive(Clone, Copy)]
enum Side<'a> {
    Host(&'a Host),
    Router(&'a Host),
}

/// Takes the addresses of a link's end from one device and gives them to another one.
#[track_caller]
fn move_addresses(namespace: &Namespace, side: Side<'_>, from: &str, to: &str) {
    // Routes of IPv6 go with the interface, not with the address.
    let take = format!("link set {from} down\naddress flush dev {from}\nlink set {from} up\n");
    namespace.ip_batch(&take).unwrap();
    give_addresses(namespace, side, to);
}

#[track_caller]
fn give_addresses(namespace: &Namespace, side: Side<'_>, device: &str) {
    let (Side::Host(host) | Side::Router(host)) = side;
    let router = Family::ALL.map(|family| host.link().router(family));
    let [v4, v6] = match side {
        Side::Host(_) => Family::ALL.map(|family| host.address(family)),
        Side::Router(_) => router,
    };
    let add = format!(
        "link set {device} up\naddress add {v4}/24 dev {device}\naddress add {v6}/64 dev {device} nodad\n"
    );
    namespace.ip_batch(&add).unwrap();
    if let Side::Host(_) = side {
        let [v4, v6] = router;
        namespace.ip_batch(&format!("route add default via {v4}\nroute add default via {v6}\n")).unwrap();
    }
}

#[track_caller]
fn set_feature(namespace: &Namespace, interface: &str, feature: &str, state: &str) {
    let output = namespace.command("ethtool").args(["-K", interface, feature, state]).output().unwrap();
    assert!(output.status.success(), "{feature}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Moves the card with this address into a namespace. It comes back to the guest's own a moment after that has ended.
#[track_caller]
fn take_card(address: &str, namespace: &Namespace, name: &str) {
    let mut card = None;
    wait_until(&format!("there is a card with the address {address}"), || {
        card = fs::read_dir("/sys/class/net").unwrap().flatten().find(|device| {
            fs::read_to_string(device.path().join("address")).is_ok_and(|found| found.trim() == address)
        });
        card.is_some()
    });
    let card = card.unwrap().file_name().into_string().unwrap();
    let mut take = std::process::Command::new("ip");
    take.args(["link", "set", "dev", &card, "netns", namespace.name(), "name", name]);
    let output = take.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "still not so: {what}");
        sleep(Duration::from_millis(20));
    }
}
