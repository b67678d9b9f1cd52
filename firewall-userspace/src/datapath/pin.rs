//! The names of pinned links, which say all there is to know about an attachment.

use std::fmt;
use std::str::FromStr;

use super::attach::{Attachment, EgressAttachment, IngressAttachment};

/// A pinned link, as its name says it: `<slot>-<ifindex>-ingress-<hook>` or `<slot>-<ifindex>-egress-<hook>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pin {
    pub(super) slot: u32,
    pub(super) ifindex: u32,
    pub(super) direction: PinDirection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PinDirection {
    Ingress(IngressAttachment),
    Egress,
}

impl Pin {
    pub(super) const fn ingress(attachment: &Attachment) -> Self {
        let direction = PinDirection::Ingress(attachment.ingress);
        Self { slot: attachment.slot, ifindex: attachment.ifindex, direction }
    }

    pub(super) const fn egress(attachment: &Attachment) -> Self {
        Self { slot: attachment.slot, ifindex: attachment.ifindex, direction: PinDirection::Egress }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (direction, hook) = match self.direction {
            PinDirection::Ingress(ingress) => ("ingress", ingress.name()),
            PinDirection::Egress => ("egress", EgressAttachment::Tcx.name()),
        };
        write!(f, "{}-{}-{direction}-{hook}", self.slot, self.ifindex)
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
        let direction = match (part()?, part()?) {
            ("ingress", hook) => IngressAttachment::ALL
                .into_iter()
                .find(|ingress| ingress.name() == hook)
                .map(PinDirection::Ingress)
                .ok_or(NotAPin)?,
            ("egress", "tcx") => PinDirection::Egress,
            _ => return Err(NotAPin),
        };
        Ok(Self { slot, ifindex, direction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_pin_says_all_about_it() {
        for ingress in IngressAttachment::ALL {
            let attachment = Attachment { slot: 3, ifindex: 17, ingress, egress: EgressAttachment::Tcx };
            for pin in [Pin::ingress(&attachment), Pin::egress(&attachment)] {
                assert_eq!(pin.to_string().parse::<Pin>().unwrap(), pin);
            }
        }
        assert!("3-17-ingress".parse::<Pin>().is_err());
        assert!("eth0".parse::<Pin>().is_err());
    }
}
