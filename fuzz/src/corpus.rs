//! Inputs that the decoders accept, for a fuzzer to start from.

use portcullis_wire::pg::frame::put;
use portcullis_wire::pg::login::{put_cancel_request, put_ssl_request, put_startup};
use portcullis_wire::pg::message::put_query;

use crate::relay::flag::{DENY, HOLD, NOTICE, OPEN, RAW, REFUSE, REWRITE, SERVER};

/// The exchange of RFC 7677 section 3: user `user`, password `pencil`.
pub(crate) const VERIFIER: &str = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
pub(crate) const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
pub(crate) const PROOF: &[u8] = b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
pub(crate) const PASSWORD: &str = "open sesame";
const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";

/// What a link says.
const LINK: &[u8] =
    br#"{"approval":"k7wz","digest":"ab","approve":true,"reviewer":"bob","webhook":"mail","expires_ms":1000}"#;
/// A recording of a command with a result, a message and its end, as its content behind a byte that has it packed.
const RECORDING: &[u8] = b"\x02PORTCREC\x01\x19\x02s1\x03ann\x04shop\x08postgres\x00\x02\xac\x02\
    \x01\x05\x07\x01SELECT\
    \x02\x05\x07\x01\x02id\x01t\x00\
    \x03\x05\x08\x01\x00\x01\x00\x00\x00\x017\
    \x05\x05\x13\x06NOTICE\x0500000hi\x1b[2J\
    \x04\x05\x07\x04copya\n\
    \x06\x05\x09\x01SELECT 1\
    \x7f\x05\x02\x06\x00";

/// The digest of a package that two signers have signed.
pub(crate) const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(crate) const MINISIGN_KEY: &str = "untrusted comment: minisign public key D5A2F13CE7429C8\n\
    RWTIKXTOEy9aDaDGpnph47Zk4+Lx9myS4aB31UUL1FDrHik2of8mtbrk\n";
/// By that key: over the hash of the digest's text, and as old versions did it, over the text.
pub(crate) const MINISIGN_SIGNATURES: [&str; 2] = [
    "untrusted comment: c\n\
    RUTIKXTOEy9aDbyEbRHQ5LTJWL4LVT7RdrqycgAVl7sBC+fX9cc6qAVfYcPn/OMr90jcR6VejsJzcHvAGxTc7vW8pBSq3/YiXgU=\n\
    trusted comment: fuzz\n\
    5hwQM/2CnaS9J8MqPorYFHE0Ewr+BD6TjwNocTRUGnf0FWzQxppHBfQW1qvKKUcCIQqCXBk6bEr2k2F8YRIcCw==\n",
    "untrusted comment: c\n\
    RWTIKXTOEy9aDa4RSQYz6DgmQwvr7fF3GBranTCEqlWsEqAjLh/xQUL+5C0MFxRKt3JVLdkWYHZRcb7F2GRfEejybulUKrmMtgA=\n\
    trusted comment: fuzz\n\
    gu9p5tAH4qPc8GByjTfrqQg28bzKis92h/bDQgBSQ9IeKD90ddS6/o7o5wiJiL2sdtoyUbk347N5sfF6scWPDw==\n",
];
pub(crate) const COSIGN_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEgIfEAbKxVZqNP0nw3J/LyGyVL/Fe\n\
    /+urt2j7h5I6IuMq1XBxya5sj+bc/SXABSooQuO5O5gSOZIgL3KjQn7afw==\n\
    -----END PUBLIC KEY-----\n";
pub(crate) const COSIGN_PAYLOAD: &str = r#"{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"},"type":"cosign container image signature"},"optional":null}"#;
const ED25519_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAUZiVcspizpCAZvIGGTeLexYvwQAw10XMTK16JWAH6GA=\n-----END PUBLIC KEY-----\n";
const COSIGN_SIGNATURE: &str =
    "MEUCIQCLAHr9C/is542uHRkhIWyR/i26FQj3sw5K8kngY8TMFQIgWgUFMLZnUYOdLplAQDK71tqL6weUjBDoQ0gIsnOpK/k=";
