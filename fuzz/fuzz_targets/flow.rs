//! Any sequence of packets of one flow through `life::begin` and `life::follow`.
//!
//! What may follow from what is stated here once more, by remembering what each hook has carried instead of by states: what
//! protects a flow, what takes that back, what ends it, and what changes nothing.

#![no_main]

use std::mem::take;

use arbitrary::Arbitrary;
use firewall_common::flow_table::Control;
use firewall_common::flow_table::control::{
    ALIVE, BACKED, BEGUN_BY_EGRESS, BESIDE_BY_EGRESS, DOUBT, END, FINS, PROTECTED, REPLIED, STATE,
    SYN_BESIDE, UNCONFIRMED, state,
};
use firewall_common::flow_table::life::{
    Beside, DOUBTED, Facts, Lifetimes, Socket, Step, asks_for_socket, begin, follow, kind, remember_syn,
};
use firewall_common::packet::tcp_flag::{ACK, FIN, RST, SYN};
use libfuzzer_sys::fuzz_target;

/// How far beyond a SYN the acknowledgement that answers it may lie (RFC 7413).
const WINDOW: u32 = 65_536;

/// In units of time; each differs from the others. What stands beside a flow knows times of 65 536 units only, and the
/// packets of one flow here last for less.
const LIFETIMES: Lifetimes = Lifetimes([
    20_000, 600, 601, 60_000, 60_001, 1_200, 100, 602, 300, 301, 310, 1_800, 311, 6_000, 900, 6_001,
]);

const TWO_SECONDS: u32 = 16;

#[derive(Arbitrary, Debug)]
struct Input {
    protocol: Protocol,
    begun_by_egress: bool,
    now: u16,
    packets: Vec<Packet>,
}

