//! The SSH connection through which the operator is working, if any.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use crate::operations::SshSession;

/// What sshd puts into the environment of a session: `CLIENT-ADDRESS CLIENT-PORT SERVER-ADDRESS SERVER-PORT`.
const VARIABLE: &str = "SSH_CONNECTION";

/// How far up the process tree to look: a shell in sudo in a shell in tmux is eight.
const MAX_ANCESTORS: usize = 64;

/// The session of this process or of the nearest ancestor that has one. `sudo` clears the environment of its child but
/// not of its parent.
pub(super) fn ssh_session() -> Option<SshSession> {
    if let Ok(value) = std::env::var(VARIABLE) {
        return parse(&value);
    }
    let mut process = std::process::id();
    for _ in 0..MAX_ANCESTORS {
        process = parent(process).filter(|parent| *parent > 1)?;
        if let Some(session) = in_environment_of(process) {
            return Some(session);
        }
    }
    None
}

fn in_environment_of(process: u32) -> Option<SshSession> {
    let environment = fs::read(format!("/proc/{process}/environ")).ok()?;
    let mut variables =
        environment.split(|byte| *byte == 0).filter_map(|variable| str::from_utf8(variable).ok());
    variables.find_map(|variable| parse(variable.strip_prefix(VARIABLE)?.strip_prefix('=')?))
}

fn parent(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn parse(value: &str) -> Option<SshSession> {
    let mut words = value.split(' ');
    let mut end = || {
        let address = address(words.next()?)?;
        Some(SocketAddr::new(address, words.next()?.parse().ok()?))
    };
    Some(SshSession { client: end()?, server: end()? })
}

/// A link-local address comes with its interface, `fe80::1%eth0`; an IPv4 client of an IPv6 socket in the mapped form.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.split('%').next()?.parse().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_of_sshd_names_both_ends() {
        let session = parse("203.0.113.5 40000 10.0.0.5 22").unwrap();
        assert_eq!(session.client, "203.0.113.5:40000".parse().unwrap());
        assert_eq!(session.server, "10.0.0.5:22".parse().unwrap());
    }

    #[test]
    fn scopes_are_left_out_and_mapped_addresses_are_ipv4() {
        let session = parse("fe80::1%eth0 1 fe80::2%eth0 22").unwrap();
        assert_eq!(session.client, "[fe80::1]:1".parse().unwrap());
        let session = parse("::ffff:203.0.113.5 1 ::ffff:10.0.0.5 22").unwrap();
        assert_eq!(session.server, "10.0.0.5:22".parse().unwrap());
    }

    #[test]
    fn anything_else_is_no_session() {
        for value in
            ["", "203.0.113.5", "203.0.113.5 40000 10.0.0.5", "a b c d", "203.0.113.5 70000 10.0.0.5 22"]
        {
            assert_eq!(parse(value), None, "{value}");
        }
    }
}
