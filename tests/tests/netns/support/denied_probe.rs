//! A stream of packets that must not arrive, whatever the operator does meanwhile.

use std::net::{Ipv6Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Family, Host};

/// Time between two datagrams: twice as often as the thousand a second that are promised.
const PERIOD: Duration = Duration::from_micros(500);

/// What became of the datagrams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probed {
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
}

/// Sends datagrams `from` a host `to` a port of another one, in both families by turns, a thousand a second and more,
/// while `work` runs.
///
/// # Panics
///
/// If the machine was too slow for that.
#[track_caller]
pub(crate) fn probe_during(from: &Host, to: &Host, port: u16, work: impl FnOnce()) -> Probed {
    probe_watched(from, to, port, |_| work())
}

/// As [`probe_during`]; `work` can see what has arrived so far, which does not count as arrived in the end.
#[track_caller]
pub(crate) fn probe_watched(from: &Host, to: &Host, port: u16, work: impl FnOnce(&Arrivals<'_>)) -> Probed {
    let receiver = to.namespace().run(|| UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))).unwrap();
    receiver.set_nonblocking(true).unwrap();
    let senders = Family::ALL.map(|family| {
        let sender = from.namespace().run(|| UdpSocket::bind((from.address(family), 0))).unwrap();
        sender.connect((to.address(family), port)).unwrap();
        sender
    });
    let (done, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = start;
            for sender in senders.iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                // A host that drops its own datagram may say so to the sender.
                let _ = sender.send(b"must not arrive");
                sent.fetch_add(1, Ordering::Relaxed);
                // Against the clock, so that a late wake-up is made up for.
                next += PERIOD;
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        let _stop = StopOnDrop(&done);
        work(&Arrivals(&receiver));
    });
    let sent = sent.into_inner();
    let wanted = start.elapsed().as_millis();
    assert!(u128::from(sent) >= wanted, "only {sent} datagrams in {wanted} ms");
    Probed { sent, arrived: Arrivals(&receiver).take() }
}

/// The receiving end of a probe.
pub(crate) struct Arrivals<'a>(&'a UdpSocket);

impl Arrivals<'_> {
    /// How many have arrived since the last call and still had room.
    pub(crate) fn take(&self) -> u64 {
        let mut arrived = 0;
        while self.0.recv(&mut [0; 64]).is_ok() {
            arrived += 1;
        }
        arrived
    }
}

/// Stops the sender even if the work panics; the scope would wait for it for ever.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
