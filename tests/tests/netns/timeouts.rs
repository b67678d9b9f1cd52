//! Silent flows end when the interface says so, by the kernel's own clock.
//!
//! The conformance table has every timeout, with flows made older instead of waiting. Here time really passes: an
//! answer comes just before the end, another one just after it, and no rule admits either.

use std::net::UdpSocket;
use std::thread;
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology};

use crate::support::{on_every_hook, protect};

on_every_hook!(an_answer_to_a_datagram_may_be_late, an_answer_to_an_echo_request_may_be_late);

/// How long before and after the end an answer comes.
const MARGIN: Duration = Duration::from_millis(1500);

fn client_and_app() -> Lab {
    Lab::build(&Topology::star(["client", "app"])).unwrap()
}

/// AWS allows no UDP timeout below its default, so this waits for half a minute.
fn an_answer_to_a_datagram_may_be_late(hook: IngressHook) {
    const TIMEOUT: Duration = Duration::from_secs(30);
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    let arrives = |family, delay| {
        let bind = |host: &Host| host.namespace().run(|| UdpSocket::bind((host.address(family), 0))).unwrap();
        let (asking, answering) = (bind(app), bind(client));
        answering.set_read_timeout(Some(MARGIN)).unwrap();
        asking.set_read_timeout(Some(MARGIN / 2)).unwrap();
        asking.send_to(b"question", answering.local_addr().unwrap()).unwrap();
        let (_, from) = answering.recv_from(&mut [0; 16]).unwrap();
        sleep(delay);
        answering.send_to(b"answer", from).unwrap();
        asking.recv(&mut [0; 16]).is_ok()
    };
    let arrives = &arrives;
    thread::scope(|scope| {
        for family in Family::ALL {
            scope.spawn(move || assert!(arrives(family, TIMEOUT - MARGIN), "{family:?}: too soon"));
            scope.spawn(move || assert!(!arrives(family, TIMEOUT + MARGIN), "{family:?}: too late"));
        }
    });
}

/// The client's kernel leaves echo requests alone, and nping answers in its place.
fn an_answer_to_an_echo_request_may_be_late(hook: IngressHook) {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let lab = client_and_app();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect(app, hook, "app", &[]);
    app.sgfw(&format!("interface set-timeouts {INTERFACE} --icmp {}", TIMEOUT.as_secs())).expect_success();
    client.namespace().configure("net/ipv4/icmp_echo_ignore_all", "1").unwrap();
    let arrives = |identifier: u16, delay| {
        thread::scope(|scope| {
            let destination = client.address(Family::V4);
            let ping = format!("ping -n -q -c 1 -W 6 -e {identifier} {destination}");
            let asking = scope.spawn(move || app.run(&ping).success().is_ok());
            sleep(delay);
            let source = app.address(Family::V4);
            client
                .run(&format!(
                    "nping --icmp --icmp-type echo-reply --icmp-id {identifier} --icmp-seq 1 -c 1 --no-capture {source}"
                ))
                .expect_success();
            asking.join().unwrap()
        })
    };
    assert!(arrives(77, TIMEOUT - MARGIN), "too soon");
    assert!(!arrives(78, TIMEOUT + MARGIN), "too late");
}
