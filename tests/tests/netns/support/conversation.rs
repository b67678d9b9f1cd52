//! A TCP connection that is watched: it must survive what the scenario does.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use firewall_tests::lab::{Family, Host, TcpServer};

/// An open connection to a server that repeats what it hears.
pub(crate) struct Conversation {
    connection: TcpStream,
}

impl Conversation {
    /// The server's side.
    pub(crate) fn listen(host: &Host, port: u16) -> TcpServer {
        let repeat = |mut client: TcpStream| {
            let hearing = BufReader::new(client.try_clone()?);
            hearing.lines().try_for_each(|line| writeln!(client, "{}", line?))
        };
        TcpServer::start(host, port, repeat).unwrap()
    }

    /// The client's side.
    #[track_caller]
    pub(crate) fn open(from: &Host, to: &Host, family: Family, port: u16) -> Self {
        let address = (to.address(family), port).into();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
        let connection = from.namespace().run(connect).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        connection.set_nodelay(true).unwrap();
        Self { connection }
    }

    /// Says something and hears it repeated.
    #[track_caller]
    pub(crate) fn exchange(&mut self) {
        self.exchange_words("hello");
    }

    /// Says these words, which are one line, and hears them repeated.
    #[track_caller]
    pub(crate) fn exchange_words(&mut self, words: &str) {
        writeln!(self.connection, "{words}").unwrap();
        let mut answer = String::new();
        BufReader::new(&self.connection).read_line(&mut answer).expect("the connection should be alive");
        assert_eq!(answer.trim_end(), words);
    }
}
