//! The names of pins, which say all there is to know about an attachment.

use std::fmt;
use std::str::FromStr;

use firewall_common::abi::Direction;

use super::attach::{EgressAttachment, IngressAttachment};

/// What is pinned for a program on an interface, as its name says it: `<slot>-<ifindex>-<direction>-<hook>`.
///
/// It is the link. A filter has none; there it is the program, and its id ends the name (`3-17-egress-clsact-512`): while
/// one takes the place of another one, both are pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) slot: u32,
    pub(super) ifindex: u32,
    pub(super) hook: Hook,
    /// The program, if that is what is pinned.
    pub(super) program: Option<u32>,
}

/// Where a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hook {
    Ingress(IngressAttachment),
    Egress(EgressAttachment),
}

impl Hook {
    pub(super) const fn direction(self) -> Direction {
        match self {
            Self::Ingress(_) => Direction::Ingress,
            Self::Egress(_) => Direction::Egress,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ingress(ingress) => ingress.name(),
            Self::Egress(egress) => egress.name(),
        }
    }

    /// Whether the program is that of a filter.
    pub(super) const fn is_clsact(self) -> bool {
        matches!(self, Self::Ingress(IngressAttachment::Clsact) | Self::Egress(EgressAttachment::Clsact))
    }

    /// Whether the program is run by XDP.
    pub(super) const fn is_xdp(self) -> bool {
        matches!(self, Self::Ingress(IngressAttachment::XdpNative | IngressAttachment::XdpGeneric))
    }

    fn all() -> impl Iterator<Item = Self> {
        let egress = EgressAttachment::ALL.into_iter().map(Self::Egress);
        IngressAttachment::ALL.into_iter().map(Self::Ingress).chain(egress)
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, ifindex, hook, program } = *self;
        write!(f, "{slot}-{ifindex}-{}-{}", hook.direction().name(), hook.name())?;
        program.map_or(Ok(()), |program| write!(f, "-{program}"))
    }
}

/// The name is not one that [`Pin`] writes.
#[derive(Debug)]
pub(super) struct NotAPin;

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(name: &str) -> Result<Self, NotAPin> {
        let mut parts = name.splitn(4, '-');
        let mut part = || parts.next().ok_or(NotAPin);
        let slot = part()?.parse().map_err(|_| NotAPin)?;
        let ifindex = part()?.parse().map_err(|_| NotAPin)?;
        let (direction, hook) = (part()?, part()?);
        let (hook, program) = match hook.split_once("clsact-") {
            Some(("", program)) => ("clsact", Some(program.parse().map_err(|_| NotAPin)?)),
            _ => (hook, None),
        };
        let is_named = |known: &Hook| known.direction().name() == direction && known.name() == hook;
        let hook = Hook::all().find(is_named).ok_or(NotAPin)?;
        if hook.is_clsact() != program.is_some() {
            return Err(NotAPin);
        }
        Ok(Self { slot, ifindex, hook, program })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pin_says_all_about_it() {
        for hook in Hook::all() {
            let program = hook.is_clsact().then_some(512);
            let pin = Pin { slot: 3, ifindex: 17, hook, program };
            assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
        }
        assert_eq!("3-17-egress-clsact-512".parse::<Pin>().unwrap().program, Some(512));
        for name in
            ["3-17-ingress", "3-17-egress-clsact", "3-17-egress-tcx-512", "3-17-egress-xdp-native", "eth0"]
        {
            assert!(name.parse::<Pin>().is_err(), "{name}");
        }
    }
}
