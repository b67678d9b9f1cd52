//! The API cases (`docs/semantics.md`, §6.9), by their numbers, on the command line.
//!
//! Not here: 160, as far as it needs no interface, is beside the code (`model::quota`), and so is the interface of 159
//! (`model::group`); 163 and 168 to 170 are about the wire format alone.

use serde_json::{Value, json};

use crate::instance::{Instance, authorize, revoke, text};

const SSH: [&str; 6] = ["--protocol", "tcp", "--port", "22", "--cidr", "203.0.113.5/32"];

fn group(instance: &Instance, name: &str) -> Value {
    instance.json(&["group", "show", name])["SecurityGroups"][0].clone()
}

fn rules(instance: &Instance, name: &str) -> Vec<Value> {
    instance.json(&["rule", "list", name])["SecurityGroupRules"].as_array().unwrap().clone()
}

fn ingress(instance: &Instance, name: &str) -> Vec<Value> {
    rules(instance, name).into_iter().filter(|rule| rule["IsEgress"] == false).collect()
}

/// A command that must fail with a code of AWS.
fn refused(instance: &Instance, code: &str, command: &[&str]) -> String {
    let messages = instance.fails(65, command);
    assert!(messages.contains(&format!("error[{code}]: ")), "{command:?}: {messages}");
    assert!(
        messages.contains("help: ") || code.ends_with("Duplicate") || code == "CannotDelete",
        "{messages}"
    );
    messages
}

fn warnings(instance: &Instance, command: &[&str]) -> String {
    let output = instance.run(command);
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn case_131_a_new_group_has_no_ingress_and_open_egress() {
    let instance = Instance::with_groups();
    let app = group(&instance, "app");
    assert_eq!(app["IpPermissions"], json!([]));
    let everything = json!([{
        "IpProtocol": "-1", "IpRanges": [{ "CidrIp": "0.0.0.0/0" }], "Ipv6Ranges": [{ "CidrIpv6": "::/0" }],
        "PrefixListIds": [], "UserIdGroupPairs": [],
    }]);
    assert_eq!(app["IpPermissionsEgress"], everything);
}

#[test]
fn case_132_names_and_descriptions_that_aws_refuses() {
    let instance = Instance::new();
    for name in ["sg-x", "it's", &"x".repeat(256)] {
        refused(&instance, "InvalidParameterValue", &["group", "create", name, "--description", "x"]);
    }
    assert!(instance.fails(64, &["group", "create", "x"]).contains("--description"));
}

#[test]
fn case_133_reserved_and_taken_names() {
    let instance = Instance::with_groups();
    let create = |name| ["group", "create", name, "--description", "x"];
    assert!(instance.fails(65, &create("default")).contains("error[InvalidGroup.Reserved]"));
    assert!(instance.fails(65, &create("Web")).contains("error[InvalidGroup.Duplicate]"));
}

#[test]
fn case_134_a_trailing_space_is_trimmed() {
    let instance = Instance::new();
    instance.succeeds(&["group", "create", "web ", "--description", "x"]);
    assert_eq!(group(&instance, "web")["GroupName"], "web");
}

#[test]
fn case_135_an_existing_rule_is_a_duplicate_whatever_its_description() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &SSH));
    refused(&instance, "InvalidPermission.Duplicate", &authorize("app", &SSH));
    let described = authorize("app", &[&SSH[..], &["--description", "again", "--tag", "a=b"]].concat());
    refused(&instance, "InvalidPermission.Duplicate", &described);
}

#[test]
fn case_136_host_bits_are_cleared_before_rules_are_compared() {
    let instance = Instance::with_groups();
    let rule = |cidr| authorize("app", &["--protocol", "all", "--cidr", cidr]);
    assert!(warnings(&instance, &rule("100.68.0.18/18")).contains("100.68.0.0/18"));
    refused(&instance, "InvalidPermission.Duplicate", &rule("100.68.0.0/18"));
    assert_eq!(ingress(&instance, "app")[0]["CidrIpv4"], "100.68.0.0/18");
}

