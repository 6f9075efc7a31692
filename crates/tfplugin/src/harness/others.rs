//! The harness beyond managed resources: data sources, functions, ephemeral resources, lists, actions, state stores.
use super::{EphemeralAnswer, Harness, HarnessError, StateAnswer, read, sent, told};
use crate::{Diagnostics, FunctionError, Listed, Value, wire};
use futures_util::StreamExt;

impl Harness {
    /// Reads a data source.
    pub async fn look_up(&self, type_name: &str, config: &Value) -> Result<StateAnswer, HarnessError> {
        let request = wire::ReadDataSourceRequest {
            type_name: type_name.to_owned(),
            config: sent(config),
            client_capabilities: self.capabilities(),
            ..wire::ReadDataSourceRequest::default()
        };
        let answer: wire::ReadDataSourceResponse = self.ask("ReadDataSource", request).await?;
        Ok(StateAnswer {
            state: read(self.types.data_source(type_name)?, answer.state)?,
            identity: Value::Null,
            private: Vec::new(),
            deferred: answer.deferred.is_some(),
            diagnostics: told(answer.diagnostics),
        })
    }

    /// Calls a function.
    pub async fn call(&self, name: &str, arguments: &[Value]) -> Result<Result<Value, FunctionError>, HarnessError> {
        let arguments = arguments.iter().filter_map(sent).collect();
        let answer: wire::CallResponse = self.ask("CallFunction", wire::CallRequest { name: name.to_owned(), arguments }).await?;
        if let Some(error) = answer.error {
            let argument = error.function_argument.and_then(|position| usize::try_from(position).ok());
            return Ok(Err(FunctionError { text: error.text, argument }));
        }
        read(self.types.function(name)?, answer.result).map(Ok)
    }

    /// Opens an ephemeral resource.
    pub async fn open(&self, type_name: &str, config: &Value) -> Result<EphemeralAnswer, HarnessError> {
        let request = wire::OpenRequest { type_name: type_name.to_owned(), config: sent(config), client_capabilities: self.capabilities() };
        let answer: wire::OpenResponse = self.ask("OpenEphemeralResource", request).await?;
        Ok(EphemeralAnswer {
            result: read(self.types.ephemeral(type_name)?, answer.result)?,
            private: answer.private.unwrap_or_default(),
            renew_at: answer.renew_at.map(|at| at.seconds),
            diagnostics: told(answer.diagnostics),
        })
    }

    /// Renews an ephemeral resource.
    pub async fn renew(&self, type_name: &str, private: &[u8]) -> Result<EphemeralAnswer, HarnessError> {
        let request = wire::OpenedRequest { type_name: type_name.to_owned(), private: Some(private.to_vec()) };
        let answer: wire::RenewResponse = self.ask("RenewEphemeralResource", request).await?;
        Ok(EphemeralAnswer {
            result: Value::Null,
            private: answer.private.unwrap_or_default(),
            renew_at: answer.renew_at.map(|at| at.seconds),
            diagnostics: told(answer.diagnostics),
        })
    }

    /// Closes an ephemeral resource.
    pub async fn close(&self, type_name: &str, private: &[u8]) -> Result<Diagnostics, HarnessError> {
        let request = wire::OpenedRequest { type_name: type_name.to_owned(), private: Some(private.to_vec()) };
        let answer: wire::DiagnosticsResponse = self.ask("CloseEphemeralResource", request).await?;
        Ok(told(answer.diagnostics))
    }

    /// Lists objects, and what was said at the end.
    pub async fn list(&self, type_name: &str, config: &Value, include_state: bool, limit: i64) -> Result<(Vec<Listed>, Diagnostics), HarnessError> {
        let (type_name_sent, config) = (type_name.to_owned(), sent(config));
        let request = wire::ListRequest { type_name: type_name_sent, config, include_resource_object: include_state, limit };
        let mut events = std::pin::pin!(self.listen::<_, wire::ListEvent>("ListResource", request).await?);
        let (mut found, mut said) = (Vec::new(), Diagnostics::none());
        while let Some(event) = events.next().await {
            let event = event?;
            let Some(identity) = event.identity else {
                said.extend(told(event.diagnostic));
                continue;
            };
            let state = event.resource_object.map(|object| read(self.types.resource(type_name)?, Some(object))).transpose()?;
            let (identity, diagnostics) = (self.identity(type_name, Some(identity))?, told(event.diagnostic));
            found.push(Listed { identity, display_name: event.display_name, state, diagnostics });
        }
        Ok((found, said))
    }

