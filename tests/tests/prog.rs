//! Ring b: the eBPF programs in the kernel, frame by frame, over every hook.
//!
//! Needs root and a bpffs, and nothing else: no program is attached to anything.

#[path = "prog/audit.rs"]
mod audit;
#[path = "prog/budgets.rs"]
mod budgets;
#[path = "prog/cut.rs"]
mod cut;
#[path = "prog/malformed.rs"]
mod malformed;
#[path = "prog/many_prefixes.rs"]
mod many_prefixes;
#[path = "prog/one_bucket.rs"]
mod one_bucket;
#[path = "prog/tables.rs"]
mod tables;
#[path = "prog/two_cpus.rs"]
mod two_cpus;
#[path = "prog/unconfirmed.rs"]
mod unconfirmed;
#[path = "prog/untracked.rs"]
mod untracked;
