//! Rules: what is admitted, refused and shown.

use serde_json::json;

use crate::instance::{Instance, authorize, revoke, text};

const SSH: [&str; 6] = ["--protocol", "tcp", "--port", "22", "--cidr", "203.0.113.5/32"];

#[test]
fn every_peer_makes_a_rule_in_the_shape_of_aws() {
    let instance = Instance::with_groups();
    let rule = ["--protocol", "6", "--port", "8000-8080", "--cidr", "10.0.0.0/8", "--cidr", "2001:db8::/32"];
    let ids = instance.succeeds(&authorize("app", &[&rule[..], &["--description", "both"]].concat()));
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(ids.len(), 2);
    let listed = instance.json(&["rule", "list", "app"]);
    let rule = |id: &str| {
        let rules = listed["SecurityGroupRules"].as_array().unwrap();
        rules.iter().find(|rule| rule["SecurityGroupRuleId"] == id).unwrap().clone()
    };
    let (first, second) = (rule(ids[0]), rule(ids[1]));
    assert_eq!(first["CidrIpv4"], "10.0.0.0/8");
    assert_eq!(second["CidrIpv6"], "2001:db8::/32");
    for rule in [first, second] {
        assert_eq!(rule["IpProtocol"], "tcp");
        assert_eq!((&rule["FromPort"], &rule["ToPort"]), (&8000.into(), &8080.into()));
        assert_eq!(rule["IsEgress"], false);
        assert_eq!(rule["Description"], "both");
    }
    let permissions = instance.json(&["group", "show", "app"])["SecurityGroups"][0]["IpPermissions"].clone();
    assert_eq!(permissions.as_array().unwrap().len(), 1);
    assert_eq!(permissions[0]["IpRanges"][0]["Description"], "both");
    assert_eq!(permissions[0]["UserIdGroupPairs"], json!([]));
}

#[test]
fn icmp_and_other_protocols_in_the_shape_of_aws() {
    let instance = Instance::with_groups();
    let show = |rule: &[&str]| {
        let authorized = instance.json(&authorize("app", &[rule, &["--cidr", "10.0.0.0/8"]].concat()));
        let rule = &authorized["SecurityGroupRules"][0];
        (rule["IpProtocol"].as_str().unwrap().to_owned(), rule["FromPort"].clone(), rule["ToPort"].clone())
    };
    assert_eq!(show(&["--protocol", "icmp"]), ("icmp".to_owned(), (-1).into(), (-1).into()));
    assert_eq!(show(&["--protocol", "1", "--icmp-type", "8"]), ("icmp".to_owned(), 8.into(), (-1).into()));
    assert_eq!(
        show(&["--protocol", "icmpv6", "--icmp-type", "1/4"]),
        ("icmpv6".to_owned(), 1.into(), 4.into())
    );
    assert_eq!(show(&["--protocol", "50"]), ("50".to_owned(), (-1).into(), (-1).into()));
    assert_eq!(show(&["--protocol", "all"]), ("-1".to_owned(), (-1).into(), (-1).into()));
}

#[test]
fn a_duplicate_rule_is_refused_with_the_words_of_aws_and_nothing_is_added() {
    let instance = Instance::with_groups();
    instance.succeeds(&authorize("web", &SSH));
    let message = instance.fails(65, &authorize("web", &[&SSH[..], &["--description", "again"]].concat()));
    let expected = "error[InvalidPermission.Duplicate]: the specified rule \"peer: 203.0.113.5/32, TCP, from port: 22, \
                    to port: 22, ALLOW\" already exists";
    assert!(message.contains(expected), "{message}");
    instance.fails(65, &authorize("web", &[&SSH[..], &["--cidr", "198.51.100.7/32"]].concat()));
    let message = instance.fails(65, &authorize("app", &[&SSH[..], &SSH[4..]].concat()));
    assert!(message.contains("error[InvalidParameterValue]: the same permission must not"), "{message}");
}

#[test]
fn host_bits_are_cleared_with_a_warning_and_the_result_is_compared() {
    let instance = Instance::with_groups();
    let rule = |cidr| ["--protocol", "tcp", "--port", "22", "--cidr", cidr];
    let output = instance.run(&authorize("app", &rule("100.68.0.18/18")));
    assert!(output.status.success());
    assert!(text(&output.stderr).contains("warning: 100.68.0.18/18"), "{}", text(&output.stderr));
    assert!(instance.succeeds(&["rule", "list", "app"]).contains(" 100.68.0.0/18"));
    let message = instance.fails(65, &authorize("app", &rule("100.68.0.0/18")));
    assert!(message.contains("InvalidPermission.Duplicate"), "{message}");
    let quiet = instance.run(&[&["-q"], &authorize("app", &rule("100.68.64.1/18"))[..]].concat());
    assert_eq!((quiet.status.code(), text(&quiet.stderr)), (Some(0), String::new()));
}

