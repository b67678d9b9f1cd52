//! The stages of a decision as functions that the kernel verifies one by one.
//!
//! They are *global* functions: the verifier looks at each once, whoever calls it, and knows nothing of what the stage
//! before has left. What they hand on lies in the CPU's own [`CASE`](maps::CASE). The type of the context decides what a
//! global function may do with it, so that there is one for each kind of hook where it is needed.

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use firewall_common::abi::{ANY_SLOT, Direction, InterfaceEntry, UNKNOWN_INTERFACE};
use firewall_common::decide::{self, Beginning, Case, Followed, Following, Hook, Reading, Stages};
use firewall_common::packet::Link;
use firewall_common::reason::{Reason, Verdict};

use crate::maps;
use crate::packet::{HookContext, HookPacket, Skb, XdpFrame};
use crate::tables::KernelTables;
use crate::{LINK, SLOT};

/// A stage leaves it to the next one: no [`Reason`].
const UNDECIDED: u32 = 1 << 8;
/// It is worth another try.
const AGAIN: u32 = 1 << 9;
/// The same, without asking for a socket.
const AGAIN_WITHOUT_ASKING: u32 = 1 << 10;
/// It belongs to a flow.
const OF_A_FLOW: u32 = 1 << 11;

/// The CPU's case.
#[inline(always)]
fn case() -> Option<&'static mut Case> {
    let case = maps::CASE.get_ptr_mut(0)?.cast::<Case>();
    // SAFETY: the element is a case's words, aligned to 8 bytes, and any words are a case. Nothing else uses it meanwhile: a
    // stage has returned before the next one is called, and for other programs on the CPU see `load_by_helper`.
    Some(unsafe { &mut *case })
}

/// Slot of the interface and length of the frame, as [`read`](decide::read()) has found them.
#[inline(always)]
pub fn slot_and_length() -> (u32, u32) {
    case().map_or((UNKNOWN_INTERFACE, 0), |case| (case.slot(), case.length()))
}

/// Where the packet was met.
#[inline(always)]
pub fn hook<P: HookPacket>(packet: P, direction: Direction) -> Hook {
    let (slot, has_ethernet) = match SLOT.load() {
        ANY_SLOT => match interface(packet.ifindex()) {
            Some(entry) => (entry.slot(), entry.has_ethernet()),
            None => (UNKNOWN_INTERFACE, true),
        },
        slot => (slot, LINK.load() == 0),
    };
    let link =
        if has_ethernet { Link::Ethernet { stripped_tags: packet.stripped_tags() } } else { Link::None };
    Hook { slot, direction, link }
}

#[inline(always)]
fn interface(ifindex: u32) -> Option<InterfaceEntry> {
    InterfaceEntry::find(maps::INTERFACES.get(InterfaceEntry::line(ifindex))?, ifindex)
}

#[inline(always)]
const fn undecided_or(reason: Option<Reason>) -> u32 {
    match reason {
        Some(reason) => reason as u32,
        None => UNDECIDED,
    }
}

#[inline(always)]
fn read<P: HookPacket>(packet: P, direction: Direction) -> u32 {
    let Some(case) = case() else {
        return Reason::Internal as u32 | Reading::IS_DECIDED;
    };
    decide::read(&packet, &KernelTables(packet.context()), hook(packet, direction), case).0
}

#[inline(always)]
fn follow<C: HookContext>(context: C) -> u32 {
    let Some(case) = case() else {
        return Reason::Internal as u32;
    };
    match decide::follow(&KernelTables(context), case) {
        Following::Decided(reason) => reason as u32,
        Following::Rules => UNDECIDED,
        Following::Flow => OF_A_FLOW,
    }
}

#[inline(always)]
fn track<C: HookContext>(context: C) -> u32 {
    let Some(case) = case() else {
        return Reason::Internal as u32;
    };
    match decide::track(&KernelTables(context), case) {
        Followed::Decided(reason) => reason as u32,
        Followed::Rules => UNDECIDED,
        Followed::Again => AGAIN,
    }
}

#[inline(always)]
fn begin<C: HookContext>(context: C, may_ask: bool) -> u32 {
    let Some(case) = case() else {
        return Reason::Internal as u32;
    };
    match decide::begin(&KernelTables(context), case, may_ask) {
        Beginning::Decided(reason) => reason as u32,
        Beginning::Again => AGAIN,
        Beginning::AgainWithoutAsking => AGAIN_WITHOUT_ASKING,
    }
}

/// Of a frame on XDP.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn read_xdp(context: *mut xdp_md) -> u32 {
    read(XdpFrame::new(context), Direction::Ingress)
}

/// Of an arriving packet on TC.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn read_ingress(context: *mut __sk_buff) -> u32 {
    read(Skb::new(context), Direction::Ingress)
}

/// Of a leaving packet on TC.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn read_egress(context: *mut __sk_buff) -> u32 {
    read(Skb::new(context), Direction::Egress)
}

/// Of what arrives: the kernel knows nothing about it that is asked here.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn follow_ingress() -> u32 {
    follow(())
}

/// Of what leaves.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn follow_egress(context: *mut __sk_buff) -> u32 {
    follow(context)
}

