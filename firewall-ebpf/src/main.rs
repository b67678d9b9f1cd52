//! The XDP and TC programs of sgfw: thin shims over [`firewall_common::decide`].
//!
//! Each program decides by calling the stages of a decision ([`stages`]), counts the reason and turns the verdict into the
//! hook's code. It is loaded once and decides for every interface, whose slot it finds by its index.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod flows;
mod log;
mod maps;
mod packet;
mod stages;
mod tables;

use aya_ebpf::Global;
use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::abi::{ANY_SLOT, Direction, counter_index};
use firewall_common::decide::decide;
use firewall_common::reason::{Decision, Verdict};
use packet::{HookPacket, Skb, XdpFrame};
use stages::{Called, Calls, EgressTc, IngressTc, IngressXdp};

/// Slot of the one interface that the programs are loaded for, or [`ANY_SLOT`]; set by the loader.
#[unsafe(no_mangle)]
static SLOT: Global<u32> = Global::new(ANY_SLOT);

/// What frames of that one interface begin with: 0 for an Ethernet header, 1 for the network header; set by the loader.
#[unsafe(no_mangle)]
static LINK: Global<u32> = Global::new(0);

/// Ingress by XDP: in the driver, or in the stack for drivers without it.
#[xdp(frags)]
#[inline(always)]
pub fn ingress_xdp(context: XdpContext) -> u32 {
    xdp_action(judge(IngressXdp(context.ctx), Direction::Ingress).verdict())
}

/// Ingress by TC.
#[classifier]
#[inline(always)]
pub fn ingress_tc(context: TcContext) -> i32 {
    tc_action(judge(IngressTc(context.skb.skb), Direction::Ingress).verdict())
}

/// Egress, always by TC.
#[classifier]
#[inline(always)]
pub fn egress_tc(context: TcContext) -> i32 {
    tc_action(judge(EgressTc(context.skb.skb), Direction::Egress).verdict())
}

/// [`ingress_xdp`] with a log line for each dropped packet.
#[xdp(frags)]
#[inline(always)]
pub fn ingress_xdp_log(context: XdpContext) -> u32 {
    let decision = judge(IngressXdp(context.ctx), Direction::Ingress);
    log(|| XdpFrame::new(context.ctx), Direction::Ingress, decision);
    xdp_action(decision.verdict())
}

/// [`ingress_tc`] with a log line for each dropped packet.
#[classifier]
#[inline(always)]
pub fn ingress_tc_log(context: TcContext) -> i32 {
    let decision = judge(IngressTc(context.skb.skb), Direction::Ingress);
    log(|| Skb::new(context.skb.skb), Direction::Ingress, decision);
    tc_action(decision.verdict())
}

/// [`egress_tc`] with a log line for each dropped packet.
#[classifier]
#[inline(always)]
pub fn egress_tc_log(context: TcContext) -> i32 {
    let decision = judge(EgressTc(context.skb.skb), Direction::Egress);
    log(|| Skb::new(context.skb.skb), Direction::Egress, decision);
    tc_action(decision.verdict())
}

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
fn judge<C: Calls>(hook: C, direction: Direction) -> Decision {
    let decision = decide(&mut Called(hook));
    count(direction, decision);
    decision
}

#[inline(always)]
fn log<P: HookPacket>(packet: impl FnOnce() -> P, direction: Direction, decision: Decision) {
    if matches!(decision.reason().verdict(), Verdict::Drop) {
        log::dropped(packet(), direction, decision.reason());
    }
}

/// Counts the packet. The counters are per CPU and programs run with softirqs off, so a plain addition loses nothing. On
/// PREEMPT_RT that would not hold, and user space attaches none there.
#[inline(always)]
fn count(direction: Direction, decision: Decision) {
    let (slot, length) = stages::slot_and_length();
    let index = counter_index(slot, direction, decision);
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
