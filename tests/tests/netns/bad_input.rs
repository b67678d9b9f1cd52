//! What goes wrong on a real host ends with an error that says so, a documented exit code, and nothing changed.
//!
//! Bad input that needs no kernel to be refused is tested with the command line (`firewall-userspace/tests/cli/`).

use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    BPFFS, Family, Host, INTERFACE, IngressHook, Instance, Lab, TcpServer, Topology, tcp_connect,
};

use crate::support::{create_group, json, on_every_hook, privileged, protect};

on_every_hook!(an_unknown_interface_is_refused, a_directory_outside_bpffs_is_refused);

fn an_unknown_interface_is_refused(hook: IngressHook) {
    refused(|host| {
        let error = host.sgfw(&attach("eth9", hook)).expect_failure(65);
        assert!(error.contains("eth9") && error.contains(INTERFACE), "{error}");
    });
}

fn a_directory_outside_bpffs_is_refused(hook: IngressHook) {
    refused(|host| {
        let pins = host.instance().state_directory.join("pins");
        let elsewhere = Instance { bpffs_directory: pins, ..host.instance().clone() };
        let error = host.run(&elsewhere.line(&attach(INTERFACE, hook))).expect_failure(69);
        assert!(error.contains("mount -t bpf"), "{error}");
    });
}

#[test]
fn a_missing_bpffs_is_refused_or_mounted() {
    privileged(|| {
        refused(|host| {
            let attach = attach(INTERFACE, IngressHook::Tc);
            let without = |command: String| {
                let script = format!("umount --lazy {BPFFS} && {command}");
                host.run(&format!("unshare --mount sh -c {}", shell_words::quote(&script)))
            };
            let error = without(host.instance().line(&attach)).expect_failure(69);
            assert!(error.contains("mount -t bpf") && error.contains("--mount-bpffs"), "{error}");

            let mounting = host.instance().line(&format!("{attach} --mount-bpffs"));
            let status = host.instance().line("status");
            let status = without(format!("{mounting} && {status}")).expect_success();
            assert!(status.contains("tcx") || status.contains("clsact"), "{status}");
            host.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        });
    });
}

#[test]
fn root_is_required() {
    privileged(|| {
        let (lab, host) = host_with_server();
        let host = lab.host(host);
        // Where `nobody` may execute it.
        let program = lab.directory().join("sgfw");
        fs::copy(&host.instance().program, &program).unwrap();
        let copy = Instance { program, ..host.instance().clone() };
        // With and without `--netns`, which is what root is needed for first.
        for sgfw in [Instance { namespace: None, ..copy.clone() }, copy] {
            let line = sgfw.line(&attach(INTERFACE, IngressHook::Tc));
            let error = host.run(&format!("setpriv --reuid 65534 --clear-groups {line}")).expect_failure(77);
            assert!(error.contains("root"), "{error}");
        }
    });
}

#[test]
fn what_the_kernel_can_is_asked_and_not_read_from_its_version() {
    privileged(|| {
        for hook in [IngressHook::Xdp, IngressHook::Tc] {
            let (lab, host) = host_with_server();
            let host = lab.host(host);
            host.sgfw("group create web --description version").expect_success();
            let line = host.instance().line(&attach(INTERFACE, hook));
            host.run(&format!("setarch --uname-2.6 {line}")).expect_success();
            assert_eq!(json(host, "status")["Interfaces"][0]["Attached"], true);
        }
    });
}

/// The other program is that of another instance of sgfw, which is as foreign as any.
#[test]
fn a_foreign_xdp_program_is_named_and_left_alone() {
    privileged(|| {
        let (lab, host) = host_with_server();
        let (client, host) = (lab.host("client"), lab.host(host));
        protect(host, IngressHook::Xdp, "owner", &[]);

        let other = Instance {
            state_directory: lab.directory().join("other"),
            bpffs_directory: host.instance().bpffs_directory.with_file_name("other"),
            ..host.instance().clone()
        };
        let other = |arguments: &str| host.run(&other.line(arguments));
        other("group create web --description other").expect_success();
        let error = other(&attach(INTERFACE, IngressHook::Xdp)).expect_failure(1);
        assert!(error.contains("ingress_xdp") && error.contains(INTERFACE), "{error}");
        let listed = other("-o json interface list").expect_success();
        assert!(!listed.contains(INTERFACE), "{listed}");
        assert_eq!(tcp_connect(client, host.address(Family::V4), 80), Filtered);
    });
}

/// Runs `attempt` on a host with the group `web`, and checks that it has changed nothing.
#[track_caller]
fn refused(attempt: impl FnOnce(&Host)) {
    let (lab, host) = host_with_server();
    let (client, host) = (lab.host("client"), lab.host(host));
    let _server = TcpServer::start(host, 80, |_| Ok(())).unwrap();
    create_group(host, "web", &[]);
    let before = stored(host);
    attempt(host);
    assert_eq!(stored(host), before);
    assert!(!host.instance().bpffs_directory.exists(), "pins are left");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, host.address(family), 80), Open);
    }
}

fn host_with_server() -> (Lab, &'static str) {
    (Lab::build(&Topology::star(["client", "app"])).unwrap(), "app")
}

fn stored(host: &Host) -> [String; 3] {
    ["group list", "rule list", "interface list"]
        .map(|line| host.sgfw(&format!("-o json {line}")).expect_success())
}

fn attach(interface: &str, hook: IngressHook) -> String {
    format!("interface attach {interface} --group web --ingress-hook {hook}")
}
