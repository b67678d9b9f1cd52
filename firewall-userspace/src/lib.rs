//! sgfw: AWS security groups for any Linux host, enforced in eBPF.
//!
//! A command goes from top to bottom: [`cli`] reads it, [`operations`] makes it one transaction over the [`store`],
//! [`compile`] turns the stored groups ([`model`]) into tables, [`datapath`] puts the tables into force. [`document`] reads
//! and writes policy files, [`interchange`] the policies of other systems, [`plan`] says what one would change. [`host`]
//! knows namespaces, interfaces and privileges. Only [`datapath`] knows aya and BPF maps.
//!
//! Whoever builds on this crate calls [`operations`], with types of [`model`], [`document`] and [`interchange`]: that is its
//! surface, and [`cli`] is one face over it. It is one package, so that the walls between the rooms are checked in one place and
//! the binary `sgfw` needs no second one; the other modules are public for the tests of this repository. The file
//! `firewall-userspace/examples/own_namespace.rs` uses it without the command line:
//!
//! ```no_run
#![doc = include_str!("../examples/own_namespace.rs")]
//! ```

pub mod cli;
pub mod compile;
pub mod datapath;
pub mod document;
pub mod host;
pub mod interchange;
pub mod model;
pub mod operations;
pub mod plan;
pub mod store;
#[cfg(test)]
mod transcripts;
