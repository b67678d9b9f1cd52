//! A kernel without TCX: programs are filters of clsact, which others may delete, and beside which others have their own.
//! `cargo xtask kernels 6.1 --flow` runs this on Debian 12's kernel too.

use std::fs;

use firewall_tests::lab::Reachability::{self, Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Instance, Lab, TcpServer, Topology, has_tcx, tcp_connect,
    without_tcx,
};
use serde_json::{Value, json};

use crate::support::{attach, attached_programs, create_group, filters, json, privileged, protect};

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

const DIRECTIONS: [&str; 2] = ["ingress", "egress"];

/// That of sgfw's filters, "sgfw".
const HANDLE: u64 = 0x7367_6677;

#[test]
fn a_qdisc_that_is_deleted_is_seen_and_mended() {
    on_clsact(|lab| {
        let (client, app) = (lab.host("client"), lab.host("app"));
        protect(app, IngressHook::Tc, "app", &[ADMITTED]);
        assert_eq!(ports(client, app), [Open, Filtered]);
        run(app, &format!("tc qdisc delete dev {INTERFACE} clsact"));
        assert_eq!(ports(client, app), [Open, Open], "what the warning is for");
        let status = app.sgfw("status");
        let warning = format!("{INTERFACE} has lost its programs, and its traffic is open; `sgfw repair`");
        assert!(status.stderr().contains(&warning), "{status}");
        assert_eq!(json(app, "status")["NeedsRepair"], true);

        assert_eq!(json(app, "repair")["Interfaces"][0]["Outcome"], "attached-again");
        assert_eq!(ports(client, app), [Open, Filtered]);
        assert_eq!(json(app, "status")["NeedsRepair"], false);
        assert_eq!(attached_programs(app).len(), 2);
        assert_eq!(pins(app).len(), 2, "those of the lost programs are gone");
    });
}

#[test]
fn what_others_have_at_our_place_stays() {
    on_clsact(|lab| {
        let (client, app) = (lab.host("client"), lab.host("app"));
        run(app, &format!("tc qdisc add dev {INTERFACE} clsact"));
        let foreign = |pref: u64| {
            for direction in DIRECTIONS {
                add_filter(app, direction, pref, HANDLE);
            }
        };
        foreign(1);
        protect(app, IngressHook::Tc, "app", &[ADMITTED]);
        let all_at = |ours: u64, theirs: &[u64]| {
            for direction in DIRECTIONS {
                let (mine, others): (Vec<Value>, Vec<Value>) = filters(app, direction)
                    .into_iter()
                    .partition(|filter| filter["options"]["prog"].is_object());
                let prefs = |filters: &[Value]| -> Vec<_> {
                    filters.iter().map(|filter| filter["pref"].as_u64().unwrap()).collect()
                };
                assert_eq!((prefs(&mine), prefs(&others)), (vec![ours], theirs.to_vec()), "{direction}");
            }
            assert_eq!(ports(client, app), [Open, Filtered]);
        };
        all_at(2, &[1]);
        app.sgfw("interface reload").expect_success();
        all_at(2, &[1]);

        // Somebody takes the place of a filter that is gone.
        for direction in DIRECTIONS {
            run(app, &format!("tc filter delete dev {INTERFACE} {direction} pref 2"));
        }
        foreign(2);
        assert_eq!(json(app, "status")["NeedsRepair"], true);
        app.sgfw("interface reload").expect_success();
        assert_eq!(json(app, "repair")["Interfaces"][0]["Outcome"], "attached-again");
        all_at(3, &[1, 2]);

        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        assert_eq!(ports(client, app), [Open, Open]);
        for direction in DIRECTIONS {
            assert_eq!(filters(app, direction).len(), 2, "{direction}");
        }
    });
}

#[test]
fn what_decides_before_is_said() {
    on_clsact(|lab| {
        let app = lab.host("app");
        run(app, &format!("tc qdisc add dev {INTERFACE} clsact"));
        add_filter(app, "ingress", 1, 7);
        create_group(app, "app", &[ADMITTED]);
        let warning = "(pref 1, handle 0x7) meets the ingress packets of labnet0 before sgfw does";
        let attached = app.sgfw(&format!("interface attach {INTERFACE} --group app"));
        assert!(attached.stderr().contains(warning), "{attached}");
        // One that comes later and stands behind is no matter.
        add_filter(app, "egress", 9, 7);
        let status = app.sgfw("status");
        assert!(status.stderr().contains(warning) && !status.stderr().contains("pref 9"), "{status}");
        let before = &json(app, "status")["FiltersBefore"];
        assert_eq!(before.as_array().unwrap().len(), 1, "{before}");
        assert_eq!((&before[0]["Direction"], &before[0]["Handle"]), (&json!("ingress"), &json!(7)));
    });
}

/// The pins are what says which filters are ours. Those that have lost them go on, by the policy of then.
#[test]
fn filters_whose_pins_were_removed_go_on_and_are_named() {
    on_clsact(|lab| {
        let (client, app) = (lab.host("client"), lab.host("app"));
        protect(app, IngressHook::Tc, "app", &[ADMITTED]);
        fs::remove_dir_all(&app.instance().bpffs_directory).unwrap();
        assert_eq!(ports(client, app), [Open, Filtered]);
        assert_eq!(json(app, "status")["NeedsRepair"], true);
        app.sgfw("repair").expect_success();
        let status = app.sgfw("status");
        for name in ["ingress_tc (pref 1, handle 0x73676677", "egress_tc (pref 1, handle 0x73676677"] {
            assert!(status.stderr().contains(name), "{status}");
        }
        for direction in DIRECTIONS {
            run(app, &format!("tc filter delete dev {INTERFACE} {direction} pref 1"));
        }
        assert_eq!(json(app, "status")["FiltersBefore"], json!([]));
        assert_eq!(ports(client, app), [Open, Filtered]);
    });
}

