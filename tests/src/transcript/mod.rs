//! Golden transcripts: what commands print and how they end, word for word, as files of `tests/transcripts`.
//!
//! A transcript is a list of lines of a shell, each with what it printed when it was recorded:
//!
//! ```text
//! ## Why this is here
//! $ sgfw group show nonesuch
//! 2> error[InvalidGroup.NotFound]: the security group 'nonesuch' does not exist
//! ? 65
//! ```
//!
//! What stands after `2> ` went to standard error, everything else to standard output; `? ` is an exit status that is not
//! 0. The lines run one after another in a [`Sandbox`]. Identifiers are numbered in the order in which they appear, and a
//! line may name one by its number.

mod identifiers;
mod sandbox;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use regex::Regex;
use snapbox::{Assert, Data, Redactions};

use identifiers::Identifiers;
pub use sandbox::Sandbox;

/// Where transcripts are kept.
pub const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts");

/// The transcripts of a folder, in the order of their names.
///
/// # Panics
///
/// When there is none.
pub fn transcripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(DIRECTORY).join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "console"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has no transcripts", folder.display());
    paths
}

/// Plays a transcript again. `Err` shows where it went another way; `SNAPSHOTS=overwrite` records it anew instead.
///
/// # Errors
///
/// The difference, as text.
///
/// # Panics
///
/// When a command that failed printed data.
pub fn check(path: &Path, sandbox: &Sandbox) -> Result<(), String> {
    let recorded = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let played = play(&recorded, sandbox);
    let assert = Assert::new().action_env(snapbox::assert::DEFAULT_ACTION_ENV).normalize_paths(false);
    assert
        .redact_with(redactions())
        .try_eq(Some(&path.display()), played.into(), Data::read_from(path, None))
        .map_err(|difference| difference.to_string())
}

/// Runs the lines of a transcript; the outcome is a transcript.
fn play(recorded: &str, sandbox: &Sandbox) -> String {
    let mut identifiers = Identifiers::new(sandbox.identifiers());
    let mut played = String::new();
    for line in recorded.lines() {
        if line.starts_with("## ") {
            played += &format!("{line}\n");
        } else if let Some(command) = line.strip_prefix("$ ") {
            let output = sandbox.run(&identifiers.real(command));
            no_data_of_a_failure(command, &output);
            played += &format!("{line}\n{}\n", identifiers.numbered(&sandbox.without_paths(&text(&output))));
        }
    }
    played.trim_end().to_owned() + "\n"
}

/// What a command printed and how it ended.
fn text(output: &Output) -> String {
    let mut text = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for line in String::from_utf8_lossy(&output.stderr).lines() {
        text += &format!("2> {line}\n");
    }
    match output.status.code() {
        Some(0) => {}
        Some(code) => text += &format!("? {code}\n"),
        None => text += &format!("? {}\n", output.status),
    }
    text
}

/// A plan is shown before it is asked for; a repair lists what it could repair. Nothing else prints data and fails.
fn no_data_of_a_failure(command: &str, output: &Output) {
    const MAY: [&str; 3] = ["sgfw apply", "sgfw plan", "sgfw repair"];
    let is_alone = command.starts_with("sgfw ") && !command.contains(['|', '>', '&']);
    if is_alone && !output.status.success() && !MAY.iter().any(|verb| command.starts_with(verb)) {
        assert!(output.stdout.is_empty(), "`{command}` failed and printed data: {}", text(output));
    }
}

/// What is another in each run.
fn redactions() -> Redactions {
    let mut redactions = Redactions::new();
    let varying = [
        ("[TIME]", r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
        ("[SECONDS]", r"\bfor (?<redacted>\d+) s more"),
        // For how long a flow was silent, and will be remembered.
        ("[IDLE]", r"\b(?<redacted>(\d+[dhms])+ +(\d+[dhms])+)  eth"),
    ];
    for (placeholder, pattern) in varying {
        let pattern = Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
        redactions.insert(placeholder, pattern).unwrap_or_else(|error| panic!("{error}"));
    }
    redactions
}
