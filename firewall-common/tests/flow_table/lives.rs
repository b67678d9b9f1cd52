//! The life of a flow, packet by packet, with the hook on which each is seen.

use std::cell::Cell;

use firewall_common::flow_table::control::{
    BACKED, Class, Control, DOUBT, KEYED, PROTECTED, UNCONFIRMED, state,
};
use firewall_common::flow_table::life::{Facts, Lifetimes, Socket, cut_off, drain, kind};
use firewall_common::flow_table::sweep::{Swept, answered, read, sweep};
use firewall_common::flow_table::track::{Admitted, Glance, Tracked, Tracking, admitted, glance, track};
use firewall_common::flow_table::{Change, Geometry, Time, change, clear, find, spot};
use firewall_common::packet::tcp_flag::{ACK, FIN, RST, SYN};

use crate::heap::Heap;

const KEY: [u64; 5] = [0, 0, 0, 1, 2];
const DOUBTED: u32 = 3600;
const ESTABLISHED: u32 = 100_000;
const SHORT: u32 = 50;

/// The host and its peer, on one tuple. Rules admit what `admits` says; every packet is one unit of time.
struct Lab {
    heap: Heap,
    lifetimes: Lifetimes,
    socket: Cell<Socket>,
    asked: Cell<u32>,
    now: u32,
    admits: [bool; 2],
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// By its flow.
    Tracked,
    /// By a rule.
    Admitted,
    Denied,
    Cut,
}

const IN: u8 = 0;
const OUT: u8 = 1;

impl Lab {
    fn new() -> Self {
        let mut lifetimes = Lifetimes([SHORT; 16]);
        lifetimes.0[0] = DOUBTED;
        lifetimes.0[state::ESTABLISHED as usize] = ESTABLISHED;
        lifetimes.0[state::FIN_WAIT as usize] = ESTABLISHED;
        lifetimes.0[state::CUT as usize] = 500;
        let heap = Heap::new(Geometry { near_bits: 1, far_bits: 2, outer_bits: 1 }, 7);
        Self {
            heap,
            lifetimes,
            socket: Cell::new(Socket::None),
            asked: Cell::new(0),
            now: 1000,
            admits: [true; 2],
        }
    }

    fn send(&mut self, is_egress: u8, flags: u8, numbers: (u32, u32)) -> Fate {
        self.packet(Facts {
            kind: kind::TCP,
            tcp_flags: flags,
            sequence: numbers.0,
            acknowledgement: numbers.1,
            is_egress,
            ..Facts::default()
        })
    }

    fn data(&mut self, is_egress: u8) -> Fate {
        self.packet(Facts { kind: kind::TCP, tcp_flags: ACK, data_length: 1, is_egress, ..Facts::default() })
    }

    fn packet(&mut self, facts: Facts) -> Fate {
        self.now += 1;
        let facts = Facts { now: self.now, second: 8, ..facts };
        let spot = spot(&self.heap, &KEY);
        let tracked = Tracked { key: &KEY, spot: &spot };
        let socket = || {
            self.asked.set(self.asked.get() + 1);
            self.socket.get()
        };
        let tracking = match glance(&self.heap, &spot, &facts) {
            Glance::NoFlow => Tracking::Rules(None),
            Glance::Undisturbed => Tracking::Passes,
            Glance::Flow(hit) => track(&self.heap, tracked, hit, &facts, &self.lifetimes, socket),
        };
        let found = match tracking {
            Tracking::Passes => return Fate::Tracked,
            Tracking::Cut => return Fate::Cut,
            Tracking::Again => panic!("nobody else writes"),
            Tracking::Rules(found) => found,
        };
        if !self.admits[usize::from(facts.is_egress)] {
            return Fate::Denied;
        }
        let ask = Some(|_| Socket::None);
        match admitted(&self.heap, tracked, found, 1, &facts, &self.lifetimes, ask) {
            Admitted::Begun(_) | Admitted::Tracked | Admitted::NoFlow => Fate::Admitted,
            other => panic!("{other:?}"),
        }
    }

    fn flow(&self) -> Option<Control> {
        let hit = find(&self.heap, &spot(&self.heap, &KEY), self.now)?;
        (!hit.control.is_ended(self.now)).then_some(hit.control)
    }

    fn state(&self) -> u64 {
        self.flow().map_or(0, Control::state)
    }

    fn has(&self, bits: u64) -> bool {
        self.flow().is_some_and(|control| control.has(bits))
    }

