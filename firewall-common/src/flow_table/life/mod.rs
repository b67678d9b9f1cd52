//! The life of a flow: what a packet makes of its control word.
//!
//! Everything here is a function of the word, of what stands beside it and of the packet; nothing looks anything up. So the
//! packet path can work a transition out again when another CPU was faster, and tests can try them all.
//!
//! Nobody but its two hosts ends a flow. What arrived from outside may be forged, so a RST or a FIN that only arrived puts
//! the flow *in doubt*: its end, its class and its protection stay. If the host has a connected socket at that moment the
//! flow is *backed*, and the socket is asked for again once a short time has passed; otherwise the doubt goes when both
//! hooks have carried a segment since, and the flow ends some time after its last packet.

mod tcp;

use super::control::{
    ALIVE, BACKED, BEGUN_BY_EGRESS, Control, DOUBT, DRAINING, FINS, KEYED, PROTECTED, REPLIED, STATE,
    STATE_SHIFT, UNCONFIRMED, state,
};
use crate::packet::icmp::Role;
use crate::packet::{Tcp, Transport, tcp_flag};
use bytemuck::{Pod, Zeroable};

/// How long a flow may be idle, by number of its [`state`], in units of time. The first is that of a flow in doubt that no
/// socket backs; that of [`state::CUT`] is how long a cut flow keeps its responder's packets out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Lifetimes(pub [u32; 16]);

/// Number of the lifetime of a flow in doubt that no socket backs.
pub const DOUBTED: u64 = 0;

impl Lifetimes {
    /// The lifetime of a state.
    #[must_use]
    #[inline(always)]
    pub const fn of(&self, state: u64) -> u32 {
        self.0[(state & 15) as usize]
    }

    /// When a flow in that state ends that a packet has just met: one unit later, for `now` is rounded down.
    #[must_use]
    #[inline(always)]
    pub const fn end(&self, state: u64, now: u32) -> u32 {
        let end = now as u64 + self.of(state) as u64 + 1;
        // All ones beyond 32 bits, without a branch.
        (end | (end >> 32).wrapping_neg()) as u32
    }
}

/// What the kernel says about the socket of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Connected: from SYN-SENT to LAST-ACK.
    Connected,
    /// TIME-WAIT, or FIN-WAIT-2 without an owner.
    TimeWait,
    /// NEW-SYN-RECV: the host has answered a SYN, and waits for the rest of the handshake.
    Opening,
    /// LISTEN: the host may have answered a SYN with a cookie, and remembers nothing.
    Listening,
    /// None.
    None,
}

/// What stands beside a flow, in a word of its own that is written before the control word which says that it counts.
///
/// TCP, in the lower half: the acknowledgement number that the next step of a handshake must bear, or the proof of a pick-up, or
/// the one that a FIN is acknowledged with; above it, in 16 bits of the time each, when the doubt began and when the SYN was seen. They wrap after two
/// hours, which lets a question wait, or an old SYN count whose number must still be met. During a handshake, in the upper half:
/// the acknowledgement number that the responder's SYN must bear. UDP: there, when the flow began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Beside(pub u64);

impl Beside {
    /// Of a flow that begins.
    #[must_use]
    #[inline(always)]
    pub const fn begun(now: u32) -> Self {
        Self((now as u64) << 32)
    }

    /// Of a flow that a packet begins.
    #[must_use]
    #[inline(always)]
    pub const fn begun_by(facts: &Facts) -> Self {
        if facts.opens() { Self(0).opened(facts.sequence.wrapping_add(1)) } else { Self::begun(facts.now) }
    }

    /// A handshake has begun, and its SYN is acknowledged by this number.
    #[inline(always)]
    const fn opened(self, number: u32) -> Self {
        Self(self.0 & 0xffff_ffff | (number as u64) << 32)
    }

    /// Whether a segment acknowledges the SYN of the initiator, and perhaps data that came with it.
    #[inline(always)]
    const fn is_answer(self, facts: &Facts) -> bool {
        facts.has(tcp_flag::ACK)
            && facts.acknowledgement.wrapping_sub((self.0 >> 32) as u32) < tcp::HANDSHAKE_WINDOW
    }

