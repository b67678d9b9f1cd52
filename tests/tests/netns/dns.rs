//! DNS with a real resolver, asked by and running on a protected host.

use firewall_tests::lab::Reachability::Filtered;
use firewall_tests::lab::{Family, Finished, Host, IngressHook, Lab, Topology, tcp_connect};

use crate::support::{close_egress, on_every_hook, protect, servers};

on_every_hook!(
    a_host_that_may_ask_only_a_resolver_gets_answers,
    a_resolver_answers_whom_its_rules_admit,
    an_answer_in_fragments_arrives_whole,
);

fn resolver_and_app() -> Lab {
    Lab::build(&Topology::star(["resolver", "app", "stranger"])).unwrap()
}

fn a_host_that_may_ask_only_a_resolver_gets_answers(hook: IngressHook) {
    let lab = resolver_and_app();
    let (resolver, app) = (lab.host("resolver"), lab.host("app"));
    let _server = servers::dnsmasq(resolver);
    let [v4, v6] = Family::ALL.map(|family| resolver.prefix(family));
    protect(app, hook, "app", &[&format!("--egress --protocol udp --port 53 --cidr {v4} --cidr {v6}")]);
    close_egress(app, "app");
    for family in Family::ALL {
        assert_eq!(ask(app, resolver, family, "").expect_success(), "10.77.4.10\n");
        assert_eq!(tcp_connect(app, resolver.address(family), 53), Filtered);
    }
}

fn a_resolver_answers_whom_its_rules_admit(hook: IngressHook) {
    let lab = resolver_and_app();
    let [resolver, app, stranger] = ["resolver", "app", "stranger"].map(|name| lab.host(name));
    let _server = servers::dnsmasq(resolver);
    let rules = ["udp", "tcp"].map(|protocol| {
        let [v4, v6] = Family::ALL.map(|family| app.prefix(family));
        format!("--ingress --protocol {protocol} --port 53 --cidr {v4} --cidr {v6}")
    });
    protect(resolver, hook, "resolver", &rules.each_ref().map(String::as_str));
    close_egress(resolver, "resolver");
    for family in Family::ALL {
        for transport in ["", "+tcp"] {
            assert_eq!(ask(app, resolver, family, transport).expect_success(), "10.77.4.10\n");
        }
        // 9: no reply from the server.
        ask(stranger, resolver, family, "").expect_failure(9);
        assert_eq!(tcp_connect(stranger, resolver.address(family), 53), Filtered);
    }
}

fn an_answer_in_fragments_arrives_whole(hook: IngressHook) {
    let lab = resolver_and_app();
    let (resolver, app) = (lab.host("resolver"), lab.host("app"));
    let _server = servers::dnsmasq(resolver);
    protect(app, hook, "app", &[]);
    for family in Family::ALL {
        let query = format!(
            "dig @{} large.example TXT +short +time=1 +tries=1 +bufsize=4096 +ignore",
            resolver.address(family)
        );
        let answer = app.run(&query).expect_success();
        assert_eq!(answer.matches('x').count(), 12 * 250);
    }
}

fn ask(from: &Host, resolver: &Host, family: Family, options: &str) -> Finished {
    from.run(&format!("dig @{} db.example A +short +time=1 +tries=1 {options}", resolver.address(family)))
}