const LOCK: &str = "version = 1\n\n[[package]]\nsource = \"./local\"\nversion = \"0.1.0-rc.1\"\ndigest = \"sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\"\n\n\
    [[package]]\nsource = \"oci://registry.example:5000/policies/block:1.2.0\"\nversion = \"1.2.0\"\ndigest = \"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"\n";

/// Inputs for the target of this name.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "batch" => batches(),
        "connect" => server_logins(),
        "data_row" => [0x08 | 1, 0x18 | 2, 0xf8 | 3].map(|options| [&[options][..], &rows()].concat()).to_vec(),
        "frame" => vec![rows(), query("select 1"), [query("select 1"), rows()].concat()],
        "key" => [MINISIGN_KEY, COSIGN_KEY, ED25519_KEY].map(Into::into).to_vec(),
        "link" => vec![[b"\0", LINK].concat(), b"\x01e30.e30".to_vec()],
        "lock" => vec![LOCK.into(), b"version = 2\n".to_vec()],
        "login" => client_logins(),
        "made" => made_values(),
        "manifest" => vec![MANIFEST.into()],
        "mask" => masks(),
        "message" => {
            vec![b"CSERROR\0C42501\0Mno\0Hask\0\0".to_vec(), b"MSNOTICE\0C00000\0Mx\0\0".to_vec(), b"?T".to_vec()]
        }
        "recording" => vec![RECORDING.to_vec(), [b"\0", &RECORDING[1..]].concat()],
        "relay" => sessions(),
        "row_description" => vec![description(), b"\0\0".to_vec()],
        "scram" => vec![[chunk(0, VERIFIER.as_bytes()), chunk(0, FIRST), chunk(0, &last())].concat()],
        "signature" => signatures(),
        "sql" => SQL.iter().map(|text| [b"\0", text.as_bytes()].concat()).collect(),
        "tap" => [0x03, 0x0f, 0x20].map(|options| [&[options][..], &result()].concat()).to_vec(),
        "types" => values(),
        _ => vec![],
    }
}

fn chunk(flags: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("a seed's chunk is short");
    [&[flags, length][..], bytes].concat()
}

fn signatures() -> Vec<Vec<u8>> {
    let minisign = MINISIGN_SIGNATURES.map(|text| [b"\0\0", text.as_bytes()].concat());
    let cosign = [chunk(1, COSIGN_SIGNATURE.as_bytes()), COSIGN_PAYLOAD.into()].concat();
    [&minisign[..], &[cosign]].concat()
}

fn framed(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    put(&mut out, tag, |b| b.extend_from_slice(body));
    out
}

fn query(text: &str) -> Vec<u8> {
    let mut out = vec![];
    put_query(&mut out, text);
    out
}

/// Two rows of two columns, the second with a NULL, and two of another number.
fn rows() -> Vec<u8> {
    let bodies: [&[u8]; 4] = [
        b"\0\x02\0\0\0\x01a\0\0\0\x03bcd",
        b"\0\x02\xff\xff\xff\xff\0\0\0\0",
        b"\0\x01\0\0\0\x02xy",
        b"\0\x03\0\0\0\x01x\0\0\0\x01y\xff\xff\xff\xff",
    ];
    bodies.iter().flat_map(|body| framed(b'D', body)).collect()
}

/// What a client gets of commands, and between them.
fn result() -> Vec<u8> {
    let described = [framed(b'T', &description()), rows(), framed(b'C', b"SELECT 4\0")].concat();
    let copied = [framed(b'H', b"\0\0\0"), framed(b'd', b"a\n"), framed(b'd', b"b\n"), framed(b'C', b"COPY 2\0")];
    let others = [
        framed(b't', b"\0\0"),
        framed(b'T', &description()),
        framed(b'A', b"\0\0\0\x01channel\0payload\0"),
        framed(b'E', b"SERROR\0C42501\0Mno\0Hask\0\0"),
        framed(b'Z', b"I"),
    ];
    [described, copied.concat(), others.concat()].concat()
}

fn description() -> Vec<u8> {
    b"\0\x02id\0\0\0\0\x07\0\x02\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01name\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0".to_vec()
}

