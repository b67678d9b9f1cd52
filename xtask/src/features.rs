//! Whether the programs of the tests crate, as the demonstration, are built from the dependencies that the tests are built
//! from. A dependency with other features is another one to cargo, and so is everything that depends on it: it would be
//! compiled twice.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::command::{self, cargo};

/// Names what would be compiled for the programs alone.
pub(crate) fn check() -> Result<()> {
    let tests = dependencies(&["--workspace", "--edges", "normal,build,dev"])?;
    let programs =
        ["--package", "firewall-tests", "--package", "firewall-userspace", "--edges", "normal,build"];
    let programs = dependencies(&programs)?;
    let alone: Vec<&str> = programs.difference(&tests).map(String::as_str).collect();
    ensure!(
        alone.is_empty(),
        "with these features, other than those of the tests, crates are compiled once more for the demonstration; \
         tests/Cargo.toml is where more are asked for\n{}",
        alone.join("\n")
    );
    Ok(())
}

/// Each crate with its version and features.
fn dependencies(selection: &[&str]) -> Result<BTreeSet<String>> {
    let mut tree = cargo(["tree", "--locked", "--prefix", "none", "--format", "{p} {f}"]);
    let tree = command::output(tree.args(selection))?;
    Ok(tree.lines().map(|line| line.trim_end_matches(" (*)").to_owned()).collect())
}
