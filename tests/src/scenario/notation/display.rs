//! Scenarios written in the notation.

use std::fmt::{self, Display, Formatter};

use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_userspace::model::{Exemption, FlowTimeouts, IcmpErrors, IcmpSelector, Service};
use ipnet::IpNet;

use super::{TIMEOUTS, timeout_mut};
use crate::scenario::{Arrival, Group, Interface, Origin, Peer, Policy, Rule, Scenario, Step};

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "case {}", self.title)?;
        if let Some(reason) = &self.unplayable {
            writeln!(f, "  unplayable {reason}")?;
        }
        for step in &self.steps {
            for line in step.to_string().lines() {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(policy) => write!(f, "{policy}"),
            Self::Frame { arrival, frame, expected: None } => write!(f, "{arrival} {frame}"),
            Self::Frame { arrival, frame, expected: Some(reason) } => {
                write!(f, "{arrival} {frame} => {}", reason.name())
            }
            Self::Wait(seconds) => write!(f, "wait {seconds}"),
            Self::Fill => write!(f, "fill"),
            Self::Sockets(sockets) => write!(f, "sockets {}", socket_word(*sockets)),
            Self::Sweep => write!(f, "sweep"),
            Self::Flows(count) => write!(f, "flows {count}"),
        }
    }
}

impl Display for Arrival {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let direction = match (self.direction, self.origin) {
            (Direction::Egress, Origin::OtherDevice) => "forwarded",
            (Direction::Egress, Origin::SameInterface) => "returned",
            (direction, _) => word(direction),
        };
        if self.slot == 0 { write!(f, "{direction}") } else { write!(f, "{direction}@{}", self.slot) }
    }
}

impl Display for Policy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "policy")?;
        for (name, entries) in &self.prefix_lists {
            writeln!(f, "list {name}{}", Words(entries))?;
        }
        for (name, Group { members, rules }) in &self.groups {
            writeln!(f, "group {name}{}", Words(members))?;
            for rule in rules {
                writeln!(f, "authorize {name}: {rule}")?;
            }
        }
        for exempt in &self.exempt {
            writeln!(f, "exempt {} {}", ServiceWords(exempt.service), exempt.prefix)?;
        }
        for management in &self.management {
            writeln!(f, "management {} {}", ServiceWords(management.service.into()), management.prefix)?;
        }
        for (slot, interface) in &self.interfaces {
            writeln!(f, "interface {slot} {interface}")?;
        }
        Ok(())
    }
}

impl Display for Interface {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "zone={} groups={}", self.zone, self.groups.join(","))?;
        if self.options.tcp_strict {
            write!(f, " tcp-strict")?;
        }
        if self.options.icmp_errors == IcmpErrors::RulesOnly {
            write!(f, " rules-only")?;
        }
        for prefix in &self.options.always_track {
            write!(f, " always-track={prefix}")?;
        }
        for kind in Exemption::ALL.into_iter().filter(|kind| !self.options.exemptions.has(*kind)) {
            write!(f, " not-exempt={}", kind.name())?;
        }
        let (mut timeouts, mut defaults) = (self.options.timeouts, FlowTimeouts::default());
        for name in TIMEOUTS {
            let (Ok(timeout), Ok(default)) =
                (timeout_mut(&mut timeouts, name), timeout_mut(&mut defaults, name))
            else {
                continue;
            };
            if timeout != default {
                write!(f, " {name}={timeout}")?;
            }
        }
        Ok(())
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", word(self.direction), ServiceWords(self.service))?;
        match &self.peer {
            Peer::Cidr(prefix) => write!(f, "{prefix}"),
            Peer::Group(name) | Peer::PrefixList(name) => write!(f, "{name}"),
        }
    }
}

/// A protocol with its ports, or its type and code.
struct ServiceWords(Service);

impl Display for ServiceWords {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Service::All => write!(f, "-1"),
            Service::Tcp(ports) => write!(f, "tcp {ports}"),
            Service::Udp(ports) => write!(f, "udp {ports}"),
            Service::Icmp(selector) => write!(f, "icmp {}", selector_text(selector)),
            Service::Icmpv6(selector) => write!(f, "icmpv6 {}", selector_text(selector)),
            Service::Protocol(other) => write!(f, "{}", other.number()),
        }
    }
}

const fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "in",
        Direction::Egress => "out",
    }
}

const fn socket_word(socket: Socket) -> &'static str {
    match socket {
        Socket::Connected => "connected",
        Socket::TimeWait => "time-wait",
        Socket::Opening => "opening",
        Socket::Listening => "listening",
        Socket::None => "none",
    }
}

fn selector_text(selector: IcmpSelector) -> String {
    match selector {
        IcmpSelector::All => "-1/-1".to_owned(),
        IcmpSelector::Type(icmp_type) => format!("{icmp_type}/-1"),
        IcmpSelector::TypeCode(icmp_type, code) => format!("{icmp_type}/{code}"),
    }
}

/// Each word with a space before it.
struct Words<'w>(&'w [IpNet]);

impl Display for Words<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|word| write!(f, " {word}"))
    }
}
