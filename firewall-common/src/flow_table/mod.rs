//! One table for the flows of both families, in arrays that user space maps into its memory and the JIT inlines.
//!
//! A flow has 16 bytes in a line of four ([`layout`]): a keyed fingerprint ([`hash`]) and a word of control ([`control`]).
//! Every transition of a flow is one compare-and-exchange of that word. [`find()`] looks a flow up, [`insert()`] begins one in
//! the place of what is worth least, [`change()`] moves one on, [`life`] says how: pure functions, which know neither table
//! nor clock. [`track`] puts them together for a packet, [`sweep`] is for
//! user space. What may race, and why it is harmless, is said at each step.
//!
//! Nothing here is a map: [`Memory`] is the access to the arrays, so that programs, user space and tests run the same lines.

pub mod change;
pub mod control;
pub mod find;
pub mod hash;
pub mod insert;
mod key;
pub mod layout;
pub mod life;
mod marks;
pub mod memory;
pub mod sweep;
pub mod track;

pub use change::{Change, Time, change, change_once, clear};
pub use control::{Class, Control};
pub use find::{Hit, find};
pub use hash::{Spot, spot};
pub use insert::{Fresh, Inserted, has_place, insert, insert_once};
pub use key::key_of;
pub use layout::{Geometry, Line, Record, Secrets};
pub use memory::{Memory, Place};

use crate::hint::hide;

/// How often a compare-and-exchange is tried. When all tries fail, a packet passes as if it had been lost before the hook:
/// the flow stays as it was, and the next packet tries again. A new flow is not begun, and its packet is dropped.
pub const ATTEMPTS: u32 = 4;

/// One more, which the compiler does not know: it would unroll loops, and give each round a stack of its own.
#[inline(always)]
fn one_more(number: u32) -> u32 {
    hide(u64::from(number + 1)) as u32
}
