//! A named counter of nftables, read from the kernel: `nft list counter` reads all sets of the table before it, which
//! takes seconds where they are large.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`, which is the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_NEWOBJ`, the answer, and `NFT_MSG_GETOBJ` of `linux/netfilter/nf_tables.h`.
const NEW_OBJECT: u16 = SUBSYSTEM << 8 | 18;
const GET_OBJECT: u16 = SUBSYSTEM << 8 | 19;

/// `NFTA_OBJ_…` of the same.
const TABLE: u16 = 1;
const NAME: u16 = 2;
const TYPE: u16 = 3;
const DATA: u16 = 4;
/// `NFTA_COUNTER_PACKETS`.
const PACKETS: u16 = 2;

/// Of `struct nlmsghdr`, of this with `struct nfgenmsg`, and of `struct nlattr`.
const HEADER: usize = 16;
const OBJECT_HEADER: usize = HEADER + 4;
const ATTRIBUTE_HEADER: usize = 4;

/// How many packets the counter of a table of family `inet` has counted in the caller's namespace.
pub(super) fn packets(table: &str, name: &str) -> Result<u64> {
    let netlink = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkNetFilter,
    )?;
    send(netlink.as_raw_fd(), &request(table, name), MsgFlags::empty())?;
    let mut answer = [0; 4096];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    from_answer(&answer[..length]).with_context(|| format!("read counter `{name}` of table `{table}`"))
}

fn request(table: &str, name: &str) -> Vec<u8> {
    /// `NLM_F_REQUEST` of `linux/netlink.h`.
    const REQUEST: u16 = 1;
    /// `NFPROTO_INET` of `linux/netfilter.h`.
    const INET: u8 = 1;
    /// `NFT_OBJECT_COUNTER`.
    const COUNTER: u32 = 1;
    let attributes = [
        attribute(TABLE, &[table.as_bytes(), &[0]].concat()),
        attribute(NAME, &[name.as_bytes(), &[0]].concat()),
        attribute(TYPE, &COUNTER.to_be_bytes()),
    ]
    .concat();
    let length = (OBJECT_HEADER + attributes.len()) as u32;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(GET_OBJECT.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence number and port, by which nobody goes here; then the family, and a version and a resource that are 0.
    message.extend([0; 8]);
    message.extend([INET, 0, 0, 0]);
    message.extend(attributes);
    message
}

fn attribute(kind: u16, data: &[u8]) -> Vec<u8> {
    let length = (ATTRIBUTE_HEADER + data.len()) as u16;
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn from_answer(answer: &[u8]) -> Result<u64> {
    let kind = answer.get(4..6).context("an answer without a header")?;
    let kind = u16::from_ne_bytes([kind[0], kind[1]]);
    if kind != NEW_OBJECT {
        let error = answer.get(HEADER..HEADER + 4).context("an answer of an unknown kind")?;
        let error = i32::from_ne_bytes(error.try_into()?);
        return Err(Errno::from_raw(-error).into());
    }
    let object = answer.get(OBJECT_HEADER..).context("an answer without an object")?;
    let data = find(object, DATA).context("an object without data")?;
    let packets = find(data, PACKETS).context("a counter without packets")?;
    ensure!(packets.len() == 8, "a counter of {} bytes", packets.len());
    Ok(u64::from_be_bytes(packets.try_into()?))
}

/// The data of an attribute among these.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    /// `NLA_F_NESTED`, which the kernel may set.
    const NESTED: u16 = 1 << 15;
    while let [length_0, length_1, kind_0, kind_1, ..] = *attributes {
        let length = usize::from(u16::from_ne_bytes([length_0, length_1]));
        let data = attributes.get(ATTRIBUTE_HEADER..length)?;
        if u16::from_ne_bytes([kind_0, kind_1]) & !NESTED == kind {
            return Some(data);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
    None
}
