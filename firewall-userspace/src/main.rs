//! The `sgfw` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    firewall_userspace::cli::main()
}
