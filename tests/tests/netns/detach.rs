//! `interface detach` undoes `interface attach`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};

use crate::support::{on_every_hook, protect};

on_every_hook!(detach_opens_traffic_and_leaves_nothing_behind);

fn detach_opens_traffic_and_leaves_nothing_behind(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = TcpServer::start(app, 80, |_| Ok(())).unwrap();
    let untouched = traces(app);

    protect(app, hook, "app", &[]);
    let programs = attached_programs(app);
    assert_eq!(programs.len(), 2, "one for each direction");
    assert!(programs.iter().all(|id| is_loaded(*id)));
    if hook == IngressHook::Xdp {
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
    vec![
        ask(&format!("ip -details -json link show dev {INTERFACE}")),
        ask(&format!("tc qdisc show dev {INTERFACE}")),
        ask(&format!("bpftool net show dev {INTERFACE}")),
    ]
}

/// The ids of the programs whose links the host's `sgfw` has pinned.
fn attached_programs(host: &Host) -> Vec<u64> {
    let pins = files(&host.instance().bpffs_directory);
    let links = pins.iter().filter_map(|pin| {
        let link = host.run(&format!("bpftool --json link show pinned {}", pin.display())).success().ok()?;
        serde_json::from_str::<serde_json::Value>(&link).unwrap()["prog_id"].as_u64()
    });
    links.collect()
}

fn is_loaded(program: u64) -> bool {
    let mut show = Command::new("bpftool");
    show.args(["prog", "show", "id", &program.to_string()]).output().unwrap().status.success()
}

/// The files below `directory`, at any depth.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten();
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(|entry| below(entry.path())).collect()
}
