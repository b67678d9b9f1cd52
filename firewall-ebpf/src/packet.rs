//! The contexts of the two hooks as [`PacketBytes`].

use core::arch::asm;
use core::ffi::c_void;
use core::ptr;

use aya_ebpf::bindings::{
    __sk_buff, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup, xdp_md,
};
use aya_ebpf::helpers::{bpf_fib_lookup, bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use firewall_common::abi::{KEY_IS_IPV6, KeyWords};
use firewall_common::packet::{MAX_HEADER_OFFSET, PacketBytes, Walk};
use firewall_common::reason::Reason;

use crate::maps::{self, SCRATCH_BYTES};

/// `linux/socket.h`.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Length of an IPv4 header without options.
const IPV4_HEADER: u16 = 20;

/// What the kernel knows about a packet: its context on a hook. Of what arrives it knows nothing more: that has not been
/// routed yet, and nobody asks.
pub trait HookContext: Copy {
    /// For helpers.
    fn as_ptr(self) -> *mut c_void;

    /// See [`Tables::is_forwarded`](firewall_common::decide::Tables::is_forwarded).
    #[inline(always)]
    fn is_forwarded(self) -> bool {
        false
    }

    /// See [`Tables::was_received_here`](firewall_common::decide::Tables::was_received_here).
    #[inline(always)]
    fn was_received_here(self) -> bool {
        false
    }

    /// See [`Tables::leads_back_here`](firewall_common::decide::Tables::leads_back_here).
    #[inline(always)]
    fn leads_back_here(self, _key: &KeyWords) -> bool {
        false
    }
}

/// A packet as a hook gives it.
pub trait HookPacket: PacketBytes + Copy {
    /// Type of its context.
    type Context: HookContext;

    /// Its context.
    fn context(self) -> Self::Context;

    /// Index of the interface that it is on.
    fn ifindex(self) -> u32;

    /// VLAN tags that stand in the packet's metadata instead of its data.
    fn stripped_tags(self) -> u32;
}

/// For stages that need no context.
impl HookContext for () {
    #[inline(always)]
    fn as_ptr(self) -> *mut c_void {
        ptr::null_mut()
    }
}

impl HookContext for *mut xdp_md {
    #[inline(always)]
    fn as_ptr(self) -> *mut c_void {
        self.cast()
    }
}

impl HookContext for *mut __sk_buff {
    #[inline(always)]
    fn as_ptr(self) -> *mut c_void {
        self.cast()
    }

    #[inline(always)]
    fn is_forwarded(self) -> bool {
        // SAFETY: the context is the one that the kernel gave. 0, which no interface has, is what the host made itself.
        unsafe { (*self).ingress_ifindex != 0 }
    }

    #[inline(always)]
    fn was_received_here(self) -> bool {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { (*self).ingress_ifindex == (*self).ifindex }
    }

    #[inline(always)]
    fn leads_back_here(self, key: &KeyWords) -> bool {
        // SAFETY: the context is the one that the kernel gave.
        let leaves_by = unsafe { (*self).ifindex };
        way_back(self, leaves_by, key) == Some(leaves_by)
    }
}

/// A frame on XDP.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct XdpFrame(*mut xdp_md);

impl XdpFrame {
    #[inline(always)]
    pub const fn new(context: *mut xdp_md) -> Self {
        Self(context)
    }
}

impl HookPacket for XdpFrame {
    type Context = *mut xdp_md;

    #[inline(always)]
    fn context(self) -> *mut xdp_md {
        self.0
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[inline(always)]
    fn stripped_tags(self) -> u32 {
        0
    }
}

impl PacketBytes for XdpFrame {
    /// The call costs as much as a quarter of the way of an established packet.
    #[inline(always)]
    fn length(&self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }

    #[inline(always)]
    fn known_length(&self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        let (data, data_end) = unsafe { ((*self.0).data, (*self.0).data_end) };
        data_end.wrapping_sub(data)
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
            unsafe { bpf_xdp_load_bytes(self.0, offset, scratch.cast(), N as u32) }
        })
    }

    #[inline(always)]
    fn step(&self, walk: &mut Walk) -> Result<(), Reason> {
        stepped(walk, || step_xdp(self.0))
    }
}

