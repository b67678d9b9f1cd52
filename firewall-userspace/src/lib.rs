//! sgfw: AWS security groups for any Linux host, enforced in eBPF.
//!
//! A command goes from top to bottom: [`cli`] reads it, [`apply`] makes it one transaction over the [`store`],
//! [`compile`] turns the stored groups ([`model`]) into tables, [`datapath`] puts the tables into force. [`host`] knows
//! namespaces, interfaces and privileges. [`interchange`] reads and writes the policies of other systems. Only [`datapath`] knows aya and BPF maps.

pub mod apply;
pub mod cli;
pub mod compile;
pub mod datapath;
pub mod host;
pub mod interchange;
pub mod model;
pub mod store;