#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Query,
    Portless,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Packet {
    is_egress: bool,
    is_forwarded: bool,
    /// Units since the packet before.
    pause: Pause,
    flags: u8,
    sequence: u32,
    acknowledgement: Acknowledgement,
    has_data: bool,
    socket: Answer,
    /// Whether a rule admits it.
    is_admitted: bool,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Pause {
    None,
    Short(u8),
    Long(u16),
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Answer {
    Connected,
    TimeWait,
    Opening,
    Listening,
    None,
}

/// The fuzzer cannot guess the one number that an answer must bear.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Acknowledgement {
    Any(u32),
    /// So many bytes beyond the last SYN of the other hook.
    BeyondSyn(u32),
    /// The last FIN of the other hook.
    OfFin,
    /// So many bytes beyond the last segment of the other hook.
    BeyondData(u32),
}

fuzz_target!(|input: Input| {
    let mut packets = input.packets.iter();
    let Some(first) = packets.next() else {
        return;
    };
    let first = Packet { is_egress: input.begun_by_egress, ..*first };
    let facts = facts(input.protocol, &first, input.now.into(), true, (0, 0, 0));
    let Some(control) = begin(&facts, &LIFETIMES) else {
        assert!(has(&facts, RST), "{facts:?} begins no flow");
        return;
    };
    assert!(!has(&facts, RST), "a RST begins a flow");
    assert_eq!(control.has(BEGUN_BY_EGRESS), input.begun_by_egress);
    assert!(!control.has(PROTECTED | DOUBT | REPLIED | FINS | SYN_BESIDE) && !control.is_ended(facts.now));
    let mut flow = Flow {
        protocol: input.protocol,
        control,
        beside: Beside::begun_by(&facts),
        first: facts.now,
        now: facts.now,
        history: History::default(),
    };
    flow.history.syns[hook(&facts)] = opens(&facts).then_some((facts.sequence, facts.now));
    for packet in packets {
        if !flow.meets(packet) {
            return;
        }
    }
});

/// A flow with what it must not forget.
struct Flow {
    protocol: Protocol,
    control: Control,
    beside: Beside,
    first: u32,
    now: u32,
    history: History,
}

/// By hook: ingress, egress.
#[derive(Clone, Default)]
struct History {
    /// Number and time of the last SYN, answers among them.
    syns: [Option<(u32, u32)>; 2],
    /// Whether it has sent a FIN, and no data after it.
    finished: [bool; 2],
    /// What acknowledges its FINs, and what has completed a handshake or proved a pick-up: the last of them that the flow has
    /// remembered counts, and there is room for one of both hooks.
    fins: [Vec<u32>; 2],
    /// The ends of its segments without RST.
    ends: [Vec<u32>; 2],
    /// Whether it has carried a segment without RST since the host's RST.
    since_close: [bool; 2],
    /// Whether it has carried one without RST and FIN since the doubt.
    since_doubt: [bool; 2],
    /// Whether the kernel has said that the connection is in TIME-WAIT: both FINs count then, and nobody knows their numbers.
    is_told_of_fins: bool,
}

/// What a hook has carried: the number of its last SYN, what acknowledges its last FIN, and the end of its last segment.
type Said = (u32, u32, u32);

impl History {
    fn said(&self, hook: usize) -> Said {
        let syn = self.syns[hook].map_or(0, |(number, _)| number);
        (syn, self.fins[hook].last().copied().unwrap_or(0), self.ends[hook].last().copied().unwrap_or(0))
    }
}

impl Flow {
    /// Follows a packet; `false` where the flow is over.
    fn meets(&mut self, packet: &Packet) -> bool {
        self.now += match packet.pause {
            Pause::None => 0,
            Pause::Short(units) => units.into(),
            Pause::Long(units) => units.into(),
        };
        // Times beside a flow would begin again.
        if self.now - self.first > 60_000 {
            return false;
        }
        let there = usize::from(!packet.is_egress);
        let is_initiator = packet.is_egress == self.control.has(BEGUN_BY_EGRESS);
        let facts = facts(self.protocol, packet, self.now, is_initiator, self.history.said(there));
        let asks = !self.control.is_ended(self.now)
            && asks_for_socket(self.control, self.beside, &facts, &LIFETIMES);
        let answer = asks.then_some(match packet.socket {
            Answer::Connected => Socket::Connected,
            Answer::TimeWait => Socket::TimeWait,
            Answer::Opening => Socket::Opening,
            Answer::Listening => Socket::Listening,
            Answer::None => Socket::None,
        });
        let step = follow(self.control, self.beside, &facts, &LIFETIMES, answer);
        match step {
            Step::Continue(next, beside) => {
                self.check(&facts, answer, next);
                self.remember(&facts, next);
                self.history.is_told_of_fins |= answer == Some(Socket::TimeWait);
                (self.control, self.beside) = (next, beside);
                true
            }
            Step::Rules => {
                assert!(opens(&facts), "a segment that opens nothing is for the rules");
                let is_closed = matches!(self.control.state(), state::CLOSED | state::TIME_WAIT);
                let settled_to_wait = answer == Some(Socket::TimeWait);
                assert!(self.control.has(DOUBT) || is_closed || settled_to_wait, "{:?}", self.control);
                if packet.is_admitted {
                    let (next, beside) = remember_syn(self.control, self.beside, &facts);
                    self.check_untouched(next);
                    self.remember(&facts, next);
                    (self.control, self.beside) = (next, beside);
                }
                true
            }
            Step::Over => {
                let is_none = match answer {
                    Some(Socket::None | Socket::Listening) => true,
                    Some(Socket::Opening) => !self.control.has(UNCONFIRMED),
                    _ => false,
                };
                let is_told = is_none && self.control.has(BACKED);
                assert!(self.control.is_ended(self.now) || is_told, "a live flow is over");
                // For good, whatever comes and however long flows may live by then.
                let later = Facts { now: self.now + 1, ..facts };
                if self.control.is_ended(self.now) {
                    let longer = Lifetimes([u32::MAX; 16]);
                    assert_eq!(follow(self.control, self.beside, &later, &longer, None), Step::Over);
                }
                false
            }
            Step::Cut(_) => unreachable!("nobody cuts"),
        }
    }

    fn check(&self, facts: &Facts, answer: Option<Socket>, next: Control) {
        assert!(!self.control.is_ended(self.now), "what has ended goes on");
        let changes =
            END | STATE | BEGUN_BY_EGRESS | REPLIED | FINS | PROTECTED | DOUBT | BACKED | ALIVE | SYN_BESIDE;
        let changes = changes | BESIDE_BY_EGRESS | UNCONFIRMED;
        assert_eq!((self.control.0 ^ next.0) & !changes, 0, "whose the slot is changes");
        assert!(!next.is_ended(self.now), "a packet that goes on leaves an ended flow");
        if self.protocol != Protocol::Tcp {
            return self.check_exchange(next);
        }
        self.check_protection(facts, answer, next);
        self.check_doubt(facts, answer, next);
        self.check_end(facts, answer, next);
        if has(facts, SYN) && !self.is_handshake() && !self.takes_over(facts) && answer.is_none() {
            self.check_untouched(next);
        }
    }

    /// Nothing but that a SYN is remembered.
    fn check_untouched(&self, next: Control) {
        let without = |control: Control| control.without(SYN_BESIDE | BESIDE_BY_EGRESS);
        assert_eq!(without(self.control), without(next), "a SYN changes the flow");
    }

    /// UDP is a stream if both have spoken and it lasts; nothing protects.
    fn check_exchange(&self, next: Control) {
        assert!(!next.has(PROTECTED | DOUBT | FINS | SYN_BESIDE));
        if next.state() == state::UDP_STREAM && self.control.state() != state::UDP_STREAM {
            assert!(next.has(REPLIED) && self.now - self.first >= TWO_SECONDS);
        }
    }

    fn check_protection(&self, facts: &Facts, answer: Option<Socket>, next: Control) {
        let is_initiator = self.is_initiator(facts);
        let (was, is) = (self.control.has(PROTECTED), next.has(PROTECTED));
        if is && !was {
            assert!(!has(facts, RST | SYN) || self.is_handshake(), "a RST or a SYN protects");
            match self.control.state() {
                state::SYN_RECEIVED => {
                    let (syn, _) = self.history.syns[1 - hook(facts)].expect("a SYN of the responder");
                    assert!(
                        is_initiator && has(facts, ACK) && acknowledges(facts, syn),
                        "an unproved handshake"
                    );
                }
                state::PICKED_UP => {
                    let mut ends = self.history.ends[1 - hook(facts)].iter();
                    let is_heard = ends.any(|end| facts.acknowledgement.wrapping_sub(*end) < 65_536);
                    assert!(is_initiator && has(facts, ACK) && is_heard, "nothing is acknowledged");
                }
                state::CLOSED => {
                    assert!(self.history.since_close[1 - hook(facts)], "one side alone");
                    assert_eq!(answer, Some(Socket::Connected), "no socket");
                }
                state::TIME_WAIT => assert!(facts.data_length != 0, "nothing undoes the FINs"),
                other => panic!("state {other} is protected"),
            }
        }
        if was && !is {
            let made_here = facts.is_egress != 0 && facts.is_forwarded == 0;
            let mut finished = self.history.finished;
            finished[hook(facts)] |= has(facts, FIN);
            assert!(
                (has(facts, RST)
                    && made_here
                    && self.control.has(BACKED)
                    && !matches!(answer, Some(Socket::Connected | Socket::Opening)))
                    || (finished == [true; 2] && self.is_proven(facts))
                    || answer == Some(Socket::TimeWait)
                    || self.takes_over(facts),
                "protection of {:x?} is lost by {facts:?}: {next:x?}",
                self.control
            );
        }
        if next.has(BEGUN_BY_EGRESS) != self.control.has(BEGUN_BY_EGRESS) {
            assert!(self.takes_over(facts), "the sides are changed by {facts:?}");
        }
    }

    fn check_doubt(&self, facts: &Facts, answer: Option<Socket>, next: Control) {
        let (was, is) = (self.control.has(DOUBT), next.has(DOUBT));
        assert!(!is || next.has(PROTECTED), "only what is protected is in doubt");
        assert!(!next.has(BACKED) || next.has(PROTECTED), "only what is protected is backed");
        if next.has(BACKED) && !self.control.has(BACKED) {
            let has_socket = matches!(answer, Some(Socket::Connected | Socket::Opening));
            assert!(has_socket, "nobody has said that there is a socket");
        }
        if is && !was {
            // One of both is left.
            let undoes_fins = self.control.0 & FINS == FINS && facts.data_length != 0;
            let completes = self.control.state() == state::SYN_RECEIVED && self.control.has(FINS);
            let is_unconfirmed = next.has(UNCONFIRMED) && answer == Some(Socket::Opening);
            let is_of_a_listener = !self.control.has(PROTECTED) && answer == Some(Socket::Listening);
            assert!(
                has(facts, RST | FIN) || undoes_fins || completes || is_unconfirmed || is_of_a_listener,
                "{facts:?} puts in doubt"
            );
            assert_eq!(next.has(BACKED), answer == Some(Socket::Connected) || is_unconfirmed);
        }
        if was && !is && next.has(PROTECTED) {
            let mut spoke = self.history.since_doubt;
            spoke[hook(facts)] |= !has(facts, RST | FIN);
            let is_settled =
                if self.control.has(BACKED) { answer == Some(Socket::Connected) } else { spoke == [true; 2] };
            assert!(is_settled || self.takes_over(facts), "the doubt goes by {facts:?}");
        }
    }

    /// Nobody but the hosts brings the end nearer, but for what nobody speaks for; and a RST renews nothing.
    fn check_end(&self, facts: &Facts, answer: Option<Socket>, next: Control) {
        let is_proved = !next.has(PROTECTED);
        let latest = LIFETIMES.end(DOUBTED, self.now);
        if self.control.has(PROTECTED) && !is_proved {
            assert!(next.end() >= self.control.end().min(latest), "the end comes nearer by {facts:?}");
        }
        let made_here = facts.is_egress != 0 && facts.is_forwarded == 0;
        if has(facts, RST) && !made_here && answer != Some(Socket::TimeWait) {
            assert!(next.end() <= self.control.end(), "a RST renews");
        }
    }

    /// Whether it acknowledges a young SYN of the other hook that was remembered.
    fn takes_over(&self, facts: &Facts) -> bool {
        let Some((syn, at)) = self.history.syns[1 - hook(facts)] else {
            return false;
        };
        let is_young = self.now - at <= LIFETIMES.of(state::SYN_SENT);
        self.control.has(SYN_BESIDE)
            && self.control.has(BESIDE_BY_EGRESS) == (facts.is_egress == 0)
            && has(facts, SYN)
            && has(facts, ACK)
            && is_young
            && acknowledges(facts, syn)
    }

    /// Whether the FIN of the other hook is acknowledged, or is the answer's of a handshake that this completes, or known of the
    /// kernel.
    fn is_proven(&self, facts: &Facts) -> bool {
        self.history.fins[1 - hook(facts)].contains(&facts.acknowledgement)
            || self.is_handshake()
            || self.history.is_told_of_fins
    }

    fn remember(&mut self, facts: &Facts, next: Control) {
        let takes_over = self.takes_over(facts) && !self.is_handshake();
        let was_closed = self.control.state() == state::CLOSED;
        let is_handshake = self.is_handshake();
        let is_initiator = self.is_initiator(facts);
        if self.is_idle_answer(facts) {
            return;
        }
        let history = &mut self.history;
        let here = hook(facts);
        if takes_over {
            // A new connection: of the old one nothing counts.
            let syns = history.syns;
            *history = History { syns, ends: take(&mut history.ends), ..History::default() };
            history.finished[here] = has(facts, FIN);
        }
        // A SYN-ACK that answers nothing is passed, and means nothing, whatever flags it has.
        if has(facts, FIN) && (!has(facts, SYN) || takes_over || next.state() == state::SYN_RECEIVED) {
            history.fins[here].push(facts.sequence.wrapping_add(facts.data_length).wrapping_add(1));
        }
        let of_handshake = next.state() == state::SYN_RECEIVED || (is_handshake && is_initiator);
        if has(facts, SYN) && (opens(facts) || takes_over || of_handshake) {
            history.syns[here] = Some((facts.sequence, self.now));
        }
        if next.has(PROTECTED) && !self.control.has(PROTECTED) {
            history.fins[1 - here].push(facts.acknowledgement);
        }
        if !has(facts, RST | SYN) {
            history.ends[here].push(facts.sequence.wrapping_add(facts.data_length));
        }
        if has(facts, RST) {
            if next.state() == state::CLOSED && !was_closed {
                history.since_close = [false; 2];
            }
        } else if !has(facts, SYN) || is_handshake || next.state() == state::SYN_RECEIVED {
            history.since_close[here] = true;
            history.since_doubt[here] |= !has(facts, FIN);
            // Until the handshake is complete only SYNs say something.
            if !is_handshake || has(facts, SYN) || next.has(PROTECTED) {
                let data = facts.data_length != 0 || (has(facts, SYN) && !next.has(PROTECTED));
                history.finished[here] = has(facts, FIN) || (history.finished[here] && !data);
            }
        }
        if next.has(DOUBT) && !self.control.has(DOUBT) {
            history.since_doubt = [false; 2];
            // What protects it is of its initiator.
            history.since_doubt[here] = !self.control.has(PROTECTED) && !has(facts, FIN);
        }
        if was_closed && next.has(PROTECTED) {
            history.finished = [false; 2];
        }
        if next.state() == state::TIME_WAIT {
            // Also where the kernel says so.
            history.finished = [true; 2];
        }
    }

    /// A SYN of the responder that does not acknowledge the initiator's, and comes after another one: it counts for nothing.
    fn is_idle_answer(&self, facts: &Facts) -> bool {
        let opened = self.history.syns[1 - hook(facts)];
        let is_answer = has(facts, ACK) && opened.is_some_and(|(syn, _)| acknowledges(facts, syn));
        let is_second = self.control.state() == state::SYN_RECEIVED && has(facts, SYN);
        is_second && !self.is_initiator(facts) && !is_answer
    }

    fn is_handshake(&self) -> bool {
        matches!(self.control.state(), state::SYN_SENT | state::SYN_RECEIVED)
    }

    fn is_initiator(&self, facts: &Facts) -> bool {
        (facts.is_egress != 0) == self.control.has(BEGUN_BY_EGRESS)
    }
}

/// `there` is what the other hook has said.
fn facts(protocol: Protocol, packet: &Packet, now: u32, is_initiator: bool, there: Said) -> Facts {
    let is_tcp = protocol == Protocol::Tcp;
    let number = match packet.acknowledgement {
        Acknowledgement::Any(number) => number,
        Acknowledgement::BeyondSyn(bytes) => there.0.wrapping_add(bytes),
        Acknowledgement::OfFin => there.1,
        Acknowledgement::BeyondData(bytes) => there.2.wrapping_add(bytes),
    };
    Facts {
        now,
        second: TWO_SECONDS / 2,
        kind: match protocol {
            Protocol::Tcp => kind::TCP,
            Protocol::Udp => kind::UDP,
            Protocol::Query if is_initiator => kind::QUERY,
            Protocol::Query => kind::REPLY,
            Protocol::Portless => kind::PORTLESS,
        },
        sequence: if is_tcp { packet.sequence } else { 0 },
        acknowledgement: if is_tcp { number } else { 0 },
        tcp_flags: if is_tcp { possible(packet.flags) } else { 0 },
        data_length: u32::from(is_tcp && packet.has_data),
        is_egress: packet.is_egress.into(),
        is_forwarded: u8::from(packet.is_egress && packet.is_forwarded),
        ..Facts::default()
    }
}

/// Flags that the parser lets through: it has to open, to end, to reset or to acknowledge something, and only one of the
/// first three, but for a SYN-ACK with a FIN.
fn possible(flags: u8) -> u8 {
    let flags = flags & (SYN | FIN | RST | ACK);
    match flags & (SYN | FIN | RST) {
        0 | FIN => flags | ACK,
        SYN | RST => flags,
        both if both == SYN | FIN => SYN | FIN | ACK,
        _ => RST | flags & ACK,
    }
}

fn hook(facts: &Facts) -> usize {
    facts.is_egress.into()
}

fn has(facts: &Facts, flags: u8) -> bool {
    facts.tcp_flags & flags != 0
}

fn opens(facts: &Facts) -> bool {
    facts.tcp_flags & (SYN | ACK) == SYN
}

fn acknowledges(facts: &Facts, syn: u32) -> bool {
    facts.acknowledgement.wrapping_sub(syn.wrapping_add(1)) < WINDOW
}
