//! A group's members are the addresses of the interfaces that carry it.

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Link, Reachability, Topology, ping};

use crate::support::{attach, create_group, on_every_hook};

on_every_hook!(a_group_admits_the_addresses_of_its_interfaces, a_group_without_members_admits_nobody);

/// The second interface of the host, and its link.
const SECOND: (&str, Link) = ("labnet1", Link(102));

fn a_group_admits_the_addresses_of_its_interfaces(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    add_second_interface(&lab, app);
    create_group(app, "cluster", &[]);
    create_group(
        app,
        "web",
        &[
            "--ingress --protocol icmp --source-group cluster",
            "--ingress --protocol icmpv6 --source-group cluster",
        ],
    );
    attach(app, hook, "web");
    let (second, link) = SECOND;
    app.sgfw(&format!("interface attach {second} --group cluster --ingress-hook {hook}")).expect_success();
    for family in Family::ALL {
        assert_eq!(ping_from(app, link, family), Open);
        assert_eq!(ping(client, app.address(family)), Filtered);
    }

    app.sgfw(&format!("interface set-groups {second} --group default")).expect_success();
    for family in Family::ALL {
        assert_eq!(ping_from(app, link, family), Filtered);
    }
}

fn a_group_without_members_admits_nobody(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    create_group(app, "clients", &[]);
    create_group(app, "web", &["--ingress --protocol icmp --source-group clients"]);
    attach(app, hook, "web");
    assert_eq!(ping(client, app.address(Family::V4)), Filtered);

    app.sgfw(&format!("group add-member clients {}", client.prefix(Family::V4))).expect_success();
    assert_eq!(ping(client, app.address(Family::V4)), Open);

    app.sgfw(&format!("group remove-member clients {}", client.prefix(Family::V4))).expect_success();
    assert_eq!(ping(client, app.address(Family::V4)), Filtered);
}

/// Pings the host's first address from its second one.
fn ping_from(app: &Host, link: Link, family: Family) -> Reachability {
    let line = format!("ping -n -c 1 -W 0.4 -I {} {}", link.host(family), app.address(family));
    if app.run(&line).success().is_ok() { Open } else { Filtered }
}

/// Gives the host a second interface, and makes it send what it says to itself through the router: a host would
/// otherwise keep it to itself, and no interface would see it.
fn add_second_interface(lab: &Lab, host: &Host) {
    let (second, link) = SECOND;
    lab.router()
        .ip_batch(&format!(
            "link add to-{second} type veth peer name {second} netns {}\n\
             link set to-{second} up\n\
             address add {}/24 dev to-{second}\n\
             address add {}/64 dev to-{second} nodad\n",
            host.namespace().name(),
            link.router(Family::V4),
            link.router(Family::V6)
        ))
        .unwrap();
    for interface in [INTERFACE, second] {
        host.namespace().configure(&format!("net/ipv4/conf/{interface}/accept_local"), "1").unwrap();
    }
    host.namespace()
        .ip_batch(&format!(
            "link set {second} up\naddress add {}/24 dev {second}\naddress add {}/64 dev {second} nodad\n",
            link.host(Family::V4),
            link.host(Family::V6)
        ))
        .unwrap();
    for family in Family::ALL {
        let six = if family == Family::V6 { "-6" } else { "-4" };
        let (one, two) = (host.address(family), link.host(family));
        let commands = [
            format!("rule add pref 1 iif {INTERFACE} lookup local"),
            format!("rule add pref 2 iif {second} lookup local"),
            format!("rule add pref 3 from {two} to {one} lookup 102"),
            format!("rule add pref 4 from {one} to {two} lookup 101"),
            "rule add pref 5 lookup local".to_owned(),
            "rule delete pref 0".to_owned(),
            format!("route add default via {} dev {INTERFACE} table 101", host.link().router(family)),
            format!("route add default via {} dev {second} table 102", link.router(family)),
        ];
        for command in commands {
            host.run(&format!("ip {six} {command}")).expect_success();
        }
    }
}
