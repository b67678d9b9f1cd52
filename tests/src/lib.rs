//! Support for the tests of sgfw as a whole.
//!
//! [`packets`] describes frames and turns them into bytes; [`scenario`] is a policy and a sequence of frames, as text.
//! Three engines play scenarios: the [`oracle`], a naive evaluator written from `docs/semantics.md`; the [`simulator`],
//! which is the decision core over tables in memory; and [`prog`], the eBPF programs in the kernel. They must agree. The
//! [`second_reader`] reads frames beside the parser.
//!
//! [`lab`] is hosts in network namespaces with the real `sgfw` on them; the [`demo`] plays in one. A [`flood`] is more
//! traffic than sockets can make; the [`mod@bench`] measures with both. A [`guest`] runs another kernel. A [`transcript`]
//! is what commands say, word for word.

pub mod bench;
pub mod demo;
pub mod flood;
pub mod guest;
pub mod lab;
pub mod oracle;
pub mod packets;
pub mod prog;
pub mod scenario;
pub mod second_reader;
pub mod seed;
pub mod simulator;
pub mod transcript;
