//! The OpenAPI 3.1 document, made from the table of routes and the wire's types. Only xtask and tests carry this.
use crate::answer::status;
use crate::route::{Access, Route, Shape, Success};
use crate::routes::{collections, routes};
use kiven_model::organization::Role;
use kiven_model::{Code, Problem};
use kiven_ports::Ports;
use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::{Transform, transform_subschemas};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const ABOUT: &str = "Managed PostgreSQL on the customer's own EKS.\n\n\
    **Changes.** Every change is safe to repeat: ids are the caller's, a `PUT` says how things should be, and an action that \
    has happened already changes nothing. Clients send one `idempotency-key` for all attempts at one request.\n\n\
    **Operations.** What takes time is answered with 202 and an `operation_id`. Follow `GET /v1/operations/{id}?after=N`, where N is \
    the last event you have: 304 while there is nothing new. Wait `retry_after_ms` (304: the header `retry-after-ms`) between two \
    requests. A second change while one is under way is answered with 409 and the id of the operation in the way.\n\n\
    **Problems.** Every error is a `Problem` with a stable code. 429 and 503 may be asked again a little later; nothing was changed. \
    What is another organization's is answered like what does not exist.";

/// Why the document cannot be made.
#[derive(Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A type has one name and two schemas.
    TwoSchemas(String),
    /// A route has no answer for when all is well.
    NoAnswer(&'static str),
    /// A path has an id of an unknown kind.
    NoCollection(&'static str),
    /// Two routes have one name.
    NameTwice(&'static str),
}

impl std::fmt::Display for Flaw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TwoSchemas(name) => write!(f, "`{name}` is not the same in requests and in answers: give them two types"),
            Self::NoAnswer(name) => write!(f, "the route `{name}` has no answer: add `.answers::<T>(status, \"…\")` in routes.rs"),
            Self::NoCollection(path) => write!(f, "nobody knows what `{{id}}` is in `{path}`: add its collection to `collections` in routes.rs"),
            Self::NameTwice(name) => write!(f, "two routes are named `{name}`"),
        }
    }
}

impl std::error::Error for Flaw {}

/// Types as they are sent, types as they are answered, and every one that was named.
struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

/// Defaults of Rust's types are no defaults of the API, and a number's type bounds it.
#[derive(Debug, Clone)]
struct Bounds;

impl Transform for Bounds {
    fn transform(&mut self, schema: &mut Schema) {
        schema.remove("default");
        let most = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(u64::from(u8::MAX)),
            Some("uint16") => Some(u64::from(u16::MAX)),
            Some("uint32") => Some(u64::from(u32::MAX)),
            Some("uint64") => Some(u64::MAX),
            _ => None,
        };
        if let Some(most) = most.filter(|_| schema.get("maximum").is_none()) {
            schema.insert("maximum".to_owned(), most.into());
        }
        transform_subschemas(self, schema);
    }
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self { requests: settings.clone().for_deserialize().into_generator(), answers: settings.for_serialize().into_generator() }
    }
    fn request(&mut self, shape: Shape) -> Value {
        tidy((shape.schema)(&mut self.requests))
    }
    fn fields(&mut self, shape: Shape) -> Value {
        tidy((shape.fields)(&mut self.requests))
    }
    fn answer(&mut self, shape: Shape) -> Value {
        tidy((shape.schema)(&mut self.answers))
    }
    fn all(mut self) -> Result<Map<String, Value>, Flaw> {
        let mut all = Map::new();
        for (name, schema) in self.requests.take_definitions(true).into_iter().chain(self.answers.take_definitions(true)) {
            let schema = Schema::try_from(schema).map(tidy).unwrap_or_default();
            if all.get(&name).is_some_and(|known| *known != schema) {
                return Err(Flaw::TwoSchemas(name));
            }
            all.insert(name, schema);
        }
        Ok(all)
    }
}

fn tidy(mut schema: Schema) -> Value {
    Bounds.transform(&mut schema);
    schema.to_value()
}

/// The document.
///
/// # Errors
/// When the table or the types contradict themselves.
pub fn document<P: Ports>() -> Result<Value, Flaw> {
    let mut schemas = Schemas::new();
    let problem = schemas.answer(Shape::of::<Problem>());
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut names = std::collections::BTreeSet::new();
    for route in routes::<P>() {
        if !names.insert(route.name) {
            return Err(Flaw::NameTwice(route.name));
        }
        let operation = operation(&route, &problem, &mut schemas)?;
        paths.entry(route.path).or_default().insert(route.method.as_str().to_lowercase(), operation);
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Kiven", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT, "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.all()?,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key of the organization: `kiven_…`. Its role decides what it may do." }
            },
        },
    });
    Ok(sorted(document))
}

/// The document as it is committed.
///
/// # Errors
/// When the table or the types contradict themselves.
pub fn text<P: Ports>() -> Result<String, Flaw> {
    Ok(format!("{:#}\n", document::<P>()?))
}

