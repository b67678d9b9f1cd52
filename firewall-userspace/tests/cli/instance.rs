//! An instance to run commands on.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

/// An instance in a directory of its own. Nothing is ever attached.
pub(crate) struct Instance {
    directory: tempfile::TempDir,
}

impl Instance {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    /// An instance with a group `web` that admits https from anywhere in IPv4, and an empty group `app`.
    pub(crate) fn with_groups() -> Self {
        let instance = Self::new();
        instance.succeeds(&["group", "create", "web", "--description", "web tier"]);
        instance.succeeds(&["group", "create", "app", "--description", "app tier"]);
        instance.succeeds(&authorize("web", &["--protocol", "tcp", "--port", "443", "--cidr", "0.0.0.0/0"]));
        instance
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_waiting("0", arguments)
    }

    pub(crate) fn run_waiting(&self, lock_timeout: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_sgfw"))
            .args(["--lock-timeout", lock_timeout])
            .arg("--state-dir")
            .arg(self.state_dir())
            .arg("--bpffs")
            .arg(self.directory.path().join("bpffs"))
            .args(arguments)
            .env_remove("SGFW_NETNS")
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed, and returns what it printed.
    pub(crate) fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with this status, print no data and change nothing. Returns its messages.
    pub(crate) fn fails(&self, status: i32, arguments: &[&str]) -> String {
        let before = self.everything();
        let output = self.run(arguments);
        let messages = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {messages}");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert_eq!(self.everything(), before, "{arguments:?} changed something");
        messages
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(&[&["-o", "json"], arguments].concat())).unwrap()
    }

    fn everything(&self) -> Vec<String> {
        [
            &["group", "list"][..],
            &["rule", "list"],
            &["prefix-list", "list"],
            &["exempt", "list"],
            &["quota", "list"],
            &["management", "list"],
            &["status"],
        ]
        .map(|command| self.succeeds(&[&["-o", "json"], command].concat()))
        .to_vec()
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn authorize<'a>(group: &'a str, rule: &[&'a str]) -> Vec<&'a str> {
    [&["rule", "authorize", group, "--ingress"], rule].concat()
}

pub(crate) fn revoke<'a>(group: &'a str, rule: &[&'a str]) -> Vec<&'a str> {
    [&["rule", "revoke", group, "--ingress"], rule].concat()
}
