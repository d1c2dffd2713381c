//! What is measured: the server itself, PgBouncer before it, and gateways before it.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use portcullis_tests::gateway::{Gateway, Options};
use portcullis_tests::place::{Scratch, free_port};
use portcullis_tests::postgres::{self, Postgres, program};
use portcullis_tests::process::{Running, find, run, until};

use super::{Address, PASSWORD, plain};

/// One way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// No proxy.
    Direct,
    /// PgBouncer in session mode.
    PgBouncer,
    /// The gateway without policies and without audit.
    Open,
    /// The gateway without policies, with the audit at interval durability.
    Audited,
    /// The same, at strict durability.
    Strict,
    /// The same at interval durability, and with results recorded.
    Recorded,
    /// The gateway with three policies and the audit.
    Guarded,
    /// The gateway with a policy that masks one column of the wide table.
    Masked,
    /// The gateway with a policy that scans every text column.
    Scanned,
}

/// All of them, running.
pub(super) struct Peers {
    bouncer: Running,
    bouncer_port: u16,
    open: Gateway,
    audited: Gateway,
    strict: Gateway,
    recorded: Gateway,
    guarded: Gateway,
    masked: Gateway,
    scanned: Gateway,
    server_port: u16,
    _scratch: Scratch,
}

impl Peers {
    pub(super) fn start(postgres: &Postgres) -> Result<Self> {
        let (bouncer, bouncer_port, scratch) = bouncer(postgres)?;
        let plain = || plain(postgres);
        // More sessions than a target takes if nothing is said.
        let roomy = |options: Options| Gateway::start(Options { target: "max_sessions = 250\n".into(), ..options });
        Ok(Self {
            bouncer,
            bouncer_port,
            open: roomy(plain())?,
            audited: Gateway::start(Options { more: String::new(), ..plain() })?,
            strict: Gateway::start(Options { more: "[audit]\ndurability = \"strict\"\n".into(), ..plain() })?,
            recorded: Gateway::start(Options {
                more: "[recordings]\nmax_mib = 1048576\n".into(),
                target: "record = \"results\"\n".into(),
                ..plain()
            })?,
            guarded: roomy(guarded(postgres))?,
            masked: Gateway::start(masked(postgres))?,
            scanned: Gateway::start(scanned(postgres))?,
            server_port: postgres.port,
            _scratch: scratch,
        })
    }

    /// Port, user and password.
    pub(super) fn address(&self, peer: Peer) -> Address {
        match peer {
            Peer::Direct => (self.server_port, postgres::ROLE, postgres::PASSWORD),
            Peer::PgBouncer => (self.bouncer_port, "alice", PASSWORD),
            _ => (self.gateway(peer).port, "alice", PASSWORD),
        }
    }

    fn gateway(&self, peer: Peer) -> &Gateway {
        match peer {
            Peer::Audited => &self.audited,
            Peer::Strict => &self.strict,
            Peer::Recorded => &self.recorded,
            Peer::Guarded => &self.guarded,
            Peer::Masked => &self.masked,
            Peer::Scanned => &self.scanned,
            Peer::Direct | Peer::PgBouncer | Peer::Open => &self.open,
        }
    }

    /// The proxy's process, if there is one.
    pub(super) fn process(&self, peer: Peer) -> Option<u32> {
        match peer {
            Peer::Direct => None,
            Peer::PgBouncer => Some(self.bouncer.id()),
            _ => Some(self.gateway(peer).id()),
        }
    }

    /// Memory of one session that does nothing, in KiB, with three policies.
    pub(super) fn parked_kib(&self) -> Result<f64> {
        Ok(sessions_kib(&self.guarded, 100)?[1])
    }
}

/// A gateway with three policies and the audit.
pub(super) fn guarded(postgres: &Postgres) -> Options {
    Options { more: String::new(), ..plain(postgres) }
        .with("no-destructive-sql", "policies/no-destructive-sql", "capabilities = [\"clock\"]")
        .with("review-schema-changes", "policies/review-schema-changes", "")
        .with(
            "mask",
            "plugins/mask",
            "settings = { rules = [{ name = \"pii\", labels = [\"pii\"], mask = \"email\" }] }",
        )
}

