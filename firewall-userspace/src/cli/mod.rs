//! The command line: what is typed, what is shown, and how a command ends.
//!
//! A noun is a module; each of its verbs parses its arguments into model types, calls `apply` and shows the outcome.
//! Nothing is decided here and no map is touched.

mod aws;
mod error;
mod exempt;
mod flows;
mod global;
mod group;
mod interface;
mod log;
mod management;
mod output;
mod panic;
mod prefix_list;
mod rule;
mod settings;
mod status;
mod table;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::host;
use error::{CliError, ExitStatus};
use global::GlobalOptions;
use output::Output;

/// AWS security groups for any Linux host, enforced in eBPF
///
/// Groups, rules and interfaces are kept in a state directory. The programs and tables that enforce them are pinned in a
/// bpf filesystem and need no running process.
#[derive(Debug, Parser)]
#[command(name = "sgfw", version, after_help = EXAMPLES_AND_EXIT_STATUS)]
#[command(arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    global: GlobalOptions,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Security groups and their declared members
    #[command(subcommand)]
    Group(group::Command),
    /// Rules of security groups
    #[command(subcommand)]
    Rule(rule::Command),
    /// Prefix lists, which rules refer to
    #[command(subcommand)]
    PrefixList(prefix_list::Command),
    /// Interfaces and the security groups that they carry
    #[command(subcommand)]
    Interface(interface::Command),
    /// Servers that every interface may talk to whatever its rules say
    #[command(subcommand)]
    Exempt(exempt::Command),
    /// From where the operator must always be able to open a new connection
    #[command(subcommand)]
    Management(management::Command),
    /// Drop everything but tracked flows, and new connections from management prefixes
    ///
    /// It holds for all interfaces at once, also for those in audit mode. Nothing new leaves, and exempt addresses do not
    /// count; kinds of traffic that are exempt, as ARP, neighbour discovery and DHCP are by default, still pass. Traffic that
    /// passed untracked ends. Changes of groups, rules and interfaces are stored meanwhile, and take effect when panic mode
    /// ends. It outlives a reboot.
    Panic(panic::Panic),
    /// Interfaces, hooks in force, generation, exempt traffic, counters by reason and fill of the flow tables
    Status(status::Status),
    /// Live flows
    #[command(subcommand)]
    Flows(flows::Command),
    /// Dropped packets of interfaces that were attached with `--log drops`, while they are dropped
    Log(log::Log),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return show_usage(&error),
    };
    let format = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has seen enough.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => error.report(format).into(),
    }
}

fn run(cli: Cli) -> Result<(), CliError> {
    // Before anything that could start a thread: only the calling thread changes its namespace.
    if let Some(namespace) = &cli.global.netns {
        host::enter_namespace(namespace)?;
    }
    let instance = cli.global.instance();
    let mut output = Output::new(&cli.global, Box::new(io::stdout()));
    // These say it themselves, or are what still takes effect.
    let knows_of_panic = matches!(
        cli.command,
        Command::Management(_) | Command::Panic(_) | Command::Status(_) | Command::Log(_)
    );
    match cli.command {
        Command::Group(command) => command.run(&instance, &mut output),
        Command::Rule(command) => command.run(&instance, &mut output),
        Command::PrefixList(command) => command.run(&instance, &mut output),
        Command::Interface(command) => command.run(&instance, &mut output),
        Command::Exempt(command) => command.run(&instance, &mut output),
        Command::Management(command) => command.run(&instance, &mut output),
        Command::Panic(command) => command.run(&instance, &mut output),
        Command::Status(command) => command.run(&instance, &mut output),
        Command::Flows(command) => command.run(&instance, &mut output),
        Command::Log(command) => command.run(&instance, &mut output),
    }?;
    if !knows_of_panic {
        panic::warn_about_panic(&instance, &output)?;
    }
    output.flush()
}

/// Shows help on stdout or a usage error on stderr. clap would end with 2, which other tools use for "differs".
fn show_usage(error: &clap::Error) -> ExitCode {
    // The message is all there is to show; nothing is left to do if it cannot be written.
    let _ = error.print();
    if error.use_stderr() { ExitStatus::Usage.into() } else { ExitCode::SUCCESS }
}

const EXAMPLES_AND_EXIT_STATUS: &str = "\
Examples:
  sgfw group create web --description \"web tier\"
  sgfw rule authorize web --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0
  sgfw interface attach eth1 --group web
  sgfw status

Exit status:
   0  done
   1  the operation failed
   5  refused: it would lock out the SSH connection through which it was asked for, or a management prefix
  64  the command line is not understood
  65  a value or the change is not valid: malformed, unknown, a duplicate, in use
  69  the kernel lacks what is needed, or no bpf filesystem is mounted
  73  the state directory cannot be written
  75  another sgfw is changing this instance; try again
  77  not permitted: root is needed
After any but 0 everything is as it was before.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn check(command: &clap::Command) {
            if !command.has_subcommands() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
