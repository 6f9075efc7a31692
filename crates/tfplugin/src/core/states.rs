//! State stores: states travel in chunks.
use super::lists::EVENTS_WAITING_MAX;
use super::{Core, Kind, answer, decode, find, guard};
use crate::service::MESSAGE_BYTES_MAX;
use crate::{Diagnostic, Diagnostics, StateStore, wire};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// The chunk that is offered where the client suggests none.
pub(super) const CHUNK_BYTES: usize = 8 << 20;
/// The largest chunk: a message holds it with room to spare.
const CHUNK_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// The largest state that is taken.
const STATE_BYTES_MAX: usize = 1 << 30;

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A state in chunks. Ranges name their last byte.
fn chunks(state: &[u8], bytes: usize) -> impl Iterator<Item = wire::ReadStateChunk> + '_ {
    let total_length = length(state.len());
    state.chunks(bytes.max(1)).enumerate().map(move |(index, chunk)| {
        let start = length(index * bytes.max(1));
        let range = Some(wire::StateByteRange { start, end: start + length(chunk.len()) - 1 });
        wire::ReadStateChunk { bytes: chunk.to_vec(), total_length, range, diagnostics: Vec::new() }
    })
}

/// The same as a client sends them.
#[cfg(any(test, feature = "harness"))]
pub(crate) fn written<'a>(state: &'a [u8], bytes: usize, meta: &'a wire::StateRequest) -> impl Iterator<Item = wire::WriteStateChunk> + 'a {
    chunks(state, bytes).enumerate().map(move |(index, chunk)| wire::WriteStateChunk {
        meta: (index == 0).then(|| meta.clone()),
        bytes: chunk.bytes,
        total_length: chunk.total_length,
        range: chunk.range,
    })
}

/// A state put together from its chunks: nothing may be missing, twice, or out of order.
#[derive(Default)]
struct Whole {
    meta: Option<wire::StateRequest>,
    bytes: Vec<u8>,
    total: Option<usize>,
}

impl Whole {
    fn add(&mut self, chunk: wire::WriteStateChunk) -> Result<(), Diagnostic> {
        let broken = |why: &str| Diagnostic::error("The state did not arrive whole", format!("{why}. Nothing was written."));
        let total = usize::try_from(chunk.total_length).ok().filter(|total| *total <= STATE_BYTES_MAX).ok_or_else(|| broken("It is too large"))?;
        if *self.total.get_or_insert(total) != total {
            return Err(broken("Its length changed on the way"));
        }
        let range = chunk.range.unwrap_or_default();
        let empty = total == 0 && chunk.bytes.is_empty();
        let fits = range.start == length(self.bytes.len()) && range.end + 1 == range.start + length(chunk.bytes.len());
        if !(fits || empty) {
            return Err(broken("A chunk is missing or out of order"));
        }
        self.meta = self.meta.take().or(chunk.meta);
        self.bytes.extend_from_slice(&chunk.bytes);
        if self.bytes.len() > total { Err(broken("It is longer than announced")) } else { Ok(()) }
    }

    fn end(self) -> Result<(wire::StateRequest, Vec<u8>), Diagnostic> {
        match self {
            Self { meta: Some(meta), bytes, total: Some(total) } if bytes.len() == total => Ok((meta, bytes)),
            Self { .. } => Err(Diagnostic::error("The state did not arrive whole", "Its end is missing. Nothing was written.")),
        }
    }
}

impl Core {
    fn store(&self, name: &str) -> Result<&Kind<dyn StateStore>, Diagnostic> {
        find(&self.states, "state store", name)
    }