#[test]
fn case_137_one_rule_twice_in_one_call() {
    let instance = Instance::with_groups();
    let rule = ["--protocol", "all", "--cidr", "10.0.0.0/8", "--cidr", "10.0.0.1/8"];
    let message = instance.fails(65, &authorize("app", &rule));
    assert!(
        message.contains("error[InvalidParameterValue]: the same permission must not appear multiple times")
    );
    assert!(message.contains("10.0.0.0/8"), "it names the rule: {message}");
}

#[test]
fn case_138_one_existing_rule_refuses_the_whole_call() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &SSH));
    let both = [&SSH[..], &["--cidr", "198.51.100.7/32"]].concat();
    // `refused` has seen that nothing was added.
    refused(&instance, "InvalidPermission.Duplicate", &authorize("app", &both));
}

#[test]
fn case_139_tcp_needs_ports() {
    let instance = Instance::with_groups();
    for protocol in ["tcp", "udp"] {
        let rule = ["--protocol", protocol, "--cidr", "10.0.0.0/8"];
        refused(&instance, "InvalidParameterValue", &authorize("app", &rule));
    }
}

#[test]
fn case_140_types_codes_and_ports_out_of_range() {
    let instance = Instance::with_groups();
    for rule in [
        ["--protocol", "icmp", "--icmp-type", "0/65535"],
        ["--protocol", "icmp", "--icmp-type", "-1/0"],
        ["--protocol", "tcp", "--port", "-1"],
    ] {
        refused(
            &instance,
            "InvalidParameterValue",
            &authorize("app", &[&rule[..], &["--cidr", "10.0.0.0/8"]].concat()),
        );
    }
}

#[test]
fn case_141_icmpv6_without_a_type_means_every_one() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &["--protocol", "icmpv6", "--cidr", "::/0"]));
    let rule = &ingress(&instance, "app")[0];
    assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&(-1).into(), &(-1).into()));
}

#[test]
fn case_142_the_number_of_a_named_protocol_is_described_by_its_name() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &["--protocol", "6", "--port", "22", "--cidr", "10.0.0.0/8"]));
    assert_eq!(ingress(&instance, "app")[0]["IpProtocol"], "tcp");
}

#[test]
fn case_143_ports_of_a_numbered_protocol_are_ignored() {
    let instance = Instance::with_groups();
    let rule = ["--protocol", "50", "--port", "5-10", "--cidr", "10.0.0.0/8"];
    assert!(warnings(&instance, &authorize("app", &rule)).contains("warning: "));
    let permission = &group(&instance, "app")["IpPermissions"][0];
    assert_eq!(permission["IpProtocol"], "50");
    assert!(permission.get("FromPort").is_none(), "{permission}");
    refused(
        &instance,
        "InvalidPermission.Duplicate",
        &authorize("app", &["--protocol", "50", "--cidr", "10.0.0.0/8"]),
    );
}

#[test]
fn case_144_ports_of_every_protocol_are_ignored() {
    let instance = Instance::with_groups();
    let rule = ["--protocol", "-1", "--port", "22", "--cidr", "10.0.0.0/8"];
    assert!(warnings(&instance, &authorize("app", &rule)).contains("warning: "));
    let permission = &group(&instance, "app")["IpPermissions"][0];
    assert_eq!(permission["IpProtocol"], "-1");
    assert!(permission.get("FromPort").is_none(), "{permission}");
}

#[test]
fn case_145_peers_of_two_kinds_in_one_call_are_two_rules() {
    let instance = Instance::with_groups();
    let rule = ["--protocol", "tcp", "--port", "22", "--cidr", "10.0.0.0/8", "--source-group", "web"];
    let ids = instance.succeeds(&authorize("app", &rule));
    assert_eq!(ids.lines().filter(|id| id.starts_with("sgr-")).count(), 2);
    let web = group(&instance, "web")["GroupId"].clone();
    let rules = ingress(&instance, "app");
    assert_eq!(rules[0]["CidrIpv4"], "10.0.0.0/8");
    assert_eq!(rules[1]["ReferencedGroupInfo"]["GroupId"], web);
}

