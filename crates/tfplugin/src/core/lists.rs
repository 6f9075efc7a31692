//! List resources: what is found streams to the client, one by one.
use super::{Core, decode, encode, find, guard};
use crate::{Diagnostic, Diagnostics, Found, Listed, Query, wire};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Events between the provider and the client: a slow client slows the search.
pub(super) const EVENTS_WAITING_MAX: usize = 16;

fn event(one: &Listed) -> wire::ListEvent {
    wire::ListEvent {
        identity: Some(wire::IdentityData { identity_data: encode(&one.identity) }),
        display_name: one.display_name.clone(),
        resource_object: one.state.as_ref().and_then(encode),
        diagnostic: one.diagnostics.to_wire(),
    }
}

impl Core {
    pub(crate) fn list(self: Arc<Self>, request: wire::ListRequest) -> ReceiverStream<Result<wire::ListEvent, tonic::Status>> {
        let (events, stream) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(async move {
            let limit = u64::try_from(request.limit).unwrap_or(0);
            let (sender, mut found) = mpsc::channel(EVENTS_WAITING_MAX);
            let core = self.clone();
            let search = tokio::spawn(async move { guard(core.search(&request, limit, &Found(sender)), Diagnostics::from).await });
            let mut told = 0;
            while let Some(one) = found.recv().await {
                told += 1;
                let gone = events.send(Ok(event(&one))).await.is_err();
                if gone || told == limit {
                    found.close();
                    return search.abort();
                }
            }
            let diagnostics = search.await.unwrap_or_else(|error| Diagnostic::error("The search ended early", error.to_string()).into());
            if !diagnostics.is_empty() {
                let last = wire::ListEvent { diagnostic: diagnostics.to_wire(), ..wire::ListEvent::default() };
                // Without a client there is nobody to tell.
                drop(events.send(Ok(last)).await);
            }
        });
        ReceiverStream::new(stream)
    }

    async fn search(&self, request: &wire::ListRequest, limit: u64, found: &Found) -> Diagnostics {
        let kind = match find(&self.lists, "list resource", &request.type_name) {
            Ok(kind) => kind,
            Err(refused) => return refused.into(),
        };
        match decode(&kind.of, request.config.as_ref()) {
            Ok(config) => {
                let query = Query { config, include_state: request.include_resource_object, limit };
                kind.what.list(query, found, &self.call(None, &[])).await
            }
            Err(refused) => refused.into(),
        }
    }
}
