//! What keeps the compiler and the kernel's verifier from knowing too much. On other targets all of it is the identity.

#[cfg(target_arch = "bpf")]
use core::arch::asm;

/// Returns `value`, of which the compiler then knows nothing: it would turn arithmetic on it into branches, each of which
/// doubles what the verifier has to look at.
#[inline(always)]
#[cfg_attr(not(target_arch = "bpf"), expect(unused_mut, reason = "nothing changes it there"))]
pub(crate) fn hide(mut value: u64) -> u64 {
    // SAFETY: it changes nothing. Not `pure`: the compiler would compute four slots at once, which takes stack.
    #[cfg(target_arch = "bpf")]
    unsafe {
        asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags));
    }
    value
}

/// Returns `value`, of which the verifier then knows nothing, and not where it came from.
///
/// The verifier follows every path with all that it knows about each number: an offset reached by way of one VLAN tag
/// and of two are two cases, and so is everything after them, so that paths multiply to more than it is willing to look
/// at. Where paths meet again, forgetting makes the cases one; every later use of the number is checked at run time anyway.
/// A register stored to the stack at an offset that is no multiple of 8 is not tracked (`check_stack_write_fixed_off` in
/// `kernel/bpf/verifier.c`).
#[inline(always)]
pub(crate) fn forget(value: u32) -> u32 {
    #[cfg(target_arch = "bpf")]
    {
        #[repr(C, align(8))]
        struct Slot {
            unused: u32,
            value: u32,
        }
        let mut slot = Slot { unused: 0, value: 0 };
        let mut place = &raw mut slot;
        // SAFETY: it changes nothing, but keeps the compiler from giving `value` a place of its own; both then refer to a
        // field of a live local.
        unsafe {
            asm!("{0} = {0}", inout(reg) place, options(nostack, preserves_flags));
            core::ptr::write_volatile(&raw mut (*place).value, value);
            core::ptr::read_volatile(&raw const (*place).value)
        }
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// The same of 64 bits, in two instructions, for numbers that are no part of an address: the verifier still knows where the
/// number came from, and remembers that of addresses alone. `unknown` is any number of which it knows nothing.
#[inline(always)]
#[cfg_attr(
    not(target_arch = "bpf"),
    expect(unused_mut, unused_variables, reason = "nothing changes it there")
)]
pub(crate) fn blur(mut value: u64, unknown: u64) -> u64 {
    // SAFETY: twice the same change of a register is none.
    #[cfg(target_arch = "bpf")]
    unsafe {
        asm!(
            "{value} ^= {unknown}",
            "{value} ^= {unknown}",
            value = inout(reg) value,
            unknown = in(reg) unknown,
            options(nomem, nostack, preserves_flags),
        );
    }
    value
}