#[test]
fn case_146_a_rule_without_a_peer() {
    let instance = Instance::with_groups();
    assert!(instance.fails(64, &authorize("app", &["--protocol", "all"])).contains("--cidr"));
}

#[test]
fn case_147_the_61st_rule_of_one_family() {
    let instance = Instance::with_groups();
    instance.succeeds(&["quota", "set", "--preset", "aws"]);
    let cidrs = |prefix: &str, numbers: std::ops::Range<u32>, suffix: &str| {
        let cidr = |number| ["--cidr".to_owned(), format!("{prefix}{number}{suffix}")];
        numbers.flat_map(cidr).collect::<Vec<String>>()
    };
    let authorize = |cidrs: &[String]| {
        let cidrs: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        authorize("app", &[&["--protocol", "all"], &cidrs[..]].concat())
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<String>>()
    };
    let both = [cidrs("10.0.", 0..60, ".0/24"), cidrs("2001:db8:", 1..61, "::/48")].concat();
    let command = authorize(&both);
    instance.succeeds(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(ingress(&instance, "app").len(), 120);
    for one_more in [cidrs("10.0.", 60..61, ".0/24"), cidrs("2001:db8:", 61..62, "::/48")] {
        let command = authorize(&one_more);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let message = refused(&instance, "RulesPerSecurityGroupLimitExceeded", &command);
        assert!(message.contains("'app'") && message.contains("61"), "{message}");
    }
    // A quota of its own for each direction.
    instance.succeeds(&["rule", "authorize", "app", "--egress", "--protocol", "all", "--cidr", "10.0.0.0/8"]);
}

/// A list with room for 55 entries, of which it has none.
fn with_cloud_front(instance: &Instance) {
    instance.succeeds(&["quota", "set", "--preset", "aws"]);
    instance.succeeds(&["prefix-list", "create", "cdn", "--address-family", "ipv4", "--max-entries", "55"]);
    instance.succeeds(&authorize("app", &["--protocol", "all", "--prefix-list", "cdn"]));
}

#[test]
fn case_148_a_prefix_list_weighs_as_much_as_it_has_room_for() {
    let instance = Instance::with_groups();
    with_cloud_front(&instance);
    let rule = |number: u32| format!("10.{number}.0.0/16");
    for number in 0..5 {
        instance.succeeds(&authorize("app", &["--protocol", "all", "--cidr", &rule(number)]));
    }
    let sixth = rule(5);
    let sixth = authorize("app", &["--protocol", "all", "--cidr", &sixth]);
    refused(&instance, "RulesPerSecurityGroupLimitExceeded", &sixth);
}

#[test]
fn case_149_a_list_does_not_outgrow_a_group_that_refers_to_it() {
    let instance = Instance::with_groups();
    with_cloud_front(&instance);
    let resize = |max_entries| ["prefix-list", "modify", "cdn", "--max-entries", max_entries];
    let message = refused(&instance, "RulesPerSecurityGroupLimitExceeded", &resize("61"));
    assert!(message.contains("'app'"), "{message}");
    instance.succeeds(&resize("60"));
    let list = &instance.json(&["prefix-list", "show", "cdn"])["PrefixLists"][0];
    assert_eq!((&list["MaxEntries"], &list["Version"]), (&60.into(), &1.into()));
}

#[test]
fn case_150_entries_and_size_in_one_call_and_a_stale_version() {
    let instance = Instance::with_groups();
    with_cloud_front(&instance);
    instance.fails(64, &["prefix-list", "add-entry", "cdn", "10.0.0.0/8", "--max-entries", "56"]);
    instance.fails(64, &["prefix-list", "modify", "cdn", "--max-entries", "56", "10.0.0.0/8"]);
    instance.succeeds(&["prefix-list", "add-entry", "cdn", "10.0.0.0/8", "--current-version", "1"]);
    for change in [
        &["add-entry", "cdn", "11.0.0.0/8"][..],
        &["remove-entry", "cdn", "10.0.0.0/8"],
        &["modify", "cdn", "--max-entries", "56"],
        &["restore", "cdn", "--version", "1"],
    ] {
        let command = [&["prefix-list"], change, &["--current-version", "1"]].concat();
        refused(&instance, "PrefixListVersionMismatch", &command);
    }
}

#[test]
fn case_151_a_prefix_list_that_a_rule_refers_to_is_not_deleted() {
    let instance = Instance::with_groups();
    with_cloud_front(&instance);
    let message = refused(&instance, "DependencyViolation", &["prefix-list", "delete", "cdn"]);
    assert!(message.contains("app"), "{message}");
}

#[test]
fn case_152_a_rule_is_revoked_by_id_once() {
    let instance = Instance::with_groups();
    let id = instance.succeeds(&authorize("app", &SSH));
    let revoke = ["rule", "revoke", id.trim()];
    instance.succeeds(&revoke);
    refused(&instance, "InvalidSecurityGroupRuleId.NotFound", &revoke);
}

#[test]
fn case_153_revoking_what_is_not_there_revokes_nothing() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &SSH));
    let other = revoke("app", &[&SSH[..], &["--cidr", "198.51.100.7/32"]].concat()).join(" ");
    refused(&instance, "InvalidPermission.NotFound", &other.split(' ').collect::<Vec<_>>());
}

