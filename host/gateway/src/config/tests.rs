use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory of a test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("portcullis-{}-{name}-{count}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";

/// A configuration that is good; tests break a copy of it.
fn good() -> String {
    format!(
        r#"data_dir = "data"
[postgres]
listen = ["127.0.0.1:6432"]
[[user]]
name = "alice"
groups = ["dev"]
scram = "{VERIFIER}"
targets = ["shop"]
[[target]]
name = "shop"
host = "127.0.0.1"
database = "shop"
user = "portcullis"
password = "file:password"
tls = "disable"
policies = ["gate"]
labels = {{ env = "test" }}
column_labels = {{ "public.*.email" = ["pii"] }}
[[policy]]
name = "gate"
package = "gate"
mode = "monitor"
settings = {{ level = 2 }}
[admin]
listen = "127.0.0.1:9432"
[[admin.token]]
name = "bob"
role = "approver"
token = "file:token"
"#
    )
}

/// Loads this text from a directory where everything that [`good`] refers to is.
fn load_text(text: &str) -> Result<Loaded, Refused> {
    let dir = scratch("config");
    std::fs::create_dir_all(dir.join("gate")).unwrap();
    let manifest = "[package]\nname = \"gate\"\nversion = \"0.1.0\"\ndescription = \"d\"\ninterface = \"0.1\"\n\
                    component = \"gate.wasm\"\nhooks = [\"commands\"]\n[settings]\nlevel = 1\ncolour = \"red\"\n";
    std::fs::write(dir.join("gate/policy.toml"), manifest).unwrap();
    std::fs::write(dir.join("gate/gate.wasm"), b"\0asm\x0d\0\x01\0").unwrap();
    for secret in ["password", "token"] {
        std::fs::write(dir.join(secret), format!("{secret} s3cret s3cret\n")).unwrap();
        std::fs::set_permissions(dir.join(secret), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let certified = rcgen::generate_simple_self_signed(["gate.example".to_owned()]).unwrap();
    let mut authority = rcgen::CertificateParams::new(["gate.example".to_owned()]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pems = [
        ("cert.pem", certified.cert.pem()),
        ("cert.key", certified.signing_key.serialize_pem()),
        ("sign.pem", SigningKey::generate().to_pem()),
        ("url", "https://chat.example/s3cret\n".into()),
        ("short", "s3cret\n".into()),
        ("authority.pem", authority.self_signed(&certified.signing_key).unwrap().pem()),
    ];
    for (file, text) in pems {
        std::fs::write(dir.join(file), text).unwrap();
        std::fs::set_permissions(dir.join(file), PermissionsExt::from_mode(0o600)).unwrap();
    }
    std::fs::write(dir.join("portcullis.toml"), text).unwrap();
    load(&dir.join("portcullis.toml"), &mut BTreeSet::new())
}

/// [`good`], loaded.
pub(crate) fn loaded_good() -> Loaded {
    load_text(&good()).unwrap()
}

fn refusal(text: &str) -> String {
    load_text(text).err().unwrap_or_else(|| panic!("accepted:\n{text}")).to_string()
}

/// [`good`] with a part replaced, which must be there.
fn with(from: &str, to: &str) -> String {
    assert!(good().contains(from), "{from}");
    good().replacen(from, to, 1)
}

#[test]
fn a_good_configuration_is_resolved() {
    use secrecy::ExposeSecret;
    let loaded = load_text(&good()).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let target = &loaded.proxy.targets["shop"];
    assert_eq!(target.password.as_ref().unwrap().expose_secret(), "password s3cret s3cret");
    assert_eq!(target.port, 5432);
    assert_eq!(*target.column_labels, [("public.*.email".to_owned(), vec!["pii".to_owned()])]);
    assert_eq!(loaded.proxy.users["alice"].groups, ["dev"]);
    assert_eq!(loaded.policies[0].spec.settings, r#"{"colour":"red","level":2}"#);
    assert_eq!(loaded.policies[0].spec.mode, portcullis_verdict::Mode::Monitor);
    assert!(loaded.data_dir.is_absolute() && loaded.data_dir.ends_with("data"));
    let digest: [u8; 32] =
        sha2::Digest::finalize(<sha2::Sha256 as sha2::Digest>::new_with_prefix("token s3cret s3cret")).into();
    assert_eq!(loaded.tokens[0].sha256, digest);
}

/// What [`good`] has left out: everything that leaves the gateway.
const OUTWARD: &str = r#"
[admin.tls]
certificate = "cert.pem"
key = "file:cert.key"
[audit]
on_failure = "continue"
parameters = true
signing_key = "file:sign.pem"
[[audit.sink]]
name = "siem"
to = "https://siem.example/audit"
send = "both"
format = "ocsf"
token = "file:token"
ca = "cert.pem"
[[audit.sink]]
name = "local"
to = "file:audit.jsonl"
[[audit.sink]]
name = "syslog"
to = "syslog+tcp://127.0.0.1:514"
send = "checkpoints"
[recordings]
on_limit = "stop"
[approvals]
break_glass = ["dba"]
[[approvals.webhook]]
name = "bob-chat"
url = "file:url"
format = "slack"
secret = "file:token"
reviewer = "bob"
"#;

/// [`good`] with [`OUTWARD`], and a part of both replaced.
fn outward(from: &str, to: &str) -> String {
    let good = good().replacen(
        "[[admin.token]]\n",
        "public_url = \"https://gate.example\"\n[[admin.token]]\ngroups = [\"dba\"]\n",
        1,
    );
    let text = good.replacen("host =", "record = \"results\"\nhost =", 1) + OUTWARD;
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1)
}

#[test]
fn what_leaves_the_gateway_is_resolved() {
    use portcullis_deliver::{Content, Destination, Format, WebhookFormat};
    let loaded = load_text(&outward("", "")).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.proxy.targets["shop"].record, portcullis_verdict::RecordLevel::Results);
    assert!(loaded.admin_tls.is_some() && loaded.signing_key.is_some());
    assert!(loaded.tokens[0].break_glass);
    let [siem, local, syslog] = &loaded.sinks[..] else { panic!("three sinks") };
    assert!(matches!((&siem.content, &siem.format), (Content::Both, Format::Ocsf)));
    assert!(
        matches!(&siem.to, Destination::Http { url, token: Some(_), ca: Some(_) } if url == "https://siem.example/audit")
    );
    assert!(matches!(&local.to, Destination::File(path) if path.is_absolute() && path.ends_with("audit.jsonl")));
    assert!(matches!((&syslog.content, &syslog.to), (Content::Checkpoints, Destination::Syslog(_))));
    let [webhook] = &loaded.webhooks[..] else { panic!("one webhook") };
    assert_eq!((&*webhook.url, webhook.reviewer.as_deref()), ("https://chat.example/s3cret", Some("bob")));
    assert!(matches!(webhook.format, WebhookFormat::Slack) && webhook.secret.is_some());
}

#[test]
fn each_thing_that_is_wrong_with_what_leaves_the_gateway_is_refused() {
    let cases = [
        (outward("parameters = true", "enabled = false"), "a recording needs the audit, which is off"),
        (outward("\"results\"", "\"result\""), "did you mean `results`"),
        (outward("reviewer = \"bob\"", "reviewer = \"bbo\""), "no [[admin.token]] named `bbo`"),
        (outward("\"approver\"", "\"reader\""), "the role of `bob` decides no approvals"),
        (outward("\"approver\"", "\"reviewer\""), "`reviewer` is not a possible value"),
        (outward("public_url = \"https://gate.example\"", ""), "where people reach the gateway"),
        (outward("https://gate.example", "http://gate.example"), "read on the way"),
        (outward("https://gate.example", "https://gate.example?a"), "has a query"),
        (outward("https://gate.example", "https://bob@gate.example"), "before `@`"),
        (outward("name = \"local\"", "name = \"siem\""), "two [[audit.sink]] named `siem`"),
        (outward("name = \"local\"", "name = \"\""), "the sink's name is empty"),
        (
            outward("[recordings]", "[[approvals.webhook]]\nname = \"bob-chat\"\nurl = \"https://a\"\n[recordings]"),
            "two [[approvals.webhook]] named `bob-chat`",
        ),
        (outward("https://siem.example", "http://siem.example"), "read on the way"),
        (outward("file:audit.jsonl", "file:nowhere/audit.jsonl"), "help: mkdir -p "),
        (outward("file:audit.jsonl", "audit.jsonl"), "no place that events can go to"),
        (outward("syslog+tcp://127.0.0.1:514", "syslog+tcp://127.0.0.1"), "syslog+udp://host:port"),
        (outward("syslog+tcp", "syslog"), "no place that events can go to"),
        (
            outward("to = \"file:audit.jsonl\"", "to = \"file:audit.jsonl\"\nca = \"cert.pem\""),
            "`ca` has an effect for a URL only",
        ),
        (outward("ca = \"cert.pem\"", "ca = \"token\""), "no certificate in PEM"),
        (outward("\"file:url\"", "\"https://user:hunter2@chat.example\""), "before `@`"),
        (outward("\"file:url\"", "\"chat.example\""), "no URL of HTTP"),
        (outward("file:sign.pem", "file:cert.key"), "no Ed25519 private key"),
        (outward("key = \"file:cert.key\"", "key = \"file:token\""), "not a private key in PEM"),
        (outward("[admin]", "[admin]\nplaintext = true"), "`plaintext` is set, and so is [admin.tls]"),
        (outward("parameters = true", "checkpoint_s = 0"), "`checkpoint_s` is out of range"),
        (outward("on_limit = \"stop\"", "max_mib = 0"), "no recording could hold anything"),
    ];
    for (text, expected) in cases {
        let shown = refusal(&text);
        assert!(shown.contains(expected), "{expected}: {shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("s3cret"), "{shown}");
    }
    // The gateway makes that directory.
    load_text(&outward("file:audit.jsonl", "file:data/audit.jsonl")).unwrap();
    // With TLS, other machines may reach the interface.
    load_text(&outward("127.0.0.1:9432", "0.0.0.0:9432")).unwrap();
    let loaded = load_text(&outward("break_glass = [\"dba\"]", "break_glass = [\"dbas\"]")).unwrap();
    assert!(
        loaded.warnings[0].brief.contains("no [[admin.token]] that decides is in the group `dbas`"),
        "{:?}",
        loaded.warnings
    );
    assert!(!loaded.tokens[0].break_glass);
}

#[test]
fn a_users_own_limit_counts_before_the_least_of_their_groups() {
    let group = |name: &str, most: usize| format!("[[group]]\nname = \"{name}\"\nmax_sessions = {most}\n");
    let quota = |more: &str| {
        let text = with("groups = [\"dev\"]", &format!("groups = [\"dev\", \"dba\"]\n{more}"));
        let text = text + &group("dba", 5) + &group("dev", 3) + &group("others", 1);
        let loaded = load_text(&text).unwrap();
        let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        assert!(warning.brief.contains("nobody is in the group `others`"), "{}", warning.brief);
        loaded.proxy.users["alice"].quota.clone().unwrap()
    };
    assert_eq!(quota(""), portcullis_proxy::Quota { max_sessions: 3, group: Some("dev".into()) });
    assert_eq!(quota("max_sessions = 7"), portcullis_proxy::Quota { max_sessions: 7, group: None });
    assert_eq!(loaded_good().proxy.users["alice"].quota, None);
}

#[test]
fn an_error_shows_place_line_and_way_out() {
    let text = refusal(&with("policies =", "polices ="));
    assert!(text.contains("error: unknown key `polices`\n"), "{text}");
    assert!(text.contains("portcullis.toml:16:1\n"), "{text}");
    assert!(text.contains("16 | polices = …\n   | ^^^^^^^\n   = help: did you mean `policies`?"), "{text}");
    let text = refusal(&with("[\"gate\"]", "[\"gaet\"]"));
    assert!(text.contains("16 | policies = [\"gaet\"]\n   |             ^^^^^^\n"), "{text}");
    assert!(text.contains("help: did you mean `gate`?"), "{text}");
}

#[test]
fn every_problem_is_told_in_one_pass() {
    let text = good().replace("policies = [\"gate\"]", "policies = [\"wall\"]").replace(VERIFIER, "wonderland");
    let text = refusal(&text.replace("targets = [\"shop\"]", "targets = [\"mall\"]"));
    for part in
        ["no policy named `wall`", "malformed SCRAM verifier", "no target named `mall`", "cannot be used: 3 errors"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn each_thing_that_is_wrong_is_refused() {
    let cases = [
        (with("data_dir = \"data\"\n", ""), "the key `data_dir` is missing"),
        (with("mode = \"monitor\"", "mode = \"monitr\""), "did you mean `monitor`"),
        (with("127.0.0.1:6432", "localhost"), "write an IP address and a port"),
        (with("127.0.0.1:6432", "0.0.0.0:6432"), "TLS is not required"),
        (with("[\"127.0.0.1:6432\"]", "[]"), "no address to listen on"),
        (with("[\"127.0.0.1:6432\"]", "[\"127.0.0.1:1\", \"127.0.0.1:1\"]"), "named twice"),
        (with("127.0.0.1:9432", "0.0.0.0:9432"), "tokens travel there in plain text"),
        (good() + "[[user]]\nname = \"alice\"\nscram = \"" + VERIFIER + "\"\n", "two [[user]] named `alice`"),
        (good() + "[[policy]]\nname = \"gate\"\npackage = \"gate\"\n", "two [[policy]] named `gate`"),
        (good() + "[[user]]\nname = \"eve\"\n", "user `eve` has no credential"),
        (good() + "[[user]]\nname = \"\"\ncertificate_cn = \"x\"\n", "name is empty"),
        (good() + "[[user]]\nname = \"eve\"\ncertificate_cn = \"eve\"\n", "no client certificates are asked for"),
        (with("[\"gate\"]", "[\"gate\", \"gate\"]"), "named twice"),
        (with("tls = \"disable\"", "tls = \"disable\"\nca = \"x\""), "has no effect"),
        (with("tls = \"disable\"", "ca = \"x\""), "there is no such file"),
        (with("tls = \"disable\"", "tls = \"disable\"\nmax_sessions = 0"), "no session could open"),
        (with("targets = [\"shop\"]", "max_sessions = 0"), "no session could open"),
        (with("[[target]]", "[[group]]\nname = \"dev\"\nmax_sessions = 0\n[[target]]"), "no session could open"),
        (with("[[target]]", "[[group]]\nname = \"dev\"\n[[target]]"), "the key `max_sessions` is missing"),
        (good() + &"[[group]]\nname = \"dev\"\nmax_sessions = 1\n".repeat(2), "two [[group]] named `dev`"),
        (with("public.*.email", "public.email"), "does not name a column"),
        (with("[\"pii\"]", "[]"), "has no label"),
        (with("file:password", "file:nowhere"), "there is no such file"),
        (with("file:password", "env:PORTCULLIS_TEST_NOT_SET"), "PORTCULLIS_TEST_NOT_SET is not set"),
        (with("package = \"gate\"", "package = \"fence\""), "fence/policy.toml does not exist"),
        (with("level = 2", "level = 2026-01-01"), "no dates"),
        (with("mode = \"monitor\"", "capabilities = [\"network\"]"), "no capability `network`"),
        (with("token = \"file:token\"", ""), "no token, or two"),
        (with("token = \"file:token\"", "sha256 = \"abc\""), "not a SHA-256"),
        (
            good() + "[[admin.token]]\nname = \"eve\"\nrole = \"operator\"\ntoken = \"file:token\"\n",
            "another one's too",
        ),
        (good() + "[masking]\nkey = \"file:token\"\n", "less than 32 bytes"),
        (with("[admin]", "[admn]"), "unknown key `admn`"),
        (with("[postgres]", "[postgres]\nlissten = []"), "did you mean `listen`"),
        (good() + "[limits]\nconnections = \"many\"\n", "here stands text, and a whole number, 0 or more, is expected"),
        (with("database =", "port = \"5432\"\ndatabase ="), "text, and a whole number from 0 to 65535 is expected"),
        (with("database =", "port = 70000\ndatabase ="), "out of range: a whole number from 0 to 65535 is expected"),
        (with("tls = \"disable\"", "tls = true"), "text in quotes is expected"),
        (with("data_dir = \"data\"", "data_dir = 2026-01-01"), "here stands a date, and a path in quotes is expected"),
        (with("targets = [\"shop\"]", "targets = \"shop\""), "put it in brackets"),
        (with("[[user]]", "[user]"), "write [[user]], with two brackets"),
        (with("[admin]", "[[admin]]"), "write [admin]"),
        (good() + "[limits]\nconnections = 0\n", "`connections` is too small"),
        (good() + "[limits]\nclient_message_bytes = 9999999999\n", "larger than any message"),
        (good() + "[audit]\ninterval_ms = 0\n", "out of range"),
        (good() + "[log]\nlevel = \"loud=very\"\n", "the log level cannot be read"),
        (with("[[user]]", "[postgres.tls]\ncertificate = \"c\"\nkey = \"file:token\"\n[[user]]"), "no such file"),
        ("data_dir = \"d\"\n[postgres]\nlisten = [\"127.0.0.1:1\"]\n".into(), "there is no [[user]]"),
        ("data_dir = \"d\"\n[postgres]\nlisten = [\"127.0.0.1:1\"]\n".into(), "there is no [[target]]"),
    ];
    for (text, expected) in cases {
        let shown = refusal(&text);
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
}

#[test]
fn a_secret_is_never_taken_or_shown() {
    let token = with("\"file:token\"", "\"hunter2\"");
    let cases = [
        (with("\"file:password\"", "\"hunter2\""), "by reference"),
        (with("\"file:password\"", "712553"), "by reference"),
        (token, "by reference"),
        (with("password = \"file:password\"", "pasword = \"hunter2\""), "did you mean `password`"),
        (with("password = \"file:password\"", "password = \"hunter2"), "error"),
        (with(VERIFIER, "hunter2"), "begin"),
        (good() + "[masking]\nkey = \"hunter2\"\n", "by reference"),
        (good() + "[[approvals.webhook]]\nname = \"a\"\nurl = \"http://chat.example/hunter2\"\n", "read on the way"),
        (good() + "[[approvals.webhook]]\nname = \"a\"\nurl = \"https://a\"\nsecret = \"hunter2\"\n", "by reference"),
        (good() + "[[audit.sink]]\nname = \"a\"\nto = \"https://a\"\ntoken = \"hunter2\"\n", "by reference"),
    ];
    for (text, expected) in cases {
        let shown = refusal(&text);
        assert!(shown.contains(expected), "{expected}: {shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("712553"), "{shown}");
    }
    let shown = refusal(&with("\"file:password\"", "\"hunter2\""));
    assert!(shown.contains("env:NAME") && shown.contains("password = …"), "{shown}");
}

#[test]
fn what_should_not_stay_is_warned_of() {
    let loaded = load_text(&with("policies = [\"gate\"]", "")).unwrap();
    let briefs: Vec<&str> = loaded.warnings.iter().map(|warning| warning.brief.as_str()).collect();
    assert!(briefs.iter().any(|brief| brief.ends_with("no policies: everything is allowed")), "{briefs:?}");
    assert!(briefs.iter().any(|brief| brief.ends_with("no target uses policy `gate`")), "{briefs:?}");

    for (text, expected) in [
        (with("file:token", "file:short"), "the token of `bob` has less than 16 bytes"),
        (outward("\"cert.pem\"\nkey", "\"authority.pem\"\nkey"), "certificate is an authority's own"),
    ] {
        let loaded = load_text(&text).unwrap();
        assert!(loaded.warnings.len() == 1 && loaded.warnings[0].brief.contains(expected), "{:?}", loaded.warnings);
    }

    let dir = scratch("open");
    std::fs::write(dir.join("secret"), "s").unwrap();
    std::fs::set_permissions(dir.join("secret"), PermissionsExt::from_mode(0o644)).unwrap();
    let loaded = load_text(&with("file:password", &format!("file:{}", dir.join("secret").display()))).unwrap();
    assert!(loaded.warnings[0].full.contains("help: chmod 600"), "{}", loaded.warnings[0].full);
}

#[test]
fn what_the_engine_refuses_is_shown_at_its_place() {
    let loaded = load_text(&good()).unwrap();
    let problem = portcullis_engine::Problem::Setting { path: "/level".into(), message: "is too high".into() };
    let refused = loaded.refuse(&[LoadError { policy: "gate".into(), problem }]);
    assert!(refused.brief().contains("portcullis.toml:23:"), "{}", refused.brief());
    assert!(refused.to_string().contains("setting `/level`: is too high"), "{refused}");
}

#[test]
fn the_files_that_a_configuration_rests_on_are_known_even_if_it_is_refused() {
    let mut watched = BTreeSet::new();
    let dir = scratch("watched");
    std::fs::write(dir.join("portcullis.toml"), good()).unwrap();
    assert!(load(&dir.join("portcullis.toml"), &mut watched).is_err());
    for file in ["portcullis.toml", "password", "token", "gate/policy.toml"] {
        assert!(watched.contains(&dir.join(file)), "{file}: {watched:?}");
    }
}

#[test]
fn the_schema_is_checked_in() {
    let path = crate_dir().join("../../docs/config.schema.json");
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let way = "cargo run -p portcullis-gateway -- schema > docs/config.schema.json";
    assert!(checked_in == schema(), "docs/config.schema.json is out of date; run: {way}");
}

/// The examples are checked against everything that they do not need built components, certificates or the environment for.
#[test]
fn the_examples_are_good() {
    for example in ["quickstart", "evidence"] {
        let path = crate_dir().join("../../examples").join(example).join("portcullis.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap();
        let mut report = Report::new(&path, &text);
        check::check(&file, &mut report);
        assert!(report.errors.is_empty() && report.warnings.is_empty(), "{:?} {:?}", report.errors, report.warnings);
    }
}

/// Where cargo runs tests: several checkouts may share one directory of built programs, so the place is not built in.
fn crate_dir() -> std::path::PathBuf {
    std::env::current_dir().unwrap()
}