    /// A handshake that `by` begins, with both hooks' consent, and what the kernel says of its socket as it is completed.
    fn opened(by: u8, socket: Socket) -> Self {
        let mut lab = Self::new();
        assert_eq!(lab.send(by, SYN, (100, 0)), Fate::Admitted);
        assert_eq!(lab.send(1 - by, SYN | ACK, (900, 101)), Fate::Tracked);
        lab.socket.set(socket);
        assert_eq!(lab.send(by, ACK, (101, 901)), Fate::Tracked);
        lab
    }

    /// A connection that `by` opens.
    fn connected(by: u8) -> Self {
        let mut lab = Self::opened(by, Socket::Connected);
        lab.asked.set(0);
        assert!(lab.has(PROTECTED) && lab.has(KEYED) && lab.state() == state::ESTABLISHED);
        lab.admits = [false; 2];
        lab
    }

    fn set(&mut self, next: impl Fn(Control) -> Control) {
        let spot = spot(&self.heap, &KEY);
        let mut hit = find(&self.heap, &spot, self.now).unwrap();
        change(&self.heap, &spot, &mut hit, Time { now: self.now, renewal: 1 }, next);
    }
}

#[test]
fn only_the_responders_number_proves_a_handshake() {
    let mut lab = Lab::new();
    lab.send(IN, SYN, (100, 0));
    // The forged half of the host arrives from outside: it is the initiator's hook, so no reply.
    lab.send(IN, SYN | ACK, (900, 101));
    lab.send(IN, ACK, (101, 901));
    assert_eq!(lab.state(), state::SYN_SENT);
    lab.send(OUT, SYN | ACK, (5000, 101));
    lab.send(IN, ACK, (101, 901));
    assert!(lab.state() == state::SYN_RECEIVED && !lab.has(PROTECTED));
    lab.send(IN, ACK, (101, 5001));
    assert!(lab.has(PROTECTED));
}

#[test]
fn a_rst_from_outside_ends_nothing_while_the_host_is_connected() {
    for by in [IN, OUT] {
        let mut lab = Lab::connected(by);
        let end = lab.flow().unwrap().end();
        for _ in 0..100 {
            assert_eq!(lab.send(IN, RST, (77, 0)), Fate::Tracked);
        }
        assert!(lab.has(DOUBT) && lab.has(BACKED) && lab.has(PROTECTED));
        assert_eq!(lab.flow().unwrap().end(), end);
        assert_eq!(lab.asked.get(), 2, "once when it began, once when the short time was over");
        // Idle for days, then a push from each side.
        lab.now += ESTABLISHED / 2;
        assert_eq!(lab.data(OUT), Fate::Tracked);
        assert!(!lab.has(DOUBT));
        assert_eq!(lab.data(IN), Fate::Tracked);
    }
}

#[test]
fn a_doubt_without_a_socket_goes_when_both_sides_go_on() {
    let mut lab = Lab::connected(IN);
    lab.socket.set(Socket::None);
    lab.send(IN, RST, (77, 0));
    assert!(lab.has(DOUBT) && !lab.has(BACKED) && lab.has(PROTECTED));
    lab.now += DOUBTED - 10;
    assert_eq!(lab.data(IN), Fate::Tracked);
    assert!(lab.has(DOUBT), "one side alone proves nothing");
    assert_eq!(lab.data(OUT), Fate::Tracked);
    assert!(!lab.has(DOUBT));
    lab.now += DOUBTED + 10;
    assert_eq!(lab.data(OUT), Fate::Tracked);
    assert_eq!(lab.send(IN, FIN | ACK, (0, 0)), Fate::Tracked);
    lab.now += DOUBTED + 10;
    assert_eq!(lab.data(OUT), Fate::Denied, "an hour after its last packet");
}

#[test]
fn a_flow_whose_socket_is_gone_ends_with_the_short_time() {
    let mut lab = Lab::connected(IN);
    lab.send(IN, RST, (77, 0));
    lab.socket.set(Socket::None);
    lab.now += SHORT - 5;
    assert_eq!(lab.data(IN), Fate::Tracked);
    lab.now += 10;
    assert_eq!(lab.data(IN), Fate::Denied);
    assert_eq!(lab.flow(), None);
}

