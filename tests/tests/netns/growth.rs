//! A policy outgrows the tables that hold it: larger ones take their place while packets flow, and no verdict changes but those
//! that the new policy changes.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use firewall_common::abi::map;
use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Finished, Host, INTERFACE, IngressHook, Lab, Reachability, Step, Stepped, TcpServer, Topology,
    tcp_connect,
};
use nix::errno::Errno;

use crate::support::{Conversation, attach, create_group, files, is_soak, json, on_every_hook, without_tcx};

on_every_hook!(
    no_verdict_changes_while_the_tables_grow,
    a_growth_killed_before_each_step_is_finished_by_the_next_command,
    a_growth_that_the_kernel_refuses_leaves_everything_as_it_was,
    what_is_not_confirmed_is_undone_in_larger_tables_too,
);
without_tcx!(
    no_verdict_changes_while_the_tables_grow,
    a_growth_killed_before_each_step_is_finished_by_the_next_command,
);

/// Open from the beginning, never, and by the policies that are large.
const ALWAYS: u16 = 80;
const NEVER: u16 = 22;
const LARGE: u16 = 81;

/// The interface besides the one that each host of a lab has, on a link of its own to the client.
const SECOND: &str = "second";
const SECOND_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 1));

/// More prefixes of IPv6 than a new instance has room for.
const OUTGROWS: u32 = 3_000;

/// One step of so many is taken, unless `SGFW_SOAK=1` asks for all. Four programs move, so that there are three steps at which some
/// have and others have not: one of them is met.
const STRIDE: usize = 3;
const MANY_STEPS: usize = 1000;

/// A host with two interfaces, and clients at both.
struct Stage {
    lab: Lab,
    hook: IngressHook,
    _servers: [TcpServer; 3],
}

impl Stage {
    fn new(hook: IngressHook) -> Self {
        let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
        let (client, app) = (lab.host("client"), lab.host("app"));
        let peer = client.namespace().name();
        app.run(&format!("ip link add {SECOND} type veth peer name {SECOND} netns {peer}")).expect_success();
        for (host, address) in [(app, SECOND_ADDRESS), (client, Ipv4Addr::new(10, 99, 0, 2).into())] {
            host.run(&format!("ip address add {address}/24 dev {SECOND}")).expect_success();
            host.run(&format!("ip link set {SECOND} up")).expect_success();
        }
        let servers = [ALWAYS, NEVER, LARGE].map(|port| Conversation::listen(app, port));
        create_group(
            app,
            "app",
            &[&format!("--ingress --protocol tcp --port {ALWAYS} --cidr 0.0.0.0/0 --cidr ::/0")],
        );
        let stage = Self { lab, hook, _servers: servers };
        stage.attach_both();
        stage
    }

    fn client(&self) -> &Host {
        self.lab.host("client")
    }

    fn app(&self) -> &Host {
        self.lab.host("app")
    }

    fn attach_both(&self) {
        let (app, hook) = (self.app(), self.hook);
        attach(app, hook, "app");
        app.sgfw(&format!("interface attach {SECOND} --group app --ingress-hook {hook}")).expect_success();
    }

    /// Makes the tables as small again as those of a new instance, with the policy of the beginning.
    fn begin_anew(&self) {
        self.apply(0, "").expect_success();
        for interface in [INTERFACE, SECOND] {
            self.app().sgfw(&format!("interface detach {interface}")).expect_success();
        }
        self.attach_both();
    }

    /// The command that puts a policy into force which also opens [`LARGE`], to so many prefixes of IPv6 and to everybody.
    fn command(&self, entries: u32, options: &str) -> String {
        format!("apply -f {} --yes --quiet {options}", self.policy(entries).display())
    }

    fn apply(&self, entries: u32, options: &str) -> Finished {
        self.app().sgfw(&self.command(entries, options))
    }

    fn policy(&self, entries: u32) -> PathBuf {
        let mut policy = "version: 1\n".to_owned();
        if entries > 0 {
            writeln!(
                policy,
                "prefix_lists:\n  - {{name: many, family: ipv6, max_entries: {entries}, entries: ["
            )
            .unwrap();
            for number in 0..entries {
                writeln!(policy, "    {{cidr: '2001:db8::{:x}:{:x}/128'}},", number >> 16, number & 0xffff)
                    .unwrap();
            }
            policy.push_str("  ]}\n");
        }
        policy.push_str("groups:\n  - name: app\n    description: scenario\n    ingress:\n");
        let admit = |policy: &mut String, port, peer: &str| {
            writeln!(policy, "      - {{protocol: tcp, ports: {port}, {peer}}}").unwrap();
        };
        for family in Family::ALL {
            admit(&mut policy, ALWAYS, &format!("cidr: '{}'", family.anywhere()));
        }
        if entries > 0 {
            admit(&mut policy, LARGE, "prefix_list: many");
            admit(&mut policy, LARGE, "cidr: 0.0.0.0/0");
        }
        let path = self.lab.directory().join(format!("policy-{entries}.yaml"));
        fs::write(&path, policy).unwrap();
        path
    }

