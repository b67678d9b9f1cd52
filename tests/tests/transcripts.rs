//! Ring a: what `sgfw` says where it needs neither the kernel nor root, word for word.
//!
//! `SNAPSHOTS=overwrite cargo test -p firewall-tests --test transcripts` records the transcripts anew. That each command
//! has one, that it shows the examples of its help, and that each error is in one, is checked beside the commands and the
//! errors.

use std::thread;

use firewall_tests::transcript::{Sandbox, check, transcripts};

#[test]
fn commands_say_what_they_said() {
    replay("commands");
}

#[test]
fn errors_say_what_they_said() {
    replay("errors");
}

/// Plays the transcripts of a folder at the same time, each in a sandbox of its own.
fn replay(folder: &str) {
    let paths = transcripts(folder);
    let differences: Vec<String> = thread::scope(|scope| {
        let players: Vec<_> = paths.iter().map(|path| scope.spawn(|| check(path, &Sandbox::new()))).collect();
        players.into_iter().filter_map(|player| player.join().expect("a transcript panicked").err()).collect()
    });
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
