//! apt, and one beside it that knows another suite of Debian or another architecture. Its lists are under `target/kernels`;
//! what apt knows of this machine stays as it is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::architecture::Architecture;
use crate::{command, workspace};

/// Of the package `debian-archive-keyring`.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Where packages come from.
pub(crate) struct Apt {
    pub(crate) architecture: Architecture,
    /// Whether it knows one suite alone.
    pub(crate) has_own_suite: bool,
    /// The folder of one that is not the machine's own.
    folder: Option<PathBuf>,
}

impl Apt {
    /// The machine's own apt, unless a suite, as `trixie-backports`, or another architecture is asked for.
    pub(crate) fn of(suite: Option<&str>, architecture: Architecture) -> Result<Self> {
        if suite.is_none() && architecture == Architecture::Amd64 {
            return Ok(Self { architecture, has_own_suite: false, folder: None });
        }
        let name = format!("apt-{}-{}", suite.unwrap_or("configured"), architecture.name());
        let folder = workspace::target().join("kernels").join(name);
        for inside in ["lists/partial", "cache/archives/partial"] {
            let inside = folder.join(inside);
            fs::create_dir_all(&inside).with_context(|| format!("cannot create {}", inside.display()))?;
        }
        let sources = folder.join("sources.list");
        fs::write(&sources, archives(suite)?)
            .with_context(|| format!("cannot write {}", sources.display()))?;
        let apt = Self { architecture, has_own_suite: suite.is_some(), folder: Some(folder) };
        command::run(apt.command("apt-get").args(["--quiet", "update"]))?;
        Ok(apt)
    }

    /// The packages whose names match, one a line, each with what it is.
    pub(crate) fn search(&self, pattern: &str) -> Result<String> {
        command::output(self.command("apt-cache").args(["search", "--names-only", pattern]))
    }

    /// Downloads one package into a folder.
    pub(crate) fn download(&self, package: &str, folder: &Path) -> Result<()> {
        command::run(self.command("apt-get").args(["download", "--quiet", package]).current_dir(folder))
    }

    /// Downloads packages and all that they need, as if nothing were installed, and unpacks them. Not the machine's own apt:
    /// that knows what is installed.
    pub(crate) fn unpack(&self, packages: &[&str], root: &Path) -> Result<()> {
        let folder = self.folder.as_ref().context("the machine's own apt unpacks nothing")?;
        let options = ["install", "--quiet", "--yes", "--download-only", "--no-install-recommends"];
        command::run(self.command("apt-get").args(options).args(packages))?;
        let archives = folder.join("cache/archives");
        let archives =
            fs::read_dir(&archives).with_context(|| format!("cannot read {}", archives.display()))?;
        let archives = archives.flatten().map(|entry| entry.path());
        let mut packages =
            archives.filter(|path| path.extension().is_some_and(|extension| extension == "deb"));
        in_one_step(root, |root| packages.try_for_each(|archive| extract(&archive, root)))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let Some(folder) = &self.folder else {
            return command;
        };
        let folder = folder.display();
        let architecture = self.architecture.name();
        for option in [
            format!("Dir::Etc::SourceList={folder}/sources.list"),
            "Dir::Etc::SourceParts=-".to_owned(),
            format!("Dir::State::Lists={folder}/lists"),
            "Dir::State::status=/dev/null".to_owned(),
            format!("Dir::Cache={folder}/cache"),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }
}

/// Fills a folder that is there when all of it is: what was interrupted is begun anew.
pub(crate) fn in_one_step(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let unfinished = folder.with_added_extension("unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).with_context(|| format!("cannot remove {}", unfinished.display()))?;
    }
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    fill(&unfinished)?;
    fs::rename(&unfinished, folder).with_context(|| format!("cannot rename {}", unfinished.display()))
}

/// Unpacks the files of a package.
pub(crate) fn extract(archive: &Path, root: &Path) -> Result<()> {
    command::output(Command::new("dpkg-deb").arg("--extract").arg(archive).arg(root)).map(drop)
}

/// Lines of a `sources.list`: the archives of Debian that this machine is configured for, with their suites or with another
/// one.
fn archives(suite: Option<&str>) -> Result<String> {
    let format = "$(ORIGIN) $(LABEL) $(REPO_URI) $(RELEASE)";
    let known = command::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        format,
        "Created-By: Packages",
    ]))?;
    let lines = sources(&known, suite);
    ensure!(!lines.is_empty(), "apt knows no archive of Debian: apt-get update");
    Ok(lines.into_iter().collect())
}

fn sources(known: &str, suite: Option<&str>) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for line in known.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        // The archive of security updates has suites of its own.
        let (archive, release) = match (words.as_slice(), suite) {
            (["Debian", "Debian", archive, _], Some(suite)) => (*archive, suite),
            (["Debian", _, archive, release], None) => (*archive, *release),
            _ => continue,
        };
        lines.insert(format!("deb [signed-by={KEYS}] {archive} {release} main\n"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "Debian Debian http://mirror/debian/ bookworm\n\
                         Debian Debian http://mirror/debian/ bookworm-updates\n\
                         Debian Debian-Security http://mirror/security/ bookworm-security\n\
                         Elsewhere Tools http://elsewhere/ stable\n";

    #[test]
    fn a_suite_is_that_of_the_archive_that_the_machine_has() {
        let lines: Vec<String> = sources(KNOWN, Some("trixie-backports")).into_iter().collect();
        assert_eq!(lines, [format!("deb [signed-by={KEYS}] http://mirror/debian/ trixie-backports main\n")]);
    }

    #[test]
    fn without_a_suite_all_archives_of_debian_are_taken() {
        let lines = sources(KNOWN, None);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| !line.contains("elsewhere")));
    }
}
