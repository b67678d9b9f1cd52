//! Every way a decision can end.
//!
//! The numbers are stable: they index the counters and will be fields of events and labels of metrics. A retired
//! reason keeps its number unused.

use crate::abi::{AUDITED_OFFSET, REASON_SLOTS};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $verdict:ident, $text:literal;)*) => {
        /// Why a packet was passed or dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name = $number,)*
        }

        impl Reason {
            /// Every reason, in the order of its numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason of a number, if there is one.
            #[must_use]
            #[inline(always)]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The verdict that goes with the reason.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// The name shown to people, in JSON and in metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

/// What happens to a packet.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the stack, or out.
    Pass,
    /// It is dropped silently.
    Drop,
}

reasons! {
    /// A rule admitted it; state is kept for its replies where the protocol has any.
    Rule = 0, Pass, "rule";
    /// It belongs to a tracked flow.
    Tracked = 1, Pass, "tracked";
    /// Rules open to any peer in both directions admitted it; no state is kept.
    Untracked = 2, Pass, "untracked";
    /// An ICMP error about a packet of a tracked flow, or of traffic that the rules admit untracked.
    Related = 3, Pass, "related";
    /// A later fragment of a packet whose first fragment was admitted.
    Fragment = 4, Pass, "fragment";
    /// ARP.
    ExemptArp = 5, Pass, "exempt-arp";
    /// IPv6 neighbour discovery.
    ExemptNeighborDiscovery = 6, Pass, "exempt-neighbor-discovery";
    /// IPv6 multicast listener discovery.
    ExemptMulticastListener = 7, Pass, "exempt-multicast-listener";
    /// DHCP client traffic.
    ExemptDhcpClient = 8, Pass, "exempt-dhcp-client";
    /// A frame that carries neither IP nor ARP.
    ExemptNonIp = 9, Pass, "exempt-non-ip";
    /// To or from an address that the operator has made exempt.
    ExemptAddress = 10, Pass, "exempt-address";
    /// A rule admitted it, but it begins no flow: it leaves by the interface that it came in by, and the way back to its
    /// source is not clearly by the same one, so that the source may be made up.
    Hairpin = 11, Pass, "hairpin";
    /// From or to a management prefix: the rules admit it, or admit what it replies to, and it passes without state because all
    /// places of its flow hold protected ones.
    Management = 12, Pass, "management";
    /// No rule admits it.
    NoRule = 16, Drop, "no-rule";
    /// A rule admits it, but there is no room for the state it needs (AWS `conntrack_allowance_exceeded`).
    FlowTableFull = 17, Drop, "flow-table-full";
    /// `tcp_strict`: not a SYN, and of no known flow.
    NotASyn = 18, Drop, "not-a-syn";
    /// The frame ends before the headers do.
    Truncated = 19, Drop, "truncated";
    /// An IP version or header length that cannot be.
    BadHeaderLength = 20, Drop, "bad-header-length";
    /// An IP or UDP length that contradicts the frame.
    BadLength = 21, Drop, "bad-length";
    /// More VLAN tags than two, or IP in an encapsulation that is not evaluated.
    UnknownEncapsulation = 22, Drop, "unknown-encapsulation";
    /// More IPv6 extension headers, or longer ones, than are followed.
    TooManyExtensionHeaders = 23, Drop, "too-many-extension-headers";
    /// An IPv6 routing header of type 0 (RFC 5095).
    RoutingHeader0 = 24, Drop, "routing-header-0";
    /// A first fragment without a whole transport header, or a later one that would overwrite it (RFC 1858, RFC 3128).
    TinyFragment = 25, Drop, "tiny-fragment";
    /// A later fragment of a packet whose first fragment was not admitted.
    UnknownFragment = 26, Drop, "unknown-fragment";
    /// A transport header that contradicts itself.
    BadTransportHeader = 27, Drop, "bad-transport-header";
    /// ARP, DHCP, neighbour discovery or another exemption that the operator has turned off.
    NotExempt = 28, Drop, "not-exempt";
    /// Nothing was published for the interface yet.
    NoPolicy = 29, Drop, "no-policy";
    /// Of a flow that the operator has cut, and nothing that its initiator sends.
    FlowCut = 31, Drop, "flow-cut";
    /// On an interface that the programs do not know. Where it was attached, `sgfw repair` makes it known again.
    UnknownInterface = 32, Drop, "unknown-interface";
    /// The program met something that cannot be; a defect.
    Internal = 30, Drop, "internal";
}

/// Why a packet is passed or dropped, and whether in earnest.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    reason: Reason,
    audit: bool,
}

impl Decision {
    /// What holds outside of audit mode.
    #[inline(always)]
    pub const fn enforced(reason: Reason) -> Self {
        Self { reason, audit: false }
    }

    /// The decision of an interface that may be in audit mode.
    #[inline(always)]
    pub const fn new(reason: Reason, audit: bool) -> Self {
        Self { reason, audit }
    }

    /// The reason, which audit mode does not change.
    #[must_use]
    #[inline(always)]
    pub const fn reason(self) -> Reason {
        self.reason
    }

    /// Whether the packet passes only because the interface is in audit mode.
    #[must_use]
    #[inline(always)]
    pub const fn is_audited(self) -> bool {
        self.audit && matches!(self.reason.verdict(), Verdict::Drop)
    }

    /// What happens to the packet.
    #[inline(always)]
    pub const fn verdict(self) -> Verdict {
        if self.is_audited() { Verdict::Pass } else { self.reason.verdict() }
    }
}

impl Reason {
    /// The reason that programs pass on in the lowest byte of a register. They write no other number there.
    #[must_use]
    #[inline(always)]
    pub const fn of_register(register: u32) -> Self {
        match Self::from_number(register as u8) {
            Some(reason) => reason,
            None => Self::Internal,
        }
    }
}

const _: () = {
    // Reasons to pass have the numbers below this one; those to drop have as many as there are audited ones.
    const FIRST_DROP: u32 = REASON_SLOTS - 2 * AUDITED_OFFSET;
    let mut i = 0;
    while i < Reason::ALL.len() {
        let reason = Reason::ALL[i];
        let slots = match reason.verdict() {
            // Below every counter of audited packets.
            Verdict::Pass => FIRST_DROP,
            Verdict::Drop => FIRST_DROP + AUDITED_OFFSET,
        };
        assert!((reason as u32) < slots);
        assert!(matches!(reason.verdict(), Verdict::Pass) || reason as u32 >= FIRST_DROP);
        i += 1;
    }
};
