//! Plans of policy files, and applying them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::instance::{Instance, text};

const POLICY: &str = "\
version: 1
groups:
  - name: lb
    description: load balancer
    tags: {Name: lb}
    ingress:
      - {protocol: tcp, ports: 443, cidr: 0.0.0.0/0, description: the world}
  - name: app
    description: application
    members: [10.0.1.10/32]
    ingress:
      - {protocol: tcp, ports: 8000-8010, group: lb}
      - {protocol: icmp, type: 3, code: 4, prefix_list: office}
    egress: []
prefix_lists:
  - {name: office, family: ipv4, max_entries: 10, entries: [{cidr: 203.0.113.0/24}]}
";

const PLAN: &str = "\
+ group app: application
    + ingress tcp 8000-8010 from group lb
    + ingress icmp type 3 code 4 from prefix list office
    + member 10.0.1.10/32
+ group lb: load balancer
    tags Name=lb
    + ingress tcp 443 from 0.0.0.0/0 \"the world\"
    + egress all protocols to 0.0.0.0/0
    + egress all protocols to ::/0
+ prefix list office
    IPv4, at most 10 entries
    + 203.0.113.0/24

No interface is attached: no traffic is affected yet.

Plan: 2 groups to add, 0 to change, 0 to delete; 5 rules to add, 0 to change, 0 to delete; 1 prefix list to add, \
0 to change, 0 to delete.
";

const NO_CHANGES: &str = "No changes: what is stored is what the document says.\n";

impl Instance {
    /// Writes a file beside the instance, and returns its path.
    fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.state_dir().with_file_name(name)
    }
}

/// What is printed, with every id as `ID`.
fn without_ids(text: &str) -> String {
    let mut result = String::new();
    for (number, piece) in text.split("sgr-").enumerate() {
        result.push_str(if number == 0 { piece } else { &piece[17..] });
        if text.split("sgr-").count() > number + 1 {
            result.push_str("ID");
        }
    }
    result
}

#[test]
fn a_plan_shows_what_comes_and_changes_nothing() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    let before = instance.json(&["group", "list"]);
    assert_eq!(instance.succeeds(&["plan", "-f", &policy]), PLAN);
    assert_eq!(instance.json(&["group", "list"]), before);
}

#[test]
fn what_was_applied_needs_no_change() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    assert_eq!(instance.succeeds(&["apply", "-f", &policy, "--yes"]), PLAN);
    assert_eq!(instance.succeeds(&["plan", "-f", &policy, "--detailed-exitcode"]), NO_CHANGES);
    let generation = instance.json(&["status"])["Generation"]["Stored"].clone();
    assert_eq!(instance.succeeds(&["apply", "-f", &policy]), NO_CHANGES);
    assert_eq!(instance.json(&["status"])["Generation"]["Stored"], generation);
}

#[test]
fn a_plan_shows_what_changes_and_goes() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    instance.succeeds(&["apply", "-f", &policy, "--yes"]);
    let changed = POLICY
        .replace(", description: the world", "")
        .replace("    tags: {Name: lb}\n", "")
        .replace("ports: 8000-8010", "ports: 8080")
        .replace("members: [10.0.1.10/32]", "members: [10.0.1.11/32]")
        .replace("max_entries: 10, entries: [{cidr: 203.0.113.0/24}]", "max_entries: 11, entries: []");
    let changed = instance.file("changed.yaml", &changed);
    let expected = "\
~ group app
    - ingress tcp 8000-8010 from group lb (ID)
    + ingress tcp 8080 from group lb
    + member 10.0.1.11/32
    - member 10.0.1.10/32
~ group lb
    ~ tags Name=lb -> none
    ~ ingress tcp 443 from 0.0.0.0/0 (ID), description \"the world\" -> none
~ prefix list office
    ~ at most 10 -> 11 entries
    - 203.0.113.0/24

No interface is attached: no traffic is affected yet.

Plan: 0 groups to add, 2 to change, 0 to delete; 1 rule to add, 1 to change, 1 to delete; 0 prefix lists to add, \
1 to change, 0 to delete.
";
    assert_eq!(without_ids(&instance.succeeds(&["plan", "-f", &changed])), expected);
    let nothing = instance.file("nothing.yaml", "version: 1\ngroups: []\n");
    let expected = "\
- group app
    - ingress tcp 8000-8010 from group lb (ID)
    - ingress icmp type 3 code 4 from prefix list office (ID)
    - member 10.0.1.10/32
- group lb
    - ingress tcp 443 from 0.0.0.0/0 (ID)
    - egress all protocols to 0.0.0.0/0 (ID)
    - egress all protocols to ::/0 (ID)

No interface is attached: no traffic is affected yet.

Plan: 0 groups to add, 0 to change, 2 to delete; 0 rules to add, 0 to change, 5 to delete.
";
    assert_eq!(without_ids(&instance.succeeds(&["apply", "-f", &nothing, "--yes"])), expected);
    assert_eq!(instance.json(&["group", "list"])["SecurityGroups"].as_array().unwrap().len(), 1);
}

