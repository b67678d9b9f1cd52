#!/bin/bash
# RUSTC_WRAPPER of `cargo xtask build-ebpf`.
#
# Cargo hashes the absolute path of a crate outside the workspace root (firewall-common, seen from firewall-ebpf)
# into `-C metadata`, and rustc hashes that into symbol names: another clone would give another object. A fixed
# value for our own crates takes the path out.
set -eu
case " $* " in
*" --crate-name firewall"*) exec "${@/#metadata=*/metadata=sgfw}" ;;
*) exec "$@" ;;
esac