fn last() -> Vec<u8> {
    [b"c=biws,r=rOprNGfwEbeRWgbNEkqO", NONCE.as_bytes(), b",", PROOF].concat()
}

fn client_logins() -> Vec<Vec<u8>> {
    let (mut startup, mut tls, mut cancel) = (vec![], vec![], vec![]);
    put_startup(&mut startup, &[("user", "user"), ("database", "shop"), ("_pq_.x", "1")]);
    put_ssl_request(&mut tls);
    put_cancel_request(&mut cancel, &[7; 8]);
    let initial = [b"SCRAM-SHA-256\0\0\0\0\x20", FIRST].concat();
    let proved = [startup.clone(), framed(b'p', &initial), framed(b'p', &last())].concat();
    vec![
        [&[0][..], &proved].concat(),
        [&[1][..], &tls, &proved].concat(),
        [&[2][..], &tls].concat(),
        [&[2][..], &proved].concat(),
        [&[0][..], &cancel].concat(),
    ]
}

fn server_logins() -> Vec<Vec<u8>> {
    let messages = |all: &[&[u8]]| all.iter().flat_map(|message| chunk(0, message)).collect::<Vec<u8>>();
    let ready: [&[u8]; 3] = [b"Sserver_version\x0018\0", b"K\0\0\0\x01\0\0\0\x02", b"ZI"];
    let after = |first: &[&[u8]]| messages(&[first, &ready[..]].concat());
    vec![
        after(&[b"R\0\0\0\0"]),
        after(&[b"R\0\0\0\x03", b"R\0\0\0\0"]),
        after(&[b"R\0\0\0\x05salt", b"R\0\0\0\0"]),
        after(&[
            b"R\0\0\0\x0aSCRAM-SHA-256\0\0",
            b"R\0\0\0\x0br=NONCEmore,s=c2FsdA==,i=1",
            b"R\0\0\0\x0cv=AAAA",
            b"R\0\0\0\0",
        ]),
        messages(&[b"ESFATAL\0C28P01\0Mno\0\0"]),
    ]
}

/// Sessions of the simple and the extended protocol, with COPY, denials, rewrites, refusals and pipelines.
fn sessions() -> Vec<Vec<u8>> {
    let shape = description();
    let (one, two): (&[u8], &[u8]) = (b"D\0\x02\0\0\0\x01a\0\0\0\x03bcd", b"D\0\x02\xff\xff\xff\xff\0\0\0\0");
    let described = [b"T", &shape[..]].concat();
    let result = |flags: u8| -> Vec<u8> {
        [&described, one, two, b"CSELECT 2\0", b"ZI"].iter().flat_map(|m| chunk(SERVER | flags, m)).collect()
    };
    let client = |flags: u8, all: &[&[u8]]| all.iter().flat_map(|m| chunk(flags, m)).collect::<Vec<u8>>();
    let server = |all: &[&[u8]]| all.iter().flat_map(|m| chunk(SERVER, m)).collect::<Vec<u8>>();
    let ask: &[u8] = b"Qselect id, name from t\0";
    let error: &[u8] = b"ESERROR\0C42601\0Mx\0\0";
    let prepared: [&[u8]; 5] = [
        b"Ps\0select $1\0\0\x01\0\0\0\x17",
        b"Bp\0s\0\0\0\0\x01\0\0\0\x011\0\x01\0\x01",
        b"DPp\0",
        b"Ep\0\0\0\0\0",
        b"S",
    ];
    let replies = [&server(&[b"1", b"2"])[..], &server(&[&described, one, b"CSELECT 1\0", b"ZT"])].concat();
    let again = client(0, &[b"B\0s\0\0\0\0\x01\0\0\0\x011\0\0", b"E\0\0\0\0\0", b"CSs\0", b"S"]);
    let copied = server(&[b"H\0\0\x01\0\0", b"d1\tx\n", b"c", b"CCOPY 1\0", b"ZI"]);
    let sessions = [
        [client(0, &[ask]), result(0), client(0, &[b"X"])].concat(),
        [client(HOLD, &[ask]), client(NOTICE, &[ask]), result(0), result(REFUSE)].concat(),
        [client(DENY, &[ask]), server(&[error, b"ZI"]), client(REWRITE, &[ask]), result(0)].concat(),
        [client(0, &prepared), replies.clone(), again, server(&[b"2", &described, two, b"CSELECT 1\0", b"3", b"ZI"])]
            .concat(),
        [client(DENY, &prepared), server(&[error, b"ZE"]), client(0, &prepared)].concat(),
        [client(0, &[ask]), result(REFUSE), server(&[error, b"ZE"]), client(0, &[ask])].concat(),
        [client(OPEN, &[b"Qcopy t to stdout\0"]), copied].concat(),
        [client(0, &[b"Qcopy t from stdin\0", b"d1\tx\n", b"c"]), server(&[b"G\0\0\x01\0\0", b"CCOPY 1\0", b"ZI"])]
            .concat(),
        [chunk(RAW, &query("select 1")), chunk(RAW, b"Q\0\0"), chunk(RAW, b"\0\x06x\0"), chunk(SERVER | RAW, &rows())]
            .concat(),
        [
            client(0, &[b"P\0select 1\0\0\0", b"DS\0", b"H"]),
            server(&[b"1", b"t\0\0", &described]),
            client(0, &[b"F\0", b"S"]),
        ]
        .concat(),
        [client(0, &[ask, b"Qdeallocate s\0"]), result(0), server(&[b"CDEALLOCATE\0", b"Sa\0b\0", b"ZI", error])]
            .concat(),
    ];
    sessions.iter().flat_map(|session| [0, 1].map(|options| [&[options][..], session].concat())).collect()
}

