//! `sgfw` killed at any moment: never a wrong verdict, never a lost change, and one command that puts all right.

mod confirmation;
mod each_call;
mod each_step;

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use std::{fs, io};

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, TcpServer, Topology, tcp_connect};
use nix::sys::signal::Signal;

use crate::support::{create_group, is_soak, json, on_every_hook, protect};

on_every_hook!(
    changes_killed_at_random_leave_what_is_stored_in_force,
    a_change_killed_at_any_part_of_its_way_is_repaired,
);

/// How long changes are killed at random, unless `SGFW_SOAK=1` asks for a minute.
const DURATION: Duration = Duration::from_secs(20);
const SOAK_DURATION: Duration = Duration::from_secs(60);

/// At how many moments, evenly over the time that a change takes, one is killed.
const MOMENTS: u32 = 60;

/// Between two connections of a watch.
const PAUSE: Duration = Duration::from_millis(2);

/// Ports that the changes open and close.
const PORTS: std::ops::Range<u16> = 9000..9006;
const ALWAYS_OPEN: u16 = 80;
const NEVER_OPEN: u16 = 22;

fn changes_killed_at_random_leave_what_is_stored_in_force(hook: IngressHook) {
    let mut random = Random(0x5eed_0042);
    under_watch(hook, |client, app| {
        let end = Instant::now() + if is_soak() { SOAK_DURATION } else { DURATION };
        let mut latest_kill = latest_kill(app);
        let (mut acknowledged, mut killed) = (0_u32, 0_u32);
        let mut before = Stored::of(app);
        // A machine that has become slower since may need more time for one to end.
        while Instant::now() < end || acknowledged == 0 {
            if Instant::now() >= end {
                latest_kill *= 2;
            }
            let change = Change::random(&mut random);
            let kill_after = random.below(latest_kill.as_micros().try_into().unwrap());
            let kill_after = Duration::from_micros(kill_after);
            let ended = killed_after(app, &change.command(app), kill_after);
            let is_acknowledged = ended == Ended::Successfully;
            acknowledged += u32::from(is_acknowledged);
            killed += u32::from(ended == Ended::Killed);
            app.sgfw("repair").expect_success();
            let after = Stored::of(app);
            if let Some(wanted) = change.made_of(&before) {
                let is_absent = after == before && !is_acknowledged;
                assert!(
                    after == wanted || is_absent,
                    "{change:?} (acknowledged: {is_acknowledged}) of {before:?}: {after:?}"
                );
            }
            assert_in_force(client, app, &after, random.port());
            before = after;
        }
        println!("{hook:?}: {acknowledged} changes acknowledged, {killed} killed, within {latest_kill:?}");
        assert!(acknowledged > 0 && killed > 0, "{acknowledged} acknowledged, {killed} killed");
    });
}

fn a_change_killed_at_any_part_of_its_way_is_repaired(hook: IngressHook) {
    under_watch(hook, |client, app| {
        let latest_kill = latest_kill(app);
        let mut endings = BTreeSet::new();
        let mut moment = 0;
        // A machine that has become slower since may need more moments until a change has ended.
        while moment < MOMENTS || !endings.contains(&Ended::Successfully) {
            let port = PORTS.start;
            let is_open = Stored::of(app).ports.contains(&port);
            let change = if is_open { Change::Revoke(port) } else { Change::Authorize(port) };
            endings.insert(killed_after(app, &change.command(app), latest_kill * moment / MOMENTS));
            app.sgfw("repair").expect_success();
            assert_in_force(client, app, &Stored::of(app), port);
            moment += 1;
        }
        assert!(endings.contains(&Ended::Killed), "{endings:?}");
    });
}

/// After this time nearly every change has ended: half as long again as the slowest of some.
fn latest_kill(app: &Host) -> Duration {
    let port = PORTS.start;
    let took = [Change::Authorize(port), Change::Revoke(port)].map(|change| {
        let start = Instant::now();
        app.sgfw(&change.command(app)).expect_success();
        start.elapsed()
    });
    took[0].max(took[1]) * 3 / 2
}

/// Runs `scenario` on a protected host while new connections try one port that is always open, and one that never is.
fn under_watch(hook: IngressHook, scenario: impl FnOnce(&Host, &Host)) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let ports = PORTS.chain([ALWAYS_OPEN, NEVER_OPEN]);
    let _servers: Vec<_> = ports.map(|port| TcpServer::start(app, port, hold).unwrap()).collect();
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16"]);
    create_group(app, "spare", &[]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = |port, expected| {
            let is_over = &is_over;
            scope.spawn(move || {
                let is_wrong = || tcp_connect(client, app.address(Family::V4), port) != expected;
                let mut wrong = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    // Slower than a server on a busy machine accepts.
                    sleep(PAUSE);
                    // There an answer may also take longer than one probe waits for it. What passes is wrong at once.
                    wrong += u64::from(is_wrong() && (expected == Filtered || is_wrong()));
                }
                wrong
            })
        };
        let watches = [(ALWAYS_OPEN, Open), (NEVER_OPEN, Filtered)]
            .map(|(port, expected)| (port, watch(port, expected)));
        let over = EndsWatch(&is_over);
        scenario(client, app);
        drop(over);
        for (port, watch) in watches {
            assert_eq!(watch.join().unwrap(), 0, "wrong verdicts on port {port}");
        }
    });
}

