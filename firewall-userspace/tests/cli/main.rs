//! The `sgfw` binary on everything that needs neither the kernel nor root: what it prints, how it ends, and that a
//! failure changes nothing.

#![expect(clippy::unwrap_used, reason = "what fails in a helper fails the test that called it")]

mod api_cases;
mod damage;
mod documents;
mod exempt;
mod groups;
mod import;
mod instance;
mod management;
mod operations;
mod plan;
mod prefix_lists;
mod processes;
mod quotas;
mod rules;
mod settings;
mod tags;
