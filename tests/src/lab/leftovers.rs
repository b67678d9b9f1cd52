//! What a lab must not leave on the machine, and what labs of killed processes left all the same.
//!
//! Everything carries the number of the process that made it, so that the labs of other processes that still run are
//! never touched.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::namespace;

/// How the names of the labs' namespaces begin; the number of the process follows.
pub(super) const NAMESPACE_PREFIX: &str = "sgfw-";

/// How the names of the labs' folders in bpffs begin; the number of the process follows.
pub(super) const BPFFS_PREFIX: &str = "sgfw-test-";

/// How the names of the labs' folders for files begin; the number of the process follows.
pub(super) const DIRECTORY_PREFIX: &str = "sgfw-lab-";

/// Removes what processes that no longer run left behind.
pub(super) fn remove() {
    for name in abandoned(Path::new(super::BPFFS), BPFFS_PREFIX) {
        remove_pins(&Path::new(super::BPFFS).join(name));
    }
    for name in abandoned(Path::new(namespace::DIRECTORY), NAMESPACE_PREFIX) {
        // Servers that gave up root outlive the process that started them.
        kill_processes(&name);
        namespace::delete(&name);
    }
    let temporary = env::temp_dir();
    for name in abandoned(&temporary, DIRECTORY_PREFIX) {
        remove_directory(&temporary.join(name));
    }
}

/// Removes a folder of bpffs with all its pins. What only they kept attached is detached by that.
pub(super) fn remove_pins(directory: &Path) {
    remove_directory(directory);
}

fn remove_directory(directory: &Path) {
    if !directory.exists() {
        return;
    }
    if let Err(error) = fs::remove_dir_all(directory) {
        eprintln!("cannot clean up {}: {error}", directory.display());
    }
}

fn kill_processes(namespace: &str) {
    let processes = super::run(Command::new("ip").args(["netns", "pids", namespace]), "").unwrap_or_default();
    for process in processes.lines().filter_map(|line| line.parse().ok()) {
        // It fails when the process has ended by itself.
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
}

/// The names in `directory` that are `prefix`, the number of a process that does not run, and a dash.
fn abandoned(directory: &Path, prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| owner(name, prefix).is_some_and(|process| !runs(process))).collect()
}

fn owner(name: &str, prefix: &str) -> Option<u32> {
    let (process, _) = name.strip_prefix(prefix)?.split_once('-')?;
    process.parse().ok()
}

fn runs(process: u32) -> bool {
    Path::new("/proc").join(process.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_labs_have_an_owner() {
        assert_eq!(owner("sgfw-4711-0-client", NAMESPACE_PREFIX), Some(4711));
        assert_eq!(owner("sgfw-test-4711-0", BPFFS_PREFIX), Some(4711));
        assert_eq!(owner("sgfw-production-0", NAMESPACE_PREFIX), None);
        assert_eq!(owner("sgfw-4711", NAMESPACE_PREFIX), None);
        assert_eq!(owner("web-4711-0", NAMESPACE_PREFIX), None);
    }
}
