//! The two gRPC services: a path to a handler, nothing else.
use crate::core::Core;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

/// The largest message in either direction: what Terraform itself allows.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

type Pending<T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send>>;

/// A handler with the core it runs on.
struct Handler<F>(Arc<Core>, F);

impl<Req, Res, F, Fut> UnaryService<Req> for Handler<F>
where
    F: Fn(Arc<Core>, Req) -> Fut,
    Fut: Future<Output = Res> + Send + 'static,
{
    type Response = Res;
    type Future = Pending<Res>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let answer = (self.1)(self.0.clone(), request.into_inner());
        Box::pin(async move { Ok(Response::new(answer.await)) })
    }
}

/// A handler whose answer is a stream.
struct Teller<F>(Arc<Core>, F);

impl<Req, Res, F> ServerStreamingService<Req> for Teller<F>
where
    Res: Send + 'static,
    F: Fn(Arc<Core>, Req) -> ReceiverStream<Result<Res, Status>>,
{
    type Response = Res;
    type ResponseStream = ReceiverStream<Result<Res, Status>>;
    type Future = Pending<Self::ResponseStream>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let stream = (self.1)(self.0.clone(), request.into_inner());
        Box::pin(async move { Ok(Response::new(stream)) })
    }
}

/// A handler whose question is a stream.
struct Taker<F>(Arc<Core>, F);

impl<Req, Res, F, Fut> ClientStreamingService<Req> for Taker<F>
where
    F: Fn(Arc<Core>, Streaming<Req>) -> Fut,
    Fut: Future<Output = Res> + Send + 'static,
{
    type Response = Res;
    type Future = Pending<Res>;

    fn call(&mut self, request: Request<Streaming<Req>>) -> Self::Future {
        let answer = (self.1)(self.0.clone(), request.into_inner());
        Box::pin(async move { Ok(Response::new(answer.await)) })
    }
}

fn grpc<Req, Res>() -> Grpc<ProstCodec<Res, Req>>
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn unary<Req, Res, F, Fut>(core: &Arc<Core>, request: http::Request<Body>, handler: F) -> Answer
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
    F: Fn(Arc<Core>, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Res> + Send + 'static,
{
    let handler = Handler(core.clone(), handler);
    Box::pin(async move { Ok(grpc::<Req, Res>().unary(handler, request).await) })
}

fn telling<Req, Res, F>(core: &Arc<Core>, request: http::Request<Body>, handler: F) -> Answer
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
    F: Fn(Arc<Core>, Req) -> ReceiverStream<Result<Res, Status>> + Send + Sync + 'static,
{
    let handler = Teller(core.clone(), handler);
    Box::pin(async move { Ok(grpc::<Req, Res>().server_streaming(handler, request).await) })
}

fn taking<Req, Res, F, Fut>(core: &Arc<Core>, request: http::Request<Body>, handler: F) -> Answer
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
    F: Fn(Arc<Core>, Streaming<Req>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Res> + Send + 'static,
{
    let handler = Taker(core.clone(), handler);
    Box::pin(async move { Ok(grpc::<Req, Res>().client_streaming(handler, request).await) })
}

/// RPCs of later minor versions: Terraform falls back when it reads UNIMPLEMENTED.
fn unimplemented() -> Answer {
    Box::pin(async { Ok(Status::unimplemented("").into_http()) })
}

/// `tfplugin6.Provider`.
#[derive(Clone)]
pub(crate) struct ProviderService(pub(crate) Arc<Core>);

impl NamedService for ProviderService {
    const NAME: &'static str = "tfplugin6.Provider";
}

impl Service<http::Request<Body>> for ProviderService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        let core = &self.0;
        // Each name is one of the protocol; what answers it is one method of the core.
        match request.uri().path().strip_prefix("/tfplugin6.Provider/").unwrap_or_default() {
            "GetMetadata" => unary(core, request, Core::metadata),
            "GetProviderSchema" => unary(core, request, Core::schemas),
            "GetResourceIdentitySchemas" => unary(core, request, Core::identity_schemas),
            "ValidateProviderConfig" => unary(core, request, Core::validate_provider),
            "ConfigureProvider" => unary(core, request, Core::configure),
            "ValidateResourceConfig" => unary(core, request, Core::validate_resource),
            "ValidateDataResourceConfig" => unary(core, request, Core::validate_data_source),
            "UpgradeResourceState" => unary(core, request, Core::upgrade),
            "ReadResource" => unary(core, request, Core::read),
            "PlanResourceChange" => unary(core, request, Core::plan),
            "ApplyResourceChange" => unary(core, request, Core::apply),
            "ImportResourceState" => unary(core, request, Core::import),
            "MoveResourceState" => unary(core, request, Core::move_state),
            "GenerateResourceConfig" => unary(core, request, Core::generate_config),
            "UpgradeResourceIdentity" => unary(core, request, Core::upgrade_identity),
            "ReadDataSource" => unary(core, request, Core::read_data_source),
            "GetFunctions" => unary(core, request, Core::functions),
            "CallFunction" => unary(core, request, Core::call_function),
            "ValidateEphemeralResourceConfig" => unary(core, request, Core::validate_ephemeral),
            "OpenEphemeralResource" => unary(core, request, Core::open),
            "RenewEphemeralResource" => unary(core, request, Core::renew),
            "CloseEphemeralResource" => unary(core, request, Core::close),
            "ValidateListResourceConfig" => unary(core, request, Core::validate_list),
            "ListResource" => telling(core, request, Core::list),
            "ValidateActionConfig" => unary(core, request, Core::validate_action),
            "PlanAction" => unary(core, request, Core::plan_action),
            "InvokeAction" => telling(core, request, Core::invoke),
            "ValidateStateStoreConfig" => unary(core, request, Core::validate_state_store),
            "ConfigureStateStore" => unary(core, request, Core::configure_state_store),
            "ReadStateBytes" => telling(core, request, Core::read_state),
            "WriteStateBytes" => taking(core, request, Core::write_state),
            "LockState" => unary(core, request, Core::lock_state),
            "UnlockState" => unary(core, request, Core::unlock_state),
            "GetStates" => unary(core, request, Core::list_states),
            "DeleteState" => unary(core, request, Core::delete_state),
            "StopProvider" => unary(core, request, Core::stop),
            _ => unimplemented(),
        }
    }
}

/// `plugin.GRPCController`: how the host ends the process.
#[derive(Clone)]
pub(crate) struct ControllerService(pub(crate) Arc<Core>);

impl NamedService for ControllerService {
    const NAME: &'static str = "plugin.GRPCController";
}

impl Service<http::Request<Body>> for ControllerService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Answer {
        match request.uri().path() {
            "/plugin.GRPCController/Shutdown" => unary(&self.0, request, Core::shutdown),
            _ => unimplemented(),
        }
    }
}