/// A gateway that masks the column `email` of the wide table, and of a result whose columns come from no table.
pub(super) fn masked(postgres: &Postgres) -> Options {
    let rule = "{ name = \"email\", origins = [\"public.wide.email\"], columns = [\"email\"], mask = \"email\" }";
    plain(postgres).with("mask", "plugins/mask", &format!("settings = {{ rules = [{rule}] }}"))
}

/// A gateway that scans every text column.
pub(super) fn scanned(postgres: &Postgres) -> Options {
    let detect = "{ detectors = [\"email\", \"card\", \"ssn\"] }";
    plain(postgres).with("mask", "plugins/mask", &format!("settings = {{ rules = [], detect = {detect} }}"))
}

/// How much a gateway's memory grows with each of so many sessions, in KiB: at the most while they are opened and ask one command, and
/// when all of them have done nothing for a while.
pub(super) fn sessions_kib(gateway: &Gateway, sessions: u32) -> Result<[f64; 2]> {
    let scratch = Scratch::new("parked")?;
    let script = scratch.path().join("script.sql");
    fs::write(&script, "select 1;\n\\sleep 600 s\n")?;
    let before = resident_kib(gateway.id())?;
    let mut pgbench = Command::new(program("pgbench")?);
    pgbench.args(["-n", "-h", "127.0.0.1", "-p", &gateway.port.to_string(), "-U", "alice", "-t", "1", "-f"]);
    pgbench.arg(&script).args(["-c", &sessions.to_string(), "shop"]).env("PGPASSWORD", PASSWORD);
    // It ends when this is left.
    let mut load = Running::start(pgbench.stdout(Stdio::null()).stderr(Stdio::null()), "TERM")?;
    let active = format!("portcullis_sessions_active {sessions}");
    let mut most = before;
    until("the sessions are open", Duration::from_secs(300), || {
        most = most.max(resident_kib(gateway.id())?);
        let metrics = gateway.http("/metrics", Some("olga"))?;
        ensure!(load.has_ended() || metrics.lines().any(|line| line == active), "not yet");
        Ok(())
    })?;
    // Long enough for a session to count as quiet.
    let quiet = Instant::now() + Duration::from_secs(8);
    while Instant::now() < quiet {
        most = most.max(resident_kib(gateway.id())?);
        std::thread::sleep(Duration::from_millis(20));
    }
    let parked = resident_kib(gateway.id())?;
    ensure!(!load.has_ended(), "pgbench could not hold {sessions} sessions open");
    Ok([most, parked].map(|kib| (kib - before) / f64::from(sessions)))
}

/// The processor time that a process has used so far, in microseconds.
pub(super) fn cpu_micros(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; user and system time are the 14th and 15th fields of all.
    let fields: Vec<&str> = stat.rsplit_once(')').context("an odd /proc")?.1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    let per_second: f64 = run(Command::new("getconf").arg("CLK_TCK"))?.trim().parse()?;
    Ok(ticks / per_second * 1e6)
}

/// A process's resident memory.
pub(super) fn resident_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).context("an odd /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn bouncer(postgres: &Postgres) -> Result<(Running, u16, Scratch)> {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let binary =
        find("pgbouncer", &["/usr/sbin".into()]).context("pgbouncer is missing; `cargo xtask setup` installs it")?;
    let (scratch, port) = (Scratch::new("pgbouncer")?, free_port()?);
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755))?;
    let directory = scratch.path().display();
    fs::write(scratch.path().join("users"), format!("\"alice\" \"{PASSWORD}\"\n"))?;
    let (role, secret, server) = (postgres::ROLE, postgres::PASSWORD, postgres.port);
    let ini = format!(
        "[databases]\nshop = host=127.0.0.1 port={server} dbname=shop user={role} password={secret}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = scram-sha-256\nauth_file = {directory}/users\n\
         pool_mode = session\nunix_socket_dir =\nlogfile =\nmax_client_conn = 500\ndefault_pool_size = 250\n\
         ignore_startup_parameters = extra_float_digits\n"
    );
    let path = scratch.path().join("pgbouncer.ini");
    fs::write(&path, ini)?;
    let mut command = Command::new(binary);
    command.arg("-q").arg(&path).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((uid, gid)) = postgres.user() {
        command.uid(uid).gid(gid);
    }
    let running = Running::start(&mut command, "TERM")?;
    until("PgBouncer serves", Duration::from_secs(20), || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)?)
    })?;
    Ok((running, port, scratch))
}
