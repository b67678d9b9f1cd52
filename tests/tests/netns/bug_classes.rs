//! The notorious bugs of other firewalls, and the tests that keep this one free of them.
//!
//! The rows are bugs that 21 other firewalls were found to have, each named where it has a number. `case …` is a case
//! of a table in `tests/tables`, which is played on every hook, by the core and by the oracle; `module::name` is a
//! test, and `the_table_names_only_what_exists` sees to it that there are all of them.
//!
//! | bug | kept away by |
//! | --- | --- |
//! | an LRU map drops live flows (cilium#34833) | `bug_classes::a_syn_flood_cuts_no_idle_connection`, `soak::floods_break_no_connection_and_keep_no_client_out` |
//! | a SYN flood fills the state | `bug_classes::a_syn_flood_cuts_no_idle_connection`, `soak::floods_break_no_connection_and_keep_no_client_out`, `case an acknowledgement of the wrong number completes no handshake` |
//! | a denied SYN makes state all the same | `case a denied SYN leaves no entry, and its answer is no reply` |
//! | mid-stream pick-up that no rule admits | `case 79 an unsolicited segment is dropped`, `case 80 a connection that a rule admits is picked up in mid-stream`, `case scans without a rule meet no state`, `settings::a_strict_interface_begins_flows_by_a_syn_alone` |
//! | a forged RST or FIN cuts or keeps a flow | `case a forged RST cuts no live connection`, `case a forged FIN cuts no live connection`, `case a stream of RSTs keeps no flow`, `forged-reset.scenario` |
//! | ICMP errors by a wrong inner tuple | `case errors about nothing, about errors, in the wrong direction or to the wrong host`, `case errors about each protocol, in both directions and families`, `icmp::path_mtu_discovery_works_without_a_rule` |
//! | fragments reach blocked ports | `case a tiny first fragment hides no ports (RFC 1858)`, `case a later fragment overwrites no TCP header (RFC 3128)`, `case later fragments before the first, or of a first one that was dropped, are dropped`, `case a first fragment that is dropped takes an admitted one of its key with it`, `case a later fragment is known by identification, protocol, addresses and direction`, `fragments-of-two-families.scenario`, `large_packets::datagrams_in_fragments_pass_where_a_rule_says_so`, `nftables::xdp_and_tc_egress_decide_as_nftables` |
//! | IPv6 extension headers hide ports; AH length taken as ×8 | `case extension headers are walked to the ports, in any order`, `case eight extension headers are walked, not nine`, `case a routing header of type 0 passes no rule (RFC 5095)`, `malformed::extension_headers_whose_lengths_lie_lead_to_no_ports` |
//! | IPv4 options hide ports | `case options of every length leave the ports where they are` |
//! | VLAN tags, priority tags and LLC/SNAP by-pass the rules (CVE-2021-27853 and its kin) | `vlan::tags_hide_nothing_that_arrives`, `vlan::tags_hide_nothing_that_leaves`, `malformed::ip_in_an_llc_header_is_dropped` |
//! | a tag that hardware took out before XDP | no test: rules do not look at tags, so that XDP is content with a frame that has lost one and reads no metadata of the NIC |
//! | what cannot be read is passed | `malformed::a_frame_cut_anywhere_is_dropped`, `malformed::a_length_that_lies_either_way_admits_nothing_hidden` |
//! | the longest match hides broader rules | `case a broader rule is not hidden by a narrower one`, `compile::a_narrow_rule_does_not_hide_the_wide_rule_around_it` |
//! | prefixes with host bits collide | `case 21 host bits of a rule's prefix do not count`, `peer::host_bits_are_cleared_and_reported` |
//! | an LPM trie that many prefixes overwhelm | `many_prefixes::every_entry_of_a_long_prefix_list_counts`; how long that takes is for benchmarks |
//! | the verifier refuses the programs on another kernel | `tables::xdp_ingress_and_tc_egress_agree_with_the_tables`, on each kernel that CI runs it on |
//! | native XDP refused because of hardware LRO | `devices::a_card_that_refuses_native_xdp_decides_elsewhere_and_says_why` |
//! | jumbo frames refused or unread by XDP | `large_packets::jumbo_frames_pass_whole` |
//! | native and generic XDP differ | `virtual_devices::a_bridge_device_is_protected` (generic), every other test on XDP (native) |
//! | a filter gap on restart (CVE-2023-27595; Datadog and Cilium, 2022) | `bug_classes::a_change_of_policy_leaves_no_gap`, `reload::programs_are_replaced_without_a_gap` |
//! | a reload wipes others, others wipe us | `bug_classes::other_filters_come_and_go_beside_ours` |
//! | races of the connection table (CVE-2023-7192, CVE-2026-23391) | `bug_classes::two_processors_begin_one_flow_once`, `two_cpus::no_end_and_no_reset_that_two_cpus_see_at_once_loses_a_flow`, `concurrency::rules_of_two_operators_are_all_enforced`; leaks: `soak::floods_break_no_connection_and_keep_no_client_out` |
//! | helpers of protocols open ports (nmap firewall-bypass) | `bug_classes::words_of_ftp_open_no_port`, `case FTP and IRC carry no helper that opens ports (nmap firewall-bypass)` |
//! | a rule with ports for a protocol without (CVE-2019-9735) | `service::tcp_and_udp_need_ports_and_nothing_else_takes_them`, `rules::invalid_rules_are_refused` |
//! | protocol 0 means all (CVE-2023-1668) | `case protocol 0 is not "all", nor is 255 (CVE-2023-1668)`, `compile::all_protocols_is_not_protocol_0` |
//! | a sweep deletes a flow in use (aws-network-policy-agent#246, #462) | `expire::no_flow_is_lost_that_is_refreshed_during_the_sweep` |
//! | a closed host loses its neighbours or its lease | `neighbors::a_closed_host_keeps_its_neighbours_beyond_their_timers`, `dhcp::a_closed_host_gets_a_lease_and_renews_it` |
//! | published container ports are open to everybody | `bug_classes::published_container_ports_are_judged_before_dnat` |

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use firewall_tests::lab::Reachability::{Filtered, Open};
use firewall_tests::lab::{
    Family, Host, INTERFACE, IngressHook, Lab, PacketSocket, TcpServer, Topology, tcp_connect,
};
use firewall_tests::packets::{Frame, Packet, Segment, Transport, tcp};

