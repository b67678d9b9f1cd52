//! Scenarios as text, in the words of the conformance table (`docs/semantics.md`, §6.1).
//!
//! ```text
//! case 62 replies leave without an egress rule
//!   authorize in tcp 22 C/32                     a rule of the group `main`
//!   authorize app: out -1 0.0.0.0/0              a rule of another group
//!   stock-egress                                 the rules that AWS gives a new group: everything out, IPv4 and IPv6
//!   revoke in tcp 22 C/32
//!   group app 10.0.1.20/32 2001:db8:1::20/128    a group's members
//!   list pl-1 203.0.113.0/24                     a prefix list's entries
//!   exempt udp 53 169.254.169.253/32             a server that needs no rule
//!   management tcp 22 C/32                       passes without state where its flow has no place
//!   interface 0 zone=1 groups=main,app udp=60 tcp-strict always-track=10.0.0.0/8 not-exempt=arp
//!   in tcp C:40000>E:22 SYN => rule              a frame and the reason it must end with
//!   out@1 udp E:1>C:2                            a frame on another interface
//!   forwarded tcp C:1>D:2 SYN                    a frame that leaves, and came in by another device
//!   returned tcp C:1>D:2 SYN                     a frame that leaves by the interface that it came in by
//!   wait 31
//!   fill                                         established flows of others take every place but those of protected flows
//!   sockets connected                            what the kernel says about the socket of any flow: or `time-wait`,
//!                                                `opening`, `listening`, `none`
//!   sweep                                        ended flows are removed
//!   flows 1                                      so many are live, those of `fill` aside
//! ```
//!
//! Policy lines change the policy that stands; it is published before the next frame. `policy` starts an empty one,
//! which has interface 0 with the group `main`. `unplayable REASON` says why a case is about no frames. `#` begins a
//! comment.

mod display;

use anyhow::{Context, Result, bail, ensure};
use firewall_common::abi::Direction;
use firewall_common::flow_table::life::Socket;
use firewall_common::reason::Reason;
use firewall_userspace::model::{
    ExemptProperties, Exemption, FlowTimeouts, IcmpErrors, InterfaceOptions, ManagementService, Protocol,
    Service,
};
use ipnet::IpNet;

use super::{Arrival, Interface, Management, Origin, Peer, Policy, Rule, Scenario, Step};
use crate::packets::notation::{parse_address, parse_frame};

/// Reads a file of scenarios.
///
/// # Errors
///
/// The first line that is not in the notation.
pub fn parse(text: &str) -> Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    let mut reader: Option<Reader> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if let Some(title) = line.strip_prefix("case ") {
            scenarios.extend(reader.replace(Reader::new(title)).map(Reader::finish));
            continue;
        }
        let context = || format!("line {}: `{line}`", index + 1);
        reader.as_mut().with_context(context)?.line(line).with_context(context)?;
    }
    scenarios.extend(reader.map(Reader::finish));
    Ok(scenarios)
}

/// One scenario while it is read.
struct Reader {
    scenario: Scenario,
    policy: Policy,
    /// Whether the policy has changed since it was last published.
    changed: bool,
}

impl Reader {
    fn new(title: &str) -> Self {
        let scenario = Scenario { title: title.trim().to_owned(), unplayable: None, steps: Vec::new() };
        Self { scenario, policy: Policy::default(), changed: true }
    }

    fn finish(self) -> Scenario {
        self.scenario
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim();
        match word {
            "unplayable" => self.scenario.unplayable = Some(rest.to_owned()),
            "wait" => self.push(Step::Wait(rest.parse()?)),
            "fill" => self.push(Step::Fill),
            "sockets" => self.push(Step::Sockets(parse_sockets(rest)?)),
            "sweep" => self.push(Step::Sweep),
            "flows" => self.push(Step::Flows(rest.parse()?)),
            "in" | "out" | "forwarded" | "returned" => {
                let step = parse_frame_step(word, "0", rest)?;
                self.push(step);
            }
            _ if word.contains('@') => {
                let (word, slot) = word.split_once('@').unwrap_or((word, "0"));
                let step = parse_frame_step(word, slot, rest)?;
                self.push(step);
            }
            _ => {
                change_policy(&mut self.policy, word, rest)?;
                self.changed = true;
            }
        }
        Ok(())
    }

    fn push(&mut self, step: Step) {
        if self.changed {
            self.scenario.steps.push(Step::Publish(self.policy.clone()));
            self.changed = false;
        }
        self.scenario.steps.push(step);
    }
}

fn parse_frame_step(word: &str, slot: &str, rest: &str) -> Result<Step> {
    let (direction, origin) = match word {
        "forwarded" => (Direction::Egress, Origin::OtherDevice),
        "returned" => (Direction::Egress, Origin::SameInterface),
        _ => (parse_direction(word)?, Origin::Host),
    };
    let arrival = Arrival { slot: slot.parse()?, direction, origin };
    let (frame, expected) = match rest.split_once("=>") {
        Some((frame, name)) => (frame, Some(parse_reason(name.trim())?)),
        None => (rest, None),
    };
    Ok(Step::Frame { arrival, frame: parse_frame(frame)?, expected })
}

