//! `sgfw panic`: nothing begins but what the operator begins.

use clap::Args;

use super::call::Call;
use super::error::CliError;
use super::output::Output;
use super::settings::Switch;
use crate::operations::Instance;
use crate::operations::commands::panic;
use crate::operations::queries::panic::is_panic;

/// What is said while panic mode is on.
pub(super) const IN_PANIC: &str = "panic mode is on: attached interfaces drop everything but tracked flows, exempt kinds of \
    traffic and new connections from management prefixes";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sgfw management add eth1 203.0.113.0/24
  sgfw panic on
  sgfw panic off")]
pub(super) struct Panic {
    /// Whether it is to be on
    #[arg(value_enum, value_name = "on|off")]
    switch: Switch,
}

impl Panic {
    pub(super) fn run(&self, call: Call<'_>, output: &mut Output) -> Result<(), CliError> {
        let changed = panic::set(call.instance, call.options, self.switch == Switch::On)?;
        let is_change = changed.map(|changed| output.made(changed)).is_some();
        match (self.switch, is_change) {
            (Switch::On, true) => output.note(IN_PANIC),
            (Switch::On, false) => output.note("panic mode was on already"),
            (Switch::Off, true) => output.note("panic mode is off; what is stored is in force"),
            (Switch::Off, false) => output.note("panic mode was not on"),
        }
        output.done()
    }
}

/// Whoever changes something in panic mode would wait for its effect.
pub(super) fn warn_about_panic(instance: &Instance, output: &Output) -> Result<(), CliError> {
    if is_panic(instance)? {
        output.warn("panic mode is on; what is stored takes effect when `sgfw panic off` ends it");
    }
    Ok(())
}