#[test]
fn the_hosts_own_rst_closes_and_a_forwarded_one_does_not() {
    let mut lab = Lab::connected(IN);
    // Something else on the host has made it: its socket is there.
    lab.send(OUT, RST, (0, 0));
    assert!(lab.has(DOUBT) && lab.has(BACKED) && lab.has(PROTECTED));
    lab.socket.set(Socket::None);
    lab.send(OUT, RST, (0, 0));
    assert!(lab.state() == state::CLOSED && !lab.has(PROTECTED));
    lab.data(IN);
    lab.data(OUT);
    assert_eq!(lab.state(), state::CLOSED, "a host that is answering a SYN sends segments too");
    // Both sides go on, and the host has a socket: it was not what it seemed.
    lab.socket.set(Socket::Connected);
    lab.data(IN);
    assert!(lab.state() == state::ESTABLISHED && lab.has(PROTECTED) && lab.has(BACKED));
    let rst = Facts { kind: kind::TCP, tcp_flags: RST, is_egress: 1, is_forwarded: 1, ..Facts::default() };
    lab.socket.set(Socket::None);
    lab.packet(rst);
    assert!(lab.state() == state::ESTABLISHED && lab.has(DOUBT));
}

#[test]
fn fins_of_both_hooks_close_when_the_hosts_has_acknowledged_the_peers_and_data_takes_one_back() {
    let mut lab = Lab::connected(OUT);
    lab.send(OUT, FIN | ACK, (0, 0));
    assert!(lab.state() == state::FIN_WAIT && lab.has(DOUBT) && lab.has(BACKED) && lab.has(PROTECTED));
    // Half-closed and silent, for longer than any short time: by its socket.
    for _ in 0..20 {
        lab.now += SHORT * 3;
        assert_eq!(lab.data(IN), Fate::Tracked);
    }
    lab.send(IN, FIN | ACK, (500, 0));
    lab.send(IN, ACK, (501, 501));
    lab.send(OUT, ACK, (0, 500));
    lab.send(OUT, ACK, (0, 502));
    assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED), "not acknowledged yet, or by itself");
    lab.send(OUT, ACK, (0, 501));
    assert!(lab.state() == state::TIME_WAIT && !lab.has(PROTECTED));
    lab.socket.set(Socket::None);
    lab.data(IN);
    lab.send(OUT, ACK, (0, 501));
    lab.data(IN);
    assert!(lab.state() == state::TIME_WAIT && !lab.has(PROTECTED), "one side alone proves nothing");
    lab.data(OUT);
    assert!(lab.state() == state::FIN_WAIT && lab.has(DOUBT) && !lab.has(BACKED));
}

#[test]
fn the_hosts_fin_closes_if_it_acknowledges_the_peers() {
    let mut lab = Lab::connected(IN);
    lab.send(IN, FIN | ACK, (500, 0));
    lab.send(OUT, FIN | ACK, (0, 501));
    assert!(lab.state() == state::TIME_WAIT && !lab.has(PROTECTED));
}

#[test]
fn a_forged_fin_ends_no_connection_that_the_host_has_half_closed() {
    for host_first in [true, false] {
        let mut lab = Lab::connected(OUT);
        let mut sends = [(OUT, 7), (IN, 0x1234_5678)];
        if !host_first {
            sends.reverse();
        }
        for (side, number) in sends {
            lab.send(side, FIN | ACK, (number, 300));
        }
        for _ in 0..10 {
            lab.now += SHORT * 3;
            assert_eq!(lab.send(IN, ACK, (300, 8)), Fate::Tracked);
            assert_eq!(lab.send(OUT, ACK, (8, 300)), Fate::Tracked);
            assert!(lab.has(PROTECTED));
        }
    }
}

/// A segment of a connection of two other hosts: what leaves was not made here.
fn routed(is_egress: u8, flags: u8, numbers: (u32, u32)) -> Facts {
    Facts {
        kind: kind::TCP,
        tcp_flags: flags,
        sequence: numbers.0,
        acknowledgement: numbers.1,
        is_egress,
        is_forwarded: is_egress,
        ..Facts::default()
    }
}

#[test]
fn a_forged_fin_before_the_other_hosts_real_one_ends_no_routed_connection() {
    for (forger, other) in [(IN, OUT), (OUT, IN)] {
        let mut lab = Lab::opened(IN, Socket::None);
        lab.admits = [false; 2];
        lab.packet(routed(forger, FIN | ACK, (0xdead_beef, 0x1234_5678)));
        // The other host really closes its side, and is acknowledged.
        lab.packet(routed(other, FIN | ACK, (901, 101)));
        lab.packet(routed(forger, ACK, (101, 902)));
        assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED), "closed by a forged FIN");
        lab.now += SHORT * 3;
        assert_eq!(lab.packet(routed(forger, ACK, (101, 902))), Fate::Tracked);
    }
}

