//! Two and three packets of one connection, decided at the same time, in every order of their accesses to the flow table that
//! shuttle comes to. What passes then, and what passes afterwards, must pass by the oracle too if it takes the packets one after
//! the other in some order.
//!
//! Each world is drawn: a policy, packets that came before, those at the same time, and those after. `SGFW_SEED` repeats a run,
//! `SGFW_WORLDS` and `SCHEDULES` set how many worlds there are, and how many orders of each.

#[path = "../../firewall-common/tests/flow_table/shared.rs"]
mod shared;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use firewall_common::flow_table::Geometry;
use firewall_common::reason::Verdict;
use firewall_tests::oracle::Oracle;
use firewall_tests::scenario::{Firewall, Scenario, Step, notation};
use firewall_tests::seed::{number, seed};
use firewall_tests::simulator::Simulator;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use shared::{Fault, Shared};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

/// Room for every flow of a world, and little more: each schedule makes its own table.
const GEOMETRY: Geometry = Geometry { near_bits: 1, far_bits: 2, outer_bits: 0 };

/// What the client C and the host E send of one connection, and what others may send in the name of either. C counts from 1000,
/// E from 5000; whoever else sends knows neither number.
const TCP: [&str; 19] = [
    "in tcp C:40000>E:22 SYN",
    "in tcp C:40000>E:22 SYN seq=9000",
    "in tcp C:40000>E:22 SYN+ACK ack=5001",
    "in tcp C:40000>E:22 ACK ack=5001",
    "in tcp C:40000>E:22 ACK ack=77",
    "in tcp C:40000>E:22 ACK ack=5001 data=10",
    "in tcp C:40000>E:22 FIN+ACK ack=5001",
    "in tcp C:40000>E:22 FIN+ACK ack=5002",
    "in tcp C:40000>E:22 RST",
    "in tcp C:40000>E:22 RST+ACK ack=5001",
    "out tcp E:22>C:40000 SYN seq=5000",
    "out tcp E:22>C:40000 SYN+ACK seq=5000",
    "out tcp E:22>C:40000 SYN+ACK seq=5000 ack=9001",
    "out tcp E:22>C:40000 ACK seq=5001",
    "out tcp E:22>C:40000 ACK seq=5001 data=10",
    "out tcp E:22>C:40000 FIN+ACK seq=5001",
    "out tcp E:22>C:40000 RST seq=5001",
    "forwarded tcp E:22>C:40000 RST seq=5001",
    "in tcp E:22>C:40000 SYN+ACK seq=5000",
];
/// The answer to the second SYN.
const TAKES_OVER: &str = "ack=9001";
const UDP: [&str; 4] =
    ["in udp C:40000>E:53", "out udp E:53>C:40000", "in udp E:53>C:40000", "forwarded udp E:53>C:40000"];
const ICMP: [&str; 4] =
    ["in icmp C>E 8/0 id=7", "out icmp E>C 0/0 id=7", "out icmp E>C 8/0 id=7", "in icmp C>E 0/0 id=7"];
const INGRESS: &str = "authorize in -1 C/32";
const EGRESS: &str = "authorize out -1 C/32";
/// See the generator of the differential test.
const WAITS: [u32; 5] = [11, 33, 66, 121, 605];
const SOCKETS: [&str; 5] = ["connected", "time-wait", "opening", "listening", "none"];

struct World {
    before: Scenario,
    together: Vec<Step>,
    after: Scenario,
}

#[test]
fn whatever_passes_at_the_same_time_passes_in_some_order() {
    let worlds = number("SGFW_WORLDS").unwrap_or(120_u32);
    let mut random = StdRng::seed_from_u64(seed());
    for _ in 0..worlds {
        let (text, together) = draw(&mut random);
        explore(&text, together, random.random(), Fault::None);
    }
}

