//! sgfw: AWS security groups for any Linux host, enforced in eBPF.
//!
//! A command goes from top to bottom: [`cli`] reads it, [`operations`] makes it one transaction over the [`store`],
//! [`compile`] turns the stored groups ([`model`]) into tables, [`datapath`] puts the tables into force. [`document`] reads
//! and writes policy files, [`interchange`] the policies of other systems, [`plan`] says what one would change. [`host`]
//! knows namespaces, interfaces and privileges. Only [`datapath`] knows aya and BPF maps.

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
