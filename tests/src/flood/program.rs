//! The XDP program of a flood, as BPF instructions.
//!
//! It is too small to be worth an object of its own: random numbers, four stores, two checksums, one redirection.
//! The checksums must be right, or the host's stack and conntrack would throw the frames away before they cost them
//! anything.

use super::{FloodKind, Senders};
use crate::lab::Family;

/// Offset of the IP header in an Ethernet frame.
const IP_HEADER: usize = 14;

/// Offsets in a frame of a family, without options or extension headers.
struct Layout {
    /// The 32 bits of the source that are forged.
    source: usize,
    /// IPv6 has none.
    ip_checksum: Option<usize>,
    /// Both addresses.
    addresses: usize,
    protocol: usize,
    /// The transport header, which begins with the ports.
    transport: usize,
}

impl Layout {
    const fn of(family: Family) -> Self {
        match family {
            Family::V4 => {
                Self { source: 26, ip_checksum: Some(24), addresses: 26, protocol: 23, transport: 34 }
            }
            // Each source is in a network of its own.
            Family::V6 => Self { source: 26, ip_checksum: None, addresses: 22, protocol: 20, transport: 54 },
        }
    }

    const fn transport_checksum(&self, kind: FloodKind) -> usize {
        self.transport
            + match kind {
                FloodKind::Syn { .. } | FloodKind::Acks { .. } => 16,
                FloodKind::Udp | FloodKind::Datagrams { .. } => 6,
            }
    }
}

/// Where the checksums are.
pub(super) fn checksums(family: Family, kind: FloodKind) -> impl Iterator<Item = usize> {
    let layout = Layout::of(family);
    layout.ip_checksum.into_iter().chain([layout.transport_checksum(kind)])
}

/// One instruction (`struct bpf_insn` of `linux/bpf.h`).
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// Destination register in the low half, source register in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// The kernel's names of operations: `BPF_LDX | BPF_W | BPF_MEM` and so on.
mod code {
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const STORE_WORD: u8 = 0x63;
    pub(super) const STORE_HALF: u8 = 0x6b;
    pub(super) const MOVE: u8 = 0xbf;
    pub(super) const MOVE_IMMEDIATE: u8 = 0xb7;
    pub(super) const ADD: u8 = 0x0f;
    pub(super) const ADD_IMMEDIATE: u8 = 0x07;
    pub(super) const AND_IMMEDIATE: u8 = 0x57;
    pub(super) const OR_IMMEDIATE: u8 = 0x47;
    pub(super) const XOR_IMMEDIATE: u8 = 0xa7;
    pub(super) const OR: u8 = 0x4f;
    pub(super) const SHIFT_LEFT_IMMEDIATE: u8 = 0x67;
    pub(super) const SHIFT_RIGHT_IMMEDIATE: u8 = 0x77;
    pub(super) const JUMP_IF_GREATER: u8 = 0x2d;
    pub(super) const CALL: u8 = 0x85;
    pub(super) const EXIT: u8 = 0x95;
}

/// Numbers of helpers.
const GET_PRANDOM_U32: i32 = 7;
const REDIRECT: i32 = 23;

const XDP_DROP: i32 = 1;

/// Registers: 0 holds results, 1 to 5 are arguments and lost in calls, 6 to 9 survive them.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const FRAME: u8 = 6;
const SOURCE: u8 = 7;
const FORGED_PORTS: u8 = 8;

/// A program that returns a constant.
pub(super) fn constant(result: i32) -> Vec<Instruction> {
    vec![immediate(code::MOVE_IMMEDIATE, RESULT, result), exit()]
}

/// The program for copies of `frame`, whose forged fields and checksums are zero.
pub(super) fn forge_and_redirect(
    frame: &[u8],
    family: Family,
    kind: FloodKind,
    device: u32,
) -> Vec<Instruction> {
    let layout = Layout::of(family);
    let body = body(frame, &layout, kind, device);
    let [r2, r3] = [2, 3];
    let length = i32::try_from(frame.len()).expect("a frame is short");
    let over_body = i16::try_from(body.len()).expect("the program is short");
    let mut program = vec![
        // `data` and `data_end` of `struct xdp_md`.
        Instruction { offset: 0, ..register(code::LOAD_WORD, FRAME, CONTEXT) },
        Instruction { offset: 4, ..register(code::LOAD_WORD, r2, CONTEXT) },
        register(code::MOVE, r3, FRAME),
        immediate(code::ADD_IMMEDIATE, r3, length),
        Instruction { offset: over_body, ..register(code::JUMP_IF_GREATER, r3, r2) },
    ];
    program.extend(body);
    program.extend([immediate(code::MOVE_IMMEDIATE, RESULT, XDP_DROP), exit()]);
    program
}

