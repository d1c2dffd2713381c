use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wasmtime::{Cache, CacheConfig, Config, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::error::EngineError;
use crate::meter::Metering;

/// The most memory that one instance can be given: what the pool reserves of the address space for each.
pub(crate) const MAX_MEMORY: u64 = 1 << 32;

/// The most entries of one table: function pointers, mostly. An interpreter has tens of thousands.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// The most core instances of one component: a Rust guest is three, a Python one with its libraries some thirty.
const MAX_CORE_INSTANCES: u32 = 64;

/// How long one tick of the epoch lasts.
const TICK: Duration = Duration::from_millis(5);

/// After so many ticks without a call the thread rests: ticks are free of system calls for whoever calls in between.
const RESTLESS_TICKS: u32 = 200;

/// wasmtime and the thread that enforces time limits.
pub(crate) struct Runtime {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) metering: Metering,
    pulse: Arc<Pulse>,
    ticker: Option<JoinHandle<()>>,
}

/// What calls and the ticking thread tell each other.
#[derive(Default)]
struct Pulse {
    /// Calls under way. While there are any, the thread does not rest.
    active: AtomicUsize,
    /// A call began since the last tick.
    busy: AtomicBool,
    /// The thread rests, or is about to.
    resting: AtomicBool,
    stop: AtomicBool,
}

/// A call under way: while this lives, the epoch advances.
pub(crate) struct Call<'a>(&'a Pulse);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Release);
    }
}

impl Runtime {
    pub(crate) fn new(cache_dir: Option<&Path>, max_instances: u32, metering: Metering) -> Result<Self, EngineError> {
        let mut config = configuration(max_instances);
        config.consume_fuel(metering.counts_fuel());
        if let Some(dir) = cache_dir {
            config.cache(Some(private_cache(dir)?));
        }
        let engine = wasmtime::Engine::new(&config)
            .map_err(|e| EngineError::Runtime { max_instances, reason: e.root_cause().to_string() })?;
        let pulse = Arc::new(Pulse::default());
        let ticker = thread::Builder::new().name("policy-clock".into());
        let (ticking, told) = (engine.clone(), pulse.clone());
        let ticker = ticker.spawn(move || tick(&ticking, &told)).map_err(EngineError::Thread)?;
        Ok(Self { engine, metering, pulse, ticker: Some(ticker) })
    }

    /// To be called before each call into a guest and kept until it returns. The number is the call's deadline in ticks.
    pub(crate) fn enter(&self, ms: u64) -> (Call<'_>, u64) {
        self.pulse.active.fetch_add(1, Ordering::SeqCst);
        if !self.pulse.busy.load(Ordering::Relaxed) {
            self.pulse.busy.store(true, Ordering::Relaxed);
        }
        // Either this sees that the thread is about to rest, or the thread sees the call.
        if self.pulse.resting.load(Ordering::SeqCst) {
            self.wake();
        }
        // The current tick is under way already and does not count.
        (Call(&self.pulse), ms.div_ceil(TICK.as_millis() as u64) + 1)
    }

    fn wake(&self) {
        if let Some(ticker) = &self.ticker {
            ticker.thread().unpark();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.pulse.stop.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(ticker) = self.ticker.take() {
            // It cannot panic; and nothing depends on it any more.
            let _ = ticker.join();
        }
    }
}

/// Ticks while calls are under way and rests otherwise: an idle gateway costs nothing.
fn tick(engine: &wasmtime::Engine, pulse: &Pulse) {
    let mut idle = 0;
    while !pulse.stop.load(Ordering::SeqCst) {
        if idle > RESTLESS_TICKS {
            pulse.resting.store(true, Ordering::SeqCst);
            if pulse.active.load(Ordering::SeqCst) == 0 && !pulse.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            pulse.resting.store(false, Ordering::SeqCst);
            idle = 0;
        }
        thread::sleep(TICK);
        engine.increment_epoch();
        idle = if pulse.busy.swap(false, Ordering::Relaxed) { 0 } else { idle + 1 };
    }
}

fn configuration(max_instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    // Core instances are merely counted. Memories and tables are reserved, of the address space alone.
    pool.total_component_instances(max_instances)
        .total_core_instances(max_instances.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(max_instances.saturating_mul(2))
        .total_tables(max_instances.saturating_mul(4))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(8)
        .max_tables_per_component(64)
        .max_memory_size(MAX_MEMORY as usize)
        .table_elements(MAX_TABLE_ELEMENTS);
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .concurrency_support(false)
        .epoch_interruption(true)
        .wasm_component_model(true)
        .wasm_memory64(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(512 << 10);
    config
}

/// Compiled code is native code: nobody else may write it or even read it.
fn private_cache(dir: &Path) -> Result<Cache, EngineError> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    let unusable = |reason: String| EngineError::Cache { path: dir.display().to_string(), reason };
    let failed = |e: std::io::Error| unusable(e.to_string());
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let dir = dir.canonicalize().map_err(failed)?;
    let found = dir.metadata().map_err(failed)?;
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(unusable(format!(
            "others may enter it (mode {mode:o}); it holds native code, so `chmod 700` it or name another in `cache_dir`"
        )));
    }
    // A file made here belongs to whoever runs the gateway.
    let probe = dir.join(".owner");
    let own = std::fs::File::create(&probe).and_then(|f| f.metadata()).map_err(failed)?.uid();
    if found.uid() != own {
        return Err(unusable(format!("it belongs to user {}, and the gateway runs as user {own}", found.uid())));
    }
    let mut config = CacheConfig::new();
    config.with_directory(dir);
    Cache::new(config).map_err(|e| unusable(e.root_cause().to_string()))
}