fn parse_direction(text: &str) -> Result<Direction> {
    match text {
        "in" => Ok(Direction::Ingress),
        "out" => Ok(Direction::Egress),
        _ => bail!("`{text}` is neither `in` nor `out`"),
    }
}

fn parse_sockets(text: &str) -> Result<Socket> {
    Ok(match text {
        "connected" => Socket::Connected,
        "time-wait" => Socket::TimeWait,
        "opening" => Socket::Opening,
        "listening" => Socket::Listening,
        "none" => Socket::None,
        _ => bail!("`{text}` is none of `connected`, `time-wait`, `opening`, `listening`, `none`"),
    })
}

fn parse_reason(name: &str) -> Result<Reason> {
    let reason = Reason::ALL.iter().find(|reason| reason.name() == name);
    reason.copied().with_context(|| format!("`{name}` is no reason"))
}

fn change_policy(policy: &mut Policy, word: &str, rest: &str) -> Result<()> {
    match word {
        "policy" => *policy = Policy::default(),
        "authorize" => {
            let (group, rule) = parse_group_rule(rest)?;
            policy.groups.entry(group).or_default().rules.push(rule);
        }
        "stock-egress" => {
            let main = policy.groups.entry(Policy::MAIN_GROUP.to_owned()).or_default();
            main.rules.extend([parse_rule("out -1 0.0.0.0/0")?, parse_rule("out -1 ::/0")?]);
        }
        "revoke" => {
            let (group, rule) = parse_group_rule(rest)?;
            let rules = &mut policy.groups.get_mut(&group).context("no such group")?.rules;
            let position = rules.iter().position(|known| *known == rule).context("no such rule")?;
            rules.remove(position);
        }
        "group" => {
            let (name, members) = parse_named_prefixes(rest)?;
            policy.groups.entry(name).or_default().members = members;
        }
        "list" => {
            let (name, entries) = parse_named_prefixes(rest)?;
            ensure!(name.starts_with("pl-"), "a prefix list is called pl-…");
            policy.prefix_lists.insert(name, entries);
        }
        "exempt" => policy.exempt.push(parse_exempt(rest)?),
        "management" => policy.management.push(parse_management(rest)?),
        "interface" => {
            let (slot, interface) = parse_interface(rest)?;
            for name in &interface.groups {
                policy.groups.entry(name.clone()).or_default();
            }
            policy.interfaces.insert(slot, interface);
        }
        _ => bail!("`{word}` is no word of the notation"),
    }
    Ok(())
}

fn parse_group_rule(text: &str) -> Result<(String, Rule)> {
    let (group, rule) = text.split_once(": ").unwrap_or((Policy::MAIN_GROUP, text));
    Ok((group.to_owned(), parse_rule(rule)?))
}

fn parse_rule(text: &str) -> Result<Rule> {
    let (direction, service_and_peer) = text.split_once(' ').context("a rule begins with its direction")?;
    let (service, peer) = parse_service_and_peer(service_and_peer)?;
    Ok(Rule { direction: parse_direction(direction)?, service, peer: parse_peer(peer)? })
}

fn parse_exempt(text: &str) -> Result<ExemptProperties> {
    let (service, prefix) = parse_service_and_peer(text)?;
    Ok(ExemptProperties { service, prefix: parse_prefix(prefix)? })
}

fn parse_management(text: &str) -> Result<Management> {
    let service = match parse_service_and_peer(text)? {
        (Service::Tcp(ports), _) => ManagementService::Tcp(ports),
        (Service::Udp(ports), _) => ManagementService::Udp(ports),
        _ => bail!("only TCP and UDP have connections"),
    };
    Ok(Management { service, prefix: parse_prefix(parse_service_and_peer(text)?.1)? })
}

fn parse_service_and_peer(text: &str) -> Result<(Service, &str)> {
    let words: Vec<_> = text.split_whitespace().collect();
    let (protocol, selector, peer) = match words.as_slice() {
        [protocol, peer] => (protocol, None, peer),
        [protocol, selector, peer] => (protocol, Some(*selector), peer),
        _ => bail!("`{text}` is not PROTOCOL [PORTS|TYPE/CODE] PEER"),
    };
    let protocol: Protocol = protocol.parse()?;
    let service = match protocol {
        Protocol::Tcp | Protocol::Udp => Service::new(protocol, selector.map(str::parse).transpose()?, None)?,
        _ => Service::new(protocol, None, selector.map(str::parse).transpose()?)?,
    };
    Ok((service, peer))
}

fn parse_peer(text: &str) -> Result<Peer> {
    if text.starts_with("pl-") {
        return Ok(Peer::PrefixList(text.to_owned()));
    }
    if text.contains('/') { parse_prefix(text).map(Peer::Cidr) } else { Ok(Peer::Group(text.to_owned())) }
}

