//! `interface detach` undoes `interface attach`.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, has_tcx, tcp_connect,
};

use crate::support::{attached_programs, on_every_hook, protect, without_tcx};

on_every_hook!(detach_opens_traffic_and_leaves_nothing_behind);
without_tcx!(detach_opens_traffic_and_leaves_nothing_behind);

fn detach_opens_traffic_and_leaves_nothing_behind(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    let untouched = traces(app);

    protect(app, hook, "app", &[]);
    let programs = attached_programs(app);
    assert_eq!(programs.len(), 2, "one for each direction");
    assert!(programs.iter().all(|id| is_loaded(*id)));
    if hook == IngressHook::Xdp || !has_tcx() {
        assert_ne!(traces(app), untouched);
    }
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Filtered);
    }

    app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
    assert_eq!(traces(app), untouched);
    assert!(!app.instance().bpffs_directory.exists(), "pins are left");
    // The kernel frees programs a moment after their last user is gone.
    let start = Instant::now();
    while programs.iter().any(|id| is_loaded(*id)) {
        assert!(start.elapsed() < Duration::from_secs(5), "programs are left: {programs:?}");
        sleep(Duration::from_millis(20));
    }
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 80), Open);
    }
}

/// What other tools see at the interface. Programs at TCX, which many of them do not know, do not show.
fn traces(host: &Host) -> Vec<String> {
    let ask = |line: &str| host.run(line).expect_success();
    let mut qdiscs = ask(&format!("tc qdisc show dev {INTERFACE}"));
    if !has_tcx() {
        // It stays, since others may have come to use it.
        qdiscs = qdiscs.lines().filter(|qdisc| !qdisc.contains("clsact")).collect();
    }
    vec![
        ask(&format!("ip -details -json link show dev {INTERFACE}")),
        qdiscs,
        ask(&format!("bpftool net show dev {INTERFACE}")),
    ]
}

fn is_loaded(program: u64) -> bool {
    let mut show = Command::new("bpftool");
    show.args(["prog", "show", "id", &program.to_string()]).output().unwrap().status.success()
}
