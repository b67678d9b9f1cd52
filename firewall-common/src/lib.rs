//! The decision core of sgfw.
//!
//! One body of code decides every packet: [`packet`] reads the headers, [`flow_table`] holds the flows and their lives,
//! [`decide`] puts both together with the compiled policy. It is `no_std`, allocates nothing and is generic over
//! packet access ([`packet::PacketBytes`]) and over the tables ([`decide::Tables`]), so that the eBPF programs and
//! user space (tests, fuzzing, explanations) run the same lines. [`abi`] holds every type that crosses the border
//! between kernel and user space, [`reason`] the names and stable numbers of every way a decision can end.
//!
//! This crate must not know about aya, about BPF helpers or about security groups by name: it sees address classes,
//! service classes and rule sets, which the compiler in `firewall-userspace` made out of groups and rules.

#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod abi;
pub mod decide;
pub mod flow_table;
mod hint;
pub mod packet;
pub mod reason;
