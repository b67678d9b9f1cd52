//! Plans on an attached interface: what they say about traffic is what traffic does.

use std::fs;

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{Family, INTERFACE, IngressHook, Lab, Topology, tcp_connect};

use crate::support::{Conversation, json, on_every_hook, protect};

on_every_hook!(a_plan_says_what_applying_it_does, a_plan_says_that_nothing_is_dropped_in_audit_mode);

fn a_plan_says_what_applying_it_does(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [80, 81].map(|port| Conversation::listen(app, port));
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16"]);
    let mut conversation = Conversation::open(client, app, Family::V4, 80);
    let reaches = |port| tcp_connect(client, app.address(Family::V4), port);
    assert_eq!((reaches(80), reaches(81)), (Open, Filtered));

    let policy = write_policy(
        &lab,
        "version: 1
groups:
  - name: app
    description: scenario
    ingress:
      - {protocol: tcp, ports: 81, cidr: 10.77.0.0/16}
      - {protocol: tcp, ports: 81, cidr: 10.77.1.0/24}
",
    );
    let plan = json(app, &format!("plan -f {policy}"));
    assert_eq!((reaches(80), reaches(81)), (Open, Filtered), "a plan changes nothing");
    let region = |port: u16| {
        serde_json::json!([{
            "Interfaces": [INTERFACE],
            "Direction": "ingress",
            "Peers": ["10.77.0.0/16"],
            "Services": [{ "IpProtocol": "tcp", "FromPort": port, "ToPort": port }],
        }])
    };
    assert_eq!(plan["Effect"]["NewlyReachable"], region(81));
    assert_eq!(plan["Effect"]["NoLongerReachable"], region(80));
    assert_eq!(plan["Effect"]["RedundantRules"][0]["Redundancy"], "shadowed");
    let orphans = plan["Effect"]["OrphanedFlows"].as_array().unwrap();
    let is_conversation =
        |flow: &&serde_json::Value| flow["Responder"]["Port"] == 80 && flow["State"] == "established";
    assert!(orphans.iter().any(|flow| is_conversation(&flow)), "{orphans:?}");

    let text = app.sgfw(&format!("apply -f {policy} --yes")).expect_success();
    assert!(text.contains(&format!("    {INTERFACE} ingress tcp 81 from 10.77.0.0/16\n")), "{text}");
    assert_eq!((reaches(80), reaches(81)), (Filtered, Open));
    // AWS: tracked connections live on.
    conversation.exchange();
    assert_eq!(json(app, &format!("plan -f {policy}"))["HasChanges"], false);
}

fn a_plan_says_that_nothing_is_dropped_in_audit_mode(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let app = lab.host("app");
    protect(app, hook, "app", &["--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16"]);
    let policy = |audit| {
        let text = format!(
            "version: 1
groups:
  - {{name: app, description: scenario, ingress: [{{protocol: tcp, ports: 81, cidr: 10.77.0.0/16}}]}}
interfaces:
  - {{name: {INTERFACE}, groups: [app], audit: {audit}}}
"
        );
        write_policy(&lab, &text)
    };
    let notice = format!("{INTERFACE} is in audit mode, where nothing is dropped");
    let region = format!("    {INTERFACE} (audited) ingress tcp 81 from 10.77.0.0/16\n");
    let text = app.sgfw(&format!("plan -f {}", policy(true))).expect_success();
    assert!(text.contains(&notice) && text.contains(&region), "{text}");
    assert_eq!(json(app, &format!("plan -f {}", policy(true)))["Effect"]["AuditedInterfaces"][0], INTERFACE);

    let text = app.sgfw(&format!("plan -f {}", policy(false))).expect_success();
    assert!(!text.contains("audit"), "{text}");
    app.sgfw(&format!("interface set-options {INTERFACE} --audit on")).expect_success();
    let text = app.sgfw(&format!("plan -f {}", policy(false))).expect_success();
    assert!(text.contains(&format!("{INTERFACE} leaves audit mode: ")), "{text}");
}

fn write_policy(lab: &Lab, policy: &str) -> String {
    let path = lab.directory().join("policy.yaml");
    fs::write(&path, policy).unwrap();
    path.display().to_string()
}
