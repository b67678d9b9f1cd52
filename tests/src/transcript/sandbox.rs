//! Where the lines of a transcript run: a folder with the files that they name, and an instance of `sgfw` of its own.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, fs, io};

use super::{DIRECTORY, identifiers};
use crate::lab::{self, Host};

/// See the module.
pub struct Sandbox<'h> {
    folder: tempfile::TempDir,
    bpffs: PathBuf,
    /// On which the lines run; none for the machine itself.
    host: Option<&'h Host>,
}

impl<'h> Sandbox<'h> {
    /// On this machine. Nothing can be attached: there is no bpf filesystem.
    pub fn new() -> Self {
        Self { folder: folder(), bpffs: PathBuf::from("bpffs"), host: None }
    }

    /// On a host of a lab.
    pub fn on(host: &'h Host) -> Self {
        Self { folder: folder(), bpffs: host.instance().bpffs_directory.clone(), host: Some(host) }
    }

    /// Runs a line of a shell to its end.
    ///
    /// # Panics
    ///
    /// When there is no shell.
    pub fn run(&self, line: &str) -> Output {
        let mut command = match self.host {
            Some(host) => host.namespace().command("sh"),
            None => Command::new("sh"),
        };
        command
            .args(["-c", line])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            // Nothing of who runs the tests: no SSH connection, which could be locked out, and no other instance.
            .env_clear()
            .env("PATH", self.search_path())
            .env("SGFW_STATE_DIR", "state")
            .env("SGFW_BPFFS", &self.bpffs)
            .env("SSH_CONNECTION", "")
            .env("SUDO_USER", "operator");
        command.output().unwrap_or_else(|error| panic!("cannot run `{line}`: {error}"))
    }

    /// The identifiers that its files name.
    pub(super) fn identifiers(&self) -> BTreeSet<String> {
        let mut texts = String::new();
        append_files(self.folder.path(), &mut texts).unwrap_or_else(|error| panic!("{error}"));
        identifiers::find(&texts)
    }

    /// What was printed, without the folders that are others in each run.
    pub(super) fn without_paths(&self, text: &str) -> String {
        text.replace(&*self.folder.path().to_string_lossy(), "[SANDBOX]")
            .replace(&*self.bpffs.to_string_lossy(), "bpffs")
    }

    /// First stand-ins for `aws` and `terraform`, which print what the real ones print; then `sgfw`.
    fn search_path(&self) -> OsString {
        let program = lab::binary();
        let system = env::var_os("PATH").unwrap_or_default();
        let folders =
            [self.folder.path().join("bin"), program.parent().map(Path::to_owned).unwrap_or_default()];
        let folders = folders.into_iter().chain(env::split_paths(&system));
        env::join_paths(folders).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Default for Sandbox<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// A folder with what every sandbox has: files of its own, and `fixtures`, those of the tests of import and export.
fn folder() -> tempfile::TempDir {
    let fill = |folder: tempfile::TempDir| {
        copy(&Path::new(DIRECTORY).join("files"), folder.path())?;
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firewall-userspace/tests/fixtures");
        copy(&fixtures, &folder.path().join("fixtures"))?;
        Ok(folder)
    };
    let folder = tempfile::tempdir().and_then(fill);
    folder.unwrap_or_else(|error| panic!("cannot make a sandbox: {error}"))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &copied)?;
        } else {
            fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}

fn append_files(folder: &Path, texts: &mut String) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            append_files(&path, texts)?;
        } else {
            texts.push_str(&String::from_utf8_lossy(&fs::read(path)?));
        }
    }
    Ok(())
}
