//! Ephemeral resources.
use super::{Core, answer, decode, encode, find, guard};
use crate::{Call, Client, Deferred, Diagnostic, Opened, wire};
use std::sync::Arc;

fn time(at: jiff::Timestamp) -> wire::Timestamp {
    wire::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() }
}

impl Core {
    fn opened(&self, request: &wire::OpenedRequest) -> Call {
        self.call(None, request.private.as_deref().unwrap_or_default())
    }

    pub(crate) async fn open(self: Arc<Self>, request: wire::OpenRequest) -> wire::OpenResponse {
        let client = Client::from_wire(request.client_capabilities.as_ref());
        let call = async {
            let kind = find(&self.ephemeral, "ephemeral resource", &request.type_name)?;
            let config = decode(&kind.of, request.config.as_ref())?;
            Ok(kind.what.open(config, &self.call(request.client_capabilities.as_ref(), &[])).await)
        };
        let opened = guard(call, Err).await.unwrap_or_else(|refused: Diagnostic| Opened::refused(refused));
        wire::OpenResponse {
            result: if opened.diagnostics.has_error() { None } else { encode(&opened.result) },
            diagnostics: opened.diagnostics.to_wire(),
            renew_at: opened.renew_at.map(time),
            private: Some(opened.private),
            deferred: Deferred::to_wire(opened.deferred, client),
        }
    }

    pub(crate) async fn renew(self: Arc<Self>, request: wire::OpenedRequest) -> wire::RenewResponse {
        let call = async {
            let kind = find(&self.ephemeral, "ephemeral resource", &request.type_name)?;
            Ok(kind.what.renew(&self.opened(&request)).await)
        };
        let opened = guard(call, Err).await.unwrap_or_else(|refused: Diagnostic| Opened::refused(refused));
        wire::RenewResponse { diagnostics: opened.diagnostics.to_wire(), renew_at: opened.renew_at.map(time), private: Some(opened.private) }
    }

    pub(crate) async fn close(self: Arc<Self>, request: wire::OpenedRequest) -> wire::DiagnosticsResponse {
        answer(async {
            let kind = find(&self.ephemeral, "ephemeral resource", &request.type_name)?;
            Ok(kind.what.close(&self.opened(&request)).await)
        })
        .await
    }
}