use crate::support::counters::counter;
use crate::support::{
    Conversation, InnerNetwork, close_egress, create_group, files, json, on_every_hook, probe_during,
    protect, put_behind,
};

on_every_hook!(
    a_change_of_policy_leaves_no_gap,
    a_syn_flood_cuts_no_idle_connection,
    two_processors_begin_one_flow_once,
    other_filters_come_and_go_beside_ours,
    words_of_ftp_open_no_port,
    published_container_ports_are_judged_before_dnat,
);

#[test]
fn the_table_names_only_what_exists() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = ["firewall-common", "firewall-userspace", "tests"].map(|folder| workspace.join(folder));
    let files: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder)).collect();
    let with_extension = |wanted: &str| {
        let files = files.iter().filter(|file| file.extension().is_some_and(|extension| extension == wanted));
        files.map(|file| fs::read_to_string(file).unwrap()).collect::<String>()
    };
    let (sources, tables) = (with_extension("rs"), with_extension("scenario"));
    let rows = include_str!("bug_classes.rs").lines().filter(|line| line.starts_with("//! | "));
    let names: Vec<&str> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 40, "{names:?}");
    for name in names {
        let exists = if name.starts_with("case ") {
            tables.contains(name)
        } else if let Some((_, test)) = name.split_once("::") {
            sources.contains(&format!("fn {test}("))
        } else if name.ends_with(".scenario") {
            files.iter().any(|file| file.ends_with(name))
        } else {
            ["auto", "status"].contains(&name)
        };
        assert!(exists, "there is no {name}");
    }
}

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

/// The router's end of the link.
const FAR_END: &str = "to-app";

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

fn a_change_of_policy_leaves_no_gap(hook: IngressHook) {
    const PORT: u16 = 9000;
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    create_group(app, "other", &[ADMITTED]);
    close_egress(app, "other");

    let mut outward = None;
    let inward = probe_during(client, app, PORT, || {
        outward = Some(probe_during(app, client, PORT, || {
            for group in ["other", "app", "other", "app"] {
                app.sgfw(&format!("interface set-groups {INTERFACE} --group {group}")).expect_success();
                let rule = format!("{group} --ingress --protocol udp --port 53 --cidr 0.0.0.0/0");
                app.sgfw(&format!("rule authorize {rule}")).expect_success();
                app.sgfw(&format!("rule revoke {rule}")).expect_success();
            }
        }));
    });

    assert_eq!(inward.arrived, 0, "of {} that may not enter", inward.sent);
    assert_eq!(outward.unwrap().arrived, 0, "of {} that may not leave", outward.unwrap().sent);
}

