use std::thread::JoinHandle;

use rayon::prelude::*;

/// The threads that multiply matrices: none beside the caller's by default, so that one request costs one core and the
/// proxy keeps the others.
///
/// The tensor library's own pools are process-wide, sized by environment variables and spin while they wait; with as
/// many threads as cores, a busy machine decodes forty times slower. These sleep, and are joined when this is dropped.
pub(crate) struct Compute {
    pool: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Compute {
    /// Work is done on the calling thread alone.
    pub(crate) fn inline() -> Self {
        Compute { pool: None, threads: Vec::new() }
    }

    /// Work is done on `threads` threads of its own, or on the caller's if that is 1 or they cannot be started.
    pub(crate) fn new(threads: usize) -> Self {
        if threads <= 1 {
            return Self::inline();
        }
        let mut handles = Vec::new();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(|thread| {
            let name = format!("local-model-{}", thread.index());
            handles.push(std::thread::Builder::new().name(name).spawn(|| thread.run())?);
            Ok(())
        });
        match pool.build() {
            Ok(pool) => Compute { pool: Some(pool), threads: handles },
            Err(error) => {
                tracing::warn!(%error, threads, "cannot start the model's compute threads; using one");
                Compute { pool: None, threads: handles }
            }
        }
    }

    /// Runs `work` where its inner loops are cheap to spread.
    pub(crate) fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.pool {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }

    /// Calls `f(i, chunk)` for each `chunk` numbers of `out`, in any order.
    pub(crate) fn for_chunks<T: Send>(&self, out: &mut [T], chunk: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        match &self.pool {
            Some(pool) => {
                let share = out.len() / chunk / (pool.current_num_threads() * 4);
                pool.install(|| {
                    out.par_chunks_mut(chunk).enumerate().with_min_len(share.max(1)).for_each(|(i, out)| f(i, out));
                });
            }
            None => out.chunks_mut(chunk).enumerate().for_each(|(i, out)| f(i, out)),
        }
    }
}

impl Drop for Compute {
    fn drop(&mut self) {
        drop(self.pool.take());
        for thread in self.threads.drain(..) {
            // A panic in a compute thread has already been passed on to the caller by rayon.
            let _ = thread.join();
        }
    }
}
