//! The program under test: where it is, and how it is told where to work.

use std::path::{Path, PathBuf};
use std::{env, fmt};

/// Where ingress packets are decided, as `sgfw interface attach --ingress-hook` takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngressHook {
    /// In the driver, before there is a socket buffer.
    Xdp,
    /// At the traffic-control hook.
    Tc,
}

impl fmt::Display for IngressHook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        })
    }
}

/// An installation of `sgfw`: the program, and the options that tell it where it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The program.
    pub program: PathBuf,
    /// The network namespace: `--netns`; none for that in which it is started.
    pub namespace: Option<String>,
    /// Where the store is: `--state-dir`.
    pub state_directory: PathBuf,
    /// Where programs, links and maps are pinned: `--bpffs`.
    pub bpffs_directory: PathBuf,
}

impl Instance {
    /// The command line that runs it with `arguments`.
    pub fn line(&self, arguments: &str) -> String {
        let path = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
        let namespace = self.namespace.as_ref().map(|name| format!("--netns {name} ")).unwrap_or_default();
        format!(
            "{} {namespace}--state-dir {} --bpffs {} {arguments}",
            path(&self.program),
            path(&self.state_directory),
            path(&self.bpffs_directory)
        )
    }
}

/// The program under test: `SGFW_BIN`, or what was built beside the running program, release before debug.
///
/// # Panics
///
/// When there is none.
pub fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SGFW_BIN") {
        return path.into();
    }
    let running =
        env::current_exe().unwrap_or_else(|error| panic!("cannot find the running program: {error}"));
    let candidates =
        running.ancestors().flat_map(|folder| ["release/sgfw", "debug/sgfw"].map(|name| folder.join(name)));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("no `sgfw` to test: run `cargo build --release`, or set SGFW_BIN"))
}
