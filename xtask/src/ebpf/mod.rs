//! The BPF object: with what it is built, what it was built from, and whether both still agree.
//!
//! The object is committed so that `cargo build` needs no BPF toolchain. [`provenance`] records how it was made;
//! [`verify`] makes sure that nobody has to trust it.

pub(crate) mod build;
pub(crate) mod provenance;
pub(crate) mod toolchain;
pub(crate) mod verify;
