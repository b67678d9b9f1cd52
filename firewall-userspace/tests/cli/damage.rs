//! A state directory that cannot be written, or is not what sgfw wrote: the error says what to do, and nothing is changed.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::instance::{Instance, text};

#[test]
fn a_store_that_is_no_database_is_named_as_damaged() {
    let instance = Instance::with_groups();
    fs::write(database(&instance), "not a database, ".repeat(512)).unwrap();
    assert_damaged(&instance);
}

#[test]
fn a_truncated_store_is_named_as_damaged() {
    let instance = Instance::with_groups();
    let path = database(&instance);
    let length = fs::metadata(&path).unwrap().len();
    fs::File::options().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    assert_damaged(&instance);
}

#[test]
fn a_read_only_filesystem_is_named() {
    let instance = Instance::with_groups();
    let state = instance.state_dir();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let Some(output) = in_mount_namespace(&instance, script, &state) else { return };
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{message}");
    assert!(message.contains("mount -o remount,rw"), "{message}");
    assert!(!instance.succeeds(&["group", "list"]).contains("db tier"));
}

#[test]
fn a_full_filesystem_is_named() {
    let instance = Instance::new();
    fs::create_dir(instance.state_dir()).unwrap();
    let script = "mount -t tmpfs -o size=64k full \"$0\" && exec \"$@\"";
    let Some(output) = in_mount_namespace(&instance, script, &instance.state_dir()) else { return };
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{message}");
    assert!(message.contains("make room"), "{message}");
}

#[test]
fn a_repair_without_interfaces_has_nothing_to_do() {
    let instance = Instance::with_groups();
    assert_eq!(instance.json(&["repair"])["Interfaces"], serde_json::json!([]));
    assert_eq!(instance.json(&["status"])["NeedsRepair"], false);
}

fn assert_damaged(instance: &Instance) {
    let before = fs::read(database(instance)).unwrap();
    let output = instance.run(&["export"]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("what is in force goes on") && message.contains("`sgfw repair`"), "{message}");
    assert_eq!(fs::read(database(instance)).unwrap(), before, "what may be rescued was written to");
}

fn database(instance: &Instance) -> std::path::PathBuf {
    instance.state_dir().join("sgfw.db")
}

/// Creates a group in a mount namespace that `script` prepares for the directory. `None` where this process may not have
/// one, which the test says.
fn in_mount_namespace(instance: &Instance, script: &str, directory: &Path) -> Option<Output> {
    let may_mount = Command::new("unshare")
        .args(["--mount", "true"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !may_mount {
        eprintln!("skipped: needs a mount namespace");
        return None;
    }
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .arg(directory)
        .arg(env!("CARGO_BIN_EXE_sgfw"))
        .arg("--state-dir")
        .arg(instance.state_dir())
        .arg("--bpffs")
        .arg(directory.with_file_name("bpffs"))
        .args(["group", "create", "db", "--description", "db tier"])
        .env_remove("SGFW_NETNS")
        .output()
        .unwrap();
    Some(output)
}
