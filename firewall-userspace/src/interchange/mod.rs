//! Policies of other systems: reads those of AWS and Terraform, and writes documents for them and for nftables.
//!
//! `import` and `export` call it with texts and get texts and documents back; it opens no file and knows neither what
//! is stored nor what is in force. What one side can say and the other cannot is never dropped silently: it comes back
//! as an [`Omission`].

pub mod aws;
mod draft;
mod error;
mod identifier;
mod input;
pub mod nft;
mod omission;
mod ports;
mod resolve;
pub mod terraform;

use crate::model::Document;

pub use error::ImportError;
pub use omission::{Cause, Omission};

/// A file that is to be read.
#[derive(Clone, Debug)]
pub struct Source {
    /// What messages call it.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What was read.
#[derive(Debug)]
pub struct Imported {
    /// As a document.
    pub document: Document,
    /// What is not in the document.
    pub not_carried_over: Vec<Omission>,
}

/// What was written.
#[derive(Debug)]
pub struct Exported {
    /// In the language of the other system.
    pub text: String,
    /// What is not in the text.
    pub not_carried_over: Vec<Omission>,
}
