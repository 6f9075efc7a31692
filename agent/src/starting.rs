//! The first requests of a process: rights that were given a moment ago may not be seen by every API server yet.
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a right may take to be seen. A chart that was just installed gives rights and starts the agent in one breath.
const SEEN_MAX: Duration = Duration::from_secs(60);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Asks again, for a bounded time, while the API server says that this account may not. Every other answer is the answer.
pub(crate) async fn patiently<T, F: Future<Output = kube::Result<T>>>(ask: impl Fn() -> F) -> kube::Result<T> {
    let deadline = Instant::now() + SEEN_MAX;
    loop {
        match ask().await {
            Err(kube::Error::Api(status)) if status.code == 403 && Instant::now() < deadline => {
                tracing::info!(message = status.message, "not allowed yet");
                sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Box::new(kube::core::Status::failure("no", "Forbidden").with_code(code)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_is_waited_for_and_not_for_ever() {
        let asked = Cell::new(0);
        let later = patiently(|| {
            asked.set(asked.get() + 1);
            std::future::ready(if asked.get() < 5 { Err(answer(403)) } else { Ok(asked.get()) })
        });
        assert_eq!(later.await.unwrap(), 5);
        let began = Instant::now();
        assert!(patiently(|| std::future::ready(Err::<(), _>(answer(403)))).await.is_err());
        assert_eq!(began.elapsed().as_secs(), SEEN_MAX.as_secs());
        let began = Instant::now();
        assert!(patiently(|| std::future::ready(Err::<(), _>(answer(500)))).await.is_err());
        assert_eq!(began.elapsed().as_secs(), 0, "what is no want of a right ends it");
    }
}
