//! What can be done with an instance, and what can be asked of it. Every face calls these, and nothing below them.
//!
//! The modules are floors: each uses only those above it in this list.
//!
//! - [`operator`](Operator): who acts. A face says it.
//! - [`leftover`](Leftover): what is left to do of something that is done.
//! - [`instance`](Instance): where it is.
//! - [`options`](ChangeOptions): how a change is made.
//! - `policy`: what is stored, as a policy: state, input, compiled.
//! - `guard`: what must hold before a policy is put into force.
//! - [`flows`]: live flows, and which of them no rule admits.
//! - `rule_sets`: those that nothing names any more.
//! - `publish`: a transaction of the store becomes the policy in force.
//! - [`confirm`]: changes that wait to be confirmed. From here on the store is locked and read.
//! - `change`: one change, from what is stored to what is in force.
//! - [`commands`]: what changes something, a module for each noun.
//! - [`queries`]: what changes nothing.
//!
//! Every command that changes what is stored goes through `change`, or through [`commands::attach`] and
//! [`commands::detach`], which have links to handle besides. What changes the kernel alone does not: an upgrade,
//! reload, repair, confirming, cutting and expiring flows. The steps of a change: take the write lock, begin a store
//! transaction, make the change in it, check the quotas, compile the whole policy, fill the idle half of the maps,
//! commit the store, flip the generation. A failure before the flip leaves the old policy in force and the store as it
//! was. After the flip the new policy is in force, and what follows cannot fail: what is left of it is a [`Leftover`].
//!
//! One window remains: a process that is killed between the commit and the flip leaves a store that is newer than the
//! kernel. `sgfw status` compares the generations and says so; the next change publishes both, and so does `sgfw repair`.

mod change;
pub mod commands;
pub mod confirm;
mod error;
pub mod flows;
mod guard;
mod instance;
mod leftover;
mod operator;
mod options;
mod policy;
mod publish;
pub mod queries;
mod rule_sets;
#[cfg(test)]
mod tests;

pub use change::Changed;
pub use error::{
    Act, Capability, CompileError, DatapathError, HostError, OperationError, StoreError, with_sources,
};
pub use instance::{Instance, enter_namespace};
pub use leftover::Leftover;
pub use operator::{Author, Operator, SshSession};
pub use options::{ChangeOptions, Guard};
