//! One thread per core, each with a runtime of its own. A session stays on the thread where it began, so what it waits for wakes that
//! thread and no other.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{io, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// See the module. Dropping it ends the threads and what still runs on them.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    _stop: watch::Sender<()>,
}

struct Worker {
    runtime: Handle,
    tasks: Arc<AtomicUsize>,
}

/// A task's place among those of its worker.
struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    pub(crate) fn start() -> io::Result<Self> {
        let (stop, stopped) = watch::channel(());
        let start = |number| {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let worker = Worker { runtime: runtime.handle().clone(), tasks: Arc::default() };
            let mut stopped = stopped.clone();
            // It ends when the sender is gone.
            let run = move || drop(runtime.block_on(stopped.changed()));
            thread::Builder::new().name(format!("sessions-{number}")).spawn(run)?;
            Ok(worker)
        };
        let count = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { workers: (0..count).map(start).collect::<io::Result<_>>()?, _stop: stop })
    }

    /// Runs a task on the thread that has the fewest.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.tasks.load(Ordering::Relaxed)) else {
            return;
        };
        worker.tasks.fetch_add(1, Ordering::Relaxed);
        let busy = Busy(worker.tasks.clone());
        worker.runtime.spawn(async move {
            task.await;
            drop(busy);
        });
    }
}
