//! What a command on a host ended with.

use std::process::Output;
use std::{fmt, io};

use anyhow::{Result, bail};

/// A command that has ended.
#[derive(Debug)]
#[must_use]
pub struct Finished {
    host: &'static str,
    line: String,
    output: Output,
}

impl Finished {
    #[track_caller]
    pub(super) fn new(host: &'static str, line: &str, output: io::Result<Output>) -> Self {
        let output = output.unwrap_or_else(|error| panic!("cannot run `{line}` on {host}: {error}"));
        Self { host, line: line.to_owned(), output }
    }

    /// What it wrote to standard output.
    ///
    /// # Errors
    ///
    /// When it failed; the error is the transcript.
    pub fn success(self) -> Result<String> {
        if !self.output.status.success() {
            bail!("a command failed\n{self}");
        }
        Ok(self.stdout())
    }

    /// What it wrote to standard output, given that it succeeded.
    ///
    /// # Panics
    ///
    /// With the transcript when it failed.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.output.status.success(), "expected success\n{self}");
        self.stdout()
    }

    /// What it wrote to standard error, given that it ended with `code`.
    ///
    /// # Panics
    ///
    /// With the transcript when it ended in another way.
    #[track_caller]
    pub fn expect_failure(self, code: i32) -> String {
        assert!(self.output.status.code() == Some(code), "expected exit code {code}\n{self}");
        self.stderr()
    }

    /// What it wrote to standard output.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    /// What it wrote to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}

/// The transcript: the command, what it wrote, how it ended.
impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}# {}", self.host, self.line)?;
        write!(formatter, "{}{}[{}]", self.stdout(), self.stderr(), self.output.status)
    }
}
