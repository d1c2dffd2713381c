//! Clients that send garbage, stall, or leave at each state. The gateway must stay, and the server's sessions must end.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::ensure;
use portcullis_tests::gateway::Gateway;
use portcullis_tests::place::Scratch;
use portcullis_tests::postgres::ROLE;
use portcullis_tests::process::until;

use crate::evidence::json;
use crate::support::{Authority, guarded, shop, write_private};
use crate::vandals::{Place, Trace, trusting, vanish, ways};

fn dial(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", gateway.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(crate) fn startup(minor: u16, user: &str) -> Vec<u8> {
    let mut body = (3u32 << 16 | u32::from(minor)).to_be_bytes().to_vec();
    for text in ["user", user, "database", "shop", ""] {
        body.extend(text.as_bytes());
        body.push(0);
    }
    [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
}

/// The type and body of the next message.
fn message(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    stream.read_exact(&mut header)?;
    let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let mut body = vec![0; length - 4];
    stream.read_exact(&mut body)?;
    Ok((header[0], body))
}

/// Everything until the other side closes.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset tells as well that it is closed.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn still_serves(gateway: &Gateway) {
    assert_eq!(gateway.query("alice", "select 7").unwrap().0, "7");
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![0xff; 100],
        vec![0; 100],
        vec![0, 0, 0, 8, 0, 2, 0, 0],
        vec![0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5],
        [vec![0, 0, 0, 8, 4, 210, 22, 47], startup(0, "alice")].concat(),
        [startup(0, "alice"), vec![b'Q', 0, 0, 0, 5, 0]].concat(),
        [startup(0, "alice"), vec![b'p', 0x7f, 0xff, 0xff, 0xff]].concat(),
    ] {
        let mut stream = dial(&gateway);
        stream.write_all(&bytes).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        rest(&mut stream);
    }
    still_serves(&gateway);
}

#[test]
fn newer_protocols_are_negotiated() {
    let postgres = shop();
    let gateway = Gateway::start(guarded(&postgres)).unwrap();
    let mut stream = dial(&gateway);
    stream.write_all(&startup(2, "alice")).unwrap();
    assert_eq!(message(&mut stream).unwrap().0, b'R', "3.2 needs no negotiation");
    let mut stream = dial(&gateway);
    stream.write_all(&startup(9, "alice")).unwrap();
    let (tag, body) = message(&mut stream).unwrap();
    assert_eq!((tag, &body[..4]), (b'v', &[0, 3, 0, 2][..]));
    assert_eq!(message(&mut stream).unwrap().0, b'R');
}

#[test]
fn whoever_stalls_in_the_login_is_shown_out() {
    let postgres = shop();
    let mut options = guarded(&postgres);
    options.more = "[limits]\nlogin_ms = 300\n".into();
    let gateway = Gateway::start(options).unwrap();
    for bytes in [vec![], vec![0], startup(0, "alice")[..9].to_vec(), startup(0, "alice")] {
        let mut stream = dial(&gateway);
        stream.write_all(&bytes).unwrap();
        rest(&mut stream);
    }
}

#[test]
fn whoever_vanishes_takes_everything_along() {
    let (postgres, authority, scratch) = (shop(), Authority::new(), Scratch::new("vanish").unwrap());
    let (certificate, key) = authority.issue("localhost", true);
    write_private(&scratch, "server.crt", &certificate);
    write_private(&scratch, "server.key", &key);
    postgres.sql("shop", &format!("create table marks (mark text); alter table marks owner to {ROLE}")).unwrap();
    let mut options = guarded(&postgres);
    options.listener =
        "[postgres.tls]\ncertificate = \"server.crt\"\nkey = \"file:server.key\"\nrequired = false\n".into();
    options.more = format!(
        "[[target]]\nname = \"plain\"\nhost = \"127.0.0.1\"\nport = {}\ndatabase = \"shop\"\nuser = \"{ROLE}\"\n\
         password = \"env:UPSTREAM_PASSWORD\"\ntls = \"disable\"\n[limits]\nlogin_ms = 3000\nidle_s = 2\nwrite_stall_s = 2\n",
        postgres.port
    );
    let gateway = Gateway::start_in(scratch, options).unwrap();
    let place = Place { gateway: gateway.port, server: postgres.port, tls: trusting(&authority) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let silent: Vec<Trace> = ways()
        .map(|(state, cut)| {
            let vanished = runtime.block_on(vanish(&place, state, cut));
            vanished.unwrap_or_else(|error| panic!("{state:?} {cut:?}: {error:#}"))
        })
        .collect();
    until("nothing is left of anybody", Duration::from_secs(30), || {
        let live = json(&gateway, &["sessions", "list"])?;
        ensure!(live.is_empty(), "{live:?}");
        let count = postgres.sql("shop", "select count(*) from pg_stat_activity where usename = 'portcullis'")?;
        ensure!(count == "0", "the server has {count} sessions");
        let open = json(&gateway, &["approvals", "list"])?;
        ensure!(open.is_empty(), "{open:?}");
        Ok(())
    })
    .unwrap();
    drop(silent);
    assert_eq!(postgres.sql("shop", "select count(*) from marks").unwrap(), "0");
    still_serves(&gateway);
}
