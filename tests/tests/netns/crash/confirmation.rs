//! Confirming a change and going back from it, killed before each step: the change stays or goes, and the next command knows
//! which.

use firewall_tests::lab::{Host, IngressHook, Step, Stepped};

use super::each_step::{MANY_STEPS, reaches};
use super::{Change, PORTS, Stored, policy, under_watch};
use crate::support::{json, on_every_hook};

on_every_hook!(a_confirmation_can_be_repeated, a_rollback_of_what_waits_can_be_repeated);

const STEPS: [Step; 4] = [Step::MapUpdate, Step::FileSync, Step::FileName, Step::Exit];
const PORT: u16 = PORTS.start;

fn a_confirmation_can_be_repeated(hook: IngressHook) {
    killed_before_each_step(hook, "confirm", true);
}

fn a_rollback_of_what_waits_can_be_repeated(hook: IngressHook) {
    killed_before_each_step(hook, "rollback", false);
}

/// Kills `command`, which ends the wait of a change that opens a port, before each step. Until it is repeated the change
/// still waits or has ended as it was to; then the port `is_open` or not.
fn killed_before_each_step(hook: IngressHook, command: &str, is_open: bool) {
    under_watch(hook, |client, app| {
        for last in 0..MANY_STEPS {
            app.sgfw(&format!("apply -f {} --yes --confirm-timeout 10m", policy(app, PORT))).expect_success();
            let stepped = app.sgfw_killed(command, &STEPS, last);
            let waits = waits(app);
            let is_stored = Stored::of(app).ports.contains(&PORT);
            assert_eq!(reaches(client, app, PORT), is_stored, "{stepped:?} {last}");
            assert_eq!(is_stored, waits || is_open, "{stepped:?} {last}");
            if let Stepped::Ended(code) = stepped {
                assert_eq!((code, waits), (0, false));
                println!("{command}: {last} steps");
                return;
            }
            if waits {
                app.sgfw(command).expect_success();
                assert_eq!(reaches(client, app, PORT), is_open, "{stepped:?} {last}, repeated");
            }
            let status = json(app, "status");
            assert_eq!(status["NeedsRepair"], false, "{stepped:?} {last}: {status:#}");
            if is_open {
                app.sgfw(&Change::Revoke(PORT).command(app)).expect_success();
            }
        }
        panic!("{command} has no end");
    });
}

fn waits(app: &Host) -> bool {
    !json(app, "status")["Generation"]["ConfirmWithinSeconds"].is_null()
}
