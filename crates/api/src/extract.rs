//! Path and query of a request; what cannot be read is a problem like every other.
use crate::answer::Failure;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use kiven_model::{Code, Problem};
use serde::de::DeserializeOwned;

/// The parameters behind the `?`.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Query(value)| Self(value)).map_err(|rejection| {
            let problem = Problem::new(Code::QUERY_INVALID, "a parameter of the query is unknown, doubled or not of its form");
            Failure(problem.detail(rejection.body_text()).hint("See the API's document: GET /v1/openapi.json."))
        })
    }
}

/// The parts of the path that a route names.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        read.map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Failure(Problem::new(Code::NOT_FOUND, "this path cannot be read").hint("An id is made of ASCII letters, digits and `_`.")))
    }
}
