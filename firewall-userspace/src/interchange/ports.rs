//! The fields `FromPort` and `ToPort`, which hold ports, or ICMP type and code, or nothing (AWS "IpPermission").

use crate::model::{IcmpSelector, ModelError, PortRange, Protocol, Service};

/// What a protocol and the two fields stand for. Other protocols than TCP, UDP and ICMP have all ports whatever the
/// fields say.
pub(super) fn service(protocol: &str, from: Option<i64>, to: Option<i64>) -> Result<Service, ModelError> {
    let protocol: Protocol = protocol.parse()?;
    match protocol {
        Protocol::Tcp | Protocol::Udp => {
            let ports = from.zip(to).map(|(from, to)| port_range(from, to)).transpose()?;
            Service::new(protocol, ports, None)
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            let selector: IcmpSelector = format!("{}/{}", from.unwrap_or(-1), to.unwrap_or(-1)).parse()?;
            Service::new(protocol, None, Some(selector))
        }
        Protocol::All | Protocol::Other(_) => Service::new(protocol, None, None),
    }
}

fn port_range(from: i64, to: i64) -> Result<PortRange, ModelError> {
    let port = |number: i64| {
        u16::try_from(number)
            .map_err(|_| ModelError::InvalidPort { text: format!("{from}-{to}"), part: number.to_string() })
    };
    PortRange::new(port(from)?, port(to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_hold_ports_or_type_and_code_or_nothing() {
        let read = |protocol, from, to| service(protocol, Some(from), Some(to)).unwrap();
        assert_eq!(read("tcp", 22, 25), Service::Tcp(PortRange::new(22, 25).unwrap()));
        assert_eq!(read("17", 0, 65535), Service::Udp(PortRange::ALL));
        assert_eq!(read("icmp", -1, -1), Service::Icmp(IcmpSelector::All));
        assert_eq!(read("icmp", 3, -1), Service::Icmp(IcmpSelector::Type(3)));
        assert_eq!(read("icmpv6", 1, 4), Service::Icmpv6(IcmpSelector::TypeCode(1, 4)));
        assert_eq!(read("-1", 0, 0), Service::All);
        assert_eq!(read("50", 5, 10), service("50", None, None).unwrap());
        assert_eq!(service("58", None, None).unwrap(), Service::Icmpv6(IcmpSelector::All));
    }

    #[test]
    fn what_aws_would_not_have_is_refused() {
        for (protocol, from, to) in [
            ("tcp", None, None),
            ("tcp", Some(22), None),
            ("udp", Some(-1), Some(-1)),
            ("tcp", Some(0), Some(65536)),
            ("tcp", Some(8000), Some(7000)),
            ("icmp", Some(-1), Some(0)),
            ("icmp", Some(0), Some(65535)),
            ("gre", None, None),
        ] {
            assert!(service(protocol, from, to).is_err(), "{protocol} {from:?} {to:?}");
        }
    }

    #[test]
    fn the_fields_read_back_as_they_are_written() {
        for (protocol, from, to) in
            [("tcp", 1, 2), ("udp", 0, 65535), ("icmp", -1, -1), ("icmp", 8, -1), ("icmpv6", 1, 4)]
        {
            let service = service(protocol, Some(from), Some(to)).unwrap();
            assert_eq!(service.aws_protocol(), protocol);
            assert_eq!(service.aws_ports().map(|(from, to)| (from.into(), to.into())), Some((from, to)));
        }
        assert_eq!(Service::All.aws_ports(), None);
        assert_eq!(Service::All.aws_protocol(), "-1");
    }
}