    pub(crate) async fn configure_state_store(self: Arc<Self>, request: wire::ConfigureStateStoreRequest) -> wire::ConfigureStateStoreResponse {
        let call = async {
            let kind = self.store(&request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.configure(config).await)
        };
        let diagnostics = guard(call, Err).await.unwrap_or_else(Diagnostics::from);
        let suggested = request.capabilities.and_then(|asked| usize::try_from(asked.chunk_size).ok()).filter(|bytes| *bytes > 0);
        let bytes = suggested.unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES_MAX);
        self.chunk_bytes.store(bytes, Ordering::Relaxed);
        let capabilities = Some(wire::StateStoreCapabilities { chunk_size: length(bytes) });
        wire::ConfigureStateStoreResponse { diagnostics: diagnostics.to_wire(), capabilities }
    }

    pub(crate) fn read_state(self: Arc<Self>, request: wire::StateRequest) -> ReceiverStream<Result<wire::ReadStateChunk, tonic::Status>> {
        let (sender, stream) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(async move {
            let call = async { self.store(&request.type_name)?.what.read(&request.state_id).await };
            match guard(call, |panic| Err(panic.into())).await {
                Ok(state) => {
                    for chunk in chunks(&state, self.chunk_bytes.load(Ordering::Relaxed)) {
                        if sender.send(Ok(chunk)).await.is_err() {
                            return;
                        }
                    }
                }
                Err(refused) => {
                    let refused = wire::ReadStateChunk { diagnostics: refused.to_wire(), ..wire::ReadStateChunk::default() };
                    // Without a client there is nobody to tell.
                    drop(sender.send(Ok(refused)).await);
                }
            }
        });
        ReceiverStream::new(stream)
    }

    pub(crate) async fn write_state(self: Arc<Self>, mut sent: tonic::Streaming<wire::WriteStateChunk>) -> wire::DiagnosticsResponse {
        answer(async {
            let mut whole = Whole::default();
            while let Some(chunk) = sent.next().await {
                let lost = |status: tonic::Status| Diagnostic::error("The state did not arrive whole", status.message().to_owned());
                whole.add(chunk.map_err(lost)?)?;
            }
            let (meta, bytes) = whole.end()?;
            Ok(self.store(&meta.type_name)?.what.write(&meta.state_id, bytes).await)
        })
        .await
    }

    pub(crate) async fn lock_state(self: Arc<Self>, request: wire::LockRequest) -> wire::LockResponse {
        let call = async { self.store(&request.type_name)?.what.lock(&request.state_id, &request.operation_or_lock).await };
        match guard(call, |panic| Err(panic.into())).await {
            Ok(lock_id) => wire::LockResponse { lock_id, diagnostics: Vec::new() },
            Err(refused) => wire::LockResponse { lock_id: String::new(), diagnostics: refused.to_wire() },
        }
    }

    pub(crate) async fn unlock_state(self: Arc<Self>, request: wire::LockRequest) -> wire::DiagnosticsResponse {
        answer(async { Ok(self.store(&request.type_name)?.what.unlock(&request.state_id, &request.operation_or_lock).await) }).await
    }

    pub(crate) async fn list_states(self: Arc<Self>, request: wire::StateRequest) -> wire::StatesResponse {
        let call = async { self.store(&request.type_name)?.what.states().await };
        match guard(call, |panic| Err(panic.into())).await {
            Ok(state_ids) => wire::StatesResponse { state_ids, diagnostics: Vec::new() },
            Err(refused) => wire::StatesResponse { state_ids: Vec::new(), diagnostics: refused.to_wire() },
        }
    }

    pub(crate) async fn delete_state(self: Arc<Self>, request: wire::StateRequest) -> wire::DiagnosticsResponse {
        answer(async { Ok(self.store(&request.type_name)?.what.delete(&request.state_id).await) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(state: &[u8], bytes: usize) -> Vec<wire::WriteStateChunk> {
        let meta = wire::StateRequest { type_name: "t".to_owned(), state_id: "s".to_owned() };
        written(state, bytes, &meta).collect()
    }

    fn arrived(sent: Vec<wire::WriteStateChunk>) -> Result<Vec<u8>, String> {
        let mut whole = Whole::default();
        for chunk in sent {
            whole.add(chunk).map_err(|refused| refused.detail)?;
        }
        whole.end().map(|(_, bytes)| bytes).map_err(|refused| refused.detail)
    }

    #[test]
    fn a_state_arrives_whole_or_not_at_all() {
        let state: Vec<u8> = (0..=255).collect();
        for bytes in [1, 7, 255, 256, 1000] {
            assert_eq!(arrived(sent(&state, bytes)).unwrap(), state, "{bytes}");
        }
        let lost = |index: usize| {
            let mut sent = sent(&state, 100);
            sent.remove(index);
            arrived(sent).unwrap_err()
        };
        assert!(lost(1).contains("missing") && lost(2).contains("end is missing"));
        let mut twice = sent(&state, 100);
        twice.insert(1, twice[1].clone());
        twice.swap(1, 2);
        assert!(arrived(twice).unwrap_err().contains("out of order"));
    }
}
