//! What a route is: method, path, role, words, what goes in and what comes out. The table in `routes` is made of these.
use crate::App;
use axum::extract::FromRef;
use axum::handler::Handler;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};
use kiven_model::Code;
use kiven_model::organization::Role;
use kiven_model::schema::Described;
use serde::Serialize;
use serde_json::Value;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Whoever can reach it, without a key.
    Anyone,
    /// A key of this role or a greater one.
    Least {
        /// The least role.
        role: Role,
        /// A part of the route that takes more than its least role: which, and for what.
        more: Option<(Role, &'static str)>,
    },
}

/// A type that goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Its name in Rust.
    pub name: &'static str,
    /// Makes its schema.
    #[cfg(feature = "openapi")]
    pub(crate) schema: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
    /// Makes it in place, for a type that is no component of the document.
    #[cfg(feature = "openapi")]
    pub(crate) fields: fn(&mut schemars::SchemaGenerator) -> schemars::Schema,
}

impl Shape {
    pub(crate) fn of<T: Described>() -> Self {
        Self {
            name: std::any::type_name::<T>(),
            #[cfg(feature = "openapi")]
            schema: |generator| generator.subschema_for::<T>(),
            #[cfg(feature = "openapi")]
            fields: |generator| T::json_schema(generator),
        }
    }
}

/// A body that a route takes.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its type.
    pub shape: Shape,
    /// A whole valid body.
    pub example: Value,
    /// The rules that it can break.
    pub rules: &'static [Code],
}

/// An answer that is no problem.
#[derive(Debug, Clone)]
pub struct Success {
    /// The HTTP status.
    pub status: u16,
    /// When it comes.
    pub says: &'static str,
    /// Its body, if it has one.
    pub shape: Option<Shape>,
}

/// One route, whole: the router, the role check, the OpenAPI document and the table of roles are made from it.
#[derive(Debug, Clone)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path with `{id}` where an id goes.
    pub path: &'static str,
    /// Its name in the document, which is the name of the client's method.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// More, when one line is not enough.
    pub description: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Whether a path that leads nowhere makes something there.
    pub creates: bool,
    /// The parameters behind the `?`.
    pub query: Option<Shape>,
    /// Whether it answers with an `etag` and takes it back as `if-none-match`.
    pub conditional: bool,
    /// What it takes.
    pub body: Option<Body>,
    /// What it answers when all is well.
    pub successes: Vec<Success>,
    /// Its own problems; those that every route can answer come by themselves.
    pub problems: Vec<Code>,
}

/// A route with its handler.
pub(crate) struct Entry<P> {
    pub(crate) route: Route,
    pub(crate) handler: MethodRouter<App<P>>,
}

fn entry<P, H, T>(at: (Method, MethodFilter), path: &'static str, access: Access, words: [&'static str; 2], handler: H) -> Entry<P>
where
    H: Handler<T, App<P>>,
    T: 'static,
    App<P>: FromRef<App<P>> + Send + Sync + 'static,
{
    let ((method, filter), [name, summary]) = (at, words);
    let (successes, problems) = (Vec::new(), Vec::new());
    let route = Route {
        method,
        path,
        name,
        summary,
        description: "",
        access,
        creates: false,
        conditional: false,
        query: None,
        body: None,
        successes,
        problems,
    };
    Entry { route, handler: on(filter, handler) }
}

macro_rules! methods {
    ($($name:ident = $method:ident;)*) => {$(
        /// A route of this method: path, least role, name, summary, handler.
        pub(crate) fn $name<P, H, T>(path: &'static str, least: Role, name: &'static str, summary: &'static str, handler: H) -> Entry<P>
        where
            H: Handler<T, App<P>>,
            T: 'static,
            App<P>: FromRef<App<P>> + Send + Sync + 'static,
        {
            let access = Access::Least { role: least, more: None };
            entry((Method::$method, MethodFilter::$method), path, access, [name, summary], handler)
        }
    )*};
}
methods! {
    get = GET;
    put = PUT;
    post = POST;
    delete = DELETE;
}

impl<P> Entry<P> {
    /// Opens it to whoever can reach it.
    pub(crate) fn for_anyone(mut self) -> Self {
        self.route.access = Access::Anyone;
        self
    }
    /// A part of it takes a greater role; its handler asks [`crate::auth::Caller::may_more`].
    pub(crate) fn more(mut self, needed: Role, for_what: &'static str) -> Self {
        if let Access::Least { more, .. } = &mut self.route.access {
            *more = Some((needed, for_what));
        }
        self
    }
    /// Says what one line cannot.
    pub(crate) fn about(mut self, description: &'static str) -> Self {
        self.route.description = description;
        self
    }
    /// A path that leads nowhere makes something there.
    pub(crate) fn creates(mut self) -> Self {
        self.route.creates = true;
        self
    }
    /// The parameters behind the `?`, which its handler reads as [`crate::extract::Query`].
    pub(crate) fn query<T: Described>(mut self) -> Self {
        self.route.query = Some(Shape::of::<T>());
        self
    }
    /// It answers with an `etag`, takes it back as `if-none-match`, and answers 304 while nothing has changed.
    pub(crate) fn conditional(mut self, says: &'static str) -> Self {
        self.route.conditional = true;
        self.answers_nothing(304, says)
    }
    /// The body it takes, a whole valid one, and the rules it can break.
    pub(crate) fn body<T: Described + Serialize>(mut self, example: &T, rules: &'static [Code]) -> Self {
        let example = serde_json::to_value(example).unwrap_or_default();
        self.route.body = Some(Body { shape: Shape::of::<T>(), example: without_nulls(example), rules });
        self
    }
    /// An answer with a body.
    pub(crate) fn answers<T: Described>(mut self, status: u16, says: &'static str) -> Self {
        self.route.successes.push(Success { status, says, shape: Some(Shape::of::<T>()) });
        self
    }
    /// An answer without a body.
    pub(crate) fn answers_nothing(mut self, status: u16, says: &'static str) -> Self {
        self.route.successes.push(Success { status, says, shape: None });
        self
    }
    /// Problems of its own.
    pub(crate) fn refuses(mut self, codes: &[Code]) -> Self {
        self.route.problems.extend_from_slice(codes);
        self
    }
}

/// What is left out takes its default: an example shows what is said.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let said = fields.into_iter().map(|(name, value)| (name, without_nulls(value)));
            let empty = |value: &Value| value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
            Value::Object(said.filter(|(_, value)| !empty(value)).collect())
        }
        other => other,
    }
}

impl Route {
    /// Every problem that it can answer, those of all routes included.
    #[must_use]
    pub fn codes(&self) -> Vec<Code> {
        let mut codes = self.problems.clone();
        if let Access::Least { role, more } = self.access {
            codes.extend([Code::UNAUTHENTICATED, Code::UNAVAILABLE, Code::TOO_MANY_REQUESTS]);
            if role > Role::Viewer || more.is_some() {
                codes.push(Code::FORBIDDEN);
            }
        }
        if self.path.contains('{') {
            codes.push(Code::NOT_FOUND);
        }
        if self.query.is_some() {
            codes.push(Code::QUERY_INVALID);
        }
        if let Some(body) = &self.body {
            codes.extend([Code::BODY_BROKEN, Code::BODY_TOO_LARGE]);
            codes.extend_from_slice(body.rules);
        }
        codes.sort();
        codes.dedup();
        codes
    }
}
