//! `sink_token`: an ephemeral resource that must be renewed, and that is gone after the run.
use crate::shelf::Shelf;
use kiven_tfplugin::{Attr, Call, Diagnostic, Diagnostics, Ephemeral, Opened, Path, Schema, Value, async_trait};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How long a token lives, in seconds.
const LIFE_SECONDS: i64 = 60;

static OPENED: AtomicU32 = AtomicU32::new(0);

/// The ephemeral resource.
pub(crate) struct Token(pub(crate) Arc<Shelf>);

#[expect(clippy::disallowed_methods, reason = "an example: the time of a token's end is the wall clock's")]
fn end() -> Option<jiff::Timestamp> {
    jiff::Timestamp::now().checked_add(jiff::SignedDuration::from_secs(LIFE_SECONDS)).ok()
}

#[async_trait]
impl Ephemeral for Token {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("audience").required()).attr(Attr::string("token").computed().sensitive())
    }
    async fn validate(&self, config: &Value) -> Diagnostics {
        match config.get("audience").as_str() {
            Some("") => Diagnostic::error("For whom?", "The audience is empty.").at(Path::attribute("audience")).into(),
            _ => Diagnostics::none(),
        }
    }
    async fn open(&self, mut config: Value, _: &Call) -> Opened {
        let name = format!("{}-{}.token", std::process::id(), OPENED.fetch_add(1, Ordering::Relaxed));
        if let Err(refused) = self.0.put_bytes(&name, b"open") {
            return Opened::refused(refused);
        }
        let token = format!("token-for-{}", config.get("audience").as_str().unwrap_or_default());
        config.set("token", token);
        Opened { private: name.into_bytes(), renew_at: end(), ..Opened::of(config) }
    }
    async fn renew(&self, call: &Call) -> Opened {
        let name = String::from_utf8_lossy(&call.private).into_owned();
        match self.0.put_bytes(&name, b"renewed") {
            Ok(()) => Opened { private: call.private.clone(), renew_at: end(), ..Opened::default() },
            Err(refused) => Opened::refused(refused),
        }
    }
    async fn close(&self, call: &Call) -> Diagnostics {
        self.0.remove(&String::from_utf8_lossy(&call.private)).err().map(Diagnostics::from).unwrap_or_default()
    }
}