/// A packet on TC.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Skb(*mut __sk_buff);

impl Skb {
    #[inline(always)]
    pub const fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }
}

impl HookPacket for Skb {
    type Context = *mut __sk_buff;

    #[inline(always)]
    fn context(self) -> *mut __sk_buff {
        self.0
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the context is the one that the kernel gave.
        unsafe { (*self.0).ifindex }
    }

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

    #[inline(always)]
    fn step(&self, walk: &mut Walk) -> Result<(), Reason> {
        stepped(walk, || step_tc(self.0))
    }
}

/// A step of the CPU's [`WALK`](maps::WALK), on XDP. 0 if it is done, or 1 more than the number of the [`Reason`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn step_xdp(context: *mut xdp_md) -> u32 {
    step(XdpFrame(context))
}

/// The same on TC.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn step_tc(context: *mut __sk_buff) -> u32 {
    step(Skb(context))
}

#[inline(always)]
fn step<P: PacketBytes>(packet: P) -> u32 {
    let stepped = walk().ok_or(Reason::Internal).and_then(|walk| walk.step(&packet));
    stepped.err().map_or(0, |reason| reason as u32 + 1)
}

/// Hands `walk` to `step`, and back.
#[inline(always)]
fn stepped(walk: &mut Walk, step: impl FnOnce() -> u32) -> Result<(), Reason> {
    *self::walk().ok_or(Reason::Internal)? = *walk;
    let answer = step();
    *walk = *self::walk().ok_or(Reason::Internal)?;
    if answer == 0 { Ok(()) } else { Err(Reason::of_register(answer - 1)) }
}

/// The CPU's walk.
#[inline(always)]
fn walk() -> Option<&'static mut Walk> {
    let walk = maps::WALK.get_ptr_mut(0)?.cast::<Walk>();
    // SAFETY: the element is a walk's words, aligned to 8 bytes, and any words are a walk. For other programs on the CPU see
    // `load_by_helper`.
    Some(unsafe { &mut *walk })
}

/// Covers every offset that is loaded from.
const OFFSET_MASK: u32 = 0x7ff;
const _: () = assert!(MAX_HEADER_OFFSET <= OFFSET_MASK && (OFFSET_MASK + 1).is_power_of_two());

/// Loads from the linear part of the frame; the headers nearly always lie there, and this costs no helper call.
/// `offset` is at most [`MAX_HEADER_OFFSET`].
#[inline(always)]
fn load_linear<const N: usize>(data: u32, data_end: u32, offset: u32) -> Option<[u8; N]> {
    let start = data as usize + bounded(offset);
    if start + N > data_end as usize {
        return None;
    }
    // SAFETY: the check above is the one that the verifier wants to see.
    Some(unsafe { load_words(start as *const u8) })
}

/// `offset`, as a register that every verifier knows to be bounded.
///
/// The check of the offset is not enough before Linux 6.12: the compiler may spill the offset first, check a copy and
/// reload it, and older verifiers do not carry what the check has shown over to the spilled one; nor do they learn from a
/// comparison of two registers. So the register that is added to the packet's pointer gets its bound last. The mask
/// changes no offset, and stands in assembly because the compiler knows that too and would leave it out.
#[inline(always)]
fn bounded(offset: u32) -> usize {
    let mut register = u64::from(offset);
    // SAFETY: it changes the register and nothing else.
    unsafe {
        asm!(
            "{register} &= {mask}",
            register = inout(reg) register,
            mask = const OFFSET_MASK,
            options(pure, nomem, nostack),
        );
    }
    register as usize
}

/// Loads with a helper that writes to memory. The memory is the CPU's own and not the stack, which is too small for a
/// buffer per load; nothing else runs on the CPU between the two steps, for both hooks run with softirqs off,
/// egress in the context of a process too. On PREEMPT_RT that would not hold, and user space attaches no program there.
#[inline(always)]
fn load_by_helper<const N: usize>(helper: impl FnOnce(*mut u8) -> i64) -> Option<[u8; N]> {
    const { assert!(N <= SCRATCH_BYTES) };
    let scratch = maps::SCRATCH.get_ptr_mut(0)?.cast::<u8>();
    if helper(scratch) != 0 {
        return None;
    }
    // SAFETY: the helper has written `N` bytes there.
    Some(unsafe { load_words(scratch) })
}

