//! The kernel refuses one call of bpf(2) after the other: exit status, store and kernel tell one story.
//!
//! What fails before the generation word is written has changed nothing. What fails after it is a warning: the change is in
//! force, stored, and the command ends with 0.

use firewall_tests::lab::{Host, IngressHook, Step, Stepped};
use nix::errno::Errno;

use super::each_step::{MANY_STEPS, is_behind, reaches};
use super::{Change, PORTS, Stored, under_watch};
use crate::support::{is_soak, on_every_hook};

on_every_hook!(a_refused_call_leaves_one_story);

const CALLS: [Step; 3] = [Step::MapUpdate, Step::Attachment, Step::OtherBpf];
const ERRORS: [Errno; 3] = [Errno::ENOMEM, Errno::EMFILE, Errno::EPERM];
const PORT: u16 = PORTS.start;

/// One call of so many is refused, unless `SGFW_SOAK=1` asks for all.
const STRIDE: usize = 7;

fn a_refused_call_leaves_one_story(hook: IngressHook) {
    under_watch(hook, |client, app| {
        let first = refused_at_each_call(client, app, "", 0);
        let second = refused_at_each_call(client, app, " --flows cut", first);
        assert!(first > 0 && second > 0, "{first}, {second}");
    });
}

/// Opens and closes a port in turns until it has no such call any more. Returns how often it went well after a refusal.
fn refused_at_each_call(client: &Host, app: &Host, of_revoking: &str, offset: usize) -> usize {
    let mut went_on = 0;
    let stride = if is_soak() { 1 } else { STRIDE };
    for (turn, call) in (offset % stride..MANY_STEPS).step_by(stride).enumerate() {
        let before = Stored::of(app);
        let (change, flows) = match before.ports.contains(&PORT) {
            true => (Change::Revoke(PORT), of_revoking),
            false => (Change::Authorize(PORT), ""),
        };
        let wanted = change.made_of(&before).unwrap();
        let errno = ERRORS[turn % ERRORS.len()];
        let stepped = app.sgfw_refused(&format!("{}{flows}", change.command(app)), &CALLS, call, errno);
        let after = Stored::of(app);
        let story = format!("{change:?}{flows} {stepped:?} at {call} by {errno}: {after:?}");
        let (expected, is_end) = match stepped {
            Stepped::Refused(_, 0) => (&wanted, false),
            Stepped::Refused(..) => (&before, false),
            Stepped::Ended(0) => (&wanted, true),
            other => panic!("{other:?}"),
        };
        assert_eq!(&after, expected, "{story}");
        assert!(!is_behind(app), "{story}");
        assert_eq!(reaches(client, app, PORT), after.ports.contains(&PORT), "{story}");
        went_on += usize::from(matches!(stepped, Stepped::Refused(_, 0)));
        // The longer of the two is walked to its end.
        if is_end && matches!(change, Change::Revoke(_)) {
            println!("{change:?}{flows}: {call} calls, {went_on} refused without harm");
            return went_on;
        }
    }
    went_on
}