    /// By either interface.
    fn reaches(&self, port: u16) -> [Reachability; 2] {
        self.addresses().map(|address| tcp_connect(self.client(), address, port))
    }

    fn addresses(&self) -> [IpAddr; 2] {
        [self.app().address(Family::V4), SECOND_ADDRESS]
    }

    /// Whether the store has the large policy.
    fn is_stored(&self) -> bool {
        let rules = json(self.app(), "rule list app");
        rules["SecurityGroupRules"].as_array().unwrap().iter().any(|rule| rule["FromPort"] == LARGE)
    }

    /// What the table of IPv6 prefixes takes.
    fn table_bytes(&self) -> u64 {
        let pins = files(&self.app().instance().bpffs_directory);
        let is_present = |path: &PathBuf| path.ends_with(format!("maps/{}", map::ADDRESSES_V6));
        let pin = pins.into_iter().find(is_present).expect("a table");
        let shown = self.app().run(&format!("bpftool --json map show pinned {}", pin.display()));
        let shown: serde_json::Value = serde_json::from_str(&shown.expect_success()).unwrap();
        shown["max_entries"].as_u64().unwrap() * shown["bytes_value"].as_u64().unwrap()
    }

    /// Whether maps are pinned beside those of the instance.
    fn has_maps_beside(&self) -> bool {
        files(&self.app().instance().bpffs_directory)
            .iter()
            .any(|pin| pin.components().any(|part| part.as_os_str().to_string_lossy().starts_with("maps-")))
    }

    /// Runs `work` while new connections try what is always open and what never is, at both interfaces.
    #[track_caller]
    fn watched<T>(&self, work: impl FnOnce() -> T) -> T {
        let (is_over, tried, wrong) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (is_over, tried, wrong) = (&is_over, &tried, &wrong);
        let outcome = thread::scope(|scope| {
            let _over = EndsWatch(is_over);
            for (port, expected) in [(ALWAYS, Open), (NEVER, Filtered)] {
                for address in self.addresses() {
                    scope.spawn(move || {
                        let is_wrong = || tcp_connect(self.client(), address, port) != expected;
                        while !is_over.load(Ordering::Relaxed) {
                            tried.fetch_add(1, Ordering::Relaxed);
                            // A busy machine may answer later than a probe waits. What passes is wrong at once.
                            if is_wrong() && (expected == Filtered || is_wrong()) {
                                wrong.fetch_add(1, Ordering::Relaxed);
                            }
                            sleep(Duration::from_millis(1));
                        }
                    });
                }
            }
            work()
        });
        let (tried, wrong) = (tried.load(Ordering::Relaxed), wrong.load(Ordering::Relaxed));
        assert_eq!(wrong, 0, "wrong verdicts of {tried}");
        outcome
    }
}

/// Ends the watches also when a scenario fails, so that the failure is seen.
struct EndsWatch<'a>(&'a AtomicBool);

impl Drop for EndsWatch<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn no_verdict_changes_while_the_tables_grow(hook: IngressHook) {
    let stage = Stage::new(hook);
    let mut conversation = Conversation::open(stage.client(), stage.app(), Family::V4, ALWAYS);
    conversation.exchange();
    let mut bytes = vec![stage.table_bytes()];
    stage.watched(|| {
        for entries in [OUTGROWS, 4 * OUTGROWS, 0, 16 * OUTGROWS] {
            stage.apply(entries, "").expect_success();
            conversation.exchange();
            let expected = if entries == 0 { Filtered } else { Open };
            assert_eq!(stage.reaches(LARGE), [expected; 2], "{entries}");
            bytes.push(stage.table_bytes());
        }
    });
    assert!(
        bytes.is_sorted() && bytes[0] < bytes[1] && bytes[1] < bytes[2] && bytes[3] < bytes[4],
        "{bytes:?}"
    );
    assert!(!stage.has_maps_beside());
}