    #[inline(always)]
    const fn expected(self) -> u32 {
        self.0 as u32
    }

    /// Whether a segment acknowledges what the next step of a handshake must bear.
    #[inline(always)]
    const fn is_expected(self, facts: &Facts) -> bool {
        facts.acknowledgement.wrapping_sub(self.expected()) < tcp::HANDSHAKE_WINDOW
    }

    /// Whether a segment acknowledges more than that. What lies behind is yet to come.
    #[inline(always)]
    const fn is_overtaken(self, facts: &Facts) -> bool {
        let beyond = facts.acknowledgement.wrapping_sub(self.expected());
        beyond >= tcp::HANDSHAKE_WINDOW && beyond < 1 << 31
    }

    #[inline(always)]
    const fn expecting(self, number: u32) -> Self {
        Self(self.0 & !0xffff_ffff | number as u64)
    }

    #[inline(always)]
    const fn doubted_at(self, now: u32) -> Self {
        Self(self.0 & !(0xffff << 32) | ((now & 0xffff) as u64) << 32)
    }

    #[inline(always)]
    const fn syn_at(self, now: u32) -> Self {
        Self(self.0 & !(0xffff << 48) | ((now & 0xffff) as u64) << 48)
    }

    /// Whether the remembered SYN is younger than a handshake may last.
    #[inline(always)]
    const fn syn_is_young(self, lifetimes: &Lifetimes, now: u32) -> bool {
        since(self.0 >> 48, now) <= lifetimes.of(state::SYN_SENT).saturating_add(AHEAD)
    }

    /// Whether the short time of a doubt is over: that of a RST, or of a FIN if one was seen.
    #[must_use]
    #[inline(always)]
    pub const fn doubt_is_due(self, control: Control, lifetimes: &Lifetimes, now: u32) -> bool {
        let short = if control.has(FINS) { state::TIME_WAIT } else { state::CLOSED };
        since(self.0 >> 32, now) > lifetimes.of(short).saturating_add(AHEAD)
    }

