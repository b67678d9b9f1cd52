//! A host gets its address by DHCP and keeps it, however closed it is.

use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, Process, Topology};

use crate::support::{close_egress, on_every_hook, protect};

on_every_hook!(a_closed_host_gets_a_lease_and_renews_it);

fn a_closed_host_gets_a_lease_and_renews_it(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    let _server = start_server(&lab);
    protect(app, hook, "app", &[]);
    close_egress(app, "app");

    // Broadcasts. The client keeps its files where nobody else sees them, and tells nobody about the lease.
    let client = format!(
        "dhcpcd --ipv4only --oneshot --nobackground --noarp --timeout 6 --script /bin/true {INTERFACE}"
    );
    let private = "mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/dhcpcd && mount -t tmpfs tmpfs /run";
    app.run(&format!("unshare --mount --pid --fork sh -c '{private} && {client}'")).expect_success();
    let addresses = app.run(&format!("ip -4 address show dev {INTERFACE} dynamic")).expect_success();
    assert!(addresses.contains("inet 10.77.1.1"), "no lease: {addresses}");

    // To the server's own address, as in a renewal.
    let server = app.link().router(Family::V4);
    let report = app.run(&format!("nmap -n -Pn -sU -p 67 --max-retries 0 --script dhcp-discover {server}"));
    let report = report.expect_success();
    assert!(report.contains("DHCPACK"), "{report}");
}

/// A DHCP server on the router.
fn start_server(lab: &Lab) -> Process {
    let mut server = lab.router().command("dnsmasq");
    server.args([
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        "--port=0",
        "--interface=to-app",
        "--bind-interfaces",
        "--dhcp-authoritative",
        "--dhcp-range=10.77.1.100,10.77.1.199,255.255.255.0,120",
    ]);
    server.arg(format!("--dhcp-leasefile={}", lab.directory().join("leases").display()));
    let mut server = Process::start(&mut server);
    server.wait_until(|server| server.log().contains("IP range"));
    server
}
