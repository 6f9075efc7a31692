//! A local Lambda: the real function binaries behind the Lambda runtime API, with a warm pool, HTTP front,
//! SQS event sources and a schedule.
//!
//! - an instance serves one invocation at a time; at most `concurrency_max` instances of a function exist;
//! - an instance that crashes or overruns its time is killed and never used again;
//! - children end with this process: their next poll of the runtime API fails.

mod front;
mod instance;
mod schedule;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Semaphore;

pub use front::{BODY_BYTES_MAX, HttpFront};
use instance::Instance;
pub use schedule::{Schedule, TICK};
pub use sources::EventSource;

use crate::aws::NowMs;

/// What a function is started with.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Function name.
    pub name: String,
    /// The function's binary.
    pub binary: PathBuf,
    /// Arguments; a multi-function binary finds its function by name.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Where what it writes on standard error goes; this process's own when `None`.
    pub log: Option<PathBuf>,
    /// Longest invocation.
    pub timeout: Duration,
    /// Most instances at once.
    pub concurrency_max: usize,
}

/// An invocation did not answer.
#[derive(Debug, Error)]
pub enum InvokeError {
    /// The binary could not be started.
    #[error("the function's binary did not start")]
    Start(#[from] std::io::Error),
    /// The process ended before it answered.
    #[error("the function's process ended before it answered")]
    Crashed,
    /// The time was up.
    #[error("the function was stopped after {0:?}")]
    TimedOut(Duration),
    /// The function answered an error; its JSON.
    #[error("the function answered an error")]
    Function(Bytes),
    /// The pool is closed.
    #[error("the function is shut down")]
    Closed,
}

/// One function and its instances.
pub struct Function {
    config: FunctionConfig,
    now_ms: NowMs,
    permits: Semaphore,
    idle: Mutex<Vec<Instance>>,
    pids: Arc<Mutex<Vec<u32>>>,
    starts: AtomicU64,
}

impl Function {
    /// A function without instances yet.
    pub fn new(config: FunctionConfig, now_ms: NowMs) -> Arc<Self> {
        Arc::new(Self {
            permits: Semaphore::new(config.concurrency_max),
            config,
            now_ms,
            idle: Mutex::new(Vec::new()),
            pids: Arc::default(),
            starts: AtomicU64::new(0),
        })
    }

    /// The function's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Process ids of the living instances.
    pub fn pids(&self) -> Vec<u32> {
        locked(&self.pids).clone()
    }

    /// How many instances were started so far.
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Starts instances ahead of the first request, up to the pool's bound.
    pub async fn warm(&self, instances: usize) -> Result<(), InvokeError> {
        let missing = instances.min(self.config.concurrency_max).saturating_sub(locked(&self.idle).len());
        for _ in 0..missing {
            let instance = self.start().await?;
            locked(&self.idle).push(instance);
        }
        Ok(())
    }

    /// Runs one event through the function.
    pub async fn invoke(&self, payload: Bytes) -> Result<Bytes, InvokeError> {
        let _permit = self.permits.acquire().await.map_err(|_| InvokeError::Closed)?;
        let mut instance = match self.take_idle() {
            Some(instance) => instance,
            None => self.start().await?,
        };
        let deadline_ms = (self.now_ms)() + i64::try_from(self.config.timeout.as_millis()).unwrap_or(i64::MAX / 2);
        match tokio::time::timeout(self.config.timeout, instance.invoke(payload, deadline_ms)).await {
            Ok(Ok(answer)) => {
                locked(&self.idle).push(instance);
                answer.map_err(InvokeError::Function)
            }
            Ok(Err(instance::Ended)) => Err(InvokeError::Crashed),
            // Dropping the instance kills its process.
            Err(_) => Err(InvokeError::TimedOut(self.config.timeout)),
        }
    }

    /// Takes no more events and ends every idle instance.
    pub fn shut_down(&self) {
        self.permits.close();
        locked(&self.idle).clear();
    }

    fn take_idle(&self) -> Option<Instance> {
        let mut idle = locked(&self.idle);
        while let Some(instance) = idle.pop() {
            if instance.is_alive() {
                return Some(instance);
            }
        }
        None
    }

    async fn start(&self) -> Result<Instance, InvokeError> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        Ok(Instance::start(&self.config, self.pids.clone()).await?)
    }
}

/// A lock whose data stays whole when a holder panicked: every change is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
