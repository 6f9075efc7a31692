//! Requests: authentication, idempotency, retries, and one method for each thing the API can do.
use crate::{ClientError, Credentials};
use kiven_model::api::{
    CheckView, ConnectionRequest, DatabaseRequest, DatabaseView, EnvironmentRequest, EnvironmentView, IDEMPOTENCY_HEADER, Me, OperationView,
    OrphansView, PlanView, ScheduleView,
};
use kiven_model::enrolment::AgentTokenView;
use kiven_model::environment::Farewell;
use kiven_model::event::DatabaseEvent;
use kiven_model::logs::{LogBatches, LogSessionRequest, LogSessionView};
use kiven_model::names::DatabaseName;
use kiven_model::schedule::{PowerEvent, ScheduleRequest};
use kiven_model::upgrade::UpgradesRequest;
use kiven_model::{Code, DatabaseId, EnvironmentId, LogSessionId, OperationId, Problem, ScheduleId};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::time::Instant;

/// How often one request is sent at most.
const ATTEMPTS_MAX: u32 = 10;
/// How long retries of one request go on at most.
const RETRY_TIME_MAX: Duration = Duration::from_secs(30);
/// The first pause between attempts; each next one is twice as long.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between attempts, also when the server asks for more.
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long one attempt may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection to the API. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    credentials: Credentials,
}

/// An answer: its status, how long to wait before asking again, its bytes.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) retry_after: Option<Duration>,
    bytes: Vec<u8>,
}

/// Whether an answer of this status is asked for again.
pub(crate) fn retried(status: u16) -> bool {
    matches!(status, 429 | 502 | 503 | 504)
}

/// A pause with jitter: between half and the whole of the given one, so that many clients spread out.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness the middle is as good.
    let _ = getrandom::fill(&mut byte);
    pause / 2 + pause.mul_f64(f64::from(byte[0]) / 510.0)
}