fn masks() -> Vec<Vec<u8>> {
    let seed = |mask: u8, with: u8, parameter: &[u8], bound: u8, choice: u8, value: &[u8]| {
        [chunk(mask << 1 | with << 6, b""), chunk(bound, parameter), chunk(choice, value)].concat()
    };
    let mut seeds = vec![chunk(1, b"hash")];
    for (choice, value) in EXAMPLES {
        for mask in [1, 2, 3, 5, 6] {
            seeds.push(seed(mask, 0, b"", 0, *choice, value.as_bytes()));
        }
        seeds.push(seed(4, 2, b"4", 8, *choice, value.as_bytes()));
        seeds.push(seed(0, 1, value.as_bytes(), 20, *choice, value.as_bytes()));
    }
    seeds
}

fn batches() -> Vec<Vec<u8>> {
    let values = [chunk(0, b"call 555-1234"), chunk(1, b""), chunk(0, "é".as_bytes()), chunk(0, b"")].concat();
    let answers: [(u8, &[u8]); 5] = [
        (0x80, b""),
        (0x81, b"\0\x05\x08"),
        (0xaa, b"\0\x01\0\x02\0\0"),
        (0x83, b"\0\x03\0\x02\0\0"),
        (0xc0, b"\0\0\0\x01"),
    ];
    answers.iter().map(|(flags, bytes)| [&values[..], &chunk(*flags, bytes)].concat()).collect()
}

/// Texts of values, each with the place of its class.
const EXAMPLES: &[(u8, &str)] = &[
    (0, "abc     "),
    (1, "t"),
    (2, "\\x00ff"),
    (3, "2024-02-28"),
    (3, "0044-03-15 BC"),
    (3, "infinity"),
    (4, "1.5"),
    (5, "-1e-7"),
    (6, "-32768"),
    (7, "2147483647"),
    (8, "-9223372036854775808"),
    (9, "{\"a\": [1, null]}"),
    (10, "{\"a\": \"b\"}"),
    (11, "name"),
    (12, "-12345678.9012"),
    (12, "0.000010"),
    (12, "NaN"),
    (13, "(1,2)"),
    (14, "alice@example.org"),
    (14, "1984-05-06 07:08"),
    (15, "2026-11-23 15:45:56.25"),
    (16, "1999-12-31 23:59:59.999999+05:30"),
    (17, "00112233-4455-6677-8899-aabbccddeeff"),
    (18, "<a/>"),
];

