//! What goes wrong on a real host ends with an error that says so, a documented exit code, and nothing changed.
//!
//! Bad input that needs no kernel to be refused is tested with the command line (`firewall-userspace/tests/cli/`).

use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    BPFFS, Family, Host, INTERFACE, IngressHook, Instance, Lab, TcpServer, Topology, has_tcx, tcp_connect,
};

use crate::support::{create_group, json, on_every_hook, privileged, protect, without_tcx};

on_every_hook!(
    an_unknown_interface_is_refused,
    a_directory_outside_bpffs_is_refused,
    a_capability_that_root_lacks_is_named,
    a_namespace_that_forbids_bpf_is_no_lack_of_a_capability,
    programs_that_cannot_be_looked_up_are_not_said_to_be_lost
);
without_tcx!(filters_need_a_capability_of_their_own);

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
        let pins = &elsewhere.bpffs_directory;
        assert!(error.contains(&format!("mount -t bpf bpf {}", pins.display())), "{error}");
    });
}

/// As in a container, or in a unit of systemd.
fn a_capability_that_root_lacks_is_named(hook: IngressHook) {
    for (dropped, named) in [("bpf", "CAP_BPF"), ("perfmon", "CAP_PERFMON"), ("net_admin", "CAP_NET_ADMIN")] {
        refused(|host| {
            let here = Instance { namespace: None, ..host.instance().clone() };
            // For bpf(2) CAP_SYS_ADMIN stands for all of them.
            let line = without_capabilities(&[dropped, "sys_admin"], &here.line(&attach(INTERFACE, hook)));
            let error = host.run(&line).expect_failure(77);
            assert!(error.contains(&format!("using BPF needs {named},")), "{error}");
            assert!(!error.contains("verifier") && !error.contains("sudo"), "{error}");
        });
    }
    refused(|host| {
        let line = without_capabilities(&["sys_admin"], &host.instance().line(&attach(INTERFACE, hook)));
        let error = host.run(&line).expect_failure(77);
        assert!(error.contains("entering a network namespace needs CAP_SYS_ADMIN"), "{error}");
        assert!(!error.contains("sudo"), "{error}");
    });
}

/// CAP_SYS_ADMIN stands for none that netlink asks for.
fn filters_need_a_capability_of_their_own(hook: IngressHook) {
    refused(|host| {
        let here = Instance { namespace: None, ..host.instance().clone() };
        let line = without_capabilities(&["net_admin"], &here.line(&attach(INTERFACE, hook)));
        let error = host.run(&line).expect_failure(77);
        assert!(error.contains("changing filters of traffic control needs CAP_NET_ADMIN"), "{error}");
    });
}

/// Where root has every capability, and the kernel heeds none of them.
fn a_namespace_that_forbids_bpf_is_no_lack_of_a_capability(hook: IngressHook) {
    refused(|host| {
        let here = Instance { namespace: None, ..host.instance().clone() };
        let line = format!("unshare --user --map-root-user {}", here.line(&attach(INTERFACE, hook)));
        let error = host.run(&line).expect_failure(77);
        assert!(
            error.contains("the kernel forbids using BPF") && error.contains("user namespace"),
            "{error}"
        );
    });
}

/// What attaches, but cannot look at what is attached.
fn programs_that_cannot_be_looked_up_are_not_said_to_be_lost(hook: IngressHook) {
    let (lab, host) = host_with_server();
    let host = lab.host(host);
    protect(host, hook, "web", &[]);
    let here = Instance { namespace: None, ..host.instance().clone() };
    let before = stored(host);
    for command in ["status", "rule authorize web --ingress --protocol tcp --port 80 --cidr 0.0.0.0/0"] {
        // Filters of clsact are looked at by netlink.
        if command == "status" && !has_tcx() {
            continue;
        }
        let error = host.run(&without_capabilities(&["sys_admin"], &here.line(command))).expect_failure(77);
        assert!(error.contains("CAP_SYS_ADMIN") && !error.contains("is open"), "{error}");
    }
    assert_eq!(stored(host), before);
}

#[test]
fn a_machine_without_sysfs_is_told_so() {
    privileged(|| {
        refused(|host| {
            let bpffs = host.instance().state_directory.join("bpffs");
            let pins = bpffs.join("pins");
            let elsewhere = Instance { bpffs_directory: pins.clone(), ..host.instance().clone() };
            let script = format!(
                "mkdir {bpffs} && mount -t bpf bpf {bpffs} && mount -t tmpfs tmpfs /sys && {}",
                elsewhere.line(&attach(INTERFACE, IngressHook::Tc)),
                bpffs = bpffs.display(),
            );
            let line = format!("unshare --mount sh -c {}", shell_words::quote(&script));
            let error = host.run(&line).expect_failure(69);
            assert!(error.contains("which CPUs") && error.contains("mount -t sysfs"), "{error}");
        });
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

/// The command line as root has it that was never given these capabilities.
fn without_capabilities(dropped: &[&str], line: &str) -> String {
    let dropped = dropped.iter().map(|name| format!("-{name}")).collect::<Vec<_>>().join(",");
    format!("setpriv --bounding-set {dropped} --inh-caps {dropped} -- {line}")
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
