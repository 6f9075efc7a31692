//! What the system does to the process: signals, and the end of the client that started it.
use tokio_util::sync::CancellationToken;

#[cfg(unix)]
pub(super) use unix::{mind_parent, mind_signals};

#[cfg(unix)]
mod unix {
    use super::CancellationToken;
    use std::time::Duration;
    use tokio::signal::unix::{SignalKind, signal};

    /// How often the provider looks whether the process that started it still lives.
    const PARENT_CHECK: Duration = Duration::from_secs(1);

    /// An interrupt reaches the whole process group. Terraform answers it by StopProvider and waits for the state, so the
    /// provider goes on; only a debugged provider, which no Terraform ends, stops by it. A termination ends either in order.
    pub(in super::super) async fn mind_signals(debug: bool, stop: CancellationToken, done: CancellationToken) {
        let kinds = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
        let (Ok(mut interrupts), Ok(mut terminations)) = kinds else {
            return tracing::warn!("signals cannot be listened to");
        };
        loop {
            let ends = tokio::select! {
                _ = interrupts.recv() => debug,
                _ = terminations.recv() => true,
            };
            if ends {
                stop.cancel();
                return done.cancel();
            }
            tracing::trace!("interrupt left to Terraform");
        }
    }

    /// Ends the provider when Terraform was killed: nobody else would.
    pub(in super::super) async fn mind_parent(stop: CancellationToken, done: CancellationToken) {
        let parent = std::os::unix::process::parent_id();
        let mut ticks = tokio::time::interval(PARENT_CHECK);
        while std::os::unix::process::parent_id() == parent {
            ticks.tick().await;
        }
        stop.cancel();
        done.cancel();
    }
}

/// A console's Ctrl-C reaches every process in it: the client answers it by Stop, so the provider goes on.
#[cfg(not(unix))]
pub(super) async fn mind_signals(debug: bool, stop: CancellationToken, done: CancellationToken) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if debug {
            stop.cancel();
            return done.cancel();
        }
    }
}

/// Windows has no parent to look at: the client's job object ends what it has started.
#[cfg(not(unix))]
pub(super) async fn mind_parent(_: CancellationToken, _: CancellationToken) {}
