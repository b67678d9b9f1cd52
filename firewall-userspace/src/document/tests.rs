//! Policy files as their users meet them: what is read, what is said about mistakes, what is written.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

use super::*;
use crate::model::{DocumentPeer, IcmpErrors};

pub(crate) mod generated;
mod schema_and_reader;

/// Reads texts, each as a file of that name in a directory.
fn read_files(files: &[(&str, &str)]) -> Result<Reading, DocumentErrors> {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    read_with_warnings(&[Input::Path(directory.path().to_owned())])
}

fn read_yaml(text: &str) -> Result<Document, DocumentErrors> {
    read_files(&[("policy.yaml", text)]).map(|reading| reading.document)
}

/// Each mistake as `LINE:COLUMN FIELD: MESSAGE`.
fn mistakes(text: &str) -> Vec<String> {
    let findings: Vec<Finding> = read_yaml(text).unwrap_err().findings().collect();
    let shown = findings.iter().map(|finding| {
        let (line, column) = finding.position.unwrap();
        format!("{line}:{column} {}: {}", finding.field, finding.message)
    });
    shown.collect()
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents").join(name)
}

static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
});

mod reading {
    use super::*;

    #[test]
    fn all_three_languages_say_the_same() {
        let read = |name| read(&[Input::Path(example(name))]).unwrap();
        let document = read("three-tiers.yaml");
        assert_eq!(read("three-tiers.toml"), document);
        assert_eq!(read("three-tiers.json"), document);
        let groups = document.groups.unwrap();
        assert_eq!(groups[0].rules.len(), 6, "one for each prefix, and everything out");
        assert_eq!(groups[2].rules.len(), 1, "nothing out");
        assert_eq!(document.prefix_lists.unwrap()[0].entries[0].description.as_ref().unwrap().as_str(), "HQ");
    }

    #[test]
    fn options_that_are_not_stated_stay_and_stated_ones_leave_the_others_at_their_defaults() {
        let interfaces = read(&[Input::Path(example("three-tiers.yaml"))]).unwrap().interfaces.unwrap();
        assert_eq!(interfaces[0].options, None);
        let options = interfaces[1].options.as_ref().unwrap();
        assert_eq!((options.timeouts.tcp_established, options.timeouts.tcp_syn), (3600, 60));
        assert_eq!((options.icmp_errors, options.tcp_strict), (IcmpErrors::RulesOnly, true));
        assert!(!options.exemptions.dhcp_client && options.exemptions.arp);
    }

    #[test]
    fn sections_that_are_not_there_are_left_alone() {
        assert_eq!(read_yaml("version: 1").unwrap(), Document::default());
        assert_eq!(read_yaml("version: 1\ngroups: []").unwrap().groups, Some(Vec::new()));
    }

    #[test]
    fn host_bits_are_cleared_and_mentioned_with_their_place() {
        let text = "version: 1\ngroups:\n- name: a\n  description: b\n  members: [10.0.0.9/8]\n";
        let reading = read_files(&[("a.yaml", text)]).unwrap();
        assert!(reading.document.groups.unwrap()[0].members.contains(&"10.0.0.0/8".parse().unwrap()));
        let warnings: Vec<String> = reading.warnings.iter().collect();
        assert_eq!(warnings.len(), 1);
        assert!(
            warnings[0].contains("a.yaml:5:13: groups[0].members[0]: 10.0.0.9/8 has bits"),
            "{warnings:?}"
        );
    }

    #[test]
    fn files_of_a_directory_are_one_document_and_refer_to_each_other() {
        let group = "version: 1\ngroups: [{name: b, description: x, ingress: [{protocol: all, group: A}]}]";
        let other = "version = 1\n[[groups]]\nname = 'a'\ndescription = 'x'\n";
        let document = read_files(&[("b.yaml", group), ("c.toml", other)]).unwrap().document;
        let groups = document.groups.unwrap();
        assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert!(matches!(groups[0].rules[0].peer, DocumentPeer::Group(_)));
        let error = read_files(&[("b.yaml", group), ("c.toml", other), ("d.toml", other)]).unwrap_err();
        let shown = error.render(Color::No);
        assert!(shown.contains("groups[0].name: the security group a is there twice"), "{shown}");
        assert!(shown.contains("d.toml:3:8") && shown.contains("c.toml:3:8"), "{shown}");
        assert!(shown.contains("3 | name = 'a'\n  |        --- it is here first"), "{shown}");
    }

