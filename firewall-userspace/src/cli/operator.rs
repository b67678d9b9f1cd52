//! Who is at work.

use nix::unistd::{Uid, User};

use super::global::typed_command;
use super::session::ssh_session;
use crate::operations::{Author, Operator};

/// Who typed which command, and the SSH connection in which they did.
pub(super) fn operator() -> Operator {
    let author = Author { user: user_name(), command: typed_command() };
    Operator { author, session: ssh_session() }
}

/// The name of the user who runs this process, or who has called `sudo` to run it; the number where there is no name.
fn user_name() -> String {
    if let Some(caller) = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()) {
        return caller;
    }
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
