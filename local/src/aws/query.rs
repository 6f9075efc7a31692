//! The AWS query protocol: form bodies in, XML out.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;

/// A parsed form body.
pub(crate) struct Form(BTreeMap<String, String>);

impl Form {
    pub(crate) fn parse(body: &str) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = body.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(key, value)| (decode(key), decode(value))).collect())
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(crate) fn required(&self, key: &str) -> Result<&str, Fault> {
        self.get(key).filter(|value| !value.is_empty()).ok_or_else(|| Fault::new("ValidationError", format!("{key} must not be empty")))
    }

    /// `Name.member.1`, `Name.member.2`, …
    pub(crate) fn members(&self, name: &str) -> Vec<&str> {
        (1..).map_while(|n| self.get(&format!("{name}.member.{n}"))).collect()
    }

    /// `Tags.member.N.Key` with `Tags.member.N.Value`.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let pair = |n: u32| {
            let key = self.get(&format!("Tags.member.{n}.Key"))?;
            let value = self.get(&format!("Tags.member.{n}.Value")).unwrap_or_default();
            Some((key.to_owned(), value.to_owned()))
        };
        (1..).map_while(pair).collect()
    }
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { status: status_of(code), code, message: message.into() }
    }

    pub(crate) fn xml(&self) -> Response {
        let error = format!(
            "<ErrorResponse><Error><Type>Sender</Type>{}{}</Error><RequestId>local</RequestId></ErrorResponse>",
            element("Code", self.code),
            element("Message", &self.message)
        );
        xml_response(self.status, error)
    }
}

impl From<super::state::StateError> for Fault {
    fn from(error: super::state::StateError) -> Self {
        tracing::error!(error = &error as &dyn std::error::Error, "local account state failed");
        Self::new("ServiceFailure", "the local state file failed")
    }
}

fn status_of(code: &str) -> StatusCode {
    match code {
        "AccessDenied"
        | "AccessDeniedException"
        | "InvalidClientTokenId"
        | "ExpiredToken"
        | "UnrecognizedClientException"
        | "ExpiredTokenException" => StatusCode::FORBIDDEN,
        "NoSuchEntity" | "ResourceNotFoundException" => StatusCode::NOT_FOUND,
        "EntityAlreadyExists" | "DeleteConflict" | "LimitExceeded" | "ResourceInUseException" => StatusCode::CONFLICT,
        "ServiceFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// A success answer: `<ActionResponse><ActionResult>…`.
pub(crate) fn answer(action: &str, result: &str) -> Response {
    xml_response(
        StatusCode::OK,
        format!(
            "<{action}Response><{action}Result>{result}</{action}Result>\
             <ResponseMetadata><RequestId>local</RequestId></ResponseMetadata></{action}Response>"
        ),
    )
}

pub(crate) fn xml_response(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}")));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/xml"));
    response
}

/// One element with escaped text.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", escape(text))
}

/// Text safe inside an element.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
    out
}

/// `<Tags><member><Key/><Value/></member>…</Tags>`.
pub(crate) fn tags_element(tags: &BTreeMap<String, String>) -> String {
    let members: String = tags.iter().map(|(key, value)| format!("<member>{}{}</member>", element("Key", key), element("Value", value))).collect();
    format!("<Tags>{members}</Tags>")
}

/// An instant as AWS writes it in XML.
pub(crate) fn instant(milliseconds: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(milliseconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