    #[test]
    fn ten_thousand_rules_and_a_hundred_thousand_prefixes_are_read() {
        let mut text = "version: 1\ngroups:\n- name: a\n  description: b\n  ingress:\n".to_owned();
        for number in 0..10_000 {
            text.push_str(&format!(
                "  - {{protocol: tcp, ports: {}, cidr: 10.{}.0.0/16}}\n",
                number % 1000,
                number / 1000
            ));
        }
        text.push_str("prefix_lists:\n- name: l\n  family: ipv4\n  max_entries: 100000\n  entries:\n");
        for number in 0..100_000_u32 {
            text.push_str(&format!("  - {}/32\n", std::net::Ipv4Addr::from(number)));
        }
        let document = read_yaml(&text).unwrap();
        assert_eq!(document.groups.unwrap()[0].rules.len(), 10_002);
        assert_eq!(document.prefix_lists.unwrap()[0].entries.len(), 100_000);
    }
}

mod mistakes_of {
    use super::*;

    #[test]
    fn everything_are_found_at_once_with_their_places() {
        let text = "\
version: 1
groups:
  - name: web
    description: it's
    tagz: {}
    ingress:
      - {protocol: tcp, cidr: 0.0.0.0/0}
      - {protocol: tcp, ports: 80-70, cidr: 10.0.0.0/33}
      - {protocol: udp, ports: 53, group: lbb}
      - {protocol: icmp, code: 4, cidr: ::/0, group: web}
      - {ports: 1}
  - name: lb
    description: 7
prefix_lists:
  - {name: office, family: ipv4, max_entries: 1, entries: [10.0.0.0/8, \"::/0\", 10.0.0.0/8]}
interfaces:
  - {name: eth1, groups: [], timeouts: {udp: 5}, icmp_errors: relatet}
";
        let expected = [
            "4:18 groups[0].description: invalid description \"it's\"",
            "5:5 groups[0]: unknown field \"tagz\"",
            "7:20 groups[0].ingress[0]: protocol tcp needs a port or a range of ports",
            "8:32 groups[0].ingress[1].ports: invalid TCP/UDP port range (80:70)",
            "8:45 groups[0].ingress[1].cidr: CIDR block 10.0.0.0/33 is malformed",
            "9:43 groups[0].ingress[2].group: no security group \"lbb\" in the document",
            "10:10 groups[0].ingress[3]: a rule has one peer; this one has cidr and group",
            "10:32 groups[0].ingress[3]: an ICMP code needs a type",
            "11:10 groups[0].ingress[4]: the field \"protocol\" is missing",
            "11:10 groups[0].ingress[4]: the rule has no peer",
            "13:18 groups[1].description: expected a text, found a number",
            "15:72 prefix_lists[0].entries[1]: ::/0 is not a prefix of the family IPv4",
            "15:80 prefix_lists[0].entries[2]: the entry 10.0.0.0/8 is there twice",
            "17:26 interfaces[0].groups: at least one is needed",
            "17:46 interfaces[0].timeouts.udp: timeout udp of 5 s is out of range",
            "17:63 interfaces[0].icmp_errors: unknown value \"relatet\"",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn the_whole_document() {
        let text = "\
version: 1
groups:
- name: web
  id: sg-0123456789abcdef0
  description: a
  ingress:
  - {id: sgr-0123456789abcdef0, protocol: tcp, ports: 22, group: web}
  - {id: sgr-0123456789abcdef0, protocol: 6, ports: 22, group: sg-0123456789abcdef0}
  - {protocol: all, cidr: [10.0.0.1/8, 10.0.0.2/8]}
  - {protocol: all, prefix_list: nowhere}
- {name: WEB, description: b}
prefix_lists: []
interfaces:
- {name: eth1, groups: [default, we, sg-00000000000000000]}
- {name: eth1, groups: [web]}
";
        let expected = [
            "8:5 groups[0].ingress[1]: the same rule is there twice",
            "8:10 groups[0].ingress[1].id: the id sgr-0123456789abcdef0 is there twice",
            "9:5 groups[0].ingress[2]: the same rule is there twice",
            "10:34 groups[0].ingress[3].prefix_list: no prefix list \"nowhere\" in the document",
            "11:10 groups[1].name: the security group web is there twice",
            "14:34 interfaces[0].groups[1]: no security group \"we\" in the document",
            "15:10 interfaces[1].name: the interface eth1 is there twice",
        ];
        assert_eq!(mistakes(text), expected);
    }

    #[test]
    fn references_outside_the_document_are_not_its_business() {
        let rule =
            "version: 1\ngroups:\n- {name: a, description: b, ingress: [{protocol: all, prefix_list: x}]}";
        assert!(read_yaml(rule).is_ok(), "the document has no section of prefix lists");
        assert!(read_yaml("version: 1\ninterfaces: [{name: eth1, groups: [anything]}]").is_ok());
    }

    #[test]
    fn one_group_without_a_name_does_not_make_references_wrong() {
        let text = "version: 1\ngroups:\n- {description: b}\n- {name: a, description: b, ingress: [{protocol: all, group: b}]}";
        assert_eq!(mistakes(text), ["3:4 groups[0]: the field \"name\" is missing"]);
    }

    #[test]
    fn the_whole_file() {
        assert_eq!(mistakes(""), ["1:1 : expected a map, found nothing"]);
        assert_eq!(mistakes("version: 2"), ["1:10 version: unknown version 2"]);
        assert_eq!(mistakes("groups: []"), ["1:1 : the field \"version\" is missing"]);
        assert_eq!(mistakes("version: 1\nversion: 1"), ["2:1 : the field \"version\" is there twice"]);
        assert_eq!(mistakes("version: 1\ngroups:"), ["2:7 groups: expected a list, found nothing"]);
        let missing = read(&[Input::Path("/nonesuch.yaml".into())]).unwrap_err().render(Color::No);
        assert!(missing.starts_with("error: /nonesuch.yaml: cannot be read: No such file"), "{missing}");
        let empty = read_files(&[]).unwrap_err().render(Color::No);
        assert!(empty.contains("has no policy files") && empty.contains("help: "), "{empty}");
    }

    #[test]
    fn toml_and_syntax() {
        let error = read_files(&[("a.toml", "version = 1\n[[groups]]\nname = web\n[x\n")]).unwrap_err();
        let lines: Vec<_> = error.findings().map(|finding| finding.position.unwrap().0).collect();
        assert_eq!(lines, [3, 4]);
        let error = read_files(&[("a.json", "{\"version\": 1,\n \"groups\": [}\n")]).unwrap_err();
        assert_eq!(error.findings().next().unwrap().position.unwrap().0, 2);
    }

    #[test]
    fn lines_that_end_as_on_other_systems_are_counted_the_same() {
        let text = "version: 1\r\ninterfaces:\r\n- {name: \"ä/b\", groups: [x]}\r\n";
        assert_eq!(mistakes(text), ["3:10 interfaces[0].name: invalid interface name \"ä/b\""]);
        let shown = read_yaml(text).unwrap_err().render(Color::No);
        assert!(shown.contains("\n3 | - {name: \"ä/b\", groups: [x]}\n  |          ^^^^^\n"), "{shown}");
    }

    #[test]
    fn people_see_the_line_the_caret_and_a_hint() {
        let text = "version: 1\ngroups:\n- name: web\n  descriptions: x\n  ingress:\n  - {protocol: tcp, ports: 80-70, cidr: 10.0.0.0/8}\n";
        let shown = read_yaml(text).unwrap_err().render(Color::No);
        let shown =
            shown.replace(&shown[shown.find("--> ").unwrap() + 4..shown.find("policy.yaml").unwrap()], "");
        let expected = "\
error[MissingParameter]: groups[0]: the field \"description\" is missing
 --> policy.yaml:3:3
  |
3 | - name: web
  |   ^^^^

error[UnknownParameter]: groups[0]: unknown field \"descriptions\"
 --> policy.yaml:4:3
  |
4 |   descriptions: x
  |   ^^^^^^^^^^^^
  |
  = help: did you mean \"description\"?

error[InvalidParameterValue]: groups[0].ingress[0].ports: invalid TCP/UDP port range (80:70)
 --> policy.yaml:6:28
  |
6 |   - {protocol: tcp, ports: 80-70, cidr: 10.0.0.0/8}
  |                            ^^^^^
  |
  = help: write 70-80";
        assert_eq!(shown, expected);
    }

    #[test]
    fn thousands_are_counted_but_not_all_shown_to_people() {
        let text = format!("version: 1\ninterfaces: [{}]", "{name: a/b, groups: [x]}, ".repeat(5000));
        let error = read_yaml(&text).unwrap_err();
        assert_eq!(error.findings().count(), 5000);
        assert_eq!(error.to_string(), "the policy files have 5000 mistakes");
        let shown = error.render(Color::No);
        assert!(shown.ends_with("error: … and 4900 more"));
        // All of them are on one line, which is not shown.
        let fifth = "policy.yaml:2:125\n = note: the text is a/b\n";
        assert!(shown.contains(fifth), "{}", &shown[..1000]);
    }
}
