//! Real servers from the distribution's packages, configured for one host of a lab and stopped on drop.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use firewall_tests::lab::Reachability::Open;
use firewall_tests::lab::{Family, Host, Lab, Process, tcp_connect};
use nix::unistd::{Gid, Uid, chown};

/// The account that servers run as when they refuse root: `nobody`.
const NOBODY: u32 = 65534;

/// nginx as a load balancer on the ports 80 and 443: what it hears over IPv4 it forwards over IPv4 to port 8080 of
/// `upstream`, and likewise over IPv6.
#[track_caller]
pub(crate) fn nginx(lab: &Lab, host: &Host, upstream: &Host) -> Process {
    let directory = directory(lab, &format!("nginx-{}", host.name()));
    let servers = Family::ALL.map(|family| {
        let any = match family {
            Family::V4 => "0.0.0.0",
            Family::V6 => "[::]",
        };
        let to = SocketAddr::new(upstream.address(family), 8080);
        format!("server {{ listen {any}:80; listen {any}:443; location / {{ proxy_pass http://{to}; }} }}")
    });
    let configuration = format!(
        "daemon off; user root; worker_processes 1; pid {path}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;\n\
         fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
         proxy_connect_timeout 2s;\n{}\n}}\n",
        servers.join("\n"),
        path = directory.display(),
    );
    let file = directory.join("nginx.conf");
    fs::write(&file, configuration).unwrap();
    let mut server = host.start(&format!("nginx -e stderr -p {} -c {}", directory.display(), file.display()));
    wait_for_port(&mut server, host, 443);
    server
}

/// PostgreSQL on port 5432 of both families, open to every user from everywhere, so that only the firewall protects it.
#[track_caller]
pub(crate) fn postgresql(lab: &Lab, host: &Host) -> Process {
    let directory = directory(lab, "postgresql");
    chown(&directory, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).unwrap();
    let as_nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups --pdeathsig INT --";
    let data = directory.join("data");
    host.run(&format!(
        "{as_nobody} {} --pgdata {} --username postgres --auth trust --encoding UTF8 --locale C --no-sync",
        postgresql_program("initdb"),
        data.display()
    ))
    .expect_success();
    let everybody = "host all all 0.0.0.0/0 trust\nhost all all ::/0 trust\n";
    fs::write(data.join("pg_hba.conf"), everybody).unwrap();
    let mut server = host.start(&format!(
        "{as_nobody} {} -D {} -c listen_addresses=* -c port=5432 -c fsync=off -c unix_socket_directories={}",
        postgresql_program("postgres"),
        data.display(),
        directory.display()
    ));
    wait_for_port(&mut server, host, 5432);
    server.wait_until(|server| server.log().contains("ready to accept connections"));
    server
}

/// dnsmasq as a resolver that knows `db.example` and a TXT record at `large.example` that needs several fragments.
#[track_caller]
pub(crate) fn dnsmasq(host: &Host) -> Process {
    let text = vec!["x".repeat(250); 12].join(",");
    let mut server = host.start(&format!(
        "dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --pid-file= --user=root --port=53 \
         --edns-packet-max=4096 --log-facility=- --address=/db.example/10.77.4.10 --txt-record=large.example,{text}"
    ));
    wait_for_port(&mut server, host, 53);
    server
}

/// Waits until the host itself can connect to a port of its own.
#[track_caller]
pub(crate) fn wait_for_port(server: &mut Process, host: &Host, port: u16) {
    let answers = |address: IpAddr| tcp_connect(host, address, port) == Open;
    server.wait_until(|_| Family::ALL.into_iter().all(|family| answers(host.address(family))));
}

#[track_caller]
fn directory(lab: &Lab, name: &str) -> PathBuf {
    let directory = lab.directory().join(name);
    fs::create_dir(&directory).unwrap();
    directory
}

/// The path of a program of the newest installed PostgreSQL. Servers' programs are on nobody's `PATH`, and the clients
/// that are there are slow wrappers.
#[track_caller]
pub(crate) fn postgresql_program(name: &str) -> String {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL should be installed");
    let programs = versions.flatten().map(|version| version.path().join("bin").join(name));
    let newest = programs.filter(|program| program.exists()).max();
    newest.expect("PostgreSQL should be installed").display().to_string()
}
