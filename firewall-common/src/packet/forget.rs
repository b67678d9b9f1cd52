//! A favour to the kernel's verifier.

use core::hint::black_box;
use core::ptr;

/// Returns `value`, of which the verifier then knows nothing.
///
/// The verifier follows every path with all that it knows about each number: an offset reached by way of one VLAN tag
/// and of two are two cases, and so is everything after them, so that paths multiply to more than it is willing to look
/// at. Where paths meet again, forgetting makes the cases one; every later use of the number is checked at run time
/// anyway. A register stored to the stack at an offset that is no multiple of 8 is not tracked
/// (`check_stack_write_fixed_off` in `kernel/bpf/verifier.c`). On other targets it is the identity.
#[inline(always)]
pub(super) fn forget(value: u32) -> u32 {
    #[repr(C, align(8))]
    struct Slot {
        unused: u32,
        value: u32,
    }
    let mut slot = Slot { unused: 0, value: 0 };
    // Keeps the compiler from giving `value` a place of its own.
    black_box(&raw mut slot);
    // SAFETY: both refer to a field of a live local.
    unsafe {
        ptr::write_volatile(&raw mut slot.value, value);
        ptr::read_volatile(&raw const slot.value)
    }
}
