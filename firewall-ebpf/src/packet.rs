//! The contexts of the two hooks as [`PacketBytes`].

use core::ptr;

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use firewall_common::packet::{MAX_HEADER_OFFSET, PacketBytes};

use crate::maps::{self, SCRATCH_BYTES};

/// A packet as a hook gives it.
pub trait HookPacket: PacketBytes + Copy {
    /// VLAN tags that stand in the packet's metadata instead of its data.
    fn stripped_tags(self) -> u32;
}

/// A frame on XDP.
#[derive(Clone, Copy)]
pub struct XdpFrame {
    context: *mut xdp_md,
    /// Of all its buffers.
    length: u32,
}

impl XdpFrame {
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        let context = context.ctx;
        // SAFETY: the context is the one that the kernel gave. A frame of several buffers is longer than its linear
        // part. Asked for once: the call costs as much as a quarter of the way of an established packet.
        let length = unsafe { bpf_xdp_get_buff_len(context) } as u32;
        Self { context, length }
    }
}

impl HookPacket for XdpFrame {
    #[inline(always)]
    fn stripped_tags(self) -> u32 {
        0
    }
}

impl PacketBytes for XdpFrame {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.length
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > MAX_HEADER_OFFSET {
            return None;
        }
        // SAFETY: the context is the one that the kernel gave.
        let (data, data_end) = unsafe { ((*self.context).data, (*self.context).data_end) };
        if let Some(bytes) = load_linear(data, data_end, offset) {
            return Some(bytes);
        }
        load_by_helper(|scratch| {
            // SAFETY: `scratch` is writable and longer than `N`.
            unsafe { bpf_xdp_load_bytes(self.context, offset, scratch.cast(), N as u32) }
        })
    }
}

/// A packet on TC.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Skb(*mut __sk_buff);

impl Skb {
    #[inline(always)]
    pub fn new(context: &TcContext) -> Self {
        Self(context.skb.skb)
    }
}

impl HookPacket for Skb {
    #[inline(always)]
    fn stripped_tags(self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        u32::from(unsafe { (*self.0).vlan_present } != 0)
    }
}

impl PacketBytes for Skb {
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { (*self.0).len }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        if offset > MAX_HEADER_OFFSET {
            return None;
        }
        // SAFETY: the context is the one that the kernel gave.
        let (data, data_end) = unsafe { ((*self.0).data, (*self.0).data_end) };
        if let Some(bytes) = load_linear(data, data_end, offset) {
            return Some(bytes);
        }
        load_by_helper(|scratch| {
            // SAFETY: `scratch` is writable and longer than `N`.
            unsafe { bpf_skb_load_bytes(self.0.cast(), offset, scratch.cast(), N as u32) }
        })
    }
}

/// Loads from the linear part of the frame; the headers nearly always lie there, and this costs no helper call.
#[inline(always)]
fn load_linear<const N: usize>(data: u32, data_end: u32, offset: u32) -> Option<[u8; N]> {
    let start = data as usize + offset as usize;
    if start + N > data_end as usize {
        return None;
    }
    // SAFETY: the check above is the one that the verifier wants to see.
    Some(unsafe { ptr::read_unaligned(start as *const [u8; N]) })
}

/// Loads with a helper that writes to memory. The memory is the CPU's own and not the stack, which is too small for a
/// buffer per load; nothing else runs on the CPU between the two steps, for both hooks run in one softirq context.
#[inline(always)]
fn load_by_helper<const N: usize>(helper: impl FnOnce(*mut u8) -> i64) -> Option<[u8; N]> {
    const { assert!(N <= SCRATCH_BYTES) };
    let scratch = maps::SCRATCH.get_ptr_mut(0)?.cast::<u8>();
    if helper(scratch) != 0 {
        return None;
    }
    // SAFETY: the helper has written `N` bytes there.
    Some(unsafe { ptr::read_unaligned(scratch.cast()) })
}
