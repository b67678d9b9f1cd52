//! `interface reload --flow-entries` gives the flow table another size, and its flows move along.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use firewall_tests::lab::{Family, Host, INTERFACE, IngressHook, Lab, Topology};

use crate::support::{
    Conversation, close_egress, create_group, json, on_every_hook, probe_during, without_tcx,
};

on_every_hook!(
    the_table_grows_and_shrinks_with_its_flows,
    a_table_that_would_be_too_small_is_refused_and_nothing_is_changed,
    a_drained_connection_stays_cut_when_the_table_moves,
);
without_tcx!(the_table_grows_and_shrinks_with_its_flows);

const ADMITTED: &str = "--ingress --protocol tcp --port 80 --cidr 10.77.0.0/16 --cidr fd77::/16";

fn protect_with_table(host: &Host, hook: IngressHook, flow_entries: u32) {
    create_group(host, "app", &[ADMITTED]);
    host.sgfw(&format!(
        "interface attach {INTERFACE} --group app --ingress-hook {hook} --flow-entries {flow_entries}"
    ))
    .expect_success();
    // So that nothing but their flows lets the server's answers out.
    close_egress(host, "app");
}

/// A number of the flow table, as `status` says it.
fn number(host: &Host, of: &str) -> u64 {
    json(host, "status")["FlowTable"][of].as_u64().unwrap()
}

fn the_table_grows_and_shrinks_with_its_flows(hook: IngressHook) {
    const DENIED: u16 = 9000;
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    let _server = Conversation::listen(app, 80);
    protect_with_table(app, hook, 1024);
    let mut conversations = Family::ALL.map(|family| Conversation::open(client, app, family, 80));
    conversations.iter_mut().for_each(Conversation::exchange);
    let small = number(app, "Slots");

    let denied = probe_during(client, app, DENIED, || {
        for flow_entries in [100_000, 2048, 1024] {
            app.sgfw(&format!("interface reload --flow-entries {flow_entries}")).expect_success();
            assert!(number(app, "Capacity") >= flow_entries);
            conversations.iter_mut().for_each(Conversation::exchange);
            // A flow that the move had lost could not be begun again by the server's side.
            app.sgfw(&format!("rule revoke app {ADMITTED}")).expect_success();
            conversations.iter_mut().for_each(Conversation::exchange);
            app.sgfw(&format!("rule authorize app {ADMITTED}")).expect_success();
        }
    });

    assert_eq!(denied.arrived, 0, "of {} that may not enter", denied.sent);
    assert_eq!(number(app, "Slots"), small);
}

fn a_table_that_would_be_too_small_is_refused_and_nothing_is_changed(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    protect_with_table(app, hook, 4096);
    let address = SocketAddr::from((app.address(Family::V4), 80));
    let listener = app.namespace().run(|| TcpListener::bind(address)).unwrap();
    // More than a table for 1 024 has places at all.
    let mut connections: Vec<_> = (0..1600)
        .map(|_| {
            let connected = client.namespace().run(|| TcpStream::connect(address)).unwrap();
            (connected, listener.accept().unwrap().0)
        })
        .collect();
    let slots = number(app, "Slots");

    let error = app.sgfw("interface reload --flow-entries 1024").expect_failure(65);

    assert!(error.contains("of the connections that are tracked find no place"), "{error}");
    assert_eq!(number(app, "Slots"), slots);
    for (near, far) in &mut connections {
        near.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
    }
}

/// Its time is over and no packet has met it: the move must not forget it, or what the server sends would begin it anew.
fn a_drained_connection_stays_cut_when_the_table_moves(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "app"])).unwrap();
    let (client, app) = (lab.host("client"), lab.host("app"));
    // The server may open connections of its own.
    create_group(app, "app", &[ADMITTED]);
    app.sgfw(&format!("interface attach {INTERFACE} --group app --ingress-hook {hook} --flow-entries 1024"))
        .expect_success();
    let address = SocketAddr::from((app.address(Family::V4), 80));
    let listener = app.namespace().run(|| TcpListener::bind(address)).unwrap();
    let mut near = client.namespace().run(|| TcpStream::connect(address)).unwrap();
    let (mut far, _) = listener.accept().unwrap();
    near.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    far.write_all(b"x").unwrap();
    near.read_exact(&mut [0]).unwrap();

    app.sgfw(&format!("rule revoke app {ADMITTED} --flows drain=1s")).expect_success();
    sleep(Duration::from_secs(3));
    let reloaded = app.sgfw("interface reload --flow-entries 2048");
    assert!(!reloaded.stderr().contains("could not be taken along"), "{reloaded}");
    reloaded.expect_success();

    far.write_all(b"y").unwrap();
    let heard = near.read(&mut [0]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "the server goes on with it");
}
