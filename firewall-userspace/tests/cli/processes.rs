//! How commands end, and what happens when several run at once.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::instance::{Instance, authorize, text};

#[test]
fn incomplete_commands_are_usage_errors() {
    let instance = Instance::with_groups();
    let cases: [&[&str]; 8] = [
        &["nonsense"],
        &["rule", "authorize", "web", "--protocol", "all", "--cidr", "10.0.0.0/8"],
        &["rule", "authorize", "web", "--ingress", "--cidr", "10.0.0.0/8"],
        &["rule", "authorize", "web", "--ingress", "--protocol", "all"],
        &["rule", "authorize", "web", "--ingress", "--egress", "--protocol", "all", "--cidr", "10.0.0.0/8"],
        &["rule", "revoke", "web", "app", "--ingress", "--protocol", "all", "--cidr", "10.0.0.0/8"],
        &["interface", "attach", "eth0"],
        &["-o", "yaml", "group", "list"],
    ];
    for command in cases {
        instance.fails(64, command);
    }
}

#[test]
fn errors_are_json_when_the_output_is() {
    let instance = Instance::with_groups();
    let output = instance.run(&["-o", "json", "group", "show", "nonesuch"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["Error"]["Code"], "InvalidGroup.NotFound");
    assert_eq!(error["Error"]["ExitStatus"], 65);
    assert!(error["Error"]["Message"].as_str().unwrap().contains("nonesuch"));
}

#[test]
fn a_change_waits_for_the_lock_and_a_question_does_not() {
    let instance = Instance::with_groups();
    let lock = File::options().write(true).open(instance.state_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    let message = instance.fails(75, &["group", "delete", "app"]);
    assert!(message.contains("error: another sgfw is changing this instance"), "{message}");
    drop(lock);
    instance.succeeds(&["group", "delete", "app"]);
}

#[test]
fn changes_at_the_same_time_are_all_made() {
    let instance = Instance::with_groups();
    let admit = |port: u16| {
        let port = port.to_string();
        let rule = ["--protocol", "tcp", "--port", &port, "--cidr", "10.0.0.0/8"];
        assert!(instance.run_waiting("30", &authorize("app", &rule)).status.success());
    };
    std::thread::scope(|scope| {
        for port in 1..=8 {
            scope.spawn(move || admit(port));
        }
    });
    let permissions = instance.json(&["group", "show", "app"])["SecurityGroups"][0]["IpPermissions"].clone();
    assert_eq!(permissions.as_array().unwrap().len(), 8);
}

#[test]
fn a_state_directory_that_cannot_be_made_is_a_status_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let output = run_in(&file.join("state"));
    assert_eq!(output.status.code(), Some(73), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("help: "), "{}", text(&output.stderr));
}

#[test]
fn whoever_stops_reading_causes_no_error() {
    let instance = Instance::with_groups();
    let state_dir = instance.state_dir();
    let script = format!("{} --state-dir {} rule list", env!("CARGO_BIN_EXE_sgfw"), state_dir.display());
    let reader_gone = format!("{{ sleep 0.2; {script}; echo $? >&2; }} | true");
    let output = Command::new("sh").args(["-c", &reader_gone]).output().unwrap();
    assert_eq!(text(&output.stderr), "0\n");
}

#[test]
fn unknown_interfaces_and_namespaces_are_named() {
    let instance = Instance::with_groups();
    let message = instance.fails(65, &["--netns", "sgfw-nonesuch", "group", "list"]);
    assert!(message.contains("sgfw-nonesuch") && message.contains("help: "), "{message}");
    instance.fails(64, &["--netns", "../etc", "group", "list"]);
    instance.fails(65, &["interface", "set-groups", "eth7", "--group", "web"]);
}

#[test]
fn without_interfaces_there_is_nothing_in_force() {
    let instance = Instance::with_groups();
    let status = instance.json(&["status"]);
    assert_eq!(status["Interfaces"], json!([]));
    assert_eq!(status["Generation"]["Stored"], 3);
    assert_eq!(status["Generation"]["InForce"], Value::Null);
    assert_eq!(instance.json(&["flows", "list"])["Flows"], json!([]));
}

#[test]
fn help_documents_the_exit_statuses() {
    let output = Command::new(env!("CARGO_BIN_EXE_sgfw")).arg("--help").output().unwrap();
    assert!(output.status.success());
    for status in [64, 65, 69, 73, 75, 77] {
        assert!(text(&output.stdout).contains(&format!("  {status}  ")), "{status}");
    }
}

fn run_in(state_dir: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sgfw"))
        .arg("--state-dir")
        .arg(state_dir)
        .args(["group", "list"])
        .output()
        .unwrap()
}