    #[inline(always)]
    const fn began(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Units of time by which what stands beside a flow may be ahead of a packet's clock: another CPU has read its clock later
/// and written first. Without it, what has just happened would have happened two hours ago.
const AHEAD: u32 = 8;

/// Units of time since one of which 16 bits are known, and [`AHEAD`] more.
#[inline(always)]
const fn since(at: u64, now: u32) -> u32 {
    now.wrapping_add(AHEAD).wrapping_sub(at as u32) & 0xffff
}

/// A packet, as far as flows are concerned with it. Programs keep it in memory of their CPU, for stack is scarce.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(8))]
pub struct Facts {
    /// TCP: sequence number in host order.
    pub sequence: u32,
    /// TCP: acknowledgement number in host order.
    pub acknowledgement: u32,
    /// TCP: bytes of data.
    pub data_length: u32,
    /// The time.
    pub now: u32,
    /// Units of time in a second, rounded up.
    pub second: u32,
    /// When a flow of the packet's kind ends that the packet finds [undisturbed](is_undisturbed_by).
    pub undisturbed_end: u32,
    /// A number of [`kind`].
    pub kind: u8,
    /// TCP: bits of [`tcp_flag`].
    pub tcp_flags: u8,
    /// 1 if it leaves the host.
    pub is_egress: u8,
    /// 1 if it arrived at another interface before.
    pub is_forwarded: u8,
    /// Always 0.
    pub padding: u32,
}

/// What a packet is to flows.
pub mod kind {
    /// It begins no flow, and nothing follows from it: a reply to an ICMP query.
    pub const REPLY: u8 = 0;
    /// TCP.
    pub const TCP: u8 = 1;
    /// UDP.
    pub const UDP: u8 = 2;
    /// An ICMP query.
    pub const QUERY: u8 = 3;
    /// Any other protocol.
    pub const PORTLESS: u8 = 4;
}

impl Facts {
    /// The facts of a packet; of one that has no flow, those of a reply. Hook and time are the caller's.
    #[must_use]
    #[inline(always)]
    pub const fn of(transport: &Transport) -> Self {
        let kind = match transport {
            Transport::Tcp(tcp) => return Self::of_segment(tcp),
            Transport::Udp { .. } => kind::UDP,
            Transport::Icmp(icmp) if matches!(icmp.role, Role::Query { .. }) => kind::QUERY,
            Transport::Portless => kind::PORTLESS,
            Transport::Icmp(_) | Transport::LaterFragment => kind::REPLY,
        };
        Self { kind, ..Self::nothing() }
    }

    #[inline(always)]
    const fn of_segment(tcp: &Tcp) -> Self {
        Self {
            sequence: tcp.sequence,
            acknowledgement: tcp.acknowledgement,
            kind: kind::TCP,
            tcp_flags: tcp.flags,
            data_length: tcp.data_length,
            ..Self::nothing()
        }
    }

    #[inline(always)]
    const fn nothing() -> Self {
        Self {
            sequence: 0,
            acknowledgement: 0,
            data_length: 0,
            now: 0,
            second: 0,
            undisturbed_end: 0,
            kind: kind::REPLY,
            tcp_flags: 0,
            is_egress: 0,
            is_forwarded: 0,
            padding: 0,
        }
    }

    /// Whether the host itself has made the packet.
    #[inline(always)]
    const fn is_made_here(&self) -> bool {
        self.is_egress != 0 && self.is_forwarded == 0
    }

    /// Whether it comes from the end that began the flow: its hook is the one that did.
    #[inline(always)]
    const fn is_from_initiator(&self, control: Control) -> bool {
        (self.is_egress != 0) == control.has(BEGUN_BY_EGRESS)
    }

    #[inline(always)]
    const fn is_tcp(&self) -> bool {
        self.kind == kind::TCP
    }

    /// Whether a flag of TCP is set.
    #[inline(always)]
    pub(super) const fn has(&self, flag: u8) -> bool {
        self.tcp_flags & flag != 0
    }

    /// Whether it begins a flow where rules admit it.
    #[must_use]
    #[inline(always)]
    pub const fn begins_flow(&self) -> bool {
        self.kind != kind::REPLY && !(self.is_tcp() && self.has(tcp_flag::RST))
    }

    /// Whether it is a TCP segment that no connection begins with.
    #[must_use]
    #[inline(always)]
    pub const fn is_late_start(&self) -> bool {
        self.is_tcp() && !self.opens()
    }

    /// Whether it is a TCP segment of a connection that is there, or was.
    #[must_use]
    #[inline(always)]
    pub const fn is_mid_stream(&self) -> bool {
        self.is_tcp() && !self.has(tcp_flag::SYN)
    }

    /// A SYN without an ACK: the first segment of a connection.
    #[must_use]
    #[inline(always)]
    pub const fn opens(&self) -> bool {
        self.has(tcp_flag::SYN) && !self.has(tcp_flag::ACK)
    }
}

/// By kind, four bits each: the state of a flow that goes on undisturbed.
const UNDISTURBED: u64 = by_kind(kind::REPLY, state::ICMP_REPLIED)
    | by_kind(kind::TCP, state::ESTABLISHED)
    | by_kind(kind::UDP, state::UDP_STREAM)
    | by_kind(kind::QUERY, state::ICMP_REPLIED)
    | by_kind(kind::PORTLESS, state::PORTLESS_REPLIED);

const fn by_kind(kind: u8, state: u64) -> u64 {
    state << (kind * 4)
}

/// The state that flows of a kind are in most of their lives.
#[must_use]
#[inline(always)]
pub const fn undisturbed_state(kind: u8) -> u64 {
    UNDISTURBED >> (kind as u32 * 4) & 15
}

/// Whether a packet leaves its flow exactly as it is, so that nothing is to be written: true of most packets, and said in few
/// instructions. [`follow`] says the same, but for the end of life, which may move by a second before it is written.
#[must_use]
#[inline(always)]
pub const fn is_undisturbed_by(control: Control, facts: &Facts) -> bool {
    const MARKS: u64 = STATE | REPLIED | DRAINING | DOUBT;
    const MARKS_OF_TCP: u64 = MARKS | PROTECTED | KEYED;
    let state = undisturbed_state(facts.kind) << STATE_SHIFT;
    let is_plain = if facts.is_tcp() {
        !facts.has(tcp_flag::SYN | tcp_flag::FIN | tcp_flag::RST)
            && control.0 & MARKS_OF_TCP == state | REPLIED | PROTECTED | KEYED
    } else {
        control.0 & MARKS == state | REPLIED
    };
    is_plain
        && !control.is_ended(facts.now)
        && facts.undisturbed_end.wrapping_sub(control.end()) < facts.second
}

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It passes, and the flow goes on as this, with this beside it.
    Continue(Control, Beside),
    /// The flow's life is over: the rules decide, as without a flow.
    Over,
    /// A SYN on a flow that is closed, in doubt or cut, or what the initiator of a cut flow sends: the rules decide. If they
    /// admit a SYN, it is remembered beside ([`remember_syn`]); of a cut flow the place is taken anew.
    Rules,
    /// The operator has cut the flow: the packet is dropped, and the flow stands as this.
    Cut(Control),
}

/// Whether the socket of the flow must be asked for before [`follow`].
#[must_use]
#[inline(always)]
pub fn asks_for_socket(control: Control, beside: Beside, facts: &Facts, lifetimes: &Lifetimes) -> bool {
    if !facts.is_tcp() {
        return false;
    }
    if control.has(BACKED) && facts.is_made_here() && facts.has(tcp_flag::RST) {
        return true;
    }
    if control.has(DOUBT) {
        return control.has(BACKED) && beside.doubt_is_due(control, lifetimes, facts.now);
    }
    tcp::begins_doubt(control, facts) || tcp::protects(control, beside, facts) || tcp::revives(control, facts)
}

/// Follows one packet of a flow. `socket` is the answer if [`asks_for_socket`] said so, and none otherwise.
#[must_use]
#[inline(always)]
pub fn follow(
    control: Control,
    beside: Beside,
    facts: &Facts,
    lifetimes: &Lifetimes,
    socket: Option<Socket>,
) -> Step {
    let now = facts.now;
    if control.state() == state::CUT || (control.has(DRAINING) && control.is_ended(now)) {
        return cut(control, facts, lifetimes);
    }
    if control.is_ended(now) {
        return Step::Over;
    }
    let (mut control, mut beside) = (control, beside);
    if let Some(socket) = socket
        && control.has(DOUBT)
        && control.has(BACKED)
        && beside.doubt_is_due(control, lifetimes, now)
    {
        control = settle(control, socket, lifetimes, now);
        if control.is_ended(now) {
            return Step::Over;
        }
        if control.has(DOUBT) {
            beside = beside.doubted_at(now);
        }
    }
    if facts.is_tcp() {
        return tcp::follow(control, beside, facts, lifetimes, socket);
    }
    Step::Continue(without_states(control, beside, facts, lifetimes), beside)
}

/// Protocols other than TCP. A UDP flow is a stream once both hooks have carried it and it still talks two seconds after it
/// began; a question and its answer, however often they are sent in that time, are none.
#[inline(always)]
fn without_states(control: Control, beside: Beside, facts: &Facts, lifetimes: &Lifetimes) -> Control {
    let mut next = control;
    if !facts.is_from_initiator(control) {
        next = next.with(REPLIED);
    }
    if next.has(REPLIED) {
        let lasted = facts.now.wrapping_sub(beside.began()).cast_signed() >= (2 * facts.second).cast_signed();
        next = next.in_state(match next.state() {
            state::UDP_ONE_WAY | state::UDP_REPLIED if lasted => state::UDP_STREAM,
            state::UDP_ONE_WAY => state::UDP_REPLIED,
            state::ICMP_QUERY => state::ICMP_REPLIED,
            state::PORTLESS => state::PORTLESS_REPLIED,
            same => same,
        });
    }
    renewed(next, next.state(), lifetimes, facts.now)
}

/// A later end of life, or an earlier one where timeouts have changed; never of what the operator drains.
#[inline(always)]
const fn renewed(control: Control, lifetime: u64, lifetimes: &Lifetimes, now: u32) -> Control {
    if control.has(DRAINING) { control } else { control.ending(lifetimes.end(lifetime, now)) }
}

#[inline(always)]
fn cut(control: Control, facts: &Facts, lifetimes: &Lifetimes) -> Step {
    let next = if control.state() == state::CUT { control } else { cut_off(control, lifetimes, facts.now) };
    if next.is_ended(facts.now) {
        return Step::Over;
    }
    // Dropping the rest keeps a cut flow from coming back as one that the responder has begun.
    if facts.is_from_initiator(control) || facts.opens() { Step::Rules } else { Step::Cut(next) }
}

/// A flow that the operator ends now.
#[must_use]
#[inline(always)]
pub const fn cut_off(control: Control, lifetimes: &Lifetimes, now: u32) -> Control {
    control
        .without(PROTECTED | DOUBT | BACKED | ALIVE | UNCONFIRMED | DRAINING)
        .in_state(state::CUT)
        .ending(lifetimes.end(state::CUT, now))
}

/// A flow that the operator lets go on until `end`, and no longer.
#[must_use]
#[inline(always)]
pub const fn drain(control: Control, end: u32) -> Control {
    control.with(DRAINING).ending(end)
}

/// What an answer makes of a flow in doubt that was backed by a socket.
///
/// A half-closed flow stays in doubt, to be asked for again: its socket may go without a packet. So does one whose handshake
/// the host has not completed: a listener with `TCP_DEFER_ACCEPT` waits for the first data.
#[must_use]
#[inline(always)]
pub const fn settle(control: Control, socket: Socket, lifetimes: &Lifetimes, now: u32) -> Control {
    match socket {
        Socket::Connected if control.has(FINS) => control.without(UNCONFIRMED),
        Socket::Connected => control.without(DOUBT | ALIVE | UNCONFIRMED),
        Socket::TimeWait => tcp::time_wait(control, lifetimes, now),
        Socket::Opening if control.has(UNCONFIRMED) => control,
        Socket::Opening | Socket::Listening | Socket::None => {
            tcp::time_wait(control, lifetimes, now).without(DRAINING).ending(now)
        }
    }
}

/// Remembers a SYN that a rule has admitted beside a flow that is closed or in doubt; see [`Step::Rules`].
#[must_use]
#[inline(always)]
pub const fn remember_syn(control: Control, beside: Beside, facts: &Facts) -> (Control, Beside) {
    tcp::remember_syn(control, beside, facts)
}

/// The flow that a packet begins which rules admit; `None` where it begins none: a reply, an ICMP error, a RST, a later
/// fragment.
#[must_use]
#[inline(always)]
pub fn begin(facts: &Facts, lifetimes: &Lifetimes) -> Option<Control> {
    let state = match facts.kind {
        kind::TCP if facts.has(tcp_flag::RST) => return None,
        // A segment in mid-stream picks a flow up loosely, as conntrack does, so that a reload or an asymmetric start cuts
        // nothing that the rules allow.
        kind::TCP if facts.opens() => state::SYN_SENT,
        kind::TCP => state::PICKED_UP,
        kind::UDP => state::UDP_ONE_WAY,
        kind::QUERY => state::ICMP_QUERY,
        kind::PORTLESS => state::PORTLESS,
        _ => return None,
    };
    let side = if facts.is_egress != 0 { BEGUN_BY_EGRESS } else { 0 };
    Some(Control(side).in_state(state).ending(lifetimes.end(state, facts.now)))
}

const _: () = assert!(size_of::<Facts>() == 32);