#[test]
fn a_routed_connection_that_both_hosts_close_is_over() {
    for (first, second) in [(IN, OUT), (OUT, IN)] {
        for acknowledged_before in [false, true] {
            let mut lab = Lab::opened(IN, Socket::None);
            lab.packet(routed(first, FIN | ACK, (500, 300)));
            if acknowledged_before {
                lab.packet(routed(second, ACK, (300, 501)));
            }
            lab.packet(routed(second, FIN | ACK, (300, 501)));
            lab.packet(routed(first, ACK, (501, 301)));
            assert!(lab.state() == state::TIME_WAIT && !lab.has(PROTECTED));
        }
    }
}

/// What is remembered of a SYN takes the place of a FIN's number, so that none can tell whether that was acknowledged.
#[test]
fn a_forged_fin_and_a_forged_syn_end_no_routed_connection() {
    let mut lab = Lab::opened(IN, Socket::None);
    lab.packet(routed(IN, FIN | ACK, (7, 7)));
    assert_eq!(lab.packet(routed(IN, SYN, (7, 0))), Fate::Admitted);
    lab.admits = [false; 2];
    lab.packet(routed(OUT, FIN | ACK, (901, 101)));
    lab.packet(routed(IN, ACK, (101, 902)));
    assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED), "closed by a forged FIN");
}

#[test]
fn an_old_syn_takes_nothing_over() {
    for age in [SHORT - 10, SHORT + 10] {
        let mut lab = Lab::connected(IN);
        lab.send(IN, SYN, (5000, 0));
        lab.now += age;
        lab.send(OUT, SYN | ACK, (9000, 5001));
        let has_taken_over = lab.state() == state::SYN_RECEIVED;
        assert_eq!(has_taken_over, age < SHORT, "after {age} units");
    }
}

/// There is room for one number.
#[test]
fn a_fin_takes_the_place_of_a_syn_that_is_remembered() {
    let mut lab = Lab::connected(IN);
    lab.send(IN, SYN, (5000, 0));
    lab.send(IN, FIN | ACK, (5000, 300));
    lab.send(OUT, SYN | ACK, (9000, 5001));
    assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED), "a FIN's number was taken for a SYN's");
}

#[test]
fn a_half_closed_flow_whose_socket_becomes_time_wait_lives_on_for_the_short_time() {
    let mut lab = Lab::connected(OUT);
    lab.send(OUT, FIN | ACK, (0, 0));
    lab.socket.set(Socket::TimeWait);
    lab.now += SHORT + 10;
    assert_eq!(lab.send(IN, ACK, (0, 0)), Fate::Tracked);
    assert!(lab.state() == state::TIME_WAIT && !lab.has(PROTECTED));
    lab.now += SHORT + 10;
    assert_eq!(lab.data(IN), Fate::Denied);
}

#[test]
fn a_syn_on_a_live_tuple_changes_nothing_until_it_is_answered() {
    for by in [IN, OUT] {
        let mut lab = Lab::connected(by);
        let before = lab.flow().unwrap();
        assert_eq!(lab.send(IN, SYN, (4000, 0)), Fate::Tracked);
        // The host's challenge, and a forged answer from the same side.
        lab.send(OUT, ACK, (901, 101));
        lab.send(IN, SYN | ACK, (1, 4001));
        assert!(lab.state() == before.state() && lab.has(PROTECTED) && !lab.has(DOUBT));
        // A SYN of the host: only an answer with its number takes over.
        lab.send(OUT, SYN, (700_000, 0));
        lab.send(IN, SYN | ACK, (1, 4001));
        assert_eq!(lab.state(), state::ESTABLISHED);
        lab.send(IN, SYN | ACK, (50, 700_001));
        assert_eq!(lab.state(), state::SYN_RECEIVED);
        lab.send(OUT, ACK, (700_001, 51));
        assert!(lab.has(PROTECTED) && lab.state() == state::ESTABLISHED);
    }
}

#[test]
fn after_a_forged_rst_a_syn_is_for_the_rules_and_leaves_the_flow() {
    let mut lab = Lab::connected(IN);
    lab.send(IN, RST, (77, 0));
    assert_eq!(lab.send(IN, SYN, (4000, 0)), Fate::Denied);
    lab.admits[0] = true;
    assert_eq!(lab.send(IN, SYN, (4000, 0)), Fate::Admitted);
    assert!(lab.state() == state::ESTABLISHED && lab.has(PROTECTED));
    // A port used again after a reset: the handshake takes over, without the marks of before.
    lab.send(OUT, SYN | ACK, (1, 4001));
    lab.send(IN, ACK, (4001, 2));
    assert!(lab.state() == state::ESTABLISHED && !lab.has(DOUBT) && lab.has(PROTECTED));
}

