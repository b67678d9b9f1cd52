//! Options that every command takes: which instance, and how to show the outcome.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Args, ValueEnum};

use crate::operations::{Guard, Instance};

const STATE_DIR: &str = "/var/lib/sgfw";
const BPFFS: &str = "/sys/fs/bpf/sgfw";

/// See the module.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct GlobalOptions {
    /// How to show the outcome
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    pub(super) output: Format,
    /// Work in this network namespace, as `ip netns` names it; it has its own state directory and pins
    #[arg(long, global = true, env = "SGFW_NETNS", value_name = "NAME", value_parser = namespace_name)]
    pub(super) netns: Option<String>,
    /// Where groups, rules and interfaces are kept [default: /var/lib/sgfw, or /var/lib/sgfw/netns/NAME with --netns]
    #[arg(long, global = true, env = "SGFW_STATE_DIR", value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where programs and tables are pinned [default: /sys/fs/bpf/sgfw, or /sys/fs/bpf/sgfw/netns/NAME with --netns]
    #[arg(long, global = true, env = "SGFW_BPFFS", value_name = "DIR")]
    bpffs: Option<PathBuf>,
    /// How long to wait for another sgfw that is changing the instance
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    lock_timeout: u64,
    /// Make a change even if it would refuse the SSH connection through which it is made, were that opened anew, or
    /// connections from a management prefix
    #[arg(long, global = true)]
    allow_lockout: bool,
    /// Write nothing but errors to stderr
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
}

/// How to show the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For programs; groups and rules in the shape of the AWS CLI
    Json,
}

impl GlobalOptions {
    pub(super) fn instance(&self) -> Instance {
        let choose = |given: &Option<PathBuf>, default: &str| {
            let of_namespace = || self.netns.as_ref().map(|name| Path::new(default).join("netns").join(name));
            given.clone().or_else(of_namespace).unwrap_or_else(|| PathBuf::from(default))
        };
        Instance {
            state_dir: choose(&self.state_dir, STATE_DIR),
            bpffs: choose(&self.bpffs, BPFFS),
            lock_timeout: Duration::from_secs(self.lock_timeout),
        }
    }

    pub(super) const fn guard(&self) -> Guard {
        if self.allow_lockout { Guard::Off } else { Guard::On }
    }
}

/// The command as it was typed. Where it worked and how its outcome was shown is no part of what it changed.
pub(super) fn typed_command() -> String {
    shell_words::join(without_global_options(std::env::args().skip(1)))
}

/// The words of a command line but for global options and their values. `--allow-lockout` stays: it says how a change
/// came to be.
fn without_global_options(words: impl IntoIterator<Item = String>) -> Vec<String> {
    let command = GlobalOptions::augment_args(clap::Command::new("sgfw"));
    let options: Vec<&Arg> =
        command.get_arguments().filter(|option| *option.get_id() != "allow_lockout").collect();
    let mut words = words.into_iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        if word == "--" {
            kept.push(word);
            kept.extend(words);
            break;
        }
        let (rest, value_follows) = match word.strip_prefix("--") {
            Some(long) => {
                without_long(long, &options).map_or((Some(word.clone()), false), |follows| (None, follows))
            }
            None => without_shorts(&word, &options),
        };
        kept.extend(rest);
        if value_follows {
            words.next();
        }
    }
    kept
}

/// For a long option that is one of them: whether the next word is its value.
fn without_long(long: &str, options: &[&Arg]) -> Option<bool> {
    let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
    let option = options.iter().find(|option| option.get_long() == Some(name))?;
    Some(takes_value(option) && value.is_none())
}

/// What is left of a word such as `-qf`, and whether the next word is the value of an option that was left out.
fn without_shorts(word: &str, options: &[&Arg]) -> (Option<String>, bool) {
    let Some(shorts) = word.strip_prefix('-').filter(|shorts| !shorts.is_empty()) else {
        return (Some(word.to_owned()), false);
    };
    for (position, short) in shorts.char_indices() {
        match options.iter().find(|option| option.get_short() == Some(short)) {
            None => return (Some(format!("-{}", &shorts[position..])), false),
            Some(option) if takes_value(option) => {
                return (None, position + short.len_utf8() == shorts.len());
            }
            Some(_) => {}
        }
    }
    (None, false)
}

fn takes_value(option: &Arg) -> bool {
    option.get_action().takes_values()
}

/// The name becomes part of paths.
fn namespace_name(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains('/') || text == "." || text == ".." {
        return Err("not a name of a network namespace; `ip netns list` shows them".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(netns: Option<&str>, state_dir: Option<&str>) -> GlobalOptions {
        GlobalOptions {
            output: Format::Table,
            netns: netns.map(str::to_owned),
            state_dir: state_dir.map(PathBuf::from),
            bpffs: None,
            lock_timeout: 10,
            allow_lockout: false,
            quiet: false,
        }
    }

    #[test]
    fn a_namespace_has_its_own_directories_unless_others_are_given() {
        let instance = options(None, None).instance();
        assert_eq!(instance.state_dir, Path::new("/var/lib/sgfw"));
        assert_eq!(instance.bpffs, Path::new("/sys/fs/bpf/sgfw"));
        let instance = options(Some("lab"), None).instance();
        assert_eq!(instance.state_dir, Path::new("/var/lib/sgfw/netns/lab"));
        assert_eq!(instance.bpffs, Path::new("/sys/fs/bpf/sgfw/netns/lab"));
        let instance = options(Some("lab"), Some("/tmp/state")).instance();
        assert_eq!(instance.state_dir, Path::new("/tmp/state"));
    }

    #[test]
    fn the_history_shows_a_command_without_where_and_how_it_was_shown() {
        let cases = [
            ("--state-dir /tmp/s group create web --bpffs=/tmp/b", "group create web"),
            ("-o json apply -qf policy.yaml --yes", "apply -f policy.yaml --yes"),
            ("-qojson apply -f -", "apply -f -"),
            ("rule revoke sgr-1 --allow-lockout --lock-timeout 3", "rule revoke sgr-1 --allow-lockout"),
            ("--netns lab group create --description quiet -- -q", "group create --description quiet -- -q"),
        ];
        for (typed, shown) in cases {
            let words = typed.split(' ').map(str::to_owned);
            assert_eq!(without_global_options(words).join(" "), shown, "{typed}");
        }
    }

    #[test]
    fn a_path_is_not_a_namespace_name() {
        assert!(namespace_name("../etc").is_err());
        assert!(namespace_name("lab-1").is_ok());
    }
}
