//! The XDP and TC programs of sgfw: thin shims over [`firewall_common::decide`].
//!
//! Each program wraps its context as [`PacketBytes`](firewall_common::packet::PacketBytes), decides with the kernel's
//! maps, counts the reason and turns the verdict into the hook's code. It is loaded once per interface with its own
//! [`SLOT`] and [`LINK`]; everything else it needs is read from maps.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod log;
mod maps;
mod packet;
mod tables;

use aya_ebpf::Global;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::abi::{Direction, counter_index};
use firewall_common::decide::{Hook, decide};
use firewall_common::packet::Link;
use firewall_common::reason::{Decision, Verdict};
use packet::{HookPacket, Skb, XdpFrame};
use tables::KernelTables;

/// Slot of the interface that the programs are loaded for; set by the loader.
#[unsafe(no_mangle)]
static SLOT: Global<u32> = Global::new(0);

/// What frames of the interface begin with: 0 for an Ethernet header, 1 for the network header; set by the loader.
#[unsafe(no_mangle)]
static LINK: Global<u32> = Global::new(0);

/// Ingress by XDP: in the driver, or in the stack for drivers without it.
#[xdp(frags)]
#[inline(always)]
pub fn ingress_xdp(context: XdpContext) -> u32 {
    xdp_action(judge::<INGRESS, _>(XdpFrame::new(&context)))
}

/// Ingress by TC.
#[classifier]
#[inline(always)]
pub fn ingress_tc(context: TcContext) -> i32 {
    tc_action(judge::<INGRESS, _>(Skb::new(&context)))
}

/// Egress, always by TC.
#[classifier]
#[inline(always)]
pub fn egress_tc(context: TcContext) -> i32 {
    tc_action(judge::<EGRESS, _>(Skb::new(&context)))
}

/// [`ingress_xdp`] with a log line for each dropped packet.
#[xdp(frags)]
#[inline(always)]
pub fn ingress_xdp_log(context: XdpContext) -> u32 {
    xdp_action(judge_and_log::<INGRESS, _>(XdpFrame::new(&context)))
}

/// [`ingress_tc`] with a log line for each dropped packet.
#[classifier]
#[inline(always)]
pub fn ingress_tc_log(context: TcContext) -> i32 {
    tc_action(judge_and_log::<INGRESS, _>(Skb::new(&context)))
}

/// [`egress_tc`] with a log line for each dropped packet.
#[classifier]
#[inline(always)]
pub fn egress_tc_log(context: TcContext) -> i32 {
    tc_action(judge_and_log::<EGRESS, _>(Skb::new(&context)))
}

/// The directions as constants of a function: kept in registers they would cost stack, of which there is little.
const INGRESS: bool = false;
const EGRESS: bool = true;

#[inline(always)]
const fn xdp_action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
const fn tc_action(verdict: Verdict) -> i32 {
    match verdict {
        // Not TC_ACT_OK: programs behind this one on the hook have their say too.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
    }
}

#[inline(always)]
fn judge<const IS_EGRESS: bool, P: HookPacket>(packet: P) -> Verdict {
    let hook = hook::<IS_EGRESS, P>(packet);
    let decision = decide(&packet, &KernelTables(packet), hook);
    count(hook, decision, packet.length());
    decision.verdict()
}

/// As [`judge`], with the decision and the log line in stack frames of their own: one frame has no room for both, and
/// programs that do not log need not pay for the call.
#[inline(always)]
fn judge_and_log<const IS_EGRESS: bool, P: HookPacket>(packet: P) -> Verdict {
    let decision = decide_apart::<IS_EGRESS, P>(packet);
    count(hook::<IS_EGRESS, P>(packet), decision, packet.length());
    if decision.reason().verdict() == Verdict::Drop {
        log::dropped::<IS_EGRESS, P>(packet, decision.reason());
    }
    decision.verdict()
}

#[inline(never)]
fn decide_apart<const IS_EGRESS: bool, P: HookPacket>(packet: P) -> Decision {
    decide(&packet, &KernelTables(packet), hook::<IS_EGRESS, P>(packet))
}

#[inline(always)]
fn hook<const IS_EGRESS: bool, P: HookPacket>(packet: P) -> Hook {
    Hook {
        slot: SLOT.load(),
        direction: if IS_EGRESS { Direction::Egress } else { Direction::Ingress },
        link: if LINK.load() == 0 {
            Link::Ethernet { stripped_tags: packet.stripped_tags() }
        } else {
            Link::None
        },
    }
}

/// Counts the packet. The counters are per CPU and programs run with softirqs off, so a plain addition loses nothing. On
/// PREEMPT_RT, where a softirq may be preempted, it may lose one.
#[inline(always)]
fn count(hook: Hook, decision: Decision, length: u32) {
    let index = counter_index(hook.slot, hook.direction, decision);
    if let Some(counter) = maps::COUNTERS.get_ptr_mut(index) {
        // SAFETY: the kernel returned a pointer to this CPU's element, which lives as long as the program runs.
        unsafe {
            (*counter).packets += 1;
            (*counter).bytes += u64::from(length);
        }
    }
}

/// The verifier refuses any program that could get here.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lets only GPL-compatible programs call the helpers used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