/// It has the place of clsact, and takes a filter of egress for what arrives.
#[test]
fn the_qdisc_ingress_is_refused() {
    on_clsact(|lab| {
        let (client, app) = (lab.host("client"), lab.host("app"));
        run(app, &format!("tc qdisc add dev {INTERFACE} ingress"));
        create_group(app, "app", &[]);
        for hook in ["auto", "xdp", "tc"] {
            let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
            let refused = app.sgfw(&attach).expect_failure(65);
            for words in ["has the qdisc ingress in the place of clsact", "tc qdisc delete dev"] {
                assert!(refused.contains(words), "{hook}: {refused}");
            }
            assert!(!app.instance().bpffs_directory.exists(), "{hook}: something is pinned");
            assert_eq!(ports(client, app), [Open, Open], "{hook}");
        }
    });
}

#[test]
fn filters_are_removed_from_within_their_namespace_alone() {
    on_clsact(|lab| {
        let (client, app) = (lab.host("client"), lab.host("app"));
        protect(app, IngressHook::Tc, "app", &[ADMITTED]);
        let elsewhere = Some(client.namespace().name().to_owned());
        let elsewhere = Instance { namespace: elsewhere, ..app.instance().clone() };
        let detach = format!("interface detach {INTERFACE}");
        let refused = client.run(&elsewhere.line(&detach)).expect_failure(65);
        assert!(refused.contains("another network namespace") && refused.contains("--netns"), "{refused}");
        assert_eq!(ports(client, app), [Open, Filtered]);
        // What the error says to do where the namespace is gone.
        pins(app).iter().for_each(|pin| {
            assert!(refused.contains(pin), "{refused}");
            fs::remove_file(pin).unwrap();
        });
        client.run(&elsewhere.line(&detach)).expect_success();
        assert_eq!(json(app, "interface list")["Interfaces"], json!([]));
    });
}

/// What was attached goes on as it is; what is attached anew, and after a boot everything, is so by TCX.
#[test]
fn with_tcx_nothing_is_left_of_filters() {
    privileged(|| {
        if !has_tcx() {
            eprintln!("skipped: needs a kernel with TCX");
            return;
        }
        let lab = lab();
        let _servers = servers(&lab);
        let (client, app) = (lab.host("client"), lab.host("app"));
        let hooks = || {
            let interface = &json(app, "interface list")["Interfaces"][0];
            ["IngressHook", "EgressHook"].map(|hook| interface[hook].as_str().unwrap_or_default().to_owned())
        };
        without_tcx(|| protect(app, IngressHook::Tc, "app", &[ADMITTED]));
        app.sgfw("interface reload").expect_success();
        app.sgfw("repair").expect_success();
        assert_eq!(hooks(), ["clsact"; 2]);
        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        attach(app, IngressHook::Tc, "app");
        assert_eq!(hooks(), ["tcx"; 2]);

        app.sgfw(&format!("interface detach {INTERFACE}")).expect_success();
        without_tcx(|| attach(app, IngressHook::Tc, "app"));
        // A boot takes pins, qdiscs and filters.
        fs::remove_dir_all(&app.instance().bpffs_directory).unwrap();
        run(app, &format!("tc qdisc delete dev {INTERFACE} clsact"));
        app.sgfw("repair").expect_success();
        assert_eq!(hooks(), ["tcx"; 2]);
        assert!(pins(app).iter().all(|pin| !pin.contains("clsact")));
        assert!(!run(app, &format!("tc qdisc show dev {INTERFACE}")).contains("clsact"));
        assert_eq!(ports(client, app), [Open, Filtered]);
    });
}

fn on_clsact(scenario: impl FnOnce(&Lab) + Send) {
    privileged(|| {
        without_tcx(|| {
            let lab = lab();
            let _servers = servers(&lab);
            scenario(&lab);
        });
    });
}

fn lab() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn servers(lab: &Lab) -> [TcpServer; 2] {
    [80, 22].map(|port| TcpServer::start(lab.host("app"), port, |_| Ok(())).unwrap())
}

/// What admitted and other ports answer.
fn ports(client: &Host, app: &Host) -> [Reachability; 2] {
    [80, 22].map(|port| tcp_connect(client, app.address(Family::V4), port))
}

/// A filter of somebody else, which matches nothing.
#[track_caller]
fn add_filter(host: &Host, direction: &str, pref: u64, handle: u64) {
    let place = format!("dev {INTERFACE} {direction} pref {pref} handle {handle:#x}");
    run(host, &format!("tc filter add {place} bpf bytecode '1,6 0 0 0'"));
}

#[track_caller]
fn run(host: &Host, line: &str) -> String {
    host.run(line).expect_success()
}

/// What is pinned of programs on interfaces.
fn pins(host: &Host) -> Vec<String> {
    let pins = crate::support::files(&host.instance().bpffs_directory);
    let pins = pins.into_iter().map(|pin| pin.display().to_string());
    pins.filter(|pin| pin.contains("/links/")).collect()
}