fn operation(route: &Route, problem: &Value, schemas: &mut Schemas) -> Result<Value, Flaw> {
    if route.successes.is_empty() {
        return Err(Flaw::NoAnswer(route.name));
    }
    let mut parameters = path_parameters(route, schemas)?;
    parameters.extend(route.query.map(|shape| query_parameters(&schemas.fields(shape))).unwrap_or_default());
    if route.conditional {
        let says = "The `etag` of an earlier answer: 304 while it is still the same.";
        parameters.push(json!({ "name": "if-none-match", "in": "header", "required": false, "description": says, "schema": { "type": "string" } }));
    }
    let mut responses = Map::new();
    for success in &route.successes {
        let mut answer = answer(success, schemas);
        if route.conditional {
            answer["headers"]["etag"] = json!({ "required": true, "description": "Changes with every change.", "schema": { "type": "string" } });
        }
        responses.insert(success.status.to_string(), answer);
    }
    responses.extend(problems(&route.codes(), problem));
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.summary,
        "description": described(route),
        "tags": [collection(route.path)],
        "parameters": parameters,
        "responses": responses,
    });
    match route.access {
        Access::Anyone => operation["security"] = json!([]),
        Access::Least { role, .. } => operation["x-kiven-role"] = role.as_str().into(),
    }
    if let Some(body) = &route.body {
        let content = json!({ "schema": schemas.request(body.shape), "example": body.example });
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": content } });
    }
    Ok(operation)
}

/// The route's words, and who may use it.
fn described(route: &Route) -> String {
    let roles = match route.access {
        Access::Anyone => "For anyone, without a key.".to_owned(),
        Access::Least { role: Role::Owner, more: None } => "For the role owner.".to_owned(),
        Access::Least { role, more: None } => format!("For the role {} and greater.", role.as_str()),
        Access::Least { role, more: Some((needed, what)) } => format!("For the role {} and greater; {} {what}.", role.as_str(), needed.as_str()),
    };
    if route.description.is_empty() { roles } else { format!("{} {roles}", route.description) }
}

/// `databases` of `/v1/databases/{id}`.
fn collection(path: &str) -> &str {
    path.trim_start_matches("/v1/").split(['/', '.']).next().unwrap_or_default()
}

fn path_parameters(route: &Route, schemas: &mut Schemas) -> Result<Vec<Value>, Flaw> {
    if !route.path.contains('{') {
        return Ok(Vec::new());
    }
    let known = collections().into_iter().find(|(name, _)| *name == collection(route.path));
    let (_, shape) = known.ok_or(Flaw::NoCollection(route.path))?;
    Ok(vec![json!({ "name": "id", "in": "path", "required": true, "schema": schemas.request(shape) })])
}

/// Each field of the query's type is a parameter; one that may be left out is never `null`.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|known| known == name));
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, field)| {
            let mut field = field.clone();
            let description = field.as_object_mut().and_then(|field| field.remove("description")).unwrap_or_default();
            json!({ "name": name, "in": "query", "required": required(name), "description": description, "schema": not_null(field) })
        })
        .collect()
}

fn not_null(mut schema: Value) -> Value {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    match schema.get("anyOf").and_then(Value::as_array).and_then(|any| any.iter().find(|one| one["type"] != "null")) {
        Some(one) => one.clone(),
        None => schema,
    }
}

fn answer(success: &Success, schemas: &mut Schemas) -> Value {
    let mut answer = json!({ "description": success.says });
    if let Some(shape) = success.shape {
        answer["content"] = json!({ "application/json": { "schema": schemas.answer(shape) } });
    }
    match success.status {
        202 => {
            let parameters = json!({ "id": "$response.body#/operation_id" });
            answer["links"] =
                json!({ "follow": { "operationId": "operation_get", "parameters": parameters, "description": "The operation that is under way." } });
        }
        304 => {
            let schema = json!({ "type": "integer", "minimum": 50, "maximum": 10_000 });
            answer["headers"] =
                json!({ "retry-after-ms": { "required": true, "description": "When to ask again, in milliseconds.", "schema": schema } });
        }
        _ => {}
    }
    answer
}

/// Problems by HTTP status, each with the codes it can carry.
fn problems(codes: &[Code], problem: &Value) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(status(*code).as_u16()).or_default().push(*code);
    }
    let answer = |codes: &[Code]| {
        let lines: Vec<String> = codes.iter().map(|code| format!("- {code}: {}", code.title())).collect();
        let names: Vec<String> = codes.iter().map(ToString::to_string).collect();
        let schema = json!({ "allOf": [problem, { "properties": { "code": { "enum": names } } }] });
        json!({ "description": lines.join("\n"), "content": { "application/json": { "schema": schema } } })
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), answer(&codes))).collect()
}

/// Keys in order, whatever the JSON library was built with.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<String, Value> = fields.into_iter().map(|(name, value)| (name, sorted(value))).collect();
            Value::Object(ordered.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}