impl Client {
    /// A client of the API.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(credentials: Credentials, user_agent: &str) -> Result<Self, ClientError> {
        // Where the process already has a TLS provider, that one stays.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .user_agent(user_agent)
            .timeout(ATTEMPT_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, credentials })
    }
    /// The API's base URL.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.credentials.endpoint
    }

    /// The API's OpenAPI document.
    ///
    /// # Errors
    /// When the API cannot be reached.
    pub async fn document_get(&self) -> Result<serde_json::Value, ClientError> {
        self.get("/v1/openapi.json").await
    }
    /// Who the caller is.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn me(&self) -> Result<Me, ClientError> {
        self.get("/v1/me").await
    }
    /// The plans on offer.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn plan_list(&self) -> Result<Vec<PlanView>, ClientError> {
        self.get("/v1/plans").await
    }
    /// Every environment of the organization.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn environment_list(&self) -> Result<Vec<EnvironmentView>, ClientError> {
        self.get("/v1/environments").await
    }
    /// One environment.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn environment_get(&self, id: &EnvironmentId) -> Result<EnvironmentView, ClientError> {
        self.get(&format!("/v1/environments/{id}")).await
    }
    /// Looks whether an environment's role opens and all is as Kiven made it. Mends nothing.
    ///
    /// # Errors
    /// When there is no such environment or it has no connection, or the API refuses or cannot be reached.
    pub async fn environment_check(&self, id: &EnvironmentId) -> Result<CheckView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/environments/{id}/check"), None).await
    }
    /// Moves operator and plugin to their next listed releases now.
    ///
    /// # Errors
    /// When something changes a database, another upgrade runs, or the API refuses or cannot be reached.
    pub async fn environment_upgrade(&self, id: &EnvironmentId) -> Result<EnvironmentView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/environments/{id}/upgrade"), None).await
    }
    /// Keeps operator and plugin from moving by themselves, or lets them.
    ///
    /// # Errors
    /// When there is no such environment, or the API refuses or cannot be reached.
    pub async fn environment_upgrades_put(&self, id: &EnvironmentId, request: &UpgradesRequest) -> Result<EnvironmentView, ClientError> {
        self.change(Method::PUT, &format!("/v1/environments/{id}/upgrades"), Some(request)).await
    }
    /// What Kiven made in an environment's account and nothing explains any more.
    ///
    /// # Errors
    /// When there is no such environment or no way into its account, or the API refuses or cannot be reached.
    pub async fn environment_orphans(&self, id: &EnvironmentId) -> Result<OrphansView, ClientError> {
        self.get(&format!("/v1/environments/{id}/orphans")).await
    }
    /// Makes an environment under an id of the caller's; the answer's id counts.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn environment_put(&self, id: &EnvironmentId, request: &EnvironmentRequest) -> Result<EnvironmentView, ClientError> {
        self.change(Method::PUT, &format!("/v1/environments/{id}"), Some(request)).await
    }
    /// Forgets an environment.
    ///
    /// # Errors
    /// When it has databases, or the API refuses or cannot be reached.
    pub async fn environment_delete(&self, id: &EnvironmentId) -> Result<(), ClientError> {
        self.send::<()>(Method::DELETE, &format!("/v1/environments/{id}"), None).await.map(drop)
    }
    /// Connects an environment.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn connection_put(&self, id: &EnvironmentId, request: &ConnectionRequest) -> Result<EnvironmentView, ClientError> {
        self.change(Method::PUT, &format!("/v1/environments/{id}/connection"), Some(request)).await
    }
    /// Disconnects an environment: at once while it has no databases, else by an operation that releases or destroys them.
    ///
    /// # Errors
    /// When it has databases and none is chosen, or they do not allow it, or the API refuses or cannot be reached.
    pub async fn connection_delete(&self, id: &EnvironmentId, databases: Option<Farewell>) -> Result<EnvironmentView, ClientError> {
        let query = databases.map_or(String::new(), |farewell| format!("?databases={}", farewell.as_str()));
        self.change::<(), _>(Method::DELETE, &format!("/v1/environments/{id}/connection{query}"), None).await
    }
    /// Makes a single-use token for an environment's agent.
    ///
    /// # Errors
    /// When its agent enrols by its cluster's issuer, or the API refuses or cannot be reached.
    pub async fn agent_token_create(&self, id: &EnvironmentId) -> Result<AgentTokenView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/environments/{id}/agent-tokens"), None).await
    }
    /// Revokes a token by its id; one that is gone already is revoked.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn agent_token_revoke(&self, id: &EnvironmentId, token_id: &str) -> Result<(), ClientError> {
        self.send::<()>(Method::DELETE, &format!("/v1/environments/{id}/agent-tokens?token_id={token_id}"), None).await.map(drop)
    }
    /// Databases of the organization, or of one environment.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_list(&self, environment: Option<&EnvironmentId>) -> Result<Vec<DatabaseView>, ClientError> {
        match environment {
            Some(id) => self.get(&format!("/v1/databases?environment_id={id}")).await,
            None => self.get("/v1/databases").await,
        }
    }
    /// The database of this name, if an environment has one.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_find(&self, environment: &EnvironmentId, name: &DatabaseName) -> Result<Option<DatabaseView>, ClientError> {
        let found: Vec<DatabaseView> = self.get(&format!("/v1/databases?environment_id={environment}&name={name}")).await?;
        Ok(found.into_iter().next())
    }
    /// One database, claimed: from now on no create of the same name adopts it.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn database_claim(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.get(&format!("/v1/databases/{id}?claim=true")).await
    }
    /// One database.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn database_get(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.get(&format!("/v1/databases/{id}")).await
    }
    /// Makes or changes a database under an id of the caller's; the answer's id counts.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_put(&self, id: &DatabaseId, request: &DatabaseRequest) -> Result<DatabaseView, ClientError> {
        self.change(Method::PUT, &format!("/v1/databases/{id}"), Some(request)).await
    }
    /// Power off.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_pause(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/databases/{id}/pause"), None).await
    }
    /// Power on.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_resume(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/databases/{id}/resume"), None).await
    }
    /// Takes a deletion back while its grace lasts: the database is paused again.
    ///
    /// # Errors
    /// When the grace is over, the name is taken, or the API refuses or cannot be reached.
    pub async fn database_undelete(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/databases/{id}/undelete"), None).await
    }
    /// Patches the nodes now, where there is a newer machine image.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_patch_nodes(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/databases/{id}/patch-nodes"), None).await
    }
    /// Renews the server certificate now, from the same authority.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn database_rotate_certificates(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/databases/{id}/rotate-certificates"), None).await
    }
    /// Deletes a database: to its grace, or out of the world when it has none.
    ///
    /// # Errors
    /// When it is protected, or the API refuses or cannot be reached.
    pub async fn database_delete(&self, id: &DatabaseId) -> Result<DatabaseView, ClientError> {
        self.change::<(), _>(Method::DELETE, &format!("/v1/databases/{id}"), None).await
    }
    /// What schedules decided about a database, newest first.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn power_events(&self, id: &DatabaseId) -> Result<Vec<PowerEvent>, ClientError> {
        self.get(&format!("/v1/databases/{id}/power-events")).await
    }
    /// What happened to a database in its cluster, newest first.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn database_events(&self, id: &DatabaseId) -> Result<Vec<DatabaseEvent>, ClientError> {
        self.get(&format!("/v1/databases/{id}/events")).await
    }
    /// Asks a database's agent to read its log and to seal it to a key of the caller's.
    ///
    /// # Errors
    /// When it does not run, too many read already, or the API refuses or cannot be reached.
    pub async fn log_session_put(&self, id: &LogSessionId, request: &LogSessionRequest) -> Result<LogSessionView, ClientError> {
        self.change(Method::PUT, &format!("/v1/log-sessions/{id}"), Some(request)).await
    }
    /// Sealed batches after one; asking keeps the session open.
    ///
    /// # Errors
    /// When the agent refused the reader, or the API refuses or cannot be reached.
    pub async fn log_session_batches(&self, id: &LogSessionId, after: u64) -> Result<LogBatches, ClientError> {
        self.get(&format!("/v1/log-sessions/{id}/batches?after={after}")).await
    }
    /// Stops reading.
    ///
    /// # Errors
    /// When there is no such session, or the API refuses or cannot be reached.
    pub async fn log_session_delete(&self, id: &LogSessionId) -> Result<(), ClientError> {
        self.send::<()>(Method::DELETE, &format!("/v1/log-sessions/{id}"), None).await.map(drop)
    }
    /// Every power schedule of the organization.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn schedule_list(&self) -> Result<Vec<ScheduleView>, ClientError> {
        self.get("/v1/schedules").await
    }
    /// One power schedule.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn schedule_get(&self, id: &ScheduleId) -> Result<ScheduleView, ClientError> {
        self.get(&format!("/v1/schedules/{id}")).await
    }
    /// Makes or changes a power schedule under an id of the caller's.
    ///
    /// # Errors
    /// When one of its databases is in another, or the API refuses or cannot be reached.
    pub async fn schedule_put(&self, id: &ScheduleId, request: &ScheduleRequest) -> Result<ScheduleView, ClientError> {
        self.change(Method::PUT, &format!("/v1/schedules/{id}"), Some(request)).await
    }
    /// Removes a power schedule; the power of its databases stays as it is.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn schedule_delete(&self, id: &ScheduleId) -> Result<(), ClientError> {
        self.send::<()>(Method::DELETE, &format!("/v1/schedules/{id}"), None).await.map(drop)
    }
    /// Operations of the organization, or of one database.
    ///
    /// # Errors
    /// When the API refuses or cannot be reached.
    pub async fn operation_list(&self, database: Option<&DatabaseId>) -> Result<Vec<OperationView>, ClientError> {
        match database {
            Some(id) => self.get(&format!("/v1/operations?database_id={id}")).await,
            None => self.get("/v1/operations").await,
        }
    }
    /// One operation from its first event.
    ///
    /// # Errors
    /// When there is none, or the API refuses or cannot be reached.
    pub async fn operation_get(&self, id: &OperationId) -> Result<OperationView, ClientError> {
        self.get(&format!("/v1/operations/{id}")).await
    }
    /// Asks an operation to go back.
    ///
    /// # Errors
    /// When it is past its point of no return, or the API refuses or cannot be reached.
    pub async fn operation_cancel(&self, id: &OperationId) -> Result<OperationView, ClientError> {
        self.change::<(), _>(Method::POST, &format!("/v1/operations/{id}/cancel"), None).await
    }

    pub(crate) async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.change::<(), A>(Method::GET, path, None).await
    }

    async fn change<B: Serialize, A: DeserializeOwned>(&self, method: Method, path: &str, body: Option<&B>) -> Result<A, ClientError> {
        let answer = self.send(method, path, body).await?;
        self.read(&answer)
    }

    pub(crate) fn read<A: DeserializeOwned>(&self, answer: &Answer) -> Result<A, ClientError> {
        let (endpoint, status) = (self.credentials.endpoint.clone(), answer.status.as_u16());
        serde_json::from_slice(&answer.bytes).map_err(|source| ClientError::Unreadable { endpoint, status, source })
    }

    /// Sends a request until it is answered, within the bounds on attempts and time. 304 is an answer too.
    pub(crate) async fn send<B: Serialize>(&self, method: Method, path: &str, body: Option<&B>) -> Result<Answer, ClientError> {
        let mut key = [0_u8; 16];
        getrandom::fill(&mut key).map_err(ClientError::Random)?;
        let key = hex::encode(key);
        let started = Instant::now();
        let mut pause = BACKOFF_FIRST;
        for attempt in 1..=ATTEMPTS_MAX {
            let last = attempt == ATTEMPTS_MAX || started.elapsed() >= RETRY_TIME_MAX;
            let wait = match self.attempt(&method, path, body, &key).await {
                Ok(answer) if retried(answer.status.as_u16()) && !last => answer.retry_after.unwrap_or(pause),
                Ok(answer) => return self.settle(answer),
                Err(source) if last => return Err(ClientError::Unreachable { endpoint: self.credentials.endpoint.clone(), source }),
                Err(_) => pause,
            };
            tracing::debug!(path, attempt, "asks again");
            tokio::time::sleep(jittered(wait.min(BACKOFF_MAX))).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
        let problem = Box::new(Problem::new(Code::UNAVAILABLE, "Kiven did not answer within the bound on attempts."));
        Err(ClientError::Refused { status: 503, problem })
    }

    async fn attempt<B: Serialize>(&self, method: &Method, path: &str, body: Option<&B>, key: &str) -> Result<Answer, reqwest::Error> {
        let url = format!("{}{path}", self.credentials.endpoint);
        let mut request = self.http.request(method.clone(), url).bearer_auth(&self.credentials.api_key);
        if *method != Method::GET {
            request = request.header(IDEMPOTENCY_HEADER, key);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let (status, retry_after) = (response.status(), retry_after(&response));
        Ok(Answer { status, retry_after, bytes: response.bytes().await?.to_vec() })
    }

    fn settle(&self, answer: Answer) -> Result<Answer, ClientError> {
        if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
            return Ok(answer);
        }
        let problem: Problem = self.read(&answer)?;
        Err(ClientError::Refused { status: answer.status.as_u16(), problem: Box::new(problem) })
    }
}

/// What the server asks for: `retry-after-ms`, or the standard `retry-after` in seconds.
fn retry_after(response: &Response) -> Option<Duration> {
    let number = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    number("retry-after-ms").map(Duration::from_millis).or_else(|| number("retry-after").map(Duration::from_secs))
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
