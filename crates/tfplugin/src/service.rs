//! The two gRPC services: a path to a handler, nothing else.
use crate::core::Core;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The largest message in either direction: what Terraform itself allows.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

type Answer = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

/// A handler with the core it runs on.
struct Unary<F>(Arc<Core>, F);

impl<Req, Res, F, Fut> UnaryService<Req> for Unary<F>
where
    F: Fn(Arc<Core>, Req) -> Fut,
    Fut: Future<Output = Res> + Send + 'static,
{
    type Response = Res;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Res>, Status>> + Send>>;

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let answer = (self.1)(self.0.clone(), request.into_inner());
        Box::pin(async move { Ok(Response::new(answer.await)) })
    }
}

fn unary<Req, Res, F, Fut>(core: &Arc<Core>, request: http::Request<Body>, handler: F) -> Answer
where
    Req: prost::Message + Default + Send + 'static,
    Res: prost::Message + Default + Send + 'static,
    F: Fn(Arc<Core>, Req) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Res> + Send + 'static,
{
    let service = Unary(core.clone(), handler);
    Box::pin(async move {
        let codec = ProstCodec::<Res, Req>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(grpc.unary(service, request).await)
    })
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
            "ReadDataSource" => unary(core, request, Core::read_data_source),
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
