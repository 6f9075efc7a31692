//! S3 on disk: path-style buckets and objects that survive a restart, bodies as files under `blobs/`.

mod body;
mod objects;

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::access::{Access, Caller};
use super::policy::{self, Ask, Context, Verdict};
use super::query::{Fault, Form, element, instant, xml_response};

/// Largest body of a configuration document.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// Bucket configurations that are stored as sent and given back as stored.
const DOCUMENTS: [(&str, &str, &str); 8] = [
    ("encryption", "EncryptionConfiguration", "ServerSideEncryptionConfigurationNotFoundError"),
    ("versioning", "BucketVersioning", ""),
    ("lifecycle", "LifecycleConfiguration", "NoSuchLifecycleConfiguration"),
    ("publicAccessBlock", "BucketPublicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
    ("policy", "BucketPolicy", "NoSuchBucketPolicy"),
    ("tagging", "BucketTagging", "NoSuchTagSet"),
    ("ownershipControls", "BucketOwnershipControls", "OwnershipControlsNotFoundError"),
    ("object-lock", "BucketObjectLockConfiguration", "ObjectLockConfigurationNotFoundError"),
];

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Bucket {
    name: String,
    region: String,
    owner: String,
    created_ms: i64,
    documents: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(crate) struct S3 {
    access: Access,
    folder: PathBuf,
}

impl S3 {
    pub(crate) fn new(access: Access, folder: PathBuf) -> Self {
        Self { access, folder }
    }

    pub(crate) fn router(self) -> Router {
        Router::new().fallback(handle).with_state(self)
    }

    fn bucket(&self, name: &str) -> Result<Bucket, Fault> {
        self.access.state.get(&bucket_key(name))?.ok_or_else(|| Fault {
            status: StatusCode::NOT_FOUND,
            code: "NoSuchBucket",
            message: name.to_owned(),
        })
    }

    /// Temporary credentials are held to their role's, session's and the bucket's policies. Other
    /// keys belong to the local operators of the stack, who own every bucket.
    fn check(&self, caller: &Caller, action: &str, bucket: &str, key: Option<&str>) -> Result<(), Fault> {
        let Caller::Session(session) = caller else { return Ok(()) };
        let resource = match key {
            None => format!("arn:aws:s3:::{bucket}"),
            Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        };
        let action = format!("s3:{action}");
        self.access.check(caller, &action, &resource, &Context::new())?;
        let stored: Option<Bucket> = self.access.state.get(&bucket_key(bucket))?;
        let document = stored.as_ref().and_then(|bucket| bucket.documents.get("policy"));
        let Some(document) = document.and_then(|text| policy::parse(text)) else { return Ok(()) };
        let account = &self.access.account;
        let who = self.access.arn_of(caller);
        let role = self.access.role(&session.role)?.map(|role| role.arn(account)).unwrap_or_default();
        let mut context = Context::new();
        context.insert("aws:principalarn".into(), vec![role.clone()]);
        context.insert("aws:securetransport".into(), vec!["true".into()]);
        for (key, value) in &session.tags {
            context.insert(format!("aws:principaltag/{}", key.to_ascii_lowercase()), vec![value.clone()]);
        }
        let principals = [who.clone(), role];
        let ask = Ask { principals: &principals, account, action: &action, resource: &resource, context: &context };
        match policy::judge_named(&document, &ask) {
            Verdict::Deny => Err(super::access::denied(&who, &action, &resource)),
            Verdict::Allow | Verdict::Silent => Ok(()),
        }
    }

    /// Every bucket's name; in one page, since there are few.
    fn list_buckets(&self, caller: &Caller, query: &Form) -> Result<Response, Fault> {
        if matches!(caller, Caller::Session(_)) {
            self.access.check(caller, "s3:ListAllMyBuckets", "*", &Context::new())?;
        }
        let prefix = query.get("prefix").unwrap_or_default();
        let buckets = self.access.state.list::<Bucket>(&bucket_key(""))?;
        let of =
            |bucket: &Bucket| format!("<Bucket>{}{}</Bucket>", element("Name", &bucket.name), element("CreationDate", &instant(bucket.created_ms)));
        let found: String = buckets.iter().map(|(_, bucket)| bucket).filter(|bucket| bucket.name.starts_with(prefix)).map(of).collect();
        Ok(xml_response(StatusCode::OK, format!("<ListAllMyBucketsResult><Buckets>{found}</Buckets></ListAllMyBucketsResult>")))
    }

    async fn call(&self, request: Request) -> Result<Response, Fault> {
        let caller = self.access.caller(request.headers())?;
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy().into_owned();
        let query = Form::parse(request.uri().query().unwrap_or_default());
        let (bucket, key) = match path.trim_start_matches('/').split_once('/') {
            Some((bucket, key)) => (bucket.to_owned(), key.to_owned()),
            None => (path.trim_start_matches('/').to_owned(), String::new()),
        };
        if bucket.is_empty() {
            return if request.method() == Method::GET { self.list_buckets(&caller, &query) } else { Err(not_offered()) };
        }
        if !key.is_empty() {
            return self.object(&caller, &bucket, &key, &query, request).await;
        }
        if let Some((document, action, missing)) = DOCUMENTS.iter().find(|(name, _, _)| query.get(name).is_some()) {
            return self.document(&caller, &bucket, document, action, missing, request).await;
        }
        match request.method().as_str() {
            "PUT" => self.create_bucket(&caller, &bucket, request).await,
            "HEAD" => {
                self.check(&caller, "ListBucket", &bucket, None)?;
                let bucket = self.bucket(&bucket)?;
                let mut response = Response::new(Body::empty());
                if let Ok(region) = header::HeaderValue::from_str(&bucket.region) {
                    response.headers_mut().insert("x-amz-bucket-region", region);
                }
                Ok(response)
            }
            "GET" if query.get("location").is_some() => {
                self.check(&caller, "GetBucketLocation", &bucket, None)?;
                let region = self.bucket(&bucket)?.region;
                Ok(xml_response(StatusCode::OK, element("LocationConstraint", &region)))
            }
            "GET" => {
                self.check(&caller, "ListBucket", &bucket, None)?;
                self.list(&self.bucket(&bucket)?.name, &query)
            }
            "DELETE" => self.delete_bucket(&caller, &bucket),
            _ => Err(not_offered()),
        }
    }

    async fn object(&self, caller: &Caller, bucket: &str, key: &str, query: &Form, request: Request) -> Result<Response, Fault> {
        if query.get("uploads").is_some() || query.get("uploadId").is_some() || query.get("tagging").is_some() {
            return Err(not_offered());
        }
        let action = match request.method().as_str() {
            "PUT" => "PutObject",
            "GET" | "HEAD" => "GetObject",
            "DELETE" => "DeleteObject",
            _ => return Err(not_offered()),
        };
        self.check(caller, action, bucket, Some(key))?;
        self.bucket(bucket)?;
        match request.method().as_str() {
            "PUT" => self.put(bucket, key, request).await,
            "DELETE" => self.delete(bucket, key).await,
            method => self.get(bucket, key, request.headers(), method == "HEAD").await,
        }
    }

    async fn create_bucket(&self, caller: &Caller, name: &str, request: Request) -> Result<Response, Fault> {
        self.check(caller, "CreateBucket", name, None)?;
        let sound = (3..=63).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.')
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name.ends_with(|c: char| c.is_ascii_alphanumeric());
        if !sound {
            return Err(fault(StatusCode::BAD_REQUEST, "InvalidBucketName", name));
        }
        let body = text(request).await?;
        let region = inner(&body, "LocationConstraint").unwrap_or("us-east-1").to_owned();
        let tags = inner(&body, "Tags");
        if tags.is_some() {
            self.check(caller, "TagResource", name, None)?;
        }
        if self.access.state.get::<Bucket>(&bucket_key(name))?.is_some() {
            return Err(fault(StatusCode::CONFLICT, "BucketAlreadyOwnedByYou", name));
        }
        let bucket = Bucket {
            name: name.to_owned(),
            region,
            owner: self.access.arn_of(caller),
            created_ms: (self.access.now_ms)(),
            documents: tags.map(|tags| ("tagging".to_owned(), format!("<Tagging><TagSet>{tags}</TagSet></Tagging>"))).into_iter().collect(),
        };
        self.access.state.put(&bucket_key(name), &bucket)?;
        let mut response = Response::new(Body::empty());
        if let Ok(location) = header::HeaderValue::from_str(&format!("/{name}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }

    fn delete_bucket(&self, caller: &Caller, name: &str) -> Result<Response, Fault> {
        self.check(caller, "DeleteBucket", name, None)?;
        self.bucket(name)?;
        if !self.access.state.object_list(name, "", "", 1)?.is_empty() {
            return Err(fault(StatusCode::CONFLICT, "BucketNotEmpty", name));
        }
        self.access.state.delete(&bucket_key(name))?;
        Ok(empty(StatusCode::NO_CONTENT))
    }

    async fn document(
        &self,
        caller: &Caller,
        bucket: &str,
        document: &str,
        action: &str,
        missing: &'static str,
        request: Request,
    ) -> Result<Response, Fault> {
        let method = request.method().clone();
        let verb = match method {
            Method::GET => "Get",
            Method::PUT | Method::DELETE => "Put",
            _ => return Err(not_offered()),
        };
        // The policy has a delete action of its own; all others are deleted by the right to put.
        let verb = if method == Method::DELETE && document == "policy" { "Delete" } else { verb };
        self.check(caller, &format!("{verb}{action}"), bucket, None)?;
        let mut stored = self.bucket(bucket)?;
        match method {
            Method::GET => match stored.documents.get(document) {
                Some(body) => Ok(document_response(document, body)),
                None if missing.is_empty() => Ok(xml_response(StatusCode::OK, "<VersioningConfiguration></VersioningConfiguration>".into())),
                None => Err(fault(StatusCode::NOT_FOUND, missing, bucket)),
            },
            Method::PUT => {
                let body = text(request).await?;
                if document == "policy" && policy::parse(&body).is_none() {
                    return Err(fault(StatusCode::BAD_REQUEST, "MalformedPolicy", "Policies must be valid JSON"));
                }
                stored.documents.insert(document.to_owned(), body);
                self.access.state.put(&bucket_key(bucket), &stored)?;
                Ok(empty(if document == "policy" { StatusCode::NO_CONTENT } else { StatusCode::OK }))
            }
            _ => {
                stored.documents.remove(document);
                self.access.state.put(&bucket_key(bucket), &stored)?;
                Ok(empty(StatusCode::NO_CONTENT))
            }
        }
    }
}

async fn handle(Extract(s3): Extract<S3>, request: Request) -> Response {
    let head = request.method() == Method::HEAD;
    match s3.call(request).await {
        Ok(response) => response,
        Err(fault) if head => empty(fault.status),
        Err(fault) => {
            xml_response(fault.status, format!("<Error>{}{}</Error>", element("Code", rest_code(fault.code)), element("Message", &fault.message)))
        }
    }
}

fn rest_code(code: &str) -> &str {
    match code {
        "InvalidClientTokenId" => "InvalidAccessKeyId",
        "ServiceFailure" => "InternalError",
        other => other,
    }
}

fn fault(status: StatusCode, code: &'static str, message: &str) -> Fault {
    Fault { status, code, message: message.to_owned() }
}

fn not_offered() -> Fault {
    fault(StatusCode::NOT_IMPLEMENTED, "NotImplemented", "this call is not offered locally")
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn document_response(document: &str, body: &str) -> Response {
    let mut response = Response::new(Body::from(body.to_owned()));
    let kind = if document == "policy" { "application/json" } else { "application/xml" };
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

async fn text(request: Request) -> Result<String, Fault> {
    let chunked = body::is_chunked(request.headers());
    let bytes = axum::body::to_bytes(request.into_body(), DOCUMENT_BYTES_MAX)
        .await
        .map_err(|_| fault(StatusCode::BAD_REQUEST, "EntityTooLarge", "the document is too large"))?;
    let bytes = if chunked { body::decode_all(&bytes)? } else { bytes.to_vec() };
    String::from_utf8(bytes).map_err(|_| fault(StatusCode::BAD_REQUEST, "MalformedXML", "the body is not UTF-8"))
}

/// The text of the first such element; enough for the one value that is read from XML here.
fn inner<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let after = body.split_once(&format!("<{name}>"))?.1;
    after.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

fn bucket_key(name: &str) -> String {
    format!("s3/bucket/{name}")
}

/// Header names kept with an object and given back.
fn kept(headers: &HeaderMap) -> BTreeMap<String, String> {
    let keep =
        |name: &str| name.starts_with("x-amz-meta-") || matches!(name, "content-type" | "content-encoding" | "cache-control" | "content-disposition");
    headers
        .iter()
        .filter(|(name, _)| keep(name.as_str()))
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .filter(|(name, value)| !(name == "content-encoding" && value == "aws-chunked"))
        .collect()
}
