//! Frames written in the notation, every detail spelt out.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use super::EXTENSIONS;
use crate::packets::{Content, Extension, Flaws, Fragment, Frame, IcmpBody, Packet, Segment, Transport, tcp};

impl Display for Frame {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.content {
            Content::Ip(packet) => write!(f, "{packet}")?,
            Content::Arp => write!(f, "arp")?,
            Content::Other { ethertype } => write!(f, "ethertype {ethertype:04x}")?,
        }
        let tags: Vec<_> =
            self.tags.iter().map(|tag| format!("{:04x}.{}", tag.ethertype, tag.vlan)).collect();
        if tags.is_empty() { Ok(()) } else { write!(f, " vlan={}", tags.join(",")) }
    }
}

impl Display for Packet {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.transport {
            Transport::Tcp(segment) => fmt_segment(self, segment, f)?,
            Transport::Udp { source_port, destination_port, data } => {
                write!(f, "udp {}", Ends(self, Some((*source_port, *destination_port))))?;
                write!(f, " data={data}")?;
            }
            Transport::Icmp { icmp_type, code, body } => {
                let name = if self.source.is_ipv6() { "icmpv6" } else { "icmp" };
                write!(f, "{name} {} {icmp_type}/{code}", Ends(self, None))?;
                if let IcmpBody::Identifier(identifier) = body {
                    write!(f, " id={identifier}")?;
                }
            }
            Transport::Other { protocol, data } => write!(f, "{protocol} {} data={data}", Ends(self, None))?,
        }
        write!(f, " hop={}", self.hop_limit)?;
        if self.options != 0 {
            write!(f, " options={}", self.options)?;
        }
        fmt_extensions(&self.extensions, f)?;
        fmt_flaws(&self.flaws, f)?;
        match self.fragment {
            Fragment::Whole => {}
            Fragment::First { identification } => write!(f, " frag=first:{identification}")?,
            Fragment::Later { identification, offset } => write!(f, " frag=later:{identification}@{offset}")?,
        }
        if let Transport::Icmp { body: IcmpBody::Quote { packet, bytes }, .. } = &self.transport {
            write!(f, " quote={bytes} quoting ({packet})")?;
        }
        Ok(())
    }
}

fn fmt_segment(packet: &Packet, segment: &Segment, f: &mut Formatter<'_>) -> fmt::Result {
    let names: Vec<_> =
        tcp::NAMES.iter().filter(|(flag, _)| segment.flags & flag != 0).map(|(_, name)| *name).collect();
    let flags = if names.is_empty() { "NONE".to_owned() } else { names.join("+") };
    let ends = Ends(packet, Some((segment.source_port, segment.destination_port)));
    let Segment { sequence, acknowledgement, data, .. } = segment;
    write!(f, "tcp {ends} {flags} seq={sequence} ack={acknowledgement} data={data}")
}

fn fmt_extensions(extensions: &[Extension], f: &mut Formatter<'_>) -> fmt::Result {
    let name =
        |extension| EXTENSIONS.iter().find(|(_, known)| *known == extension).map_or("?", |(name, _)| *name);
    let names: Vec<_> = extensions.iter().map(|extension| name(*extension)).collect();
    if names.is_empty() { Ok(()) } else { write!(f, " ext={}", names.join(",")) }
}

fn fmt_flaws(flaws: &Flaws, f: &mut Formatter<'_>) -> fmt::Result {
    if let Some(words) = flaws.header_words {
        write!(f, " ihl={words}")?;
    }
    if flaws.claimed_bytes != 0 {
        write!(f, " claims={}", flaws.claimed_bytes)?;
    }
    if let Some(bytes) = flaws.transport_bytes {
        write!(f, " cut={bytes}")?;
    }
    Ok(())
}

/// `SOURCE>DESTINATION`, with ports or without.
struct Ends<'p>(&'p Packet, Option<(u16, u16)>);

impl Display for Ends<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(Packet { source, destination, .. }, ports) = self;
        let Some((source_port, destination_port)) = ports else {
            return write!(f, "{source}>{destination}");
        };
        let source = SocketAddr::new(*source, *source_port);
        let destination = SocketAddr::new(*destination, *destination_port);
        write!(f, "{source}>{destination}")
    }
}