/// Forges the fields, makes the checksums right, and redirects the frame.
fn body(frame: &[u8], layout: &Layout, kind: FloodKind, device: u32) -> Vec<Instruction> {
    let checksum_over_transport = sum(&frame[layout.transport..]) + pseudo_header(frame, layout);
    let [r1, r2, r3] = [1, 2, 3];

    let mut body = forge(layout, kind);
    body.extend(add_halves(r1, SOURCE, r2));
    if let Some(checksum) = layout.ip_checksum {
        body.push(register(code::MOVE, r3, r1));
        body.push(immediate(code::ADD_IMMEDIATE, r3, sum(&frame[IP_HEADER..layout.transport])));
        body.extend(fold(r3, r2));
        body.push(store(code::STORE_HALF, checksum, r3));
    }
    body.extend(add_halves(r3, FORGED_PORTS, r2));
    body.push(register(code::ADD, r3, r1));
    body.push(immediate(code::ADD_IMMEDIATE, r3, checksum_over_transport));
    body.extend(fold(r3, r2));
    body.push(store(code::STORE_HALF, layout.transport_checksum(kind), r3));
    body.extend([
        immediate(code::MOVE_IMMEDIATE, r1, device.cast_signed()),
        immediate(code::MOVE_IMMEDIATE, r2, 0),
        call(REDIRECT),
        exit(),
    ]);
    body
}

/// Makes the source and the ports, and writes them into the frame.
fn forge(layout: &Layout, kind: FloodKind) -> Vec<Instruction> {
    let senders = match kind {
        FloodKind::Datagrams { senders, .. } => senders,
        FloodKind::Syn { .. } | FloodKind::Acks { .. } | FloodKind::Udp => {
            Senders::Anybody { mask: 0, value: 0 }
        }
    };
    let mut forge = match senders {
        Senders::Anybody { mask, value } => anybody(layout, mask, value),
        Senders::Flows { count } => one_of(count),
    };
    forge.push(store(code::STORE_WORD, layout.source, SOURCE));
    if kind == FloodKind::Udp {
        forge.push(store(code::STORE_WORD, layout.transport, FORGED_PORTS));
    } else {
        forge.push(immediate(code::AND_IMMEDIATE, FORGED_PORTS, 0xffff));
        forge.push(store(code::STORE_HALF, layout.transport, FORGED_PORTS));
    }
    forge
}

/// A random source and random ports: the source port in the low half, the destination port in the high one, both with
/// the highest bit.
fn anybody(layout: &Layout, mask: u32, value: u32) -> Vec<Instruction> {
    // What memory has first is the lowest byte of a register.
    let bits = |bits: u32| bits.swap_bytes().cast_signed();
    let mut forge = vec![call(GET_PRANDOM_U32), register(code::MOVE, SOURCE, RESULT)];
    forge.push(immediate(code::AND_IMMEDIATE, SOURCE, bits(!mask)));
    forge.push(immediate(code::OR_IMMEDIATE, SOURCE, bits(value)));
    if layout.ip_checksum.is_some() {
        // One of the addresses 64.0.0.0/3.
        forge.push(immediate(code::AND_IMMEDIATE, SOURCE, bits(0x1fff_ffff)));
        forge.push(immediate(code::OR_IMMEDIATE, SOURCE, bits(0x4000_0000)));
    }
    forge.extend([
        call(GET_PRANDOM_U32),
        register(code::MOVE, FORGED_PORTS, RESULT),
        immediate(code::OR_IMMEDIATE, FORGED_PORTS, 0x0080_0080),
    ]);
    forge
}

