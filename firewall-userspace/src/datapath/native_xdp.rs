//! Why a driver refuses native XDP, in its own words: large receive offload that it cannot turn off, too few queues, an MTU
//! beyond a page, or that it has none.
//!
//! The kernel hands them out by netlink alone, and not where a link is created. So what was refused there is tried once more
//! by netlink, which asks the driver in the same way.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use aya::programs::Xdp;
use rtnetlink::packet_core::{NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp};
use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{Socket, SocketAddr};

use super::device::Device;

/// Flags of an attachment by netlink (`linux/if_link.h`).
mod flag {
    pub(super) const IF_NONE_EXISTS: u32 = 1 << 0;
    pub(super) const DRIVER: u32 = 1 << 2;
    pub(super) const REPLACE: u32 = 1 << 4;
}

/// The driver's words, if it refuses `program` and has any.
pub(super) fn refusal(device: &Device, program: &Xdp) -> Option<String> {
    let program = program.fd().ok()?.as_fd().as_raw_fd();
    let attach = [LinkXdp::Fd(program), LinkXdp::Flags(flag::IF_NONE_EXISTS | flag::DRIVER)];
    match request(device, attach.into()) {
        Ok(Answer::Refused(words)) => words,
        Ok(Answer::Done) => {
            // Whatever was in the way is gone. This is no attachment to keep: it has no link.
            const NONE: RawFd = -1;
            let expected = LinkXdp::ExpectedFd(u32::try_from(program).ok()?);
            let flags = LinkXdp::Flags(flag::DRIVER | flag::REPLACE);
            let _ = request(device, vec![LinkXdp::Fd(NONE), flags, expected]);
            None
        }
        Err(_) => None,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Done,
    Refused(Option<String>),
}

fn request(device: &Device, xdp: Vec<LinkXdp>) -> io::Result<Answer> {
    let mut link = LinkMessage::default();
    link.header.index = device.index;
    link.attributes.push(LinkAttribute::Xdp(xdp));
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::SetLink(link));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.set_ext_ack(true)?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    parse(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// An acknowledgement with attributes. Not by netlink-packet-core, which does not know them.
fn parse(answer: &[u8]) -> Option<Answer> {
    const HEADER: usize = 16;
    const TYPE_ERROR: u16 = 2;
    const IS_CAPPED: u16 = 0x100;
    const HAS_ATTRIBUTES: u16 = 0x200;
    const ATTRIBUTE_MESSAGE: u16 = 1;
    let u16_at = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let flags = u16_at(6)?;
    if u16_at(4)? != TYPE_ERROR {
        return None;
    }
    if u32_at(HEADER)? == 0 {
        return Some(Answer::Done);
    }
    if flags & HAS_ATTRIBUTES == 0 {
        return Some(Answer::Refused(None));
    }
    // The request follows, whole or its header alone.
    let request = HEADER + 4;
    let length = if flags & IS_CAPPED == 0 { u32_at(request)? } else { HEADER as u32 };
    let mut at = request + usize::try_from(length).ok()?.next_multiple_of(4);
    while let (Some(length), Some(kind)) = (u16_at(at), u16_at(at + 2)) {
        let value = answer.get(at + 4..at + usize::from(length))?;
        if kind == ATTRIBUTE_MESSAGE {
            let words = String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value));
            return Some(Answer::Refused(Some(words.into_owned())));
        }
        at += usize::from(length).next_multiple_of(4);
    }
    Some(Answer::Refused(None))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to a request of 20 bytes.
    fn answer(code: i32, flags: u16, request: &[u8], attributes: &[u8]) -> Vec<u8> {
        let mut answer = vec![0, 0, 0, 0, 2, 0];
        answer.extend(flags.to_ne_bytes());
        answer.extend([0; 8]);
        answer.extend(code.to_ne_bytes());
        answer.extend(request);
        answer.extend(attributes);
        answer
    }

    #[test]
    fn the_words_stand_behind_the_request_or_its_header() {
        let mut request = [0; 20];
        request[..4].copy_from_slice(&20_u32.to_ne_bytes());
        // Another attribute (the offset of what is wrong) before the words.
        let mut attributes = vec![8, 0, 2, 0, 9, 9, 9, 9];
        attributes.extend([7, 0, 1, 0, b'n', b'o', 0]);
        let words = Some(Answer::Refused(Some("no".to_owned())));
        assert_eq!(parse(&answer(-95, 0x200, &request, &attributes)), words);
        assert_eq!(parse(&answer(-95, 0x300, &request[..16], &attributes)), words);
    }

    #[test]
    fn no_words_and_no_refusal_are_told_apart() {
        assert_eq!(parse(&answer(-95, 0x100, &[0; 16], &[])), Some(Answer::Refused(None)));
        assert_eq!(parse(&answer(0, 0x100, &[0; 16], &[])), Some(Answer::Done));
    }

    #[test]
    fn an_answer_that_is_cut_off_or_lies_about_lengths_is_none() {
        assert_eq!(parse(&[]), None);
        let lying = answer(-95, 0x300, &[0; 16], &[200, 0, 1, 0, b'n']);
        assert_eq!(parse(&lying), None);
        let empty = answer(-95, 0x300, &[0; 16], &[0, 0, 2, 0]);
        assert_eq!(parse(&empty), None);
    }
}