/// Ten SYNs from as many hosts for each place in the table, at a port that answers them.
fn a_syn_flood_cuts_no_idle_connection(hook: IngressHook) {
    const ENTRIES: u32 = 16_384;
    const FLOOD: u32 = 20 * ENTRIES;
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let rule = "--ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0";
    create_group(app, "app", &[rule]);
    let attach = format!("interface attach {INTERFACE} --group app --ingress-hook {hook}");
    app.sgfw(&format!("{attach} --flow-entries {ENTRIES}")).expect_success();
    // Tracked, because the way back is not open to everybody.
    close_egress(app, "app");
    let connections = idle_connections(client, app, 1000);
    let before = counter(app, "ingress", "rule").packets;

    let router = PacketSocket::open(lab.router(), FAR_END, 0).unwrap();
    for frame in syns(app.address(Family::V4), FLOOD + FLOOD / 10) {
        // A full queue is the flooder's loss.
        let _ = router.send_once(&frame);
    }

    let admitted = counter(app, "ingress", "rule").packets - before;
    assert!(admitted >= u64::from(FLOOD), "only {admitted} SYNs arrived: no flood");
    let slots = json(app, "status")["FlowTable"]["Slots"].as_u64().unwrap();
    assert!(slots * 10 <= u64::from(FLOOD) && flows_of(app, "half-open") <= slots - 1000);
    let broken = connections.iter().filter_map(|ends| exchange(ends).err()).count();
    assert_eq!(broken, 0, "of {} connections", connections.len());
}

/// The first packets of a thousand flows, on two processors at the same time: each is counted, each flow is there once.
fn two_processors_begin_one_flow_once(hook: IngressHook) {
    const FLOWS: u16 = 1000;
    let lab = client_and_app();
    let app = lab.host("app");
    protect(app, hook, "app", &["--ingress --protocol udp --port 53 --cidr 10.77.0.0/16"]);
    close_egress(app, "app");
    let frames: Vec<Vec<u8>> = (0..FLOWS)
        .map(|number| {
            let transport = Transport::Udp { source_port: 10_000 + number, destination_port: 53, data: 18 };
            let source = app.link().router(Family::V4);
            Frame::ip(Packet::new(source, app.address(Family::V4), transport)).to_bytes()
        })
        .collect();

    thread::scope(|scope| {
        for _ in 0..2 {
            let socket = PacketSocket::open(lab.router(), FAR_END, 0).unwrap();
            let frames = &frames;
            scope.spawn(move || frames.iter().for_each(|frame| socket.send(frame).unwrap()));
        }
    });

    let passed = ["rule", "tracked"].map(|reason| counter(app, "ingress", reason).packets);
    assert_eq!(passed.iter().sum::<u64>(), 2 * u64::from(FLOWS), "{passed:?}");
    // Both may stand where one was claimed and not yet there; the second is never found, and goes by its time.
    let flows = flows_of(app, "one-way");
    assert!((FLOWS..=FLOWS + FLOWS / 100).contains(&u16::try_from(flows).unwrap()), "{flows} flows");
}

fn other_filters_come_and_go_beside_ours(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _servers = [80, 81, 22].map(|port| TcpServer::start(app, port, |_| Ok(())).unwrap());
    let run = |line: &str| app.run(line).expect_success();
    let expect = |states: [(u16, _); 3]| {
        for (port, expected) in states {
            assert_eq!(tcp_connect(client, app.address(Family::V4), port), expected, "port {port}");
        }
    };
    run("nft 'add table inet theirs'");
    run("nft 'add chain inet theirs input { type filter hook input priority 0; }'");
    run("nft 'add rule inet theirs input tcp dport 81 drop'");
    run(&format!("tc qdisc add dev {INTERFACE} clsact"));

    protect(app, hook, "app", &["--ingress --protocol tcp --port 80-81 --cidr 10.77.0.0/16"]);
    expect([(80, Open), (81, Filtered), (22, Filtered)]);
    assert!(run("nft list ruleset").contains("table inet theirs"));
    assert!(run(&format!("tc qdisc show dev {INTERFACE}")).contains("clsact"));

    run("nft flush ruleset");
    run(&format!("tc qdisc del dev {INTERFACE} clsact"));
    if hook == IngressHook::Xdp {
        // The kernel guards a program that was attached with a link.
        app.run(&format!("ip link set dev {INTERFACE} xdp off")).expect_failure(2);
    }
    expect([(80, Open), (81, Open), (22, Filtered)]);
}

