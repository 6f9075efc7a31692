//! The single-use tokens of an agent whose cluster has no issuer that Kiven can ask. Each enrolment spends one; the agent makes
//! the next itself and sends only its SHA-256. Both are in a Secret before anybody is asked, so that a lost answer loses nothing.
use crate::objects::{api, resource};
use anyhow::Context;
use kiven_model::enrolment::{AgentTokenUse, agent_token_text};
use kiven_model::names::SYSTEM_NAMESPACE;
use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Where the tokens are kept, in the agent's own namespace; the chart makes it.
const SECRET: &str = "kiven-agent-token";
/// The token that is kept, the one that was to follow it, and the first one.
const ATTEMPTS_MAX: u32 = 3;

/// What is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The one to enrol with.
    pub(crate) token: String,
    /// The one that follows it, while it is not known whether it does already.
    pub(crate) next: String,
}

/// Where it is kept.
pub(crate) trait Keep {
    async fn read(&self) -> anyhow::Result<Kept>;
    async fn write(&self, kept: &Kept) -> anyhow::Result<()>;
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// What was shown is worth nothing.
    #[error("enrolment was refused ({status}): {why}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem.
        why: String,
    },
    /// Nobody knows.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Enrols with what is kept, else with the first token. `ask` sends one token and the digest of the next.
pub(crate) async fn enrol<K: Keep, T>(keep: &K, first: &str, ask: impl AsyncFn(AgentTokenUse) -> Result<T, AskError>) -> anyhow::Result<T> {
    let mut kept = keep.read().await.context("the tokens cannot be read")?;
    if kept.token.is_empty() {
        kept.token = first.to_owned();
    }
    let mut refusal = AskError::Other(anyhow::anyhow!("there is no token to enrol with: give the chart a new one"));
    for _ in 0..ATTEMPTS_MAX {
        if kept.token.is_empty() {
            break;
        }
        // An answer to the same question may have been lost: then the next token holds already.
        let asked_before = !kept.next.is_empty();
        if !asked_before {
            kept.next = fresh()?;
            keep.write(&kept).await.context("the next token cannot be kept")?;
        }
        match ask(AgentTokenUse { token: kept.token.clone(), next_sha256: digest(&kept.next) }).await {
            Ok(answer) => {
                let kept = Kept { token: kept.next, next: String::new() };
                if let Err(error) = keep.write(&kept).await {
                    tracing::warn!(error = format!("{error:#}"), "the new token is kept beside the spent one");
                }
                return Ok(answer);
            }
            Err(error @ AskError::Other(_)) => return Err(error.into()),
            Err(error @ AskError::Refused { .. }) => {
                refusal = error;
                let other = if asked_before { std::mem::take(&mut kept.next) } else { first.to_owned() };
                if other == kept.token {
                    break;
                }
                kept = Kept { token: other, next: String::new() };
            }
        }
    }
    Err(refusal.into())
}

fn fresh() -> anyhow::Result<String> {
    let mut bits = [[0; 16]; 2];
    for half in &mut bits {
        getrandom::fill(half).map_err(|error| anyhow::anyhow!("there is no randomness: {error}"))?;
    }
    Ok(agent_token_text(bits))
}

fn digest(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The Secret.
pub(crate) struct InSecret<'a>(pub(crate) &'a Client);

impl Keep for InSecret<'_> {
    async fn read(&self) -> anyhow::Result<Kept> {
        let found = api(self.0, SYSTEM_NAMESPACE, &resource("", "v1", "Secret", "secrets")).get(SECRET).await?;
        let entry = |key| crate::secrets::decoded(&found.data, key);
        Ok(Kept { token: entry("token"), next: entry("next") })
    }
    async fn write(&self, kept: &Kept) -> anyhow::Result<()> {
        let encoded = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
        let patch = json!({ "data": { "token": encoded(&kept.token), "next": encoded(&kept.next) } });
        let secrets = api(self.0, SYSTEM_NAMESPACE, &resource("", "v1", "Secret", "secrets"));
        secrets.patch(SECRET, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Kiven, as far as tokens go: the digest that holds, and how the next answers are lost.
    #[derive(Default)]
    struct Enrol {
        holds: RefCell<String>,
        lost: RefCell<Vec<&'static str>>,
    }

    impl Enrol {
        async fn ask(&self, used: AgentTokenUse) -> Result<(), AskError> {
            let lost = || Err(AskError::Other(anyhow::anyhow!("lost")));
            if self.lost.borrow_mut().pop_if(|next| *next == "request").is_some() {
                return lost();
            }
            if digest(&used.token) != *self.holds.borrow() {
                return Err(AskError::Refused { status: 403, why: "spent".to_owned() });
            }
            *self.holds.borrow_mut() = used.next_sha256;
            // What is refused is never lost here: its loss would be a request's.
            if self.lost.borrow_mut().pop().is_some() { lost() } else { Ok(()) }
        }
    }

    impl Keep for RefCell<Kept> {
        async fn read(&self) -> anyhow::Result<Kept> {
            Ok(self.borrow().clone())
        }
        async fn write(&self, kept: &Kept) -> anyhow::Result<()> {
            *self.borrow_mut() = kept.clone();
            Ok(())
        }
    }

    #[tokio::test]
    async fn whatever_is_lost_the_agent_enrols_again_by_itself() {
        let (kiven, kept) = (Enrol::default(), RefCell::new(Kept::default()));
        *kiven.holds.borrow_mut() = digest("first");
        let enrol = async || enrol(&kept, "first", async |used| kiven.ask(used).await).await;
        kiven.lost.borrow_mut().push("request");
        assert!(enrol().await.is_err());
        enrol().await.unwrap();
        enrol().await.unwrap();
        kiven.lost.borrow_mut().push("answer");
        assert!(enrol().await.is_err());
        enrol().await.unwrap();
        for lost in [["answer", "request"], ["request", "answer"], ["answer", "answer"]] {
            kiven.lost.borrow_mut().extend(lost);
            assert!(enrol().await.is_err() && enrol().await.is_err());
            enrol().await.unwrap();
        }
        assert!(kept.borrow().next.is_empty());
    }

    #[tokio::test]
    async fn a_new_first_token_mends_what_has_expired_and_a_spent_one_does_not() {
        let (kiven, kept) = (Enrol::default(), RefCell::new(Kept::default()));
        *kiven.holds.borrow_mut() = digest("first");
        let with = async |first: &str| enrol(&kept, first, async |used| kiven.ask(used).await).await.map_err(|error| error.to_string());
        with("first").await.unwrap();
        *kiven.holds.borrow_mut() = digest("second");
        assert_eq!(with("first").await.unwrap_err(), "enrolment was refused (403): spent");
        with("second").await.unwrap();
        with("second").await.unwrap();
        *kept.borrow_mut() = Kept::default();
        assert!(with("").await.unwrap_err().contains("there is no token"));
    }
}
