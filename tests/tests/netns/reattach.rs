//! What the store knows and the kernel has lost, by a reboot or with the interface, can be attached again or forgotten.

use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, INTERFACE_INDEX, IngressHook, Lab, TcpServer, Topology, tcp_connect,
};
use serde_json::json;

use crate::support::{attach, json, on_every_hook, protect, without_tcx};

on_every_hook!(
    an_interface_is_attached_again_after_a_reboot,
    an_interface_made_anew_is_attached_again,
    an_interface_made_anew_with_the_same_index_is_attached_again,
    an_interface_that_is_gone_is_detached,
);
without_tcx!(
    an_interface_is_attached_again_after_a_reboot,
    an_interface_made_anew_is_attached_again,
    an_interface_made_anew_with_the_same_index_is_attached_again,
    an_interface_that_is_gone_is_detached,
);

/// To the kernel a reboot is the loss of every pin.
fn an_interface_is_attached_again_after_a_reboot(hook: IngressHook) {
    attached_again_after(hook, |lab| {
        fs::remove_dir_all(&lab.host("app").instance().bpffs_directory).unwrap();
    });
}

fn an_interface_made_anew_is_attached_again(hook: IngressHook) {
    attached_again_after(hook, |lab| make_anew(lab, INTERFACE_INDEX + 1));
}

/// Only the link of the programs, or a dump of filters, knows that this is another interface.
fn an_interface_made_anew_with_the_same_index_is_attached_again(hook: IngressHook) {
    attached_again_after(hook, |lab| make_anew(lab, INTERFACE_INDEX));
}

fn an_interface_that_is_gone_is_detached(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["app"])).unwrap();
    let app = lab.host("app");
    protect(app, hook, "app", &[]);

    lab.router().ip_batch("link delete to-app").unwrap();
    assert!(!is_attached(app));
    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    assert_eq!(json(app, "interface list")["Interfaces"], json!([]));
    assert!(!app.instance().bpffs_directory.exists(), "pins are left");
}

fn make_anew(lab: &Lab, index: u32) {
    lab.router().ip_batch("link delete to-app").unwrap();
    lab.connect(lab.host("app"), index).unwrap();
}

/// An interface that `lose` takes the programs from is not said to be attached, and is protected again once it is.
fn attached_again_after(hook: IngressHook, lose: impl FnOnce(&Lab)) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [80, 22].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    let admitted = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";
    protect(app, hook, "app", &[admitted]);
    assert!(is_attached(app));

    lose(&lab);
    assert!(!is_attached(app));

    attach(app, hook, "app");
    assert!(is_attached(app));
    for family in Family::ALL {
        let address = app.address(family);
        assert_eq!(tcp_connect(client, address, 80), Open);
        assert_eq!(tcp_connect(client, address, 22), Filtered);
    }
}

/// Whether `sgfw` says so.
fn is_attached(host: &Host) -> bool {
    json(host, "status")["Interfaces"][0]["Attached"] == true
}
