//! The demo: three tiers behind three firewalls, set up with the real `sgfw` and probed from everywhere.
//!
//! `cargo xtask demo` runs it. Its output is the first thing that a new user sees, so it reads like a shell
//! transcript; whatever is not as it should be makes it fail.

mod matrix;
mod tiers;

use anyhow::{Context, Result, bail, ensure};

use crate::lab::{self, Family, Host, INTERFACE, Lab, Topology};
use matrix::Matrix;

/// Runs the demo on a lab of its own.
///
/// # Errors
///
/// When a command fails, or anything is reachable that should not be, or the other way round.
pub fn run() -> Result<()> {
    if let Some(missing) = lab::missing_privilege() {
        bail!("the demo makes network namespaces and loads BPF programs: it needs {missing}");
    }
    let lab = Lab::build(&Topology::star(["client", "lb", "app", "db"]))
        .context("cannot build the demo's hosts")?;
    let _servers = tiers::start_servers(&lab)?;
    introduce(&lab);

    heading("The load balancer is open to the world on 80 and 443");
    let lb = lab.host("lb");
    shell(lb, "group create lb --description \"Load balancers\"")?;
    shell(lb, "rule authorize lb --ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0")?;
    shell(lb, "rule authorize lb --ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0")?;
    attach(lb, "lb")?;

    heading("The application server accepts 8080 from the load balancers only");
    let app = lab.host("app");
    declare_group(app, "lb", "Load balancers", lb)?;
    shell(app, "group create app --description \"Application servers\"")?;
    shell(app, "rule authorize app --ingress --protocol tcp --port 8080 --source-group lb")?;
    attach(app, "app")?;

    heading("The database accepts 5432 from the application servers only");
    let db = lab.host("db");
    declare_group(db, "app", "Application servers", app)?;
    shell(db, "group create db --description \"Databases\"")?;
    shell(db, "rule authorize db --ingress --protocol tcp --port 5432 --source-group app")?;
    attach(db, "db")?;

    heading("A request goes through all three firewalls");
    let mut requests = Vec::new();
    for family in Family::ALL {
        let request = tiers::request(lab.host("client"), lb.address(family))?;
        println!("{family}: client > {}", request.answer);
        ensure!(request.answer == "lb > app > db", "the request took another way");
        // Kept open, so that the list of flows shows it alive.
        requests.push(request);
    }

    heading("The flows that the application server tracks meanwhile");
    shell(app, "flows list")?;
    drop(requests);

    heading("Who reaches what");
    let matrix = Matrix::probe(&lab);
    print!("{matrix}");

    heading("What the firewalls counted");
    for host in [lb, app, db] {
        shell(host, "status")?;
    }
    println!();
    matrix.verdict()
}

fn introduce(lab: &Lab) {
    println!("Four hosts (network namespaces) around a router:\n");
    for host in lab.hosts() {
        let [v4, v6] = Family::ALL.map(|family| host.address(family));
        println!("  {:<8}{v4:<14}{v6}", host.name());
    }
    println!(
        "\nEvery host listens on every port that is probed below, so that silence is a firewall's work.\n\
         Each `sgfw` runs with the --netns, --state-dir and --bpffs of the host in its prompt."
    );
}

fn heading(text: &str) {
    println!("\n── {text}\n");
}

/// Another host's group: the addresses of its members have to be told.
fn declare_group(on: &Host, name: &str, description: &str, member: &Host) -> Result<()> {
    shell(on, &format!("group create {name} --description \"{description}\""))?;
    let [v4, v6] = Family::ALL.map(|family| member.prefix(family));
    shell(on, &format!("group add-member {name} {v4} {v6}"))
}

fn attach(host: &Host, group: &str) -> Result<()> {
    shell(host, &format!("interface attach {INTERFACE} --group {group}"))
}

/// Shows and runs one `sgfw` command.
fn shell(host: &Host, line: &str) -> Result<()> {
    println!("{}# sgfw {line}", host.name());
    let finished = host.sgfw(line);
    let messages = finished.stderr();
    print!("{messages}{}", finished.success()?);
    Ok(())
}