fn a_growth_killed_before_each_step_is_finished_by_the_next_command(hook: IngressHook) {
    const STEPS: [Step; 6] =
        [Step::MapUpdate, Step::Attachment, Step::Filter, Step::FileSync, Step::FileName, Step::Exit];
    let stage = Stage::new(hook);
    let app = stage.app();
    let (mut was_moving, mut was_stored) = (0, 0);
    let stride = if is_soak() { 1 } else { STRIDE };
    let (mut last, mut first_moving) = (0, None);
    for turn in 0..MANY_STEPS {
        let mut conversation = Conversation::open(stage.client(), app, Family::V4, ALWAYS);
        conversation.exchange();
        let (stepped, is_moving) = stage.watched(|| {
            let stepped = app.sgfw_killed(&stage.command(OUTGROWS, ""), &STEPS, last);
            conversation.exchange();
            let (status, is_stored) = (json(app, "status"), stage.is_stored());
            let is_moving = status["ReplacingTables"] == true;
            let is_in_force = status["Generation"]["Stored"] == status["Generation"]["InForce"];
            assert_eq!(status["NeedsRepair"], is_moving || !is_in_force, "{stepped:?} {last}: {status:#}");
            let expected = if is_stored && is_in_force { Open } else { Filtered };
            assert_eq!(stage.reaches(LARGE), [expected; 2], "{stepped:?} {last}");
            if is_moving {
                let text = app.sgfw("status").expect_success();
                assert!(text.contains("tables") && text.contains("`sgfw repair`"), "{text}");
                assert!(!is_stored, "the tables grow before the change is stored");
            }
            was_moving += usize::from(is_moving);
            was_stored += usize::from(is_stored);
            // Any change finishes it, and so do the repair and a reload.
            let next = ["repair", "group create extra --description scenario", "interface reload"][turn % 3];
            app.sgfw(next).expect_success();
            conversation.exchange();
            if turn % 3 == 2 {
                // A reload publishes nothing.
                app.sgfw("repair").expect_success();
            }
            let status = json(app, "status");
            assert_eq!(status["NeedsRepair"], false, "{stepped:?} {last}: {status:#}");
            let expected = if is_stored { Open } else { Filtered };
            assert_eq!(stage.reaches(LARGE), [expected; 2], "{stepped:?} {last}");
            if turn % 3 == 1 {
                app.sgfw("group delete extra").expect_success();
            }
            // Whatever was left, the growth can begin again.
            stage.apply(OUTGROWS, "").expect_success();
            assert_eq!(stage.reaches(LARGE), [Open; 2], "{stepped:?} {last}");
            assert!(!stage.has_maps_beside(), "{stepped:?} {last}");
            (stepped, is_moving)
        });
        conversation.exchange();
        if let Stepped::Ended(code) = stepped {
            println!("{last} steps, {was_moving} times in between, {was_stored} times stored");
            assert_eq!(code, 0);
            // Two programs of each of two interfaces; before the last one, three have moved.
            assert!(was_moving >= 4 && was_stored > 0, "{was_moving}, {was_stored}");
            return;
        }
        stage.begin_anew();
        // None of those is left out at which some have moved and others have not.
        last = match first_moving {
            None if is_moving => {
                first_moving = Some(last);
                last.saturating_sub(stride - 1)
            }
            Some(first) if is_moving || last < first => last + 1,
            _ => last + stride,
        };
    }
    panic!("it has no end");
}

fn a_growth_that_the_kernel_refuses_leaves_everything_as_it_was(hook: IngressHook) {
    const CALLS: [Step; 2] = [Step::Attachment, Step::OtherBpf];
    let stage = Stage::new(hook);
    let app = stage.app();
    let bytes = stage.table_bytes();
    let mut conversation = Conversation::open(stage.client(), app, Family::V4, ALWAYS);
    let mut refusals = 0;
    let stride = if is_soak() { 1 } else { 4 * STRIDE };
    stage.watched(|| {
        for call in (0..MANY_STEPS).step_by(stride) {
            let stepped = app.sgfw_refused(&stage.command(OUTGROWS, ""), &CALLS, call, Errno::ENOMEM);
            conversation.exchange();
            let status = json(app, "status");
            assert_eq!(status["NeedsRepair"], false, "{stepped:?} {call}: {status:#}");
            match stepped {
                Stepped::Refused(step, code) if code != 0 => {
                    refusals += 1;
                    assert_eq!(stage.reaches(LARGE), [Filtered; 2], "{step:?} {call}");
                    assert!(!stage.is_stored(), "{step:?} {call}");
                    assert_eq!(stage.table_bytes(), bytes, "{step:?} {call}");
                }
                // Of one that does not matter, or the last.
                Stepped::Refused(..) | Stepped::Ended(0) => {
                    assert_eq!(stage.reaches(LARGE), [Open; 2], "{stepped:?} {call}");
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(refusals > 0);
}

fn what_is_not_confirmed_is_undone_in_larger_tables_too(hook: IngressHook) {
    const PATIENCE: Duration = Duration::from_secs(60);
    let stage = Stage::new(hook);
    let bytes = stage.table_bytes();
    stage.apply(OUTGROWS, "--confirm-timeout 5s").expect_success();
    assert!(stage.table_bytes() > bytes);
    let end = Instant::now() + PATIENCE;
    // No `sgfw` runs meanwhile.
    while stage.reaches(LARGE) != [Filtered; 2] {
        assert!(Instant::now() < end, "the policy before is not back");
        sleep(Duration::from_millis(100));
    }
    assert_eq!([stage.reaches(ALWAYS), stage.reaches(NEVER)], [[Open; 2], [Filtered; 2]]);
    assert_eq!(json(stage.app(), "status")["NeedsRepair"], false);
    assert!(!stage.is_stored());
    stage.apply(OUTGROWS, "--confirm-timeout 10m").expect_success();
    stage.app().sgfw("confirm").expect_success();
    assert_eq!(stage.reaches(LARGE), [Open; 2]);
}