/// The texts, and values in the binary format.
fn values() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> =
        EXAMPLES.iter().map(|(class, text)| [&[*class][..], text.as_bytes()].concat()).collect();
    let binary: [(u8, &[u8]); 12] = [
        (1, b"\x01"),
        (2, b"\0\xff"),
        (3, b"\0\0\x22\xb4"),
        (3, b"\x7f\xda\x97\x9c"),
        (4, &1.5f32.to_be_bytes()),
        (5, &(-1e300f64).to_be_bytes()),
        (8, b"\x80\0\0\0\0\0\0\0"),
        (10, b"\x01{}"),
        (12, b"\0\x03\0\x01\0\0\0\x03\0\x01\x09\x29\x1a\x7c"),
        (12, b"\0\x01\xff\xff\x40\0\0\x02\x00\x64"),
        (15, b"\0\x02\xed\x6f\x4e\x0c\x90\0"),
        (16, b"\xff\xfd\xed\x6f\x4e\x0c\x90\x01"),
    ];
    seeds.extend(binary.iter().map(|(class, bytes)| [&[*class][..], bytes].concat()));
    seeds
}

fn made_values() -> Vec<Vec<u8>> {
    let texts = [
        (0, "{1,NULL,-3}"),
        (0, "[0:1][-1:0]={{1,2},{3,4}}"),
        (1, "{}"),
        (1, "{a,\"b c\",NULL,\"NULL\",\"\",\"\\\"\\\\\",{\"{,}\"}}"),
        (2, "{2024-02-29,infinity}"),
        (3, "{\"{\\\"a\\\": 1}\"}"),
        (4, "(1,\"a \"\"b\",)"),
        (5, "{\"(1,2)\"}"),
    ];
    let binary: [(u8, &[u8]); 6] = [
        (0, b"\0\0\0\x02\0\0\0\x01\0\0\0\x17\0\0\0\x01\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff"),
        (1, b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x05\0\0\0\x03a,b"),
        (4, b"\0\0\0\x02\0\0\0\x17\0\0\0\x04\0\0\0\x07\0\0\0\x19\xff\xff\xff\xff"),
        (6, b"\x02\0\0\0\x04\0\0\0\x01\0\0\0\x04\0\0\0\x0a"),
        (6, b"\x01"),
        (8, b"\0\0\0\x01\0\0\0\x01\x18"),
    ];
    let texts = texts.iter().map(|(choice, text)| [&[*choice][..], text.as_bytes()].concat());
    texts.chain(binary.iter().map(|(choice, bytes)| [&[*choice][..], bytes].concat())).collect()
}

const SQL: &[&str] = &[
    "",
    "select id, t.name from public.t as t join u using (id) where id = $1 and x in (select 1) order by 2 limit 3",
    "with w as (delete from t returning *) insert into u select * from w on conflict do nothing",
    "update t set a = default where true; delete from only \"T\" where a is not null returning *",
    "merge into t using u on t.a = u.a when matched then delete when not matched then insert values (1)",
    "create table s.t (id int primary key, v text default f('x') check (length(v) > 0)) partition by list (v)",
    "copy (select * from t) to program 'x' with (format csv)",
    "do $a$ begin perform 1; end $a$; call p(1, named => 2)",
    "prepare s as select E'\\'', U&'\\0061', 0x1F, 1_000, '\\x'::bytea -- end",
    "grant select (a) on t to r with grant option; set local role r; declare c cursor for select for_update()",
    "select * from rows from (f(1), g()) with ordinality, lateral (values (1)) v, xmltable('/a' passing x columns b text)",
    "explain (analyze) select sum(a) filter (where b) over (partition by c) from t group by rollup (a) for update of t",
];

const MANIFEST: &str = r#"
[package]
name = "block"
version = "0.1.0"
description = "Blocks statements."
interface = "0.1"
component = "block.wasm"
settings-schema = "settings.schema.json"
hooks = ["commands"]

[capabilities]
clock = "opening hours"
state = "counters"

[build]
language = "rust"
source = "../../plugins/block"

[settings]
rules = [{ verbs = ["DROP TABLE"], message = "no", limit = 1.5, on = true }]
"#;
