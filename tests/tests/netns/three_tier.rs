//! The acceptance story with real servers: nginx balances, an application asks, PostgreSQL answers.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use firewall_tests::lab::Reachability::Filtered;
use firewall_tests::lab::{Family, Finished, Host, IngressHook, Lab, Link, TcpServer, Topology, tcp_connect};

use crate::support::{attach, create_group, on_every_hook, protect, servers};

on_every_hook!(the_world_reaches_the_load_balancer_and_each_tier_only_the_next);

/// What the database answers to [`query`].
const ANSWER: &str = "42 from PostgreSQL\n";

fn the_world_reaches_the_load_balancer_and_each_tier_only_the_next(hook: IngressHook) {
    let lab = Lab::build(&Topology::star(["client", "lb", "app", "db"])).unwrap();
    let [client, lb, app, db] = ["client", "lb", "app", "db"].map(|name| lab.host(name));
    let _database = servers::postgresql(&lab, db);
    let _application = start_application(app, db.link());
    let _balancer = servers::nginx(&lab, lb, app);

    protect(
        lb,
        hook,
        "lb",
        &[
            "--ingress --protocol tcp --port 80 --cidr 0.0.0.0/0 --cidr ::/0",
            "--ingress --protocol tcp --port 443 --cidr 0.0.0.0/0 --cidr ::/0",
        ],
    );
    admit_tier(app, hook, "app", 8080, "lb", lb);
    admit_tier(db, hook, "db", 5432, "app", app);

    for family in Family::ALL {
        for port in [80, 443] {
            assert_eq!(curl(client, lb, family, port).expect_success(), ANSWER);
        }
        let (database, balancer) = (db.address(family), lb.address(family));
        assert_eq!(app.run(&psql(db, family)).expect_success(), ANSWER);
        assert_eq!(tcp_connect(client, database, 5432), Filtered);
        assert_eq!(tcp_connect(lb, database, 5432), Filtered);
        // 28: curl gave up waiting.
        curl(client, app, family, 8080).expect_failure(28);
        curl(db, app, family, 8080).expect_failure(28);
        assert_eq!(tcp_connect(client, balancer, 22), Filtered);
        assert_eq!(tcp_connect(app, balancer, 8080), Filtered);
    }
}

/// A tier that admits `port` from another host's group only.
fn admit_tier(host: &Host, hook: IngressHook, group: &str, port: u16, from_group: &str, member: &Host) {
    create_group(host, from_group, &[]);
    let [v4, v6] = Family::ALL.map(|family| member.prefix(family));
    host.sgfw(&format!("group add-member {from_group} {v4} {v6}")).expect_success();
    let rule = format!("--ingress --protocol tcp --port {port} --source-group {from_group}");
    create_group(host, group, &[&rule]);
    attach(host, hook, group);
}

/// A small web application: every request is a query to the database, over the family that the request came by.
fn start_application(app: &Host, db: Link) -> TcpServer {
    let serve = move |client: TcpStream| {
        let family = Family::of(client.peer_addr()?.ip().to_canonical());
        let mut words = query(db, family).into_iter();
        // The thread that serves is in the application's namespace, and so is what it starts.
        let output = Command::new(words.next().unwrap_or_default()).args(words).output()?;
        respond(client, &String::from_utf8_lossy(&output.stdout))
    };
    TcpServer::start(app, 8080, serve).unwrap()
}

fn respond(mut client: TcpStream, body: &str) -> io::Result<()> {
    for line in BufReader::new(client.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    write!(client, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn query(db: Link, family: Family) -> [String; 4] {
    let connection = format!("host={} user=postgres dbname=postgres connect_timeout=2", db.host(family));
    let question = "select 6 * 7 || ' from PostgreSQL'";
    [servers::postgresql_program("psql"), connection, "-Atc".to_owned(), question.to_owned()]
}

fn psql(db: &Host, family: Family) -> String {
    shell_words::join(query(db.link(), family))
}

fn curl(from: &Host, to: &Host, family: Family, port: u16) -> Finished {
    let address = SocketAddr::new(to.address(family), port);
    from.run(&format!("curl --silent --show-error --connect-timeout 0.5 --max-time 5 http://{address}/"))
}
