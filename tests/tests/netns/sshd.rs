//! A real OpenSSH server: its sessions are recognised, and a change that closes it is undone by itself.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use firewall_tests::lab::{Family, Finished, Host, IngressHook, Lab, Process, Topology};

use crate::support::{on_every_hook, protect};

on_every_hook!(
    revoking_the_rule_of_the_session_is_refused,
    a_lost_session_can_log_in_again_after_the_deadline,
);

const RULE: &str = "--ingress --protocol tcp --port 22 --cidr 10.77.0.0/16";

/// Far more than the programs and a busy machine need to go back once the deadline has passed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where sshd shuts its unprivileged half in. Debian makes it when the service starts.
const PRIVILEGE_SEPARATION: &str = "/run/sshd";

/// An operator, and a server with sshd behind the firewall.
struct Stage {
    lab: Lab,
    // Ends before the lab does.
    sshd: Option<Process>,
}

impl Stage {
    fn new(hook: IngressHook) -> Self {
        let lab = Lab::build(&Topology::star(["operator", "server"])).unwrap();
        let server = lab.host("server");
        for key in ["host_key", "operator_key"] {
            let path = lab.directory().join(key);
            server.run(&format!("ssh-keygen -q -t ed25519 -N '' -f {}", path.display())).expect_success();
        }
        let directory = lab.directory().display();
        let address = server.address(Family::V4);
        // A session whose client is gone ends within seconds, also when nothing tells sshd.
        let configuration = format!(
            "ListenAddress {address}:22
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/operator_key.pub
PidFile {directory}/sshd.pid
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
ClientAliveInterval 1
ClientAliveCountMax 3
"
        );
        fs::write(lab.directory().join("sshd_config"), configuration).unwrap();
        fs::create_dir_all(PRIVILEGE_SEPARATION).unwrap();
        let mut sshd = server.start(&format!("/usr/sbin/sshd -D -e -f {directory}/sshd_config"));
        sshd.wait_until(|sshd| sshd.log().contains("Server listening on"));
        protect(server, hook, "server", &[RULE]);
        Self { lab, sshd: Some(sshd) }
    }

    fn server(&self) -> &Host {
        self.lab.host("server")
    }

    /// The command line that logs in and runs `command`.
    fn ssh(&self, command: &str) -> String {
        format!(
            "ssh -F none -i {}/operator_key -o BatchMode=yes -o StrictHostKeyChecking=no \
             -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=2 root@{} {}",
            self.lab.directory().display(),
            self.server().address(Family::V4),
            shell_words::quote(command),
        )
    }

    fn log_in_and_run(&self, command: &str) -> Finished {
        self.lab.host("operator").run(&self.ssh(command))
    }

    fn log_in_and_run_sgfw(&self, arguments: &str) -> Finished {
        self.log_in_and_run(&self.server().instance().line(arguments))
    }

    fn can_log_in(&self) -> bool {
        self.log_in_and_run("true").success().is_ok()
    }

    /// A policy file by which nobody may log in.
    fn policy_without_ssh(&self) -> PathBuf {
        let path = self.lab.directory().join("policy.yaml");
        fs::write(&path, "version: 1\ngroups:\n  - {name: server, description: scenario, ingress: []}\n")
            .unwrap();
        path
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.sshd.take();
    }
}

fn revoking_the_rule_of_the_session_is_refused(hook: IngressHook) {
    let stage = Stage::new(hook);
    let rules = || stage.server().sgfw("rule list").expect_success();
    let before = rules();
    let error = stage.log_in_and_run_sgfw(&format!("rule revoke server {RULE}")).expect_failure(5);
    assert!(error.contains("which is how you are connected"), "{error}");
    let apply = format!("apply -f {} --yes", stage.policy_without_ssh().display());
    let _ = stage.log_in_and_run_sgfw(&apply).expect_failure(5);
    assert_eq!(rules(), before);
    assert!(stage.can_log_in());
}

fn a_lost_session_can_log_in_again_after_the_deadline(hook: IngressHook) {
    let stage = Stage::new(hook);
    let before = stage.server().sgfw("rule list").expect_success();
    let session = |word: &str| {
        let mut session =
            stage.lab.host("operator").start(&stage.ssh(&format!("while echo {word}; do sleep 0.1; done")));
        session.wait_until(|session| session.log().contains(word));
        session
    };
    let mut open = session("alive");
    let policy = stage.policy_without_ssh();
    let apply = format!("apply -f {} --yes --confirm-timeout 10s --allow-lockout", policy.display());
    stage.log_in_and_run_sgfw(&apply).expect_success();

    // The session that is open lives on, and is all that the operator has.
    let heard = open.log().len();
    open.wait_until(|session| session.log().len() > heard);
    assert!(!stage.can_log_in());
    open.kill();

    let start = Instant::now();
    while !stage.can_log_in() {
        assert!(start.elapsed() < PATIENCE, "the server is closed for good");
        sleep(Duration::from_millis(200));
    }
    // Nothing but the programs has worked until here; the store follows now.
    assert_eq!(stage.server().sgfw("rule list").expect_success(), before);
    let mut open = session("back");
    let heard = open.log().len();
    open.wait_until(|session| session.log().len() > heard);
}
