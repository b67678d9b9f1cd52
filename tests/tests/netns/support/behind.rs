//! A host behind another one: that one forwards for it, as for a container or a machine of an inner network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use firewall_tests::lab::{Host, INTERFACE, Lab};

/// The network between the two: the router has its address 1, the inner host 2.
pub(crate) struct InnerNetwork {
    /// The router's interface to it.
    pub(crate) interface: &'static str,
    /// A /24.
    pub(crate) v4: Ipv4Addr,
    /// A /64.
    pub(crate) v6: Ipv6Addr,
}

impl InnerNetwork {
    fn host(&self, number: u8) -> [IpAddr; 2] {
        let [a, b, c, _] = self.v4.octets();
        let v6 = u128::from(self.v6) | u128::from(number);
        [Ipv4Addr::new(a, b, c, number).into(), Ipv6Addr::from(v6).into()]
    }
}

/// Moves a host's link from the lab's router to `router`, which forwards from now on, and returns the host's addresses there.
#[track_caller]
pub(crate) fn put_behind(lab: &Lab, router: &Host, inner: &Host, network: &InnerNetwork) -> [IpAddr; 2] {
    lab.router().ip_batch(&format!("link delete to-{}", inner.name())).unwrap();
    router.namespace().forward().unwrap();
    let (name, interface) = (inner.namespace().name(), network.interface);
    let [router_v4, router_v6] = network.host(1);
    let [inner_v4, inner_v6] = network.host(2);
    router
        .namespace()
        .ip_batch(&format!(
            "link add {interface} type veth peer name {INTERFACE} netns {name}\n\
             link set {interface} up\n\
             address add {router_v4}/24 dev {interface}\n\
             address add {router_v6}/64 dev {interface} nodad\n"
        ))
        .unwrap();
    inner
        .namespace()
        .ip_batch(&format!(
            "link set {INTERFACE} up\n\
             address add {inner_v4}/24 dev {INTERFACE}\n\
             address add {inner_v6}/64 dev {INTERFACE} nodad\n\
             route add default via {router_v4}\n\
             route add default via {router_v6}\n"
        ))
        .unwrap();
    [inner_v4, inner_v6]
}