/// Source and source port of one of so many flows, as [`source_of_flow`] and [`port_of_flow`] have them.
fn one_of(count: u32) -> Vec<Instruction> {
    let r2 = 2;
    vec![
        call(GET_PRANDOM_U32),
        register(code::MOVE, FORGED_PORTS, RESULT),
        immediate(code::AND_IMMEDIATE, FORGED_PORTS, (count - 1).cast_signed()),
        register(code::MOVE, SOURCE, FORGED_PORTS),
        immediate(code::SHIFT_RIGHT_IMMEDIATE, SOURCE, 14),
        immediate(code::SHIFT_LEFT_IMMEDIATE, SOURCE, 8),
        immediate(code::OR_IMMEDIATE, SOURCE, 0x40),
        register(code::MOVE, r2, FORGED_PORTS),
        immediate(code::AND_IMMEDIATE, r2, 0x7f),
        immediate(code::SHIFT_RIGHT_IMMEDIATE, FORGED_PORTS, 7),
        immediate(code::AND_IMMEDIATE, FORGED_PORTS, 0x7f),
        immediate(code::SHIFT_LEFT_IMMEDIATE, FORGED_PORTS, 8),
        register(code::OR, FORGED_PORTS, r2),
        immediate(code::OR_IMMEDIATE, FORGED_PORTS, 0x80),
    ]
}

/// The forged bytes of the source of a flow: 64.n.0.0.
pub(super) const fn source_of_flow(flow: u32) -> [u8; 4] {
    (flow >> 14 << 8 | 0x40).to_le_bytes()
}

/// The source port of a flow.
pub(super) const fn port_of_flow(flow: u32) -> u16 {
    let [low, high] = [flow & 0x7f | 0x80, flow >> 7 & 0x7f];
    (low << 8 | high) as u16
}

/// `target` = the two halves of `of`, added.
fn add_halves(target: u8, of: u8, scratch: u8) -> [Instruction; 5] {
    [
        register(code::MOVE, target, of),
        immediate(code::AND_IMMEDIATE, target, 0xffff),
        register(code::MOVE, scratch, of),
        immediate(code::SHIFT_RIGHT_IMMEDIATE, scratch, 16),
        register(code::ADD, target, scratch),
    ]
}

/// Makes a checksum of a sum of 16-bit words (RFC 1071).
fn fold(sum: u8, scratch: u8) -> Vec<Instruction> {
    let carry = [
        register(code::MOVE, scratch, sum),
        immediate(code::SHIFT_RIGHT_IMMEDIATE, scratch, 16),
        immediate(code::AND_IMMEDIATE, sum, 0xffff),
        register(code::ADD, sum, scratch),
    ];
    [&carry[..], &carry[..], &[immediate(code::XOR_IMMEDIATE, sum, 0xffff)]].concat()
}

/// Sum of 16-bit words in the order of the machine: a ones' complement sum does not mind (RFC 1071 §2).
fn sum(bytes: &[u8]) -> i32 {
    assert!(bytes.len().is_multiple_of(2), "frames of floods have an even length");
    bytes.chunks_exact(2).map(|word| i32::from(u16::from_ne_bytes([word[0], word[1]]))).sum()
}

/// What transport checksums cover of the IP header, where what is forged is still zero.
fn pseudo_header(frame: &[u8], layout: &Layout) -> i32 {
    let length = u16::try_from(frame.len() - layout.transport).expect("a frame is short");
    let protocol = frame[layout.protocol];
    sum(&frame[layout.addresses..layout.transport]) + sum(&[0, protocol]) + sum(&length.to_be_bytes())
}

const fn register(code: u8, target: u8, source: u8) -> Instruction {
    Instruction { code, registers: source << 4 | target, offset: 0, immediate: 0 }
}

const fn immediate(code: u8, target: u8, immediate: i32) -> Instruction {
    Instruction { code, registers: target, offset: 0, immediate }
}

fn store(code: u8, at: usize, source: u8) -> Instruction {
    let offset = i16::try_from(at).expect("a frame is short");
    Instruction { offset, ..register(code, FRAME, source) }
}

const fn call(helper: i32) -> Instruction {
    immediate(code::CALL, 0, helper)
}

const fn exit() -> Instruction {
    immediate(code::EXIT, 0, 0)
}
