//! What changes something, a module for each noun.

pub mod attach;
pub mod confirm;
pub mod detach;
pub mod document;
pub mod exempt;
pub mod flows;
pub mod groups;
pub mod interfaces;
pub mod management;
mod open_connections;
pub mod panic;
pub mod prefix_lists;
pub mod quotas;
pub mod reload;
pub mod repair;
pub mod rollback;
pub mod rules;
pub mod tags;
mod upgrade;

pub use open_connections::Attached;