#[test]
fn icmp_rules_that_admit_nothing_are_warned_about() {
    let instance = Instance::with_groups();
    let warnings = |protocol, icmp, cidr| {
        let rule = ["--protocol", protocol, "--icmp-type", icmp, "--cidr", cidr];
        let output = instance.run(&authorize("app", &rule));
        assert!(output.status.success(), "{rule:?}");
        text(&output.stderr)
    };
    assert!(warnings("icmp", "8/8", "10.0.0.0/8").contains("warning: "));
    assert!(warnings("icmpv6", "3/2", "::/0").contains("warning: "));
    assert!(
        warnings("icmp", "8", "2001:db8::/32")
            .contains("warning: IPv6 has no icmp, the rule for 2001:db8::/32")
    );
    assert!(warnings("icmpv6", "128", "10.0.0.0/8").contains("warning: IPv4 has no icmpv6"));
    assert_eq!(warnings("icmp", "8/0", "10.0.0.0/8"), "");
    instance.succeeds(&["prefix-list", "create", "sites", "--address-family", "ipv6", "--max-entries", "1"]);
    let of_list = authorize("app", &["--protocol", "icmp", "--prefix-list", "sites"]);
    assert!(text(&instance.run(&of_list).stderr).contains("warning: IPv6 has no icmp, the rule for sites"));
    assert_eq!(warnings("icmpv6", "128/0", "::/0"), "");
}

#[test]
fn invalid_rules_are_refused() {
    let instance = Instance::with_groups();
    let cases: [&[&str]; 15] = [
        &["--protocol", "gre", "--cidr", "10.0.0.0/8"],
        &["--protocol", "256", "--cidr", "10.0.0.0/8"],
        &["--protocol", "tcp", "--cidr", "10.0.0.0/8"],
        &["--protocol", "tcp", "--port", "65536", "--cidr", "10.0.0.0/8"],
        &["--protocol", "tcp", "--port", "8000-7000", "--cidr", "10.0.0.0/8"],
        &["--protocol", "tcp", "--port", "http", "--cidr", "10.0.0.0/8"],
        &["--protocol", "icmp", "--port", "8", "--cidr", "10.0.0.0/8"],
        &["--protocol", "icmp", "--icmp-type", "-1/0", "--cidr", "10.0.0.0/8"],
        &["--protocol", "icmp", "--icmp-type", "0/65535", "--cidr", "10.0.0.0/8"],
        &["--protocol", "tcp", "--port", "22", "--icmp-type", "8", "--cidr", "10.0.0.0/8"],
        &["--protocol", "all", "--cidr", "10.0.0.1"],
        &["--protocol", "all", "--cidr", "10.0.0.0/33"],
        &["--protocol", "all", "--cidr", "10.0.0.0/8", "--cidr", "nonsense"],
        &["--protocol", "all", "--source-group", "nonesuch"],
        &["--protocol", "all", "--prefix-list", "nonesuch"],
    ];
    for rule in cases {
        let message = instance.fails(65, &authorize("web", rule));
        assert!(message.contains("error[Invalid"), "{rule:?}: {message}");
    }
}

#[test]
fn rules_are_revoked_by_id_or_by_exact_properties_all_or_none() {
    let instance = Instance::with_groups();
    let rule = |port, cidr| ["--protocol", "tcp", "--port", port, "--cidr", cidr];
    let id = instance.succeeds(&authorize("app", &rule("20-25", "10.0.0.0/8")));
    let other = instance.succeeds(&authorize("app", &rule("80", "10.0.0.0/8")));

    let message = instance.fails(65, &revoke("app", &rule("22", "10.0.0.0/8")));
    assert!(message.contains("error[InvalidPermission.NotFound]"), "{message}");
    instance.fails(65, &revoke("app", &[&rule("80", "10.0.0.0/8")[..], &["--cidr", "10.9.0.0/16"]].concat()));
    let message = instance.fails(65, &["rule", "revoke", id.trim(), "sgr-00000000000000000"]);
    assert!(message.contains("error[InvalidSecurityGroupRuleId.NotFound]"), "{message}");
    instance.fails(65, &["rule", "revoke", "sgr-nonsense"]);

    assert_eq!(instance.succeeds(&revoke("app", &rule("20-25", "10.0.0.0/8"))), id);
    let revoked = instance.json(&["rule", "revoke", other.trim()]);
    assert_eq!(revoked["RevokedSecurityGroupRules"][0]["SecurityGroupRuleId"], other.trim());
    assert_eq!(instance.json(&["group", "show", "app"])["SecurityGroups"][0]["IpPermissions"], json!([]));
    instance.fails(65, &["rule", "revoke", id.trim()]);
}
