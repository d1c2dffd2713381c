//! An empty WASI 0.2 world, for guests whose tool chain insists on one: no files, no environment, no network.
//!
//! It is made for each component, from what that one imports, so that every version 0.2.x is served. The functions in
//! [`define`] have an answer of their own. Every other gives the empty value of its type: `none`, an empty list, a
//! refusal, a handle on nothing. Where the type has no such value the call traps.

use std::collections::BTreeSet;

use wasmtime::component::types::{ComponentFunc, ComponentItem, ResultType, Type};
use wasmtime::component::{
    Component, ComponentType, Linker, LinkerInstance, Lower, Resource, ResourceAny, ResourceType, Val,
};
use wasmtime::{StoreContextMut, bail};

use super::log::MAX_LINE;
use super::{Host, wit};
use crate::spec::Capability;

/// The packages of which a component may import interfaces.
const PACKAGES: [&str; 7] = ["cli", "clocks", "filesystem", "http", "io", "random", "sockets"];

/// The names that the refusals of these packages have, in their variants and enumerations of errors.
const REFUSALS: [&str; 5] = ["closed", "access-denied", "not-permitted", "HTTP-request-denied", "forbidden"];

/// The most random bytes of one call.
const MAX_RANDOM: u64 = 65_536;

/// The most bytes that a guest is told it may write at once.
const MAX_WRITE: u64 = 4096;

const NANOS_PER_MS: u64 = 1_000_000;

/// What every handle stands for: there is nothing behind it, but for the two output streams, which its number tells.
struct Stub;

const STDOUT: u32 = 1;
const STDERR: u32 = 2;

/// What one instance has of this world.
#[derive(Default)]
pub(super) struct Wasi {
    /// The monotonic clock never goes back, though the host's may be set.
    latest_ms: u64,
    /// How far the pseudo-random stream is: the same in each instance, so worth nothing as a secret.
    drawn: u64,
    /// Lines of stdout and stderr that have not ended yet.
    lines: [Vec<u8>; 2],
}

#[derive(ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

impl Datetime {
    fn of_ms(ms: u64) -> Self {
        Self { seconds: ms / 1000, nanoseconds: (ms % 1000) as u32 * NANOS_PER_MS as u32 }
    }
}

#[derive(ComponentType, Lower)]
#[component(variant)]
#[allow(dead_code, reason = "writing to the log does not fail; the type says how it could")]
enum StreamError {
    #[component(name = "last-operation-failed")]
    Failed(Resource<Stub>),
    #[component(name = "closed")]
    Closed,
}

type Written<T> = wasmtime::Result<(Result<T, StreamError>,)>;

/// `io/streams` of `wasi:io/streams@0.2.3`, if it is an interface of this world.
pub(crate) fn interface(name: &str) -> Option<&str> {
    let (interface, version) = name.strip_prefix("wasi:")?.split_once('@')?;
    let patch = version.strip_prefix("0.2.")?;
    let known = PACKAGES.contains(&interface.split_once('/')?.0);
    (known && !patch.is_empty() && patch.bytes().all(|b| b.is_ascii_digit())).then_some(interface)
}