/// Both sides close at once: an exchange that is none loses one of the FINs, and the connection outlives its end.
#[test]
#[should_panic(expected = "in no order")]
fn an_exchange_that_is_none_is_seen() {
    let lines = [
        "case closed by both",
        EGRESS,
        "out tcp E:22>C:40000 SYN seq=5000",
        "in tcp C:40000>E:22 SYN+ACK ack=5001",
        "out tcp E:22>C:40000 ACK seq=5001",
        "in tcp C:40000>E:22 FIN+ACK ack=5002",
        "out tcp E:22>C:40000 FIN+ACK seq=5001",
        "out tcp E:22>C:40000 ACK seq=5002",
        "wait 605",
        "in tcp C:40000>E:22 ACK ack=5002",
    ];
    explore(&lines.join("\n"), 3..5, 1, Fault::TornExchange);
}

/// A world as text, and which of its frames are met at the same time.
fn draw(random: &mut StdRng) -> (String, Range<usize>) {
    let mut world = Drawn { random, lines: vec!["case drawn".to_owned()], frames: 0 };
    let alphabet = world.pick(&[&TCP[..], &TCP, &TCP, &UDP, &ICMP]);
    // With rules for both sides everything would pass.
    let is_outbound = world.chance(2);
    world.lines.push(if is_outbound { EGRESS } else { INGRESS }.to_owned());
    if world.chance(4) {
        world.lines.push("interface 0 zone=1 groups=main tcp-strict".to_owned());
    }
    let sockets = world.pick(&SOCKETS);
    world.lines.push(format!("sockets {sockets}"));
    // Most connections have begun as connections do.
    if alphabet.len() == TCP.len() && !world.chance(5) {
        let handshake = if is_outbound { [10, 2, 13] } else { [0, 11, 3] };
        handshake.into_iter().for_each(|frame| world.frame(TCP[frame]));
    }
    for _ in 0..world.random.random_range(0..4) {
        world.any_frame(alphabet);
    }
    let first = world.frames;
    for _ in 0..world.random.random_range(2..4) {
        world.any_frame(alphabet);
    }
    let together = first..world.frames;
    // What is over must not be met again.
    for _ in 0..3 {
        world.any_frame(alphabet);
        let seconds = world.pick(&WAITS);
        world.lines.push(format!("wait {seconds}"));
    }
    world.any_frame(alphabet);
    (world.lines.join("\n"), together)
}

struct Drawn<'r> {
    random: &'r mut StdRng,
    lines: Vec<String>,
    frames: usize,
}

impl Drawn<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())]
    }

    fn chance(&mut self, one_of: u32) -> bool {
        self.random.random_range(0..one_of) == 0
    }

    fn frame(&mut self, frame: &str) {
        self.lines.push(frame.to_owned());
        self.frames += 1;
    }

    fn any_frame(&mut self, alphabet: &[&str]) {
        let frame = self.pick(alphabet);
        self.frame(frame);
    }
}

/// Plays a world in many orders.
fn explore(text: &str, together: Range<usize>, seed: u64, fault: Fault) {
    let schedules = number("SCHEDULES").unwrap_or(60);
    let world = Arc::new(world(text, together));
    let expected = Arc::new(orders(&world));
    let mut published = Simulator::default();
    for step in until_first_frame(&world) {
        step_of(&mut published, step);
    }
    // Its cells are for one thread.
    let published = Arc::new(Mutex::new(published));
    let text = text.to_owned();
    let test = move || {
        let passes = play(&world, published.lock().unwrap().over(Shared::new(GEOMETRY, fault)));
        let is_of = |order: &Vec<bool>| passes.iter().zip(order).all(|(real, oracle)| *oracle || !real);
        assert!(expected.iter().any(is_of), "{passes:?} in no order of {expected:?}:\n{text}");
    };
    let run = |scheduler: Box<dyn Scheduler + Send>, test: Box<dyn Fn() + Send + Sync>| {
        let mut config = Config::new();
        config.stack_size = 1 << 18;
        Runner::new(scheduler, config).run(test);
    };
    run(Box::new(RandomScheduler::new_from_seed(seed, schedules)), Box::new(test.clone()));
    run(Box::new(PctScheduler::new_from_seed(seed, 3, schedules)), Box::new(test));
}