#[test]
fn case_154_ports_do_not_hide_the_stock_rule_from_being_revoked() {
    let instance = Instance::with_groups();
    let stock =
        ["rule", "revoke", "app", "--egress", "--protocol", "-1", "--port", "0", "--cidr", "0.0.0.0/0"];
    instance.succeeds(&stock);
    let left = rules(&instance, "app");
    assert_eq!((left.len(), &left[0]["CidrIpv6"]), (1, &"::/0".into()));
}

#[test]
fn case_155_revoking_needs_no_description_but_the_exact_ports() {
    let instance = Instance::with_groups();
    let range = ["--protocol", "tcp", "--port", "20-25", "--cidr", "10.0.0.0/8"];
    instance.succeeds(&authorize("app", &[&range[..], &["--description", "mail and more"]].concat()));
    let part = ["--protocol", "tcp", "--port", "22", "--cidr", "10.0.0.0/8"];
    refused(&instance, "InvalidPermission.NotFound", &revoke("app", &part));
    instance.succeeds(&revoke("app", &range));
}

#[test]
fn case_156_a_modified_rule_keeps_its_id_and_the_kind_of_its_peer() {
    let instance = Instance::with_groups();
    let id =
        instance.succeeds(&authorize("app", &[&SSH[..], &["--description", "x", "--tag", "a=b"]].concat()));
    let modify = |peer: [&'static str; 2]| {
        ["rule", "modify", id.trim(), "--protocol", "tcp", "--port", "2222", peer[0], peer[1]]
    };
    for peer in [["--cidr", "::/0"], ["--source-group", "web"]] {
        refused(&instance, "InvalidParameterValue", &modify(peer));
    }
    let two = [&modify(["--cidr", "10.0.0.0/8"])[..], &["--source-group", "web"]].concat();
    refused(&instance, "InvalidParameterValue", &two);
    assert_eq!(instance.succeeds(&modify(["--cidr", "198.51.100.0/24"])), id);
    let rule = &ingress(&instance, "app")[0];
    assert_eq!(rule["SecurityGroupRuleId"], id.trim());
    assert_eq!((&rule["FromPort"], &rule["CidrIpv4"]), (&2222.into(), &"198.51.100.0/24".into()));
    assert_eq!(rule.get("Description"), None, "what is left out is removed");
    assert_eq!(rule["Tags"], json!([{ "Key": "a", "Value": "b" }]));
    let gone = ["rule", "modify", "sgr-00000000000000000", "--protocol", "all", "--cidr", "10.0.0.0/8"];
    refused(&instance, "InvalidSecurityGroupRuleId.NotFound", &gone);
}

