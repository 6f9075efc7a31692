//! The whole wire: a gRPC client over mutual TLS against the served provider.
use crate::core::Core;
use crate::{Applied, Attr, Call, Diagnostic, Diagnostics, ImportKey, Provider, Read, Resource, Schema, Value};
use crate::{async_trait, from_msgpack, serve, tls, to_msgpack, wire};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{PrivateKeyDer, ServerName};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::UnixStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::{Channel, Endpoint};

struct Things;
struct Thing;

fn with_id(mut value: Value) -> Value {
    let name = value.get("name").clone();
    value.set("id", name);
    value
}

#[async_trait]
impl Provider for Things {
    fn schema(&self) -> Schema {
        Schema::new(0).attr(Attr::string("endpoint").optional())
    }
    fn resources(&self) -> Vec<(&'static str, Arc<dyn Resource>)> {
        vec![("things_thing", Arc::new(Thing))]
    }
    async fn configure(&self, _: Value, _: &str) -> Diagnostics {
        Diagnostics::none()
    }
}

#[async_trait]
impl Resource for Thing {
    fn schema(&self) -> Schema {
        Schema::new(1).attr(Attr::string("name").required()).attr(Attr::string("id").computed())
    }
    async fn validate(&self, config: &Value) -> Diagnostics {
        match config.get("name").as_str() {
            Some("bad") => Diagnostic::error("bad name", "").at(self.schema().path_of("name")).into(),
            _ => Diagnostics::none(),
        }
    }
    async fn read(&self, state: Value, _: &Call) -> Read {
        Read::of(state)
    }
    async fn create(&self, planned: Value, _: Value, call: &Call) -> Applied {
        match planned.get("name").as_str() {
            Some("panic") => panic!("asked to"),
            Some("wait") => {
                call.stop.cancelled().await;
                Applied::with(with_id(planned), Diagnostic::warning("interrupted", ""))
            }
            _ => Applied::of(with_id(planned)).private(*b"p"),
        }
    }
    async fn update(&self, _: Value, _: Value, _: Value, _: &Call) -> Applied {
        panic!("asked to")
    }
    async fn delete(&self, _: Value, _: &Call) -> Applied {
        Applied::default()
    }
    async fn import(&self, _: &ImportKey, _: &Call) -> Read {
        Read::default()
    }
}

struct Identity {
    pem: String,
    chain: Vec<rustls_pki_types::CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    Identity { pem: certificate.pem(), chain: vec![certificate.der().clone()], key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) }
}

struct Served {
    socket: PathBuf,
    own: Vec<u8>,
    task: tokio::task::JoinHandle<Result<(), crate::ServeError>>,
}

async fn served(client_pem: &str) -> Served {
    let listener = serve::Listener::bind((0, 0)).await.unwrap();
    let socket = PathBuf::from(listener.address());
    let (config, own) = tls::server(client_pem).unwrap();
    let core = Arc::new(Core::new(Arc::new(Things)));
    Served { socket, own, task: tokio::spawn(serve::run(core, listener, Some(TlsAcceptor::from(config)))) }
}

async fn connect(served: &Served, who: Identity) -> Result<Channel, tonic::transport::Error> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(served.own.clone().into()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(who.chain, who.key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, socket) = (TlsConnector::from(Arc::new(config)), served.socket.clone());
    Endpoint::from_static("http://localhost")
        .connect_with_connector(tower::service_fn(move |_| {
            let (connector, socket) = (connector.clone(), socket.clone());
            async move {
                let stream = UnixStream::connect(socket).await?;
                let name = ServerName::try_from("localhost").map_err(std::io::Error::other)?;
                connector.connect(name, stream).await.map(TokioIo::new)
            }
        }))
        .await
}

