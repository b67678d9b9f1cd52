//! Who is at work.

use nix::unistd::{Uid, User};

/// The name of the user who runs this process, or who has called `sudo` to run it; the number where there is no name.
#[must_use]
pub fn user_name() -> String {
    if let Some(caller) = std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()) {
        return caller;
    }
    let uid = Uid::effective();
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}