/// Loads `N` bytes, at most 47, in words as large as possible: the machines that programs run on take them at any address. In
/// assembly, because the compiler does not know that and would put each field together from bytes.
///
/// # Safety
///
/// `start` points to `N` bytes.
#[inline(always)]
unsafe fn load_words<const N: usize>(start: *const u8) -> [u8; N] {
    const { assert!(N < 48) };
    let mut bytes = [0; N];
    macro_rules! load {
        ($word:ty, $if:expr, $at:expr) => {
            if const { $if } {
                let word: u64;
                // SAFETY: the caller says that there are as many bytes, and the condition that the word is among them.
                unsafe {
                    asm!(
                        concat!("{word} = *(", stringify!($word), " *)({start} + {at})"),
                        word = out(reg) word,
                        start = in(reg) start,
                        at = const $at,
                        options(pure, readonly, nostack, preserves_flags),
                    );
                }
                bytes[$at..$at + size_of::<$word>()].copy_from_slice(&(word as $word).to_ne_bytes());
            }
        };
    }
    load!(u64, N >= 8, 0);
    load!(u64, N >= 16, 8);
    load!(u64, N >= 24, 16);
    load!(u64, N >= 32, 24);
    load!(u64, N >= 40, 32);
    load!(u32, N & 4 != 0, N & !7);
    load!(u16, N & 2 != 0, N & !3);
    load!(u8, N & 1 != 0, N & !1);
    bytes
}

/// By which interface the host would forward to the local end of `key`, as if that came in by `ifindex` from the remote end.
/// `None` where it would not, or says nothing: forwarding is off, an address of its own, no route.
#[inline(always)]
fn way_back(context: *mut __sk_buff, ifindex: u32, key: &KeyWords) -> Option<u32> {
    const PARAMETERS: usize = size_of::<bpf_fib_lookup>();
    const { assert!(PARAMETERS <= SCRATCH_BYTES) };
    // In the CPU's own memory, as in `load_by_helper`: the stack has no room for it.
    let parameters = maps::SCRATCH.get_ptr_mut(0)?.cast::<bpf_fib_lookup>();
    let [l0, l1, r0, r1, last] = *key;
    // SAFETY: the element is as large as the parameters, aligned to 8 bytes, and nothing else uses it meanwhile. All-zero
    // is valid for them, and each address field has room for an address of its family.
    let answer = unsafe {
        parameters.cast::<[u64; PARAMETERS / 8]>().write([0; PARAMETERS / 8]);
        (*parameters).ifindex = ifindex;
        // The least that may be: the answer is not to depend on the size of the packet.
        (*parameters).__bindgen_anon_1.tot_len = IPV4_HEADER;
        let from = (&raw mut (*parameters).__bindgen_anon_3).cast::<u32>();
        let to = (&raw mut (*parameters).__bindgen_anon_4).cast::<u32>();
        if last & KEY_IS_IPV6 != 0 {
            (*parameters).family = AF_INET6;
            from.cast::<[u64; 2]>().write_unaligned([r0, r1]);
            to.cast::<[u64; 2]>().write_unaligned([l0, l1]);
        } else {
            (*parameters).family = AF_INET;
            from.write((r1 >> 32) as u32);
            to.write(r1 as u32);
        }
        // Without BPF_FIB_LOOKUP_SKIP_NEIGH, which kernels before 6.3 refuse: they all name the interface before they look
        // for the neighbour.
        bpf_fib_lookup(context.cast(), parameters, PARAMETERS as i32, 0)
    };
    const ROUTED: i64 = BPF_FIB_LKUP_RET_SUCCESS as i64;
    const ROUTED_WITHOUT_NEIGHBOUR: i64 = BPF_FIB_LKUP_RET_NO_NEIGH as i64;
    // SAFETY: as above; the kernel has written it.
    matches!(answer, ROUTED | ROUTED_WITHOUT_NEIGHBOUR).then(|| unsafe { (*parameters).ifindex })
}