/// A prefix, whose address may be the name of a host; without host bits, as AWS stores it.
fn parse_prefix(text: &str) -> Result<IpNet> {
    let (address, length) = text.split_once('/').with_context(|| format!("`{text}` is no prefix"))?;
    Ok(IpNet::new(parse_address(address)?, length.parse()?)?.trunc())
}

fn parse_named_prefixes(text: &str) -> Result<(String, Vec<IpNet>)> {
    let mut words = text.split_whitespace();
    let name = words.next().context("no name")?.to_owned();
    Ok((name, words.map(parse_prefix).collect::<Result<_>>()?))
}

fn parse_interface(text: &str) -> Result<(u32, Interface)> {
    let mut words = text.split_whitespace();
    let slot = words.next().context("no slot")?.parse()?;
    let mut interface = Interface {
        zone: 1,
        groups: vec![Policy::MAIN_GROUP.to_owned()],
        options: InterfaceOptions::default(),
    };
    for word in words {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match (key, value) {
            ("zone", zone) => interface.zone = zone.parse()?,
            ("groups", names) => interface.groups = names.split(',').map(str::to_owned).collect(),
            ("tcp-strict", "") => interface.options.tcp_strict = true,
            ("rules-only", "") => interface.options.icmp_errors = IcmpErrors::RulesOnly,
            ("always-track", prefix) => {
                interface.options.always_track.insert(parse_prefix(prefix)?);
            }
            ("not-exempt", name) => {
                let kind = Exemption::from_name(name).with_context(|| format!("`{name}` is never exempt"))?;
                interface.options.exemptions.set(kind, false);
            }
            (name, seconds) => *timeout_mut(&mut interface.options.timeouts, name)? = seconds.parse()?,
        }
    }
    Ok((slot, interface))
}

const TIMEOUTS: [&str; 9] = [
    "tcp-syn",
    "tcp-established",
    "tcp-fin",
    "tcp-closed",
    "tcp-doubt",
    "udp",
    "udp-stream",
    "icmp",
    "other",
];

fn timeout_mut<'t>(timeouts: &'t mut FlowTimeouts, name: &str) -> Result<&'t mut u32> {
    Ok(match name {
        "tcp-syn" => &mut timeouts.tcp_syn,
        "tcp-established" => &mut timeouts.tcp_established,
        "tcp-fin" => &mut timeouts.tcp_fin,
        "tcp-closed" => &mut timeouts.tcp_closed,
        "tcp-doubt" => &mut timeouts.tcp_doubt,
        "udp" => &mut timeouts.udp,
        "udp-stream" => &mut timeouts.udp_stream,
        "icmp" => &mut timeouts.icmp,
        "other" => &mut timeouts.other,
        _ => bail!("`{name}` is no option of an interface"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "
case 1 everything that a scenario can say
  authorize in tcp 22-23 C/32
  authorize app: out icmp 8/-1 pl-1
  authorize app: in icmpv6 128/0 app
  authorize app: in 47 ::/0
  group app 10.0.1.20/32 2001:db8:1::20/128
  list pl-1 203.0.113.0/24   # a comment
  exempt udp 53 169.254.169.253/32
  exempt -1 C6/128
  management tcp 22 C/32
  interface 0 zone=3 groups=main,app udp=60 tcp-strict rules-only
  interface 1 zone=3 groups=app always-track=10.0.0.0/8 always-track=::/0 not-exempt=arp not-exempt=non-ip
  in tcp C:40000>E:22 SYN => rule
  wait 7
  fill
  sweep
  revoke in tcp 22-23 C/32
  out@1 udp E:1>C:2 => no-rule
  forwarded@1 udp C:1>D:2 => no-rule
  returned udp C:1>D:2 => no-rule
  sockets connected
  sockets time-wait
  sockets none
  flows 1
case 2 later
  unplayable it is about a command
";

    #[test]
    fn text_and_scenario_are_two_forms_of_one_thing() {
        let scenarios = parse(EXAMPLE).unwrap();
        assert_eq!(scenarios.len(), 2);
        assert_eq!(scenarios[0].steps.len(), 13);
        let text: String = scenarios.iter().map(ToString::to_string).collect();
        assert_eq!(parse(&text).unwrap(), scenarios, "{text}");
    }

    #[test]
    fn a_line_that_says_nothing_is_refused_with_its_number() {
        for line in [
            "in tcp C:1>E:2 => maybe",
            "authorize in tcp C/32",
            "revoke in -1 C/32",
            "interface 0 x=1",
            "interface 0 not-exempt=igmp",
            "exempt udp 53",
            "management icmp 8/0 C/32",
            "w 1",
        ] {
            let error = parse(&format!("case 1\n{line}")).unwrap_err();
            assert!(error.to_string().contains("line 2"), "{line}: {error}");
        }
    }
}