    /// Runs an action: its lines, and what was said at the end.
    pub async fn invoke(&self, action_type: &str, config: &Value) -> Result<(Vec<String>, Diagnostics), HarnessError> {
        let (name, capabilities) = (action_type.to_owned(), self.capabilities());
        let request = wire::ActionRequest { action_type: name, config: sent(config), client_capabilities: capabilities };
        let plan: wire::PlanActionResponse = self.ask("PlanAction", request.clone()).await?;
        let planned = told(plan.diagnostics);
        if planned.has_error() {
            return Ok((Vec::new(), planned));
        }
        let mut events = std::pin::pin!(self.listen::<_, wire::InvokeEvent>("InvokeAction", request).await?);
        let mut lines = Vec::new();
        while let Some(event) = events.next().await {
            match event?.r#type {
                Some(wire::InvokeEventType::Progress(progress)) => lines.push(progress.message),
                Some(wire::InvokeEventType::Completed(completed)) => return Ok((lines, told(completed.diagnostics))),
                None => {}
            }
        }
        Err(HarnessError::Answer("the action did not complete".to_owned()))
    }

    /// Configures a state store and agrees on a chunk size.
    pub async fn configure_state_store(&self, type_name: &str, config: &Value, chunk_bytes: i64) -> Result<(i64, Diagnostics), HarnessError> {
        let capabilities = Some(wire::StateStoreCapabilities { chunk_size: chunk_bytes });
        let request = wire::ConfigureStateStoreRequest { type_name: type_name.to_owned(), config: sent(config), capabilities };
        let answer: wire::ConfigureStateStoreResponse = self.ask("ConfigureStateStore", request).await?;
        Ok((answer.capabilities.unwrap_or_default().chunk_size, told(answer.diagnostics)))
    }

    /// Writes a state in chunks of so many bytes.
    pub async fn write_state(&self, type_name: &str, state_id: &str, state: &[u8], chunk_bytes: usize) -> Result<Diagnostics, HarnessError> {
        let meta = wire::StateRequest { type_name: type_name.to_owned(), state_id: state_id.to_owned() };
        let chunks: Vec<wire::WriteStateChunk> = crate::core::written(state, chunk_bytes, &meta).collect();
        let request = tonic::Request::new(tokio_stream::iter(chunks));
        let codec = tonic_prost::ProstCodec::<wire::WriteStateChunk, wire::DiagnosticsResponse>::default();
        let answer = self.ready().await?.client_streaming(request, super::connect::path("WriteStateBytes")?, codec).await;
        Ok(told(answer.map_err(HarnessError::Refused)?.into_inner().diagnostics))
    }

    /// Reads a state back, with how many chunks it came in.
    pub async fn read_state(&self, type_name: &str, state_id: &str) -> Result<(Vec<u8>, usize, Diagnostics), HarnessError> {
        let request = wire::StateRequest { type_name: type_name.to_owned(), state_id: state_id.to_owned() };
        let mut chunks = std::pin::pin!(self.listen::<_, wire::ReadStateChunk>("ReadStateBytes", request).await?);
        let (mut state, mut count, mut said) = (Vec::new(), 0, Diagnostics::none());
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            state.extend_from_slice(&chunk.bytes);
            said.extend(told(chunk.diagnostics));
            count += 1;
        }
        Ok((state, count, said))
    }

    /// Locks a state; the lock's id, or why not.
    pub async fn lock_state(&self, type_name: &str, state_id: &str, operation: &str) -> Result<Result<String, Diagnostics>, HarnessError> {
        let answer: wire::LockResponse = self.ask("LockState", lock(type_name, state_id, operation)).await?;
        let said = told(answer.diagnostics);
        Ok(if said.has_error() { Err(said) } else { Ok(answer.lock_id) })
    }

    /// Gives a lock back.
    pub async fn unlock_state(&self, type_name: &str, state_id: &str, lock_id: &str) -> Result<Diagnostics, HarnessError> {
        let answer: wire::DiagnosticsResponse = self.ask("UnlockState", lock(type_name, state_id, lock_id)).await?;
        Ok(told(answer.diagnostics))
    }

    /// Every state's id.
    pub async fn states(&self, type_name: &str) -> Result<Vec<String>, HarnessError> {
        let request = wire::StateRequest { type_name: type_name.to_owned(), state_id: String::new() };
        let answer: wire::StatesResponse = self.ask("GetStates", request).await?;
        Ok(answer.state_ids)
    }

    /// Deletes a state.
    pub async fn delete_state(&self, type_name: &str, state_id: &str) -> Result<Diagnostics, HarnessError> {
        let request = wire::StateRequest { type_name: type_name.to_owned(), state_id: state_id.to_owned() };
        let answer: wire::DiagnosticsResponse = self.ask("DeleteState", request).await?;
        Ok(told(answer.diagnostics))
    }

    /// Asks for a stop, as an interrupted Terraform does.
    pub async fn stop(&self) -> Result<(), HarnessError> {
        self.ask::<_, wire::StopResponse>("StopProvider", wire::Empty {}).await.map(drop)
    }

    /// Checks the configuration of a data source, ephemeral resource, list, action or state store, by the RPC's name.
    pub async fn check(&self, rpc: &str, type_name: &str, config: &Value) -> Result<Diagnostics, HarnessError> {
        self.checked(rpc, type_name, config).await
    }
}

fn lock(type_name: &str, state_id: &str, operation_or_lock: &str) -> wire::LockRequest {
    wire::LockRequest { type_name: type_name.to_owned(), state_id: state_id.to_owned(), operation_or_lock: operation_or_lock.to_owned() }
}