/// Keeps a connection open until the client closes it, however long that takes.
fn hold(mut connection: TcpStream) -> io::Result<()> {
    connection.set_read_timeout(None)?;
    io::copy(&mut connection, &mut io::sink()).map(drop)
}

/// Ends the watches also when a scenario fails, so that the failure is seen.
struct EndsWatch<'a>(&'a AtomicBool);

impl Drop for EndsWatch<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What an operator does.
#[derive(Clone, Copy, Debug)]
enum Change {
    Authorize(u16),
    Revoke(u16),
    Apply(u16),
    CreateGroup,
    DeleteGroup,
    SetGroups,
    Rollback,
}

impl Change {
    fn random(random: &mut Random) -> Self {
        let port = random.port();
        match random.below(10) {
            0..=2 => Self::Authorize(port),
            3..=4 => Self::Revoke(port),
            5 => Self::Apply(port),
            6 => Self::CreateGroup,
            7 => Self::DeleteGroup,
            8 => Self::SetGroups,
            _ => Self::Rollback,
        }
    }

    fn command(self, app: &Host) -> String {
        match self {
            Self::Authorize(port) => format!("rule authorize app {}", rule(port)),
            Self::Revoke(port) => format!("rule revoke app {}", rule(port)),
            Self::Apply(port) => format!("apply -f {} --yes", policy(app, port)),
            Self::CreateGroup => "group create extra --description scenario".to_owned(),
            Self::DeleteGroup => "group delete extra".to_owned(),
            Self::SetGroups => format!("interface set-groups {INTERFACE} --group app --group spare"),
            Self::Rollback => "rollback".to_owned(),
        }
    }

    /// What is stored after it; `None` for what depends on the history.
    fn made_of(self, before: &Stored) -> Option<Stored> {
        let mut after = before.clone();
        match self {
            Self::Authorize(port) => after.ports.extend([port]),
            Self::Revoke(port) => after.ports.retain(|open| *open != port),
            Self::Apply(port) => after.ports = BTreeSet::from([port]),
            Self::CreateGroup => after.has_extra_group = true,
            Self::DeleteGroup => after.has_extra_group = false,
            Self::SetGroups => {}
            Self::Rollback => return None,
        }
        Some(after)
    }
}

/// What the changes change, as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored {
    ports: BTreeSet<u16>,
    has_extra_group: bool,
}

impl Stored {
    #[track_caller]
    fn of(app: &Host) -> Self {
        let rules = json(app, "rule list app");
        let ingress =
            rules["SecurityGroupRules"].as_array().unwrap().iter().filter(|rule| rule["IsEgress"] == false);
        let ports = ingress.filter_map(|rule| rule["FromPort"].as_u64()?.try_into().ok());
        let groups = json(app, "group list");
        let mut groups = groups["SecurityGroups"].as_array().unwrap().iter();
        Self {
            ports: ports.filter(|port| PORTS.contains(port)).collect(),
            has_extra_group: groups.any(|group| group["GroupName"] == "extra"),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Successfully,
    WithAnError,
    Killed,
}

/// Starts `sgfw` and kills it after some time, unless it has ended before.
fn killed_after(app: &Host, command: &str, time: Duration) -> Ended {
    let change = app.start_sgfw(command);
    sleep(time);
    change.signal(Signal::SIGKILL);
    match change.wait().0.code() {
        Some(0) => Ended::Successfully,
        Some(_) => Ended::WithAnError,
        None => Ended::Killed,
    }
}

#[track_caller]
fn assert_in_force(client: &Host, app: &Host, stored: &Stored, port: u16) {
    let status = json(app, "status");
    assert_eq!(status["Generation"]["Stored"], status["Generation"]["InForce"]);
    assert_eq!(status["NeedsRepair"], false);
    let expected = if stored.ports.contains(&port) { Open } else { Filtered };
    assert_eq!(tcp_connect(client, app.address(Family::V4), port), expected, "port {port} of {stored:?}");
}

fn rule(port: u16) -> String {
    format!("--ingress --protocol tcp --port {port} --cidr 10.77.0.0/16")
}

/// A policy file that opens one of the ports, and the one that is always open.
fn policy(app: &Host, port: u16) -> String {
    let path = app.instance().state_directory.with_file_name(format!("policy-{port}.yaml"));
    let text = format!(
        "version: 1
groups:
  - name: app
    description: scenario
    ingress:
      - {{protocol: tcp, ports: {ALWAYS_OPEN}, cidr: 10.77.0.0/16}}
      - {{protocol: tcp, ports: {port}, cidr: 10.77.0.0/16}}
"
    );
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// SplitMix64: the same changes in each run; only the moments of the kills differ.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }

    fn port(&mut self) -> u16 {
        PORTS.start + u16::try_from(self.below(PORTS.len() as u64)).unwrap()
    }
}
