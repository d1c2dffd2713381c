//! Asks WASI for all that a process has, one thing for each command, and denies with what it got.

wit_bindgen::generate!({ world: "test:ambient/curious", path: ["../../../wit", "wit"], generate_all });

use exports::portcullis::policy::commands::{Command, Error, Guest as Commands, Session, Verdict};
use exports::portcullis::policy::lifecycle::{Guest as Lifecycle, Registration, SettingError};
use portcullis::policy::types::Decision;
use wasi::cli::{environment, exit, stderr, stdin, stdout, terminal_stderr};
use wasi::clocks::{monotonic_clock, wall_clock};
use wasi::filesystem::preopens;
use wasi::http::outgoing_handler::{self, RequestOptions};
use wasi::http::types::{Fields, OutgoingRequest};
use wasi::io::poll::poll;
use wasi::io::streams::OutputStream;
use wasi::random::{insecure, insecure_seed, random};
use wasi::sockets::instance_network::instance_network;
use wasi::sockets::ip_name_lookup::resolve_addresses;
use wasi::sockets::network::IpAddressFamily;
use wasi::sockets::tcp_create_socket::create_tcp_socket;

struct Policy;

impl Lifecycle for Policy {
    fn validate_settings(_: String) -> Result<(), Vec<SettingError>> {
        Ok(())
    }

    fn configure(_: String) -> Result<Registration, Error> {
        Ok(Registration { commands: vec!["sql".into()] })
    }
}

fn print(to: &OutputStream, text: &str) {
    let room = to.check_write().map_or(0, |n| n as usize);
    text.as_bytes().chunks(room.max(1)).for_each(|part| drop(to.write(part)));
    drop(to.blocking_flush());
}

/// What there is of a thing.
fn got(thing: &str) -> String {
    match thing {
        "environment" => format!("{:?}", environment::get_environment()),
        "arguments" => format!("{:?} in {:?}", environment::get_arguments(), environment::initial_cwd()),
        "files" => preopens::get_directories()
            .iter()
            .map(|(dir, name)| format!("{name}: {:?}", dir.create_directory_at("mine")))
            .collect::<Vec<_>>()
            .join(", "),
        "stdin" => {
            let input = stdin::get_stdin();
            let waited = poll(&[&input.subscribe(), &input.subscribe()]);
            format!("{:?} {:?}", waited, input.blocking_read(10))
        }
        "splice" => format!("{:?}", stdout::get_stdout().splice(&stdin::get_stdin(), 10)),
        "terminal" => format!("{}", terminal_stderr::get_terminal_stderr().is_some()),
        "stdout" => {
            print(&stdout::get_stdout(), "half a ");
            print(&stdout::get_stdout(), "line\n\nand the rest");
            "printed".into()
        }
        "stderr" => {
            print(&stderr::get_stderr(), "Traceback:\r\n  line \u{1b}[31m7\n");
            print(&stderr::get_stderr(), &format!("{}\nshort\n", "x".repeat(10_000)));
            "printed".into()
        }
        "trap" => {
            print(&stderr::get_stderr(), "last words");
            std::process::abort()
        }
        "exit" => {
            exit::exit(Err(()));
            "went on".into()
        }
        "connect" => format!("{:?}", create_tcp_socket(IpAddressFamily::Ipv4).map(drop)),
        "resolve" => format!("{:?}", resolve_addresses(&instance_network(), "example.org").map(drop)),
        "http" => {
            let request = OutgoingRequest::new(Fields::new());
            let set = request.set_authority(Some("example.org"));
            format!("{set:?} {:?}", outgoing_handler::handle(request, Some(RequestOptions::new())).map(drop))
        }
        // A loop that leaked a handle each time would run out of them.
        "http often" => {
            (0..20_000).for_each(|_| drop(got("http")));
            got("http")
        }
        "fields" => format!("{}", Fields::new().has("cookie")),
        "clock" => {
            let now = wall_clock::now();
            let before = monotonic_clock::now();
            let sleep = monotonic_clock::subscribe_duration(3_600_000_000_000);
            sleep.block();
            let slept = sleep.ready();
            format!("{} {} {before} {slept} {}", now.seconds, now.nanoseconds, monotonic_clock::now() >= before)
        }
        "random" => format!("{:?} {}", random::get_random_bytes(20), random::get_random_u64()),
        "random huge" => format!("{}", random::get_random_bytes(1 << 20).len()),
        "insecure" => format!("{} {:?}", insecure::get_insecure_random_u64(), insecure_seed::insecure_seed()),
        other => format!("{other}?"),
    }
}

fn verdict(decision: Decision, message: Option<String>) -> Result<Verdict, Error> {
    Ok(Verdict { decision, message, rewrite: None, approval: None, findings: vec![] })
}

impl Commands for Policy {
    fn open(_: &Session) -> Result<Verdict, Error> {
        verdict(Decision::Allow, None)
    }

    fn check(_: &Session, command: &Command) -> Result<Verdict, Error> {
        verdict(Decision::Deny, Some(got(&command.text(100))))
    }

    fn approved(_: &Session, _: &Command, _: Vec<String>) -> Result<Verdict, Error> {
        verdict(Decision::Allow, None)
    }
}

export!(Policy);