#[test]
fn a_udp_flow_is_a_stream_if_it_still_talks_after_two_seconds() {
    let udp = |is_egress| Facts { kind: kind::UDP, is_egress, ..Facts::default() };
    let mut lab = Lab::new();
    lab.packet(udp(OUT));
    for _ in 0..3 {
        lab.packet(udp(IN));
        lab.packet(udp(OUT));
    }
    assert_eq!(lab.state(), state::UDP_REPLIED);
    lab.now += 16;
    lab.packet(udp(IN));
    assert!(lab.state() == state::UDP_STREAM && !lab.has(PROTECTED));
    let mut lab = Lab::new();
    lab.packet(udp(IN));
    lab.now += 20;
    lab.packet(udp(IN));
    assert_eq!(lab.state(), state::UDP_ONE_WAY);
}

/// Another CPU's packet has read its clock one unit later and written first.
#[test]
fn a_packet_whose_clock_is_behind_does_not_take_what_has_just_happened_for_old() {
    let udp = |is_egress| Facts { kind: kind::UDP, is_egress, ..Facts::default() };
    let mut lab = Lab::new();
    lab.packet(udp(OUT));
    lab.now -= 2;
    lab.packet(udp(IN));
    assert_eq!(lab.state(), state::UDP_REPLIED);
    let mut lab = Lab::connected(OUT);
    lab.socket.set(Socket::Connected);
    lab.send(IN, RST, (1, 0));
    assert!(lab.has(DOUBT) && lab.has(BACKED));
    lab.socket.set(Socket::None);
    lab.now -= 2;
    assert_eq!((lab.data(OUT), lab.asked.get()), (Fate::Tracked, 1), "the short time has not passed");
    assert!(lab.has(DOUBT) && lab.has(BACKED));
}

#[test]
fn a_cut_flow_drops_its_responder_and_ends() {
    let mut lab = Lab::connected(OUT);
    let (lifetimes, now) = (lab.lifetimes, lab.now);
    lab.set(|control| cut_off(control, &lifetimes, now));
    assert_eq!(lab.data(IN), Fate::Cut);
    assert_eq!(lab.data(OUT), Fate::Denied);
    assert_eq!(lab.send(IN, SYN, (1, 0)), Fate::Denied);
    lab.now += 600;
    assert_eq!(lab.data(IN), Fate::Denied);
    assert_eq!(lab.flow(), None);
    // Drained: as before until then.
    let mut lab = Lab::connected(OUT);
    let end = lab.now + 300;
    lab.set(|control| drain(control, end));
    for _ in 0..290 {
        assert_eq!(lab.data(IN), Fate::Tracked);
    }
    lab.now += 20;
    assert_eq!(lab.data(IN), Fate::Cut);
    assert_eq!(lab.state(), state::CUT);
}

#[test]
fn a_pick_up_is_protected_once_what_the_responder_sends_is_acknowledged() {
    let is_picked_up = |lab: &Lab| lab.state() == state::PICKED_UP && !lab.has(PROTECTED);
    for by in [IN, OUT] {
        let mut lab = Lab::new();
        assert_eq!(lab.data(by), Fate::Admitted);
        lab.send(1 - by, RST, (900, 0));
        lab.send(by, ACK, (101, 900));
        assert!(is_picked_up(&lab), "a RST is no answer");
        lab.send(1 - by, ACK, (900, 101));
        for number in [0, 899, 900 + 65_536 * 2] {
            lab.send(by, ACK, (101, number));
            assert!(is_picked_up(&lab), "{number} is not what was sent");
        }
        // A later one counts, if the first was missed.
        lab.send(1 - by, ACK, (90_000, 101));
        lab.send(by, ACK, (101, 900));
        assert!(is_picked_up(&lab), "not there yet");
        lab.send(by, ACK, (101, 90_000));
        assert!(lab.state() == state::ESTABLISHED && lab.has(PROTECTED));
    }
}

/// What a server that is answering a stranger's SYN sends proves nothing, nor does it say what would.
#[test]
fn syns_on_a_pick_up_protect_nothing() {
    let mut lab = Lab::new();
    lab.send(IN, ACK, (1, 1));
    lab.send(IN, SYN, (100, 0));
    lab.send(IN, ACK, (1, 101));
    assert!(!lab.has(PROTECTED), "the number of a SYN is not what the responder has sent");
    lab.send(IN, SYN, (7000, 0));
    // The first one is answered, then there is an ACK to the second.
    lab.send(OUT, SYN | ACK, (0x9000_0000, 101));
    lab.send(OUT, ACK, (0x9000_0001, 101));
    for number in [77, 7001, 101] {
        lab.send(IN, ACK, (101, number));
        assert!(lab.state() == state::PICKED_UP && !lab.has(PROTECTED));
    }
}

