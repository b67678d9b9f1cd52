//! Whether every command and every error is in a golden transcript (`tests/transcripts`).
//!
//! What plays the transcripts is a crate that depends on this one. What must be in them is only known here, where the
//! command line and the errors are defined; their tests call this module.

use std::fs;
use std::path::{Path, PathBuf};

/// A line of a shell that was recorded.
pub(crate) struct Step {
    pub(crate) line: String,
    /// What it printed, to both streams.
    pub(crate) printed: String,
}

impl Step {
    /// Whether it ended with 0.
    pub(crate) fn succeeded(&self) -> bool {
        !self.printed.lines().any(|line| line.starts_with("? "))
    }
}

/// How a variant of an error is known to read well.
#[derive(Clone, Copy)]
pub(crate) enum Evidence {
    /// A transcript shows a message with this text.
    Shown(&'static str),
    /// It only wraps another error, which has an evidence of its own.
    Wraps,
    /// No transcript can provoke it, for this reason. Its message is among those that are rendered.
    Rendered(&'static str),
}

/// The evidence for each variant of an error. A variant that is not listed does not compile.
macro_rules! evidence {
    ($error:ident { $($variant:ident => $evidence:expr,)+ }) => {{
        let _every_variant = |error: &$error| match error {
            $($error::$variant { .. } => (),)+
        };
        [$((concat!(stringify!($error), "::", stringify!($variant)), $evidence)),+]
    }};
}
pub(crate) use evidence;

/// Checks the variants that a transcript must show. Returns the names of those that must be rendered.
pub(crate) fn check_evidence(table: &[(&'static str, Evidence)]) -> Vec<&'static str> {
    let steps: Vec<Step> = ["commands", "errors", "lab"].into_iter().flat_map(folder).collect();
    let is_shown = |text: &str| {
        let says = |line: &str| (line.contains("error") || line.contains("Error")) && line.contains(text);
        steps.iter().any(|step| step.printed.lines().any(says))
    };
    let mut rendered = Vec::new();
    for (variant, evidence) in table {
        match evidence {
            Evidence::Shown(text) => assert!(is_shown(text), "no transcript shows {variant}: {text}"),
            Evidence::Wraps => {}
            Evidence::Rendered(reason) => {
                assert!(!reason.is_empty(), "{variant}");
                rendered.push(*variant);
            }
        }
    }
    rendered
}

/// The steps of all transcripts of a folder.
fn folder(name: &str) -> Vec<Step> {
    let entries = fs::read_dir(directory().join(name)).unwrap();
    entries.flat_map(|entry| steps_of(&entry.unwrap().path())).collect()
}

/// The steps of a command's transcripts: where nothing is attached, and where something is.
pub(crate) fn of_command(path: &[impl AsRef<str>]) -> Vec<Step> {
    let words: Vec<&str> = path.iter().map(AsRef::as_ref).collect();
    let file = format!("{}.console", words.join("-"));
    let folders = ["commands", "lab"].map(|folder| directory().join(folder).join(&file));
    folders.iter().filter(|path| path.exists()).flat_map(|path| steps_of(path)).collect()
}

fn steps_of(path: &Path) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        if let Some(line) = line.strip_prefix("$ ") {
            steps.push(Step { line: line.to_owned(), printed: String::new() });
        } else if let Some(step) = steps.last_mut() {
            step.printed += line;
            step.printed.push('\n');
        }
    }
    steps
}

/// Where transcripts are kept.
pub(crate) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/transcripts")
}
