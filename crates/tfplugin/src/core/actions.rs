//! Actions: progress streams to the client while it runs.
use super::lists::EVENTS_WAITING_MAX;
use super::{Core, decode, find, guard};
use crate::{ActionPlanned, Client, Deferred, Diagnostic, Diagnostics, Progress, wire};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

impl Core {
    pub(crate) async fn plan_action(self: Arc<Self>, request: wire::ActionRequest) -> wire::PlanActionResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = find(&self.actions, "action", &request.action_type)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.plan(config, &self.call(request.client_capabilities.as_ref(), &[])).await)
        };
        let refuse = |refused: Diagnostic| ActionPlanned { diagnostics: refused.into(), deferred: None };
        let planned = guard(call, Err).await.unwrap_or_else(refuse);
        wire::PlanActionResponse { diagnostics: planned.diagnostics.to_wire(), deferred: Deferred::to_wire(planned.deferred, client) }
    }

    pub(crate) fn invoke(self: Arc<Self>, request: wire::ActionRequest) -> ReceiverStream<Result<wire::InvokeEvent, tonic::Status>> {
        let (events, stream) = mpsc::channel(EVENTS_WAITING_MAX);
        tokio::spawn(async move {
            let (sender, mut lines) = mpsc::channel(EVENTS_WAITING_MAX);
            let core = self.clone();
            let action = tokio::spawn(async move { guard(core.invoked(&request, Progress(sender)), Diagnostics::from).await });
            // An action goes on when its client has gone: what it has begun, it ends.
            while let Some(message) = lines.recv().await {
                let event = wire::InvokeEvent { r#type: Some(wire::InvokeEventType::Progress(wire::Progress { message })) };
                drop(events.send(Ok(event)).await);
            }
            let diagnostics = action.await.unwrap_or_else(|error| Diagnostic::error("The action ended early", error.to_string()).into());
            let completed = wire::DiagnosticsResponse { diagnostics: diagnostics.to_wire() };
            drop(events.send(Ok(wire::InvokeEvent { r#type: Some(wire::InvokeEventType::Completed(completed)) })).await);
        });
        ReceiverStream::new(stream)
    }

    async fn invoked(&self, request: &wire::ActionRequest, progress: Progress) -> Diagnostics {
        let kind = match find(&self.actions, "action", &request.action_type) {
            Ok(kind) => kind,
            Err(refused) => return refused.into(),
        };
        match decode(&kind.of, request.config.as_ref()) {
            Ok(config) => kind.what.invoke(config, &progress, &self.call(request.client_capabilities.as_ref(), &[])).await,
            Err(refused) => refused.into(),
        }
    }
}
