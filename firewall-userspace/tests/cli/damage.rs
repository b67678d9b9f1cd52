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
fn an_emptied_store_is_named_as_damaged() {
    let instance = Instance::with_groups();
    fs::File::create(database(&instance)).unwrap();
    assert_damaged(&instance);
}

#[test]
fn a_read_only_filesystem_is_named() {
    let instance = Instance::with_groups();
    let state = instance.state_dir();
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\" $CREATE";
    let Some(output) = in_mount_namespace(&instance, script, &state) else { return };
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{message}");
    assert!(message.contains("mount -o remount,rw"), "{message}");
    // Identifiers are hexadecimal, and may contain "db" themselves.
    assert!(!instance.succeeds(&["-o", "json", "group", "list"]).contains("\"GroupName\": \"db\""));
}

#[test]
fn a_full_filesystem_is_named() {
    let instance = Instance::new();
    fs::create_dir(instance.state_dir()).unwrap();
    let script = "mount -t tmpfs -o size=64k full \"$0\" && exec \"$@\" $CREATE";
    let Some(output) = in_mount_namespace(&instance, script, &instance.state_dir()) else { return };
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(73), "{message}");
    assert!(message.contains("make room"), "{message}");
}

/// Whether there is no room for the journal, for part of it, or for the database to grow.
#[test]
fn a_filesystem_that_is_full_when_a_change_is_made_leaves_everything_as_it_was() {
    for free_kilobytes in [0, 4, 12, 20] {
        let instance = Instance::with_groups();
        let before = instance.succeeds(&["export"]);
        let script = format!(
            "cp -a \"$0\" \"$0.kept\" && mount -t tmpfs -o size=2m full \"$0\" && cp -a \"$0.kept/.\" \"$0\" &&
             head -c {free_kilobytes}k /dev/zero >\"$0/room\" && cat /dev/zero >\"$0/filler\" 2>/dev/null
             rm \"$0/room\"
             cidrs=$(seq -f '--cidr 10.0.%g.0/24' 1 250)
             \"$@\" rule authorize web --ingress --protocol udp --port 53 $cidrs
             status=$?
             \"$@\" export || exit 1
             exit $status"
        );
        let Some(output) = in_mount_namespace(&instance, &script, &instance.state_dir()) else { return };
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(73), "{free_kilobytes} KB: {message}");
        assert!(message.contains("make room"), "{free_kilobytes} KB: {message}");
        assert_eq!(text(&output.stdout), before, "{free_kilobytes} KB");
    }
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

/// Runs `script` in a mount namespace of its own: `$0` is the directory, `$@` is sgfw, `$CREATE` creates a group. `None`
/// where this process may not have one, which the test says.
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
        .env("CREATE", "group create db --description tier")
        .env_remove("SGFW_NETNS")
        .output()
        .unwrap();
    Some(output)
}