/// On XDP.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn track_xdp(context: *mut xdp_md) -> u32 {
    track(context)
}

/// On TC.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn track_tc(context: *mut __sk_buff) -> u32 {
    track(context)
}

/// On XDP.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn begin_xdp(context: *mut xdp_md, may_ask: u32) -> u32 {
    begin(context, may_ask != 0)
}

/// On TC.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn begin_tc(context: *mut __sk_buff, may_ask: u32) -> u32 {
    begin(context, may_ask != 0)
}

/// On TC egress alone.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn is_hairpin(context: *mut __sk_buff) -> u32 {
    // Without a case nothing may begin a flow.
    case().map_or(1, |case| decide::is_hairpin(&KernelTables(context), case).into())
}

/// On every hook.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn judge() -> u32 {
    let Some(case) = case() else {
        return Reason::Internal as u32;
    };
    undecided_or(decide::judge(&KernelTables(()), case))
}

/// On every hook.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn is_live() -> u32 {
    case().map_or(0, |case| decide::is_live(&KernelTables(()), case).into())
}

/// On every hook.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn quoted_passed_without_state() -> u32 {
    case().map_or(0, |case| decide::quoted_passed_without_state(&KernelTables(()), case).into())
}

/// On every hook. `passes` is 1 for a packet that does.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn remember_fragment(passes: u32) -> u32 {
    if let Some(case) = case() {
        let verdict = if passes != 0 { Verdict::Pass } else { Verdict::Drop };
        decide::remember_fragment(&KernelTables(()), case, verdict);
    }
    0
}

/// The stages of a hook.
pub trait Calls {
    fn read(&self) -> u32;
    fn follow(&self) -> u32;
    fn track(&self) -> u32;
    fn is_hairpin(&self) -> u32;
    fn begin(&self, may_ask: u32) -> u32;
}

/// Ingress by XDP.
#[derive(Clone, Copy)]
pub struct IngressXdp(pub *mut xdp_md);

/// Ingress by TC.
#[derive(Clone, Copy)]
pub struct IngressTc(pub *mut __sk_buff);

/// Egress by TC.
#[derive(Clone, Copy)]
pub struct EgressTc(pub *mut __sk_buff);

macro_rules! calls {
    ($hook:ty, $read:ident, $follow:expr, $track:ident, $is_hairpin:expr, $begin:ident) => {
        impl Calls for $hook {
            #[inline(always)]
            fn read(&self) -> u32 {
                $read(self.0)
            }

            #[inline(always)]
            fn follow(&self) -> u32 {
                $follow(self.0)
            }

            #[inline(always)]
            fn track(&self) -> u32 {
                $track(self.0)
            }

            #[inline(always)]
            fn is_hairpin(&self) -> u32 {
                $is_hairpin(self.0)
            }

            #[inline(always)]
            fn begin(&self, may_ask: u32) -> u32 {
                $begin(self.0, may_ask)
            }
        }
    };
}

calls!(IngressXdp, read_xdp, |_| follow_ingress(), track_xdp, |_| 0, begin_xdp);
calls!(IngressTc, read_ingress, |_| follow_ingress(), track_tc, |_| 0, begin_tc);
calls!(EgressTc, read_egress, follow_egress, track_tc, is_hairpin, begin_tc);

/// The stages as [`decide()`](decide::decide()) calls them.
pub struct Called<C>(pub C);

impl<C: Calls> Stages for Called<C> {
    #[inline(always)]
    fn read(&mut self) -> Reading {
        Reading(self.0.read())
    }

    #[inline(always)]
    fn follow(&mut self) -> Following {
        match self.0.follow() {
            UNDECIDED => Following::Rules,
            OF_A_FLOW => Following::Flow,
            reason => Following::Decided(Reason::of_register(reason)),
        }
    }

    #[inline(always)]
    fn track(&mut self) -> Followed {
        match self.0.track() {
            UNDECIDED => Followed::Rules,
            AGAIN => Followed::Again,
            reason => Followed::Decided(Reason::of_register(reason)),
        }
    }

    #[inline(always)]
    fn judge(&mut self) -> Option<Reason> {
        match judge() {
            UNDECIDED => None,
            reason => Some(Reason::of_register(reason)),
        }
    }

    #[inline(always)]
    fn is_hairpin(&mut self) -> bool {
        self.0.is_hairpin() != 0
    }

    #[inline(always)]
    fn begin(&mut self, may_ask: bool) -> Beginning {
        match self.0.begin(may_ask.into()) {
            AGAIN => Beginning::Again,
            AGAIN_WITHOUT_ASKING => Beginning::AgainWithoutAsking,
            reason => Beginning::Decided(Reason::of_register(reason)),
        }
    }

    #[inline(always)]
    fn is_live(&mut self) -> bool {
        is_live() != 0
    }

    #[inline(always)]
    fn quoted_passed_without_state(&mut self) -> bool {
        quoted_passed_without_state() != 0
    }

    #[inline(always)]
    fn remember_fragment(&mut self, verdict: Verdict) {
        remember_fragment(u32::from(matches!(verdict, Verdict::Pass)));
    }
}