async fn call<Q, A>(channel: &Channel, path: &'static str, request: Q) -> Result<A, tonic::Status>
where
    Q: prost::Message + Default + 'static,
    A: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    let path = tonic::codegen::http::uri::PathAndQuery::from_static(path);
    grpc.unary(tonic::Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

fn dynamic(value: &Value) -> Option<wire::DynamicValue> {
    Some(wire::DynamicValue { msgpack: to_msgpack(value).unwrap(), json: Vec::new() })
}

fn read(value: Option<wire::DynamicValue>) -> Value {
    from_msgpack(&Thing.schema().value_type(), &value.unwrap().msgpack).unwrap()
}

fn thing(name: &str, id: Value) -> Value {
    Value::object([("name", name.into()), ("id", id)])
}

fn apply(prior: &Value, planned: &Value) -> wire::ApplyRequest {
    let (prior_state, planned_state) = (dynamic(prior), dynamic(planned));
    wire::ApplyRequest {
        type_name: "things_thing".to_owned(),
        config: planned_state.clone(),
        prior_state,
        planned_state,
        ..wire::ApplyRequest::default()
    }
}

const APPLY: &str = "/tfplugin6.Provider/ApplyResourceChange";

#[tokio::test]
async fn schema_plan_apply_and_shutdown_over_mutual_tls() {
    let who = identity();
    let served = served(&who.pem).await;
    let channel = connect(&served, who).await.unwrap();

    let schema: wire::SchemaResponse = call(&channel, "/tfplugin6.Provider/GetProviderSchema", wire::Empty {}).await.unwrap();
    assert_eq!(schema.resource_schemas["things_thing"].version, 1);
    assert!(schema.server_capabilities.unwrap().get_provider_schema_optional);

    let config = thing("a", Value::Null);
    let request = wire::PlanRequest {
        type_name: "things_thing".to_owned(),
        prior_state: dynamic(&Value::Null),
        proposed_new_state: dynamic(&config),
        config: dynamic(&config),
        ..wire::PlanRequest::default()
    };
    let plan: wire::PlanResponse = call(&channel, "/tfplugin6.Provider/PlanResourceChange", request).await.unwrap();
    let planned = read(plan.planned_state);
    assert_eq!(planned, thing("a", Value::Unknown));
    assert!(plan.requires_replace.is_empty());

    let applied: wire::ApplyResponse = call(&channel, APPLY, apply(&Value::Null, &planned)).await.unwrap();
    assert_eq!((read(applied.new_state), applied.private.as_slice()), (thing("a", "a".into()), b"p".as_slice()));

    let request = wire::UpgradeRequest {
        type_name: "things_thing".to_owned(),
        version: 0,
        raw_state: Some(wire::RawState { json: br#"{"name":"a","old":1}"#.to_vec() }),
    };
    let upgraded: wire::ValueResponse = call(&channel, "/tfplugin6.Provider/UpgradeResourceState", request).await.unwrap();
    assert_eq!(read(upgraded.value), thing("a", Value::Null));

    let unknown = call::<_, wire::Empty>(&channel, "/tfplugin6.Provider/OfAnotherDecade", wire::Empty {}).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);

    let _: wire::Empty = call(&channel, "/plugin.GRPCController/Shutdown", wire::Empty {}).await.unwrap();
    drop(channel);
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_wrong_value_is_on_its_attribute() {
    let who = identity();
    let served = served(&who.pem).await;
    let channel = connect(&served, who).await.unwrap();
    let config = dynamic(&thing("bad", Value::Null));
    let request = wire::ValidateResourceRequest { type_name: "things_thing".to_owned(), config, client_capabilities: None };
    let answer: wire::DiagnosticsResponse = call(&channel, "/tfplugin6.Provider/ValidateResourceConfig", request).await.unwrap();
    let path = answer.diagnostics[0].attribute.as_ref().unwrap();
    assert_eq!(path.steps[0].selector, Some(wire::Selector::AttributeName("name".to_owned())));
    let request = wire::ValidateResourceRequest { type_name: "things_other".to_owned(), ..wire::ValidateResourceRequest::default() };
    let answer: wire::DiagnosticsResponse = call(&channel, "/tfplugin6.Provider/ValidateResourceConfig", request).await.unwrap();
    assert!(answer.diagnostics[0].summary.contains("things_other"));
}

#[tokio::test]
async fn a_panic_keeps_the_prior_state() {
    let who = identity();
    let served = served(&who.pem).await;
    let channel = connect(&served, who).await.unwrap();
    let prior = thing("a", "a".into());
    let applied: wire::ApplyResponse = call(&channel, APPLY, apply(&prior, &thing("b", "a".into()))).await.unwrap();
    assert_eq!(read(applied.new_state), prior);
    assert!(applied.diagnostics[0].detail.starts_with("asked to"));
    let applied: wire::ApplyResponse = call(&channel, APPLY, apply(&Value::Null, &thing("panic", Value::Unknown))).await.unwrap();
    assert!(read(applied.new_state).is_null());
}

#[tokio::test]
async fn stop_lets_a_waiting_create_answer_with_its_state() {
    let who = identity();
    let served = served(&who.pem).await;
    let channel = connect(&served, who).await.unwrap();
    let waiting = call::<_, wire::ApplyResponse>(&channel, APPLY, apply(&Value::Null, &thing("wait", Value::Unknown)));
    let stop = call::<_, wire::Empty>(&channel, "/tfplugin6.Provider/StopProvider", wire::Empty {});
    let (applied, stopped) = tokio::join!(waiting, stop);
    stopped.unwrap();
    let applied = applied.unwrap();
    assert_eq!(read(applied.new_state), thing("wait", "wait".into()));
    assert_eq!(applied.diagnostics[0].severity, 2);
}

#[tokio::test]
async fn another_certificate_is_refused() {
    let served = served(&identity().pem).await;
    // The refusal arrives with the handshake or, in TLS 1.3, with the first answer.
    let refused = match connect(&served, identity()).await {
        Err(_) => true,
        Ok(channel) => call::<_, wire::SchemaResponse>(&channel, "/tfplugin6.Provider/GetProviderSchema", wire::Empty {}).await.is_err(),
    };
    assert!(refused);
}

#[tokio::test]
async fn where_there_are_no_unix_sockets_the_loopback_interface_serves() {
    let listener = serve::Listener::loopback((20_000, 20_100)).await.unwrap();
    let address = listener.address();
    assert!(listener.network() == "tcp" && address.starts_with("127.0.0.1:20"));
    let core = Arc::new(Core::new(Arc::new(Things)));
    let task = tokio::spawn(serve::run(core, listener, None));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let schema: wire::SchemaResponse = call(&channel, "/tfplugin6.Provider/GetProviderSchema", wire::Empty {}).await.unwrap();
    assert!(schema.resource_schemas.contains_key("things_thing"));
    let _: wire::Empty = call(&channel, "/plugin.GRPCController/Shutdown", wire::Empty {}).await.unwrap();
    drop(channel);
    task.await.unwrap().unwrap();
}