#[test]
fn a_plan_for_programs_has_all_of_it() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    let plan = instance.json(&["plan", "-f", &policy]);
    assert_eq!((&plan["Generation"], &plan["HasChanges"]), (&json!(0), &json!(true)));
    assert_eq!(plan["Summary"]["Rules"], json!({ "Add": 5, "Change": 0, "Delete": 0 }));
    let app = &plan["Changes"]["Groups"][0];
    assert_eq!((&app["Action"], &app["GroupName"]), (&json!("add"), &json!("app")));
    assert_eq!(app["Rules"][0]["Before"], Value::Null);
    assert_eq!(app["Rules"][0]["After"]["FromPort"], 8000);
    assert_eq!(plan["Effect"]["NewlyReachable"], json!([]));
}

#[test]
fn the_exit_status_tells_of_changes_only_where_it_is_asked_for() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    let status = |arguments: &[&str]| instance.run(arguments).status.code();
    assert_eq!(status(&["plan", "-f", &policy]), Some(0));
    assert_eq!(status(&["plan", "-f", &policy, "--detailed-exitcode"]), Some(2));
    instance.succeeds(&["apply", "-f", &policy, "-y"]);
    assert_eq!(status(&["plan", "-f", &policy, "--detailed-exitcode"]), Some(0));
    assert_eq!(status(&["plan", "-f", "/nonexistent", "--detailed-exitcode"]), Some(65));
}

#[test]
fn without_a_terminal_nothing_is_applied_unasked() {
    let instance = Instance::new();
    let policy = instance.file("policy.yaml", POLICY);
    let before = instance.json(&["group", "list"]);
    let output = instance.run(&["apply", "-f", &policy]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(64), PLAN.to_owned()));
    assert!(text(&output.stderr).contains("help: add --yes"), "{}", text(&output.stderr));
    assert_eq!(instance.succeeds(&["apply", "-f", &policy, "--dry-run"]), PLAN);
    assert_eq!(instance.json(&["group", "list"]), before);
    instance.fails(64, &["apply"]);
    instance.fails(64, &["apply", "-f", &policy, "--plan", "x"]);
    instance.fails(64, &["plan"]);
}

#[test]
fn a_saved_plan_is_applied_exactly_and_once() {
    let instance = Instance::new();
    let (policy, saved) = (instance.file("policy.yaml", POLICY), instance.path("change.plan"));
    let saved = saved.to_str().unwrap();
    instance.succeeds(&["plan", "-f", &policy, "-O", saved]);
    // The plan holds the document: what becomes of the file does not matter.
    instance.file("policy.yaml", "version: 1\n");
    assert_eq!(instance.succeeds(&["apply", saved]), PLAN);
    let message = instance.fails(65, &["apply", "--plan", saved]);
    assert!(
        message.contains("made on generation 0") && message.contains("help: make the plan anew"),
        "{message}"
    );
}

#[test]
fn a_plan_of_another_instance_is_refused() {
    let (instance, other) = (Instance::new(), Instance::new());
    let (policy, saved) = (other.file("policy.yaml", POLICY), other.path("change.plan"));
    let saved = saved.to_str().unwrap();
    other.succeeds(&["plan", "-f", &policy, "-O", saved]);
    let message = instance.fails(65, &["apply", saved]);
    assert!(message.contains("another state directory"), "{message}");
}

#[test]
fn a_file_that_is_no_plan_or_a_damaged_one_is_refused() {
    let instance = Instance::new();
    let (policy, saved) = (instance.file("policy.yaml", POLICY), instance.path("change.plan"));
    let message = instance.fails(65, &["apply", &policy]);
    assert!(message.contains("this is not a saved plan") && message.contains("apply -f FILE"), "{message}");
    instance.succeeds(&["plan", "-f", &policy, "-O", saved.to_str().unwrap()]);
    let damaged = fs::read_to_string(&saved).unwrap().replace("8000-8010", "8000-9010");
    fs::write(&saved, damaged).unwrap();
    let message = instance.fails(65, &["apply", saved.to_str().unwrap()]);
    assert!(message.contains("checksum"), "{message}");
    instance.fails(65, &["apply", "/nonexistent"]);
}

#[test]
fn mistakes_are_all_named_with_advice_and_nothing_is_changed() {
    let instance = Instance::with_groups();
    let policy = instance.file(
        "policy.yaml",
        "version: 1
groups:
  - {name: web, description: another}
interfaces:
  - {name: eth7, groups: [web]}
",
    );
    let message = instance.fails(65, &["apply", "-f", &policy, "--yes"]);
    let expected = "error[InvalidParameterValue]: group web is described as \"web tier\", not \"another\": the description \
                    of a security group cannot be changed\n\
                    help: describe it as it is, or make another group under another name\n";
    assert_eq!(message, expected);
    let policy = instance.file("policy.yaml", "version: 1\ninterfaces:\n  - {name: eth7, groups: [web]}\n");
    let message = instance.fails(65, &["plan", "-f", &policy]);
    assert!(message.contains("help: attach it first: `sgfw interface attach eth7"), "{message}");
    let policy = instance.file("policy.yaml", "version: 1\ngroups:\n  - {name: web, descr: x}\n");
    let message = instance.fails(65, &["plan", "-f", &policy]);
    assert!(message.contains("policy.yaml:3"), "{message}");
}