/// A client that vanishes, and a server that closes: the last segments never reach the hook.
#[test]
fn a_flow_whose_socket_is_gone_is_over_when_somebody_looks() {
    let lab = Lab::connected(IN);
    let hit = find(&lab.heap, &spot(&lab.heap, &KEY), lab.now).unwrap();
    let look = || sweep(&lab.heap, hit.bucket, hit.slot, &lab.lifetimes, lab.now);
    let Swept::Asks(asked) = look() else { panic!("not asked for") };
    answered(&lab.heap, hit.bucket, hit.slot, &asked, Socket::Connected, &lab.lifetimes, lab.now);
    assert!(lab.has(PROTECTED));
    answered(&lab.heap, hit.bucket, hit.slot, &asked, Socket::None, &lab.lifetimes, lab.now);
    assert_eq!(look(), Swept::Cleared);
}

#[test]
fn what_has_ended_never_lives_again() {
    let mut lab = Lab::connected(IN);
    lab.now += ESTABLISHED + 10;
    assert_eq!(lab.data(IN), Fate::Denied);
    // Longer timeouts, and a clock that goes back, bring nothing back.
    lab.lifetimes.0[state::ESTABLISHED as usize] = u32::MAX;
    lab.now -= 1000;
    assert_eq!(lab.data(IN), Fate::Denied);
}

#[test]
fn a_sweep_clears_what_has_ended_cuts_what_is_drained_and_asks() {
    let mut lab = Lab::connected(IN);
    let place = |lab: &Lab| {
        let hit = find(&lab.heap, &spot(&lab.heap, &KEY), lab.now).unwrap();
        (hit.bucket, hit.slot)
    };
    let (bucket, slot) = place(&lab);
    let look = |lab: &Lab| sweep(&lab.heap, bucket, slot, &lab.lifetimes, lab.now);
    let Swept::Asks(certain) = look(&lab) else { panic!("not asked for") };
    assert_eq!(read(&lab.heap, bucket, slot).unwrap().key, Some(KEY));
    lab.send(IN, RST, (0, 0));
    assert_eq!(look(&lab), Swept::Kept, "not before the short time is over");
    answered(&lab.heap, bucket, slot, &certain, Socket::None, &lab.lifetimes, lab.now);
    assert!(lab.has(PROTECTED), "the answer is about a flow that has moved on");
    lab.now += SHORT + 10;
    let Swept::Asks(listed) = look(&lab) else { panic!("not asked for") };
    assert_eq!(listed.key, Some(KEY));
    answered(&lab.heap, bucket, slot, &listed, Socket::Connected, &lab.lifetimes, lab.now);
    assert!(!lab.has(DOUBT) && lab.has(PROTECTED));
    let end = lab.now + 10;
    lab.set(|control| drain(control, end));
    lab.now += 10;
    assert_eq!(look(&lab), Swept::Cut);
    assert_eq!(lab.data(OUT), Fate::Cut);
    lab.now += 1000;
    assert_eq!(look(&lab), Swept::Cleared);
    assert!(read(&lab.heap, bucket, slot).is_none());
}

#[test]
fn a_half_closed_flow_that_talks_is_asked_for_again() {
    let mut lab = Lab::connected(OUT);
    lab.send(OUT, FIN | ACK, (0, 0));
    for _ in 0..3 {
        lab.data(IN);
        lab.send(OUT, ACK, (0, 0));
    }
    assert!(lab.state() == state::FIN_WAIT && lab.has(DOUBT) && lab.has(BACKED));
    // Its orphan goes without a packet.
    lab.socket.set(Socket::None);
    lab.now += SHORT + 10;
    assert_eq!(lab.data(IN), Fate::Denied);
    // One that no socket backs, as on a router, goes on by its packets.
    let mut lab = Lab::connected(OUT);
    lab.socket.set(Socket::None);
    lab.send(OUT, FIN | ACK, (0, 0));
    lab.data(IN);
    lab.send(OUT, ACK, (0, 0));
    assert!(lab.state() == state::FIN_WAIT && !lab.has(DOUBT) && lab.has(PROTECTED));
}

