//! Debian's kernels.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::{fmt, fs};

use anyhow::{Context, Result, bail};

use super::apt::{self, Apt};
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

/// Which drivers a kernel comes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// For cloud machines: small, and with everything that loading a program needs.
    Cloud,
    /// For any machine.
    Generic,
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
    fn parse(name: &str, suffix: &str) -> Option<Self> {
        let version = name.strip_prefix("linux-image-")?.strip_suffix(suffix)?;
        if ["-cloud", "-rt"].iter().any(|flavour| version.ends_with(flavour)) {
            return None;
        }
        let numbers: Vec<u32> =
            version.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect();
        let [major, minor, _, ..] = numbers[..] else { return None };
        Some(Self { name: name.to_owned(), series: Series::new(major, minor), numbers })
    }

    fn folder(&self) -> PathBuf {
        workspace::target().join("kernels").join(&self.name)
    }

    /// Its modules, once it is unpacked: a folder that is named by the kernel's version.
    pub(crate) fn modules(&self) -> Result<PathBuf> {
        let root = self.folder().join("root");
        let found = ["lib/modules", "usr/lib/modules"].iter().find_map(|inside| find(&root.join(inside), ""));
        found.with_context(|| format!("{} has no modules", self.name))
    }
}

/// The newest package of each series, or, if none is named, of those that are always there and of the newest one.
pub(crate) fn packages(apt: &Apt, flavour: Flavour, series: &[Series]) -> Result<Vec<Package>> {
    let suffix = match flavour {
        Flavour::Cloud => format!("-cloud-{}", apt.architecture.name()),
        Flavour::Generic => format!("-{}", apt.architecture.name()),
    };
    let found = apt.search(&format!("^linux-image-[0-9].*{suffix}$"))?;
    choose(&found, &suffix, series, if apt.has_own_suite { &[] } else { &WANTED })
}

/// All packages, the newest first; there is one at least.
fn sorted(found: &str, suffix: &str) -> Result<Vec<Package>> {
    let mut packages: Vec<_> =
        found.lines().filter_map(|line| Package::parse(line.split(' ').next()?, suffix)).collect();
    packages.sort_by_key(|package| Reverse(package.numbers.clone()));
    if packages.is_empty() {
        bail!("apt knows no linux-image-*{suffix}: apt-get update");
    }
    Ok(packages)
}

fn choose(found: &str, suffix: &str, series: &[Series], default: &[Series]) -> Result<Vec<Package>> {
    let packages = sorted(found, suffix)?;
    let newest = packages[0].series;
    let mut wanted = series.to_vec();
    if wanted.is_empty() {
        wanted.extend(default.iter().copied().chain([newest]));
    }
    wanted.dedup();
    wanted
        .into_iter()
        .map(|series| {
            let package = packages.iter().find(|package| package.series == series);
            package.cloned().with_context(|| format!("apt knows no linux-image-{series}.*{suffix}"))
        })
        .collect()
}

/// The image of a package, which is downloaded and unpacked once.
pub(crate) fn image(apt: &Apt, package: &Package) -> Result<PathBuf> {
    let root = package.folder().join("root");
    if let Some(image) = image_in(&root) {
        return Ok(image);
    }
    apt::in_one_step(&root, |root| {
        let depends = unpack(apt, &package.name, root)?;
        // The newest kernels and their modules stand in packages of their own.
        let parts = depends.split([',', ' ']).filter(|word| is_part(word));
        parts.map(|part| unpack(apt, part, root)).try_for_each(|unpacked| unpacked.map(drop))
    })?;
    image_in(&root).with_context(|| format!("{} has no kernel", package.name))
}

fn is_part(package: &str) -> bool {
    ["linux-base-", "linux-binary-", "linux-modules-"].iter().any(|prefix| package.starts_with(prefix))
}

/// Downloads and unpacks a package, and returns what it depends on.
fn unpack(apt: &Apt, package: &str, root: &Path) -> Result<String> {
    apt.download(package, root)?;
    let archive = find(root, &format!("{package}_")).context("apt-get has downloaded no package")?;
    apt::extract(&archive, root)?;
    let depends = command::output(Command::new("dpkg-deb").arg("--field").arg(&archive).arg("Depends"))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    Ok(depends)
}

fn image_in(root: &Path) -> Option<PathBuf> {
    let with_modules = || find(&find(&root.join("usr/lib/modules"), "")?, "vmlinuz");
    find(&root.join("boot"), "vmlinuz-").or_else(with_modules)
}

fn find(folder: &Path, prefix: &str) -> Option<PathBuf> {
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

    const CLOUD: &str = "-cloud-amd64";

    fn names(found: &str, series: &[Series]) -> Vec<String> {
        choose(found, CLOUD, series, &WANTED).unwrap().into_iter().map(|package| package.name).collect()
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
        assert!(choose(&found, CLOUD, &[Series::new(6, 6)], &WANTED).is_err());
    }

    #[test]
    fn a_flavour_is_not_taken_for_another() {
        let names = ["6.1.0-9-cloud-amd64", "6.1.0-9-rt-amd64", "6.1.0-8-amd64", "6.1.0-9-amd64-unsigned"];
        let found: String = names.iter().map(|name| format!("linux-image-{name} - Linux\n")).collect();
        assert_eq!(choose(&found, "-amd64", &[], &[]).unwrap()[0].name, "linux-image-6.1.0-8-amd64");
    }
}