fn words_of_ftp_open_no_port(hook: IngressHook) {
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 21);
    let _data =
        [(app, 2021), (client, 2020)].map(|(host, port)| TcpServer::start(host, port, |_| Ok(())).unwrap());
    protect(app, hook, "app", &["--ingress --protocol tcp --port 21 --cidr 10.77.0.0/16"]);
    close_egress(app, "app");
    let [app_address, client_address] = [app, client].map(|host| host.address(Family::V4));
    let in_words = |address: IpAddr| address.to_string().replace('.', ",");

    let mut control = Conversation::open(client, app, Family::V4, 21);
    // 7 * 256 + 229 = 2021. The server repeats what it hears, so that both say both.
    control.exchange_words(&format!("227 Entering Passive Mode ({},7,229)", in_words(app_address)));
    control.exchange_words(&format!("PORT {},7,228", in_words(client_address)));

    assert_eq!(tcp_connect(client, app_address, 2021), Filtered);
    assert_eq!(tcp_connect(app, client_address, 2020), Filtered);
    control.exchange();
}

/// The rules mean the port of the host, which is what arrives at its interface: packets are judged before DNAT turns
/// them, and replies after it has turned them back.
fn published_container_ports_are_judged_before_dnat(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app", "container"])).unwrap();
    let [client, app, container] = ["client", "app", "container"].map(|name| lab.host(name));
    publish_port_of(&lab, app, container);
    let _server = TcpServer::start(container, 80, |_| Ok(())).unwrap();
    for family in Family::ALL {
        // A moment may pass before both ends of a new link use it.
        let answers = || tcp_connect(client, app.address(family), 8080) == Open;
        assert!((0..10).any(|_| answers()), "the port is not published");
    }

    protect(app, hook, "app", &[ADMITTED]);
    close_egress(app, "app");
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 8080), Filtered);
    }
    app.sgfw("rule authorize app --ingress --protocol tcp --port 8080 --cidr 10.77.0.0/16 --cidr fd77::/16")
        .expect_success();
    for family in Family::ALL {
        assert_eq!(tcp_connect(client, app.address(family), 8080), Open);
    }
}

/// Puts `container` behind `app`, which gives it port 80 of what arrives at its own port 8080.
#[track_caller]
fn publish_port_of(lab: &Lab, app: &Host, container: &Host) {
    let network = InnerNetwork {
        interface: "docker0",
        v4: Ipv4Addr::new(172, 17, 0, 0),
        v6: Ipv6Addr::new(0xfd17, 0, 0, 0, 0, 0, 0, 0),
    };
    put_behind(lab, app, container, &network);
    for line in [
        "add table inet docker",
        "add chain inet docker publish { type nat hook prerouting priority dstnat; }",
        "add rule inet docker publish tcp dport 8080 dnat ip to 172.17.0.2:80",
        "add rule inet docker publish tcp dport 8080 dnat ip6 to [fd17::2]:80",
    ] {
        app.run(&format!("nft '{line}'")).expect_success();
    }
}

/// Both ends of connections that were answered once and say nothing more.
#[track_caller]
fn idle_connections(client: &Host, server: &Host, number: usize) -> Vec<(TcpStream, TcpStream)> {
    let address = (server.address(Family::V4), 80);
    let listener = server.namespace().run(|| TcpListener::bind(address)).unwrap();
    let connect = || {
        let connection = TcpStream::connect(address)?;
        let (accepted, _) = listener.accept()?;
        let ends = (connection, accepted);
        exchange(&ends)?;
        Ok(ends)
    };
    let connections: io::Result<Vec<_>> = client.namespace().run(|| (0..number).map(|_| connect()).collect());
    connections.expect("the port should be open")
}

/// One byte each way.
fn exchange((client, server): &(TcpStream, TcpStream)) -> io::Result<()> {
    for (mut from, mut to) in [(client, server), (server, client)] {
        from.write_all(b"!")?;
        to.set_read_timeout(Some(Duration::from_secs(2)))?;
        to.read_exact(&mut [0])?;
    }
    Ok(())
}

/// Frames with SYNs to port 80, each from another host.
fn syns(server: IpAddr, number: u32) -> impl Iterator<Item = Vec<u8>> {
    // 100.64.0.0/10, which no host of a lab is in.
    const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 0]);
    (0..number).map(move |host| {
        let source = Ipv4Addr::from(FIRST + host).into();
        let segment = Transport::Tcp(Segment::new(40_000, 80, tcp::SYN));
        Frame::ip(Packet::new(source, server, segment)).to_bytes()
    })
}

/// Live flows of a class.
#[track_caller]
fn flows_of(host: &Host, class: &str) -> u64 {
    let status = json(host, "status");
    let mut classes = status["FlowTable"]["Classes"].as_array().unwrap().iter();
    classes.find(|row| row["Class"] == class).unwrap()["Flows"].as_u64().unwrap()
}