#[test]
fn a_change_of_a_flow_that_is_gone_leaves_its_successor() {
    let mut lab = Lab::connected(IN);
    let spot = spot(&lab.heap, &KEY);
    let mut old = find(&lab.heap, &spot, lab.now).unwrap();
    lab.admits = [true; 2];
    // Until chance gives it the same slot.
    loop {
        let before = find(&lab.heap, &spot, lab.now).unwrap();
        assert!(clear(&lab.heap, &spot, &before));
        lab.send(IN, SYN, (1, 0));
        if find(&lab.heap, &spot, lab.now).unwrap().index() == old.index() {
            break;
        }
    }
    let successor = lab.flow().unwrap();
    let changed =
        change(&lab.heap, &spot, &mut old, Time { now: lab.now, renewal: 1 }, |control| control.with(DOUBT));
    assert_eq!(changed, Change::Gone);
    assert_eq!(lab.flow(), Some(successor));
}

#[test]
fn a_flow_that_is_half_closed_from_the_first_moment_on_lives_as_any_other() {
    for by in [IN, OUT] {
        let mut lab = Lab::new();
        lab.send(by, SYN, (100, 0));
        lab.send(1 - by, SYN | ACK, (900, 101));
        // The last segment of the handshake ends its side (RFC 7413).
        lab.send(by, FIN | ACK, (101, 901));
        assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED));
        lab.now += DOUBTED - 10;
        lab.admits = [false; 2];
        assert_eq!(lab.data(1 - by), Fate::Tracked);
    }
    let mut lab = Lab::new();
    lab.data(IN);
    lab.send(OUT, ACK, (900, 0));
    lab.send(IN, FIN | ACK, (0, 900));
    lab.now += DOUBTED - 10;
    lab.admits = [false; 2];
    assert_eq!(lab.data(OUT), Fate::Tracked, "picked up");
}

#[test]
fn the_initiator_of_a_drained_flow_begins_it_anew_if_rules_admit_it() {
    let mut lab = Lab::connected(OUT);
    let end = lab.now + 300;
    lab.set(|control| drain(control, end));
    lab.now += 310;
    lab.admits = [true; 2];
    assert_eq!(lab.data(OUT), Fate::Admitted);
    assert_eq!(lab.state(), state::PICKED_UP);
    assert_eq!(lab.data(IN), Fate::Tracked);
}

#[test]
fn the_fin_of_a_forged_answer_is_forgotten_with_it() {
    let mut lab = Lab::new();
    lab.send(OUT, SYN, (100, 0));
    lab.send(IN, SYN | FIN | ACK, (77, 101));
    lab.send(IN, SYN | ACK, (900, 101));
    lab.socket.set(Socket::Connected);
    lab.send(OUT, FIN | ACK, (101, 901));
    assert!(lab.state() == state::FIN_WAIT && lab.has(PROTECTED), "closed by both");
}

#[test]
fn a_handshake_that_the_host_has_not_completed_is_confirmed_by_its_socket() {
    let handshake = || {
        let mut lab = Lab::opened(IN, Socket::Opening);
        assert!(lab.has(PROTECTED) && lab.has(DOUBT) && lab.has(UNCONFIRMED));
        // What the host answers to numbers out of its window proves nothing.
        lab.data(OUT);
        lab.data(IN);
        assert_eq!(lab.flow().unwrap().class(lab.now), Class::PROTECTED);
        lab
    };
    let mut lab = handshake();
    lab.socket.set(Socket::Connected);
    lab.now += SHORT + 10;
    lab.data(IN);
    assert!(lab.has(PROTECTED) && !lab.has(DOUBT | UNCONFIRMED));
    for gone in [Socket::None, Socket::Listening] {
        let mut lab = handshake();
        lab.socket.set(gone);
        lab.now += SHORT + 10;
        lab.admits = [false; 2];
        assert_eq!(lab.data(IN), Fate::Denied);
        assert_eq!(lab.flow(), None);
    }
}

#[test]
fn a_listener_that_answers_for_the_flow_of_another_host_ends_nothing() {
    let mut lab = Lab::opened(IN, Socket::Listening);
    lab.admits = [false; 2];
    // It is one of which nobody knows: the first to go for lack of room, until both sides have spoken.
    assert!(lab.flow().unwrap().class(lab.now) == Class::DOUBTED && !lab.has(BACKED | UNCONFIRMED));
    // What the host itself answers to a stranger's segments ends it neither.
    lab.send(OUT, RST, (901, 0));
    lab.now += SHORT + 10;
    assert_eq!(lab.data(IN), Fate::Tracked);
    assert!(lab.has(DOUBT), "one side alone");
    assert_eq!(lab.data(OUT), Fate::Tracked);
    assert_eq!(lab.flow().unwrap().class(lab.now), Class::PROTECTED);
    lab.now += DOUBTED + 10;
    assert_eq!(lab.data(OUT), Fate::Tracked);
}