#[test]
fn case_157_a_rule_is_not_modified_into_another_one() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &SSH));
    let id = instance.succeeds(&authorize("app", &["--protocol", "all", "--cidr", "203.0.113.5/32"]));
    let modify = [&["rule", "modify", id.trim()], &SSH[..]].concat();
    refused(&instance, "InvalidPermission.Duplicate", &modify);
}

#[test]
fn case_158_a_description_is_updated_and_removed() {
    let instance = Instance::with_groups();
    let id = instance.succeeds(&authorize("app", &SSH));
    instance.succeeds(&["rule", "update-description", id.trim(), "--description", "office"]);
    assert_eq!(ingress(&instance, "app")[0]["Description"], "office");
    let by_properties = [&["rule", "update-description", "app", "--ingress"], &SSH[..]].concat();
    assert_eq!(instance.succeeds(&by_properties), id);
    assert_eq!(ingress(&instance, "app")[0].get("Description"), None);
    let gone = ["rule", "update-description", id.trim(), "sgr-00000000000000000", "--description", "x"];
    refused(&instance, "InvalidSecurityGroupRuleId.NotFound", &gone);
}

#[test]
fn case_159_what_depends_on_a_group_keeps_it() {
    let instance = Instance::with_groups();
    let reference = ["--protocol", "all", "--source-group", "web"];
    instance.succeeds(&authorize("app", &reference));
    instance.succeeds(&authorize("web", &reference));
    refused(&instance, "DependencyViolation", &["group", "delete", "web"]);
    instance.succeeds(&revoke("app", &reference));
    instance.succeeds(&["group", "delete", "web"]);
    refused(&instance, "CannotDelete", &["group", "delete", "default"]);
    refused(&instance, "InvalidGroup.NotFound", &["group", "delete", "web"]);
}

#[test]
fn case_160_an_interface_has_a_group() {
    let instance = Instance::with_groups();
    assert!(instance.fails(64, &["interface", "set-groups", "eth7"]).contains("--group"));
}

#[test]
fn case_161_unknown_and_malformed_ids_and_filters_without_a_match() {
    let instance = Instance::with_groups();
    refused(&instance, "InvalidGroup.NotFound", &["group", "show", "sg-00000000000000000"]);
    refused(&instance, "InvalidGroupId.Malformed", &["group", "show", "sg-12"]);
    refused(&instance, "InvalidGroupId.Malformed", &["group", "show", "arn:aws:ec2:::security-group/sg-12"]);
    let none = instance.json(&["group", "list", "--filter", "group-name=nonesuch"]);
    assert_eq!(none["SecurityGroups"], json!([]));
    refused(&instance, "InvalidFilter", &["group", "list", "--filter", "vpc=x"]);
    refused(&instance, "InvalidFilter", &["rule", "list", "--filter", "group-id"]);
}

#[test]
fn case_162_filters_may_hold_by_different_rules() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &SSH));
    instance.succeeds(&authorize("app", &["--protocol", "tcp", "--port", "443", "--cidr", "0.0.0.0/0"]));
    let names = |filters: &[&str]| {
        let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
        let found = instance.json(&[&["group", "list"], &filters[..]].concat());
        let names =
            found["SecurityGroups"].as_array().unwrap().iter().map(|group| group["GroupName"].clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&["ip-permission.from-port=22", "ip-permission.cidr=0.0.0.0/0"]), ["app"]);
    assert_eq!(names(&["ip-permission.from-port=22", "ip-permission.from-port=443"]), ["app", "web"]);
    assert_eq!(names(&["group-name=w*", "ip-permission.from-port=22"]), Vec::<Value>::new());
    assert_eq!(names(&["egress.ip-permission.ipv6-cidr=::/0"]).len(), 3);
    assert_eq!(names(&["ip-permission.group-name=default"]), ["default"]);
    assert_eq!(names(&["ip-permission.protocol=-1"]), ["default"]);
    assert_eq!(names(&["description=* tier"]), ["app", "web"]);
}

