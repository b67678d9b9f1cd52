//! Debian's kernels for cloud machines: small, and with everything built in that loading a program needs.

use std::cmp::Reverse;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::{fmt, fs};

use anyhow::{Context, Result, ensure};

use crate::{command, workspace};

/// The series that are always there in Debian 12's suites: its own kernel and that of Debian 13.
const WANTED: [Series; 2] = [Series::new(6, 1), Series::new(6, 12)];

/// The first two numbers of a kernel's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Series {
    major: u32,
    minor: u32,
}

impl Series {
    pub(crate) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl FromStr for Series {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (major, minor) = text.split_once('.').context("a series of kernels is two numbers, as 6.1")?;
        Ok(Self::new(major.parse()?, minor.parse()?))
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A package with a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) series: Series,
    /// All numbers of its version.
    numbers: Vec<u32>,
}

impl Package {
    /// Of a name as `linux-image-6.1.0-57-cloud-amd64`; `None` for other packages, as those that only depend on one.
    fn parse(name: &str) -> Option<Self> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64")?;
        let numbers: Vec<u32> =
            version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        let [major, minor, _, ..] = numbers[..] else { return None };
        Some(Self { name: name.to_owned(), series: Series::new(major, minor), numbers })
    }
}

/// The newest package of each series, or, if none is named, of those that are wanted and of the newest one.
pub(crate) fn packages(series: &[Series]) -> Result<Vec<Package>> {
    let found = command::output(Command::new("apt-cache").args([
        "search",
        "--names-only",
        "^linux-image-[0-9].*-cloud-amd64$",
    ]))?;
    choose(&found, series)
}

fn choose(found: &str, series: &[Series]) -> Result<Vec<Package>> {
    let mut packages: Vec<_> =
        found.lines().filter_map(|line| Package::parse(line.split(' ').next()?)).collect();
    packages.sort_by_key(|package| Reverse(package.numbers.clone()));
    let newest = packages.first().context("apt knows no kernel for cloud machines: apt-get update")?.series;
    let mut wanted =
        if series.is_empty() { WANTED.into_iter().chain([newest]).collect() } else { series.to_vec() };
    wanted.dedup();
    wanted
        .into_iter()
        .map(|series| {
            let package = packages.iter().find(|package| package.series == series);
            package.cloned().with_context(|| format!("apt knows no linux-image-{series}.*-cloud-amd64"))
        })
        .collect()
}

/// The image of a package, which is downloaded once.
pub(crate) fn image(package: &Package) -> Result<PathBuf> {
    let folder = workspace::target().join("kernels").join(&package.name);
    if let Some(image) = find(&folder.join("root/boot"), "vmlinuz-") {
        return Ok(image);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    command::run(Command::new("apt-get").args(["download", "--quiet", &package.name]).current_dir(&folder))?;
    let archive = find(&folder, "linux-image-").context("apt-get has downloaded no package")?;
    command::run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder.join("root")))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    let image = find(&folder.join("root/boot"), "vmlinuz-");
    ensure!(image.is_some(), "{} has no kernel", package.name);
    image.context("no kernel")
}

fn find(folder: &PathBuf, prefix: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUND: &str = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1\n\
                         linux-image-6.1.0-57-cloud-amd64 - Linux 6.1\n\
                         linux-image-6.12-cloud-amd64 - Linux (meta-package)\n\
                         linux-image-6.12.117+deb12-cloud-amd64 - Linux 6.12\n";

    fn names(found: &str, series: &[Series]) -> Vec<String> {
        choose(found, series).unwrap().into_iter().map(|package| package.name).collect()
    }

    #[test]
    fn the_newest_package_of_a_series_is_taken_once() {
        let expected = ["linux-image-6.1.0-57-cloud-amd64", "linux-image-6.12.117+deb12-cloud-amd64"];
        assert_eq!(names(FOUND, &[]), expected);
        assert_eq!(names(FOUND, &[Series::new(6, 1)]), expected[..1]);
    }

    #[test]
    fn a_newer_series_is_added() {
        let found = format!("{FOUND}linux-image-7.3.4+deb13-cloud-amd64 - Linux 7.3\n");
        assert_eq!(names(&found, &[])[2], "linux-image-7.3.4+deb13-cloud-amd64");
        assert!(choose(&found, &[Series::new(6, 6)]).is_err());
    }
}