fn world(text: &str, together: Range<usize>) -> World {
    let [mut before] = <[Scenario; 1]>::try_from(notation::parse(text).expect("it is in the notation"))
        .expect("it is one scenario");
    let position = |steps: &[Step], frame| {
        steps
            .iter()
            .enumerate()
            .filter(|(_, step)| is_frame(step))
            .nth(frame)
            .map_or(steps.len(), |(at, _)| at)
    };
    let first = position(&before.steps, together.start);
    let mut rest = before.steps.split_off(first);
    let after = rest.split_off(together.len());
    assert!(rest.iter().all(is_frame), "{rest:?}");
    World { after: Scenario { steps: after, ..before.clone() }, before, together: rest }
}

/// What the oracle lets pass of the frames at the same time and after, in each order of the former.
///
/// The answer to a second SYN may take nothing over if it meets another packet, and the SYN is forgotten then (ARCHITECTURE, "What
/// may race", 6): so each order counts without such answers too.
fn orders(world: &World) -> Vec<Vec<bool>> {
    let numbers: Vec<usize> = (0..world.together.len()).collect();
    let takes_over = |step: &Step| step.to_string().contains(TAKES_OVER);
    let passes_in = |order: &[usize], is_lost: &dyn Fn(&Step) -> bool| {
        let mut oracle = Oracle::default();
        world.before.play(&mut oracle).unwrap();
        let mut passes_unless_lost = |step: &Step| is_lost(step) || step_of(&mut oracle, step) != Some(false);
        let mut passes = vec![true; order.len()];
        for &number in order {
            passes[number] = passes_unless_lost(&world.together[number]);
        }
        let after = world.after.steps.iter().map(|step| (step, passes_unless_lost(step)));
        passes.extend(after.filter(|(step, _)| is_frame(step)).map(|(_, passes)| passes));
        passes
    };
    let may_lose = world.together.iter().any(takes_over);
    let mut orders: Vec<Vec<bool>> = Vec::new();
    for order in permutations(&numbers) {
        orders.push(passes_in(&order, &|_| false));
        if may_lose {
            orders.push(passes_in(&order, &takes_over));
        }
    }
    orders
}

fn permutations(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let with_first = |&first: &usize| {
        let rest: Vec<usize> = of.iter().copied().filter(|&other| other != first).collect();
        permutations(&rest).into_iter().map(move |rest| [vec![first], rest].concat())
    };
    of.iter().flat_map(with_first).collect()
}

/// The same of the core, in the order that shuttle is at.
fn play(world: &World, mut core: Simulator<Shared>) -> Vec<bool> {
    for step in &world.before.steps[until_first_frame(world).count()..] {
        step_of(&mut core, step);
    }
    let threads: Vec<_> = world
        .together
        .iter()
        .map(|step| {
            let (mut core, step) = (core.clone(), step.clone());
            thread::spawn(move || step_of(&mut core, &step).unwrap())
        })
        .collect();
    let mut passes: Vec<bool> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    passes.extend(world.after.steps.iter().filter_map(|step| step_of(&mut core, step)));
    passes
}

fn until_first_frame(world: &World) -> impl Iterator<Item = &Step> {
    world.before.steps.iter().take_while(|step| !is_frame(step))
}

const fn is_frame(step: &Step) -> bool {
    matches!(step, Step::Frame { .. })
}

/// Plays a step; whether it passes, if it is a frame.
fn step_of(firewall: &mut impl Firewall, step: &Step) -> Option<bool> {
    step.play(firewall).unwrap().map(|reason| reason.verdict() == Verdict::Pass)
}