#[test]
fn case_164_a_dry_run_changes_nothing() {
    let instance = Instance::with_groups();
    let rule = instance.succeeds(&authorize("app", &SSH));
    instance.succeeds(&["prefix-list", "create", "cdn", "--address-family", "ipv4", "--max-entries", "5"]);
    let before = (instance.json(&["group", "list"]), instance.json(&["prefix-list", "list"]));
    let changes: [&[&str]; 12] = [
        &["group", "create", "db", "--description", "x"],
        &["group", "delete", "web"],
        &["group", "add-member", "web", "10.0.0.1/32"],
        &["rule", "authorize", "app", "--ingress", "--protocol", "all", "--cidr", "::/0"],
        &["rule", "revoke", rule.trim()],
        &["rule", "modify", rule.trim(), "--protocol", "all", "--cidr", "10.0.0.0/8"],
        &["rule", "update-description", rule.trim(), "--description", "x"],
        &["prefix-list", "add-entry", "cdn", "10.0.0.0/8"],
        &["prefix-list", "modify", "cdn", "--name", "other"],
        &["prefix-list", "delete", "cdn"],
        &["tag", "set", "web", "a=b"],
        &["quota", "set", "security-groups=1"],
    ];
    for change in changes {
        let messages = warnings(&instance, &[change, &["--dry-run"]].concat());
        assert!(messages.contains("DryRunOperation"), "{change:?}: {messages}");
    }
    assert_eq!(before, (instance.json(&["group", "list"]), instance.json(&["prefix-list", "list"])));
    // Not only permission is checked, as in AWS, but the whole change.
    refused(
        &instance,
        "InvalidPermission.Duplicate",
        &[&authorize("app", &SSH)[..], &["--dry-run"]].concat(),
    );
}

#[test]
fn case_165_rules_are_found_by_the_tags_that_they_were_authorized_with() {
    let instance = Instance::with_groups();
    let tagged = [&SSH[..], &["--cidr", "2001:db8::/32", "--tag", "ticket=NET-7", "--tag", "env=x"]].concat();
    let ids = instance.succeeds(&authorize("app", &tagged));
    let found = |filter: &str| {
        let found = instance.json(&["rule", "list", "--filter", filter]);
        let rules = found["SecurityGroupRules"].as_array().unwrap().clone();
        rules
            .iter()
            .map(|rule| rule["SecurityGroupRuleId"].as_str().unwrap().to_owned() + "\n")
            .collect::<String>()
    };
    assert_eq!(found("tag:ticket=NET-7"), ids);
    assert_eq!(found("tag:ticket=NET*"), ids);
    assert_eq!(found("tag:ticket=net-7"), "");
    assert_eq!(found("tag:owner=*"), "");
    assert_eq!(ids.lines().count(), 2);
}

#[test]
fn case_166_groups_and_rules_show_the_ports_of_every_protocol_differently() {
    let instance = Instance::with_groups();
    let permission = &group(&instance, "app")["IpPermissionsEgress"][0];
    assert!(permission.get("FromPort").is_none() && permission.get("ToPort").is_none(), "{permission}");
    let rule = &rules(&instance, "app")[0];
    assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&(-1).into(), &(-1).into()));
}

#[test]
fn case_167_two_peers_are_one_permission_and_two_rules() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("app", &[&SSH[..], &["--cidr", "198.51.100.7/32"]].concat()));
    let permissions = group(&instance, "app")["IpPermissions"].clone();
    assert_eq!(permissions.as_array().unwrap().len(), 1);
    let ranges = json!([{ "CidrIp": "203.0.113.5/32" }, { "CidrIp": "198.51.100.7/32" }]);
    assert_eq!(permissions[0]["IpRanges"], ranges);
    assert_eq!(ingress(&instance, "app").len(), 2);
}
