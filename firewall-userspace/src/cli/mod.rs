//! The command line: what is typed, what is shown, and how a command ends.
//!
//! A noun is a module; each of its verbs parses its arguments into model types, calls `operations` and shows the outcome.
//! Nothing is decided here, and neither the store nor a map is opened. What the process is given (arguments, environment, terminal)
//! is read here alone.

mod apply;
mod aws;
mod call;
mod dry_run;
mod error;
mod exempt;
mod export;
mod flows;
mod flows_option;
mod global;
mod group;
mod help;
mod history;
mod import;
mod interface;
mod log;
mod management;
mod omissions;
mod operator;
mod output;
mod panic;
mod plan;
mod prefix_list;
mod quota;
mod repair;
mod rule;
mod schema;
mod session;
mod settings;
mod status;
mod table;
mod tag;
#[cfg(test)]
mod transcripts;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::operations::{ChangeOptions, enter_namespace};
use call::Call;
use dry_run::DryRunnable;
use error::{CliError, ExitStatus};
use global::GlobalOptions;
use operator::operator;
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
    Group(DryRunnable<group::Command>),
    /// Rules of security groups
    Rule(DryRunnable<rule::Command>),
    /// Prefix lists, which rules refer to
    PrefixList(DryRunnable<prefix_list::Command>),
    /// Tags of groups, rules and prefix lists
    Tag(DryRunnable<tag::Command>),
    /// Limits of the numbers of groups, rules and prefix lists; there are none until they are set
    Quota(DryRunnable<quota::Command>),
    /// Interfaces and the security groups that they carry
    #[command(subcommand)]
    Interface(interface::Command),
    Plan(plan::Plan),
    Apply(apply::Apply),
    /// Servers that every interface may talk to whatever its rules say
    #[command(subcommand)]
    Exempt(exempt::Command),
    /// Policies of AWS and Terraform as policy files
    #[command(subcommand)]
    Import(import::Command),
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
    /// Interfaces, hooks in force, generation, exempt traffic, counters by reason and fill of the flow table
    Status(status::Status),
    /// Put what is stored into force again, after a reboot, a lost interface or an interrupted change
    ///
    /// Interfaces that exist and have lost their programs are attached again, as they were; one that does not exist is no
    /// error. What is stored is published if something else is in force. Where all is well nothing is done.
    Repair(repair::Repair),
    /// Live flows
    #[command(subcommand)]
    Flows(flows::Command),
    /// Make the change that waits to be confirmed stay
    Confirm(history::Confirm),
    /// Go back to an earlier generation
    ///
    /// While a change waits to be confirmed, to the one before it. Otherwise to the one that is named, or to the last but
    /// one that `sgfw history list` shows: after a change that was not confirmed in time, that is this change.
    Rollback(history::Rollback),
    /// Changes: who made them, when and how
    #[command(subcommand)]
    History(history::Command),
    /// Packets that the rules drop, while it happens, on interfaces that were attached with `--log drops`
    ///
    /// In audit mode these packets pass: the line is that of a packet that would be dropped.
    Log(log::Log),
    /// Print what is stored as a file
    ///
    /// The file has the ids of groups, rules and prefix lists, so that applying it again changes nothing. Exempt addresses
    /// are not in it.
    #[command(after_help = "\
Examples:
  sgfw export > policy.yaml
  sgfw export -f toml > policy.toml
  sgfw export -o json | jq '.groups[].name'
  sgfw export --format terraform > security-groups.tf
  sgfw export --format nft > ruleset.nft")]
    Export(export::Export),
    /// Print the JSON Schema of policy files, by which editors complete and check them
    #[command(after_help = "\
Examples:
  sgfw schema > sgfw-policy.schema.json")]
    Schema,
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
        Ok(status) => status.into(),
        // Whoever read the output has seen enough.
        Err(CliError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => error.report(format).into(),
    }
}

fn run(cli: Cli) -> Result<ExitStatus, CliError> {
    // Before anything that could start a thread: only the calling thread changes its namespace.
    if let Some(namespace) = &cli.global.netns {
        enter_namespace(namespace)?;
    }
    let instance = cli.global.instance();
    let operator = operator();
    let call = Call { instance: &instance, options: ChangeOptions::new(&operator, cli.global.guard()) };
    let mut output = Output::new(&cli.global, Box::new(io::stdout()));
    let mut status = ExitStatus::Done;
    // These say it themselves, or are what still takes effect.
    let knows_of_panic = matches!(
        cli.command,
        Command::Management(_) | Command::Panic(_) | Command::Status(_) | Command::Log(_)
    );
    match cli.command {
        Command::Group(noun) => noun.run(call, &mut output, group::Command::run),
        Command::Rule(noun) => noun.run(call, &mut output, rule::Command::run),
        Command::PrefixList(noun) => noun.run(call, &mut output, prefix_list::Command::run),
        Command::Tag(noun) => noun.run(call, &mut output, tag::Command::run),
        Command::Quota(noun) => noun.run(call, &mut output, quota::Command::run),
        Command::Interface(command) => command.run(call, &mut output),
        Command::Plan(command) => command.run(&instance, &mut output).map(|of_plan| status = of_plan),
        Command::Apply(command) => command.run(call, &mut output),
        Command::Exempt(command) => command.run(call, &mut output),
        Command::Import(command) => command.run(&mut output),
        Command::Management(command) => command.run(call, &mut output),
        Command::Panic(command) => command.run(call, &mut output),
        Command::Status(command) => command.run(&instance, &mut output),
        Command::Repair(command) => command.run(call, &mut output),
        Command::Flows(command) => command.run(&instance, &mut output),
        Command::Confirm(command) => command.run(&instance, &mut output),
        Command::Rollback(command) => command.run(call, &mut output),
        Command::History(command) => command.run(&instance, &mut output),
        Command::Log(command) => command.run(&instance, &mut output),
        Command::Export(command) => command.run(&instance, &mut output),
        Command::Schema => schema::run(&mut output),
    }?;
    if !knows_of_panic {
        panic::warn_about_panic(&instance, &output)?;
    }
    output.flush()?;
    Ok(status)
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
   2  `plan --detailed-exitcode`: there are changes
   5  refused: it would lock out the SSH connection through which it was asked for, or a management prefix
  64  the command line is not understood
  65  a value or the change is not valid: malformed, unknown, a duplicate, in use
  69  the kernel lacks what is needed, or no bpf filesystem is mounted
  73  the state directory cannot be read or written; without root, most commands end so
  75  another sgfw is changing this instance, or a change waits to be confirmed; try again
  77  not permitted: root, or a capability that root lacks here, is needed for network namespaces and BPF
A change that fails has changed nothing, unless it says that this cannot be seen. Of one that is in force a warning says
what is left to do, and the exit status is 0. `interface reload` and `repair` keep what they have done when one interface fails.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