/// Defines what a component imports of this world. Nothing of it needs a grant; clock and randomness are real with one.
pub(crate) fn link(
    linker: &mut Linker<Host>,
    component: &Component,
    granted: &BTreeSet<Capability>,
) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    for (import, item) in component.component_type().imports(&engine) {
        let (Some(interface), ComponentItem::ComponentInstance(ty)) = (interface(import), item.ty) else { continue };
        let mut at = linker.instance(import)?;
        for (name, item) in ty.exports(&engine) {
            match item.ty {
                ComponentItem::Resource(_) => at.resource(name, ResourceType::host::<Stub>(), |_, _| Ok(()))?,
                ComponentItem::ComponentFunc(_) => define(&mut at, interface, name, granted)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Defines one function.
fn define(
    at: &mut LinkerInstance<'_, Host>,
    interface: &str,
    name: &str,
    granted: &BTreeSet<Capability>,
) -> wasmtime::Result<()> {
    let (clock, random) = (granted.contains(&Capability::Clock), granted.contains(&Capability::Random));
    match (interface, name) {
        ("cli/exit", _) => at.func_new(name, |_, _, _, _| bail!("it called `exit`")),
        ("cli/stdout", "get-stdout") => at.func_wrap(name, |_, ()| Ok((Resource::<Stub>::new_own(STDOUT),))),
        ("cli/stderr", "get-stderr") => at.func_wrap(name, |_, ()| Ok((Resource::<Stub>::new_own(STDERR),))),
        ("io/streams", "[method]output-stream.check-write") => {
            at.func_wrap(name, |_, (_,): (Resource<Stub>,)| -> Written<u64> { Ok((Ok(MAX_WRITE),)) })
        }
        ("io/streams", "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush") => at
            .func_wrap(name, |mut store: Store<'_>, (to, bytes): (Resource<Stub>, Vec<u8>)| -> Written<()> {
                store.data_mut().print(to.rep(), &bytes)?;
                Ok((Ok(()),))
            }),
        // A line ends with its end, or with the call: a guest that flushes each word would make each a line.
        ("io/streams", "[method]output-stream.flush" | "[method]output-stream.blocking-flush") => {
            at.func_wrap(name, |_, (_,): (Resource<Stub>,)| -> Written<()> { Ok((Ok(()),)) })
        }
        // Whoever waits has waited long enough.
        ("io/poll", "[method]pollable.ready") => at.func_wrap(name, |_, (_,): (Resource<Stub>,)| Ok((true,))),
        ("io/poll", "[method]pollable.block") => at.func_wrap(name, |_, (_,): (Resource<Stub>,)| Ok(())),
        ("io/poll", "poll") => {
            at.func_wrap(name, |_, (all,): (Vec<Resource<Stub>>,)| Ok(((0..all.len() as u32).collect::<Vec<u32>>(),)))
        }
        ("clocks/monotonic-clock", "now") => {
            at.func_wrap(name, move |mut store: Store<'_>, ()| Ok((store.data_mut().monotonic(clock)?,)))
        }
        ("clocks/monotonic-clock", "resolution") => at.func_wrap(name, |_, ()| Ok((NANOS_PER_MS,))),
        ("clocks/wall-clock", "now") => {
            at.func_wrap(name, move |mut store: Store<'_>, ()| Ok((Datetime::of_ms(store.data_mut().time_ms(clock)?),)))
        }
        ("clocks/wall-clock", "resolution") => at.func_wrap(name, |_, ()| Ok((Datetime::of_ms(1),))),
        ("random/random", "get-random-bytes") if random => {
            at.func_wrap(name, |mut store: Store<'_>, (n,): (u64,)| Ok((store.data_mut().secret_bytes(n)?,)))
        }
        ("random/random", "get-random-u64") if random => at.func_wrap(name, |mut store: Store<'_>, ()| {
            let bytes = store.data_mut().secret_bytes(8)?;
            Ok((bytes.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte)),))
        }),
        ("random/random" | "random/insecure", "get-random-bytes" | "get-insecure-random-bytes") => {
            at.func_wrap(name, |mut store: Store<'_>, (n,): (u64,)| Ok((store.data_mut().wasi.bytes(n)?,)))
        }
        ("random/random" | "random/insecure", "get-random-u64" | "get-insecure-random-u64") => {
            at.func_wrap(name, |mut store: Store<'_>, ()| Ok((store.data_mut().wasi.draw(),)))
        }
        ("random/insecure-seed", "insecure-seed") => at.func_wrap(name, |mut store: Store<'_>, ()| {
            let wasi = &mut store.data_mut().wasi;
            Ok(((wasi.draw(), wasi.draw()),))
        }),
        _ => {
            let missing = format!("`wasi:{interface}#{name}` is not there: {}", why(interface));
            at.func_new(name, move |store, ty, params, results| nothing(store, &missing, &ty, params, results))
        }
    }
}

type Store<'a> = StoreContextMut<'a, Host>;

fn why(interface: &str) -> &'static str {
    match interface.split_once('/') {
        Some(("sockets" | "http", _)) => "policies have no network",
        Some(("filesystem", _)) => "policies have no files",
        _ => "policies have no operating system",
    }
}

/// Gives the empty value of a function's type.
fn nothing(
    mut store: Store<'_>,
    missing: &str,
    ty: &ComponentFunc,
    params: &[Val],
    results: &mut [Val],
) -> wasmtime::Result<()> {
    params.iter().try_for_each(|value| let_go(&mut store, value))?;
    let empty = match ty.results().next() {
        Some(Type::Option(_)) => Some(Val::Option(None)),
        Some(Type::List(_)) => Some(Val::List(Vec::new())),
        Some(Type::Own(_)) => {
            Some(Val::Resource(ResourceAny::try_from_resource(Resource::<Stub>::new_own(0), &mut store)?))
        }
        Some(Type::Result(ty)) => refusal(&ty),
        _ => None,
    };
    match (empty, results) {
        (Some(empty), [result]) => *result = empty,
        _ => bail!("{missing}"),
    }
    Ok(())
}

/// The error by which a type says no.
fn refusal(ty: &ResultType) -> Option<Val> {
    let denied = |name: &&str| REFUSALS.contains(name);
    let error = match ty.err() {
        None => None,
        Some(Type::Enum(ty)) => Some(Val::Enum(ty.names().find(denied)?.into())),
        Some(Type::Variant(ty)) => {
            let case = ty.cases().find(|case| denied(&case.name) && case.ty.is_none())?;
            Some(Val::Variant(case.name.into(), None))
        }
        Some(_) => return None,
    };
    Some(Val::Result(Err(error.map(Box::new))))
}

/// Gives back the handles in a value: the store would keep them.
fn let_go(store: &mut Store<'_>, value: &Val) -> wasmtime::Result<()> {
    match value {
        Val::Resource(handle) => handle.resource_drop(&mut *store),
        Val::Option(Some(value)) | Val::Variant(_, Some(value)) | Val::Result(Ok(Some(value)) | Err(Some(value))) => {
            let_go(store, value)
        }
        Val::List(values) | Val::Tuple(values) => values.iter().try_for_each(|value| let_go(store, value)),
        Val::Record(fields) => fields.iter().try_for_each(|(_, value)| let_go(store, value)),
        _ => Ok(()),
    }
}

impl Wasi {
    /// The next number of a fixed stream (SplitMix64). Interpreters want one at their start, for their hash tables.
    fn draw(&mut self) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.drawn ^ (self.drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, n: u64) -> wasmtime::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(bounded(n)?);
        while bytes.len() < bytes.capacity() {
            let left = bytes.capacity() - bytes.len();
            bytes.extend_from_slice(&self.draw().to_le_bytes()[..left.min(8)]);
        }
        Ok(bytes)
    }
}

fn bounded(n: u64) -> wasmtime::Result<usize> {
    if n > MAX_RANDOM {
        bail!("random: {n} bytes were asked for; at most {MAX_RANDOM} are given at a time");
    }
    Ok(n as usize)
}

impl Host {
    /// The time, or the beginning of it without the capability.
    fn time_ms(&mut self, granted: bool) -> wasmtime::Result<u64> {
        if granted { wit::clock::Host::now_ms(self) } else { Ok(0) }
    }

    fn monotonic(&mut self, granted: bool) -> wasmtime::Result<u64> {
        self.wasi.latest_ms = self.wasi.latest_ms.max(self.time_ms(granted)?);
        Ok(self.wasi.latest_ms.saturating_mul(NANOS_PER_MS))
    }

    fn secret_bytes(&mut self, n: u64) -> wasmtime::Result<Vec<u8>> {
        let mut left = bounded(n)?;
        let mut bytes = Vec::with_capacity(left);
        while left > 0 {
            let some = left.min(4096);
            bytes.extend(wit::random::Host::bytes(self, some as u32)?);
            left -= some;
        }
        Ok(bytes)
    }

    /// Takes what the guest prints. Each line goes to the log, like those that it writes there itself.
    fn print(&mut self, stream: u32, bytes: &[u8]) -> wasmtime::Result<()> {
        let at = match stream {
            STDOUT => 0,
            STDERR => 1,
            _ => return Ok(()),
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            let line = &mut self.wasi.lines[at];
            line.extend(text.iter().take(MAX_LINE - line.len().min(MAX_LINE)));
            if ends {
                self.end_line(at)?;
            }
        }
        Ok(())
    }

    fn end_line(&mut self, at: usize) -> wasmtime::Result<()> {
        let line = std::mem::take(&mut self.wasi.lines[at]);
        let line = String::from_utf8_lossy(line.trim_ascii_end());
        if line.is_empty() {
            return Ok(());
        }
        let level = [wit::log::Level::Info, wit::log::Level::Warn][at];
        wit::log::Host::write(self, level, line.into_owned())
    }

    /// To be called when the guest has returned or failed: what it printed is a line then, even if it did not end it.
    pub(crate) fn end_lines(&mut self) {
        for at in 0..self.wasi.lines.len() {
            // The log drops lines beyond its bound, and fails at none.
            let _ = self.end_line(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_world_is_wasi_0_2_and_nothing_else() {
        assert_eq!(interface("wasi:io/streams@0.2.0"), Some("io/streams"));
        assert_eq!(interface("wasi:http/types@0.2.12"), Some("http/types"));
        for other in [
            "wasi:io/streams",
            "wasi:io/streams@0.2",
            "wasi:io/streams@0.2.",
            "wasi:io/streams@0.3.0",
            "wasi:io/streams@0.2.0-rc-2023-11-10",
            "wasi:nn/graph@0.2.0",
            "wasi:io@0.2.0",
            "evil:io/streams@0.2.0",
        ] {
            assert_eq!(interface(other), None, "{other}");
        }
    }

    #[test]
    fn the_pseudo_random_stream_is_of_any_length_and_bounded() {
        let mut wasi = Wasi::default();
        assert!(wasi.bytes(0).unwrap().is_empty());
        assert_eq!(wasi.bytes(13).unwrap().len(), 13);
        assert_eq!(wasi.bytes(MAX_RANDOM).unwrap().len(), 65_536);
        assert!(wasi.bytes(MAX_RANDOM + 1).is_err());
        assert_eq!(Wasi::default().bytes(13).unwrap(), Wasi::default().bytes(16).unwrap()[..13]);
    }
}