#[test]
fn a_blind_segment_ends_no_connection_that_the_host_still_waits_for() {
    let mut lab = Lab::opened(IN, Socket::Opening);
    lab.admits = [false; 2];
    lab.data(IN);
    assert_eq!(lab.send(OUT, RST, (5, 0)), Fate::Tracked);
    lab.now += SHORT + 10;
    assert_eq!(lab.data(IN), Fate::Tracked);
    assert!(lab.has(PROTECTED) && lab.state() == state::ESTABLISHED);
}

#[test]
fn a_forged_answer_to_a_syn_changes_nothing() {
    for forged in [SYN | ACK, SYN, SYN | FIN | ACK] {
        for is_first in [true, false] {
            for by in [IN, OUT] {
                let mut lab = Lab::new();
                lab.send(by, SYN, (100, 0));
                if is_first {
                    lab.send(1 - by, forged, (77, 5));
                    lab.send(1 - by, SYN | ACK, (900, 101));
                } else {
                    lab.send(1 - by, SYN | ACK, (900, 101));
                    lab.send(1 - by, forged, (77, 5));
                }
                lab.socket.set(Socket::Connected);
                lab.send(by, ACK, (101, 901));
                let name = format!("{forged:#x}, first: {is_first}, by {by}");
                assert!(lab.state() == state::ESTABLISHED && lab.has(PROTECTED), "{name}");
            }
        }
    }
}

#[test]
fn an_initiator_that_begins_again_is_answered_again() {
    let mut lab = Lab::new();
    lab.send(OUT, SYN, (100, 0));
    lab.send(IN, SYN | ACK, (900, 101));
    lab.send(OUT, SYN, (500, 0));
    lab.send(IN, SYN | ACK, (7000, 501));
    lab.socket.set(Socket::Connected);
    lab.send(OUT, ACK, (501, 7001));
    assert!(lab.state() == state::ESTABLISHED && lab.has(PROTECTED));
}

#[test]
fn nothing_moves_the_end_of_a_drained_flow() {
    // A FIN of each side, one of them forged, and its acknowledgement; or a RST of the host.
    let closings: [&dyn Fn(&mut Lab); 2] = [
        &|lab| {
            lab.send(OUT, FIN | ACK, (901, 101));
            lab.send(IN, FIN | ACK, (100, 902));
            lab.send(OUT, ACK, (902, 101));
        },
        &|lab| {
            lab.send(IN, RST, (101, 901));
            lab.socket.set(Socket::None);
            lab.send(OUT, RST, (901, 0));
            lab.socket.set(Socket::Connected);
        },
    ];
    for close in closings {
        let mut lab = Lab::connected(IN);
        let end = lab.now + 100;
        lab.set(|control| drain(control, end));
        close(&mut lab);
        assert!(matches!(lab.state(), state::TIME_WAIT | state::CLOSED));
        for is_egress in [OUT, IN, OUT, IN] {
            lab.data(is_egress);
        }
        assert_eq!(lab.flow().unwrap().end(), end);
        lab.now = end + 1;
        assert_eq!(lab.data(IN), Fate::Denied);
        assert_eq!(lab.data(OUT), Fate::Cut);
    }
}

#[test]
fn a_handshake_that_the_host_still_waits_for_goes_on() {
    let mut lab = Lab::opened(IN, Socket::Opening);
    lab.admits = [false; 2];
    for _ in 0..3 {
        lab.now += SHORT + 10;
        assert_eq!(lab.data(IN), Fate::Tracked);
        assert!(lab.has(PROTECTED) && lab.has(DOUBT) && lab.has(UNCONFIRMED));
    }
    // Of a connection that was complete, it is the handshake of another one.
    let mut lab = Lab::connected(IN);
    lab.socket.set(Socket::Connected);
    lab.send(IN, RST, (101, 901));
    lab.socket.set(Socket::Opening);
    lab.now += SHORT + 10;
    lab.admits = [false; 2];
    assert_eq!(lab.data(IN), Fate::Denied);
}

#[test]
fn an_answer_that_took_over_and_comes_again_renews_the_handshake() {
    let mut lab = Lab::new();
    lab.send(IN, ACK, (1000, 1001));
    lab.send(IN, SYN, (1000, 0));
    lab.send(OUT, SYN | ACK, (1000, 1001));
    assert_eq!(lab.state(), state::SYN_RECEIVED);
    lab.now += SHORT - 5;
    lab.send(OUT, SYN | ACK, (1000, 1001));
    assert_eq!(lab.flow().unwrap().end(), lab.now + SHORT + 1);
}
