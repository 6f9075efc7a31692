//! The one boundary of errors: message, detail, hint, code and its page; and the exit code that scripts see.
use kiven_client::{ClientError, CredentialsError};
use kiven_model::api::OperationView;
use kiven_model::operation::OperationStatus;
use kiven_model::{Code, Problem};
use std::fmt::Write;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fail {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error("the {} {}", operation.kind.as_str(), ended_words(operation.status))]
    Operation { operation: Box<OperationView> },
    #[error("{message}")]
    NotFound { message: String, hint: String },
    #[error("{message}")]
    Refused { message: String, hint: String },
    #[error("{message}")]
    TimedOut { message: String, hint: String },
    #[error("{program} cannot be started")]
    Start { program: String, hint: String, source: std::io::Error },
    #[error("standard output cannot be written")]
    Output(#[source] std::io::Error),
    #[error("the answer cannot be written as JSON")]
    Json(#[from] serde_json::Error),
    #[error("the runtime cannot be started")]
    Runtime(#[source] std::io::Error),
}

fn ended_words(status: OperationStatus) -> &'static str {
    match status {
        OperationStatus::Stuck => "is stuck: it can neither go on nor back",
        OperationStatus::Failed => "failed; everything it did was undone",
        OperationStatus::Running | OperationStatus::Unwinding => "is still running",
        OperationStatus::Succeeded => "succeeded",
    }
}

impl Fail {
    pub(crate) fn not_found(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound { message: message.into(), hint: hint.into() }
    }

    pub(crate) fn refused(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { message: message.into(), hint: hint.into() }
    }

    /// See the help's list.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Client(error) if error.not_found() => 3,
            Self::Client(error) if error.transient() => 4,
            Self::Client(_) | Self::Refused { .. } | Self::Start { .. } | Self::Output(_) | Self::Json(_) | Self::Runtime(_) => 1,
            Self::Credentials(_) | Self::TimedOut { .. } => 4,
            Self::NotFound { .. } => 3,
            Self::Operation { operation } if operation.status == OperationStatus::Stuck => 5,
            Self::Operation { .. } => 1,
        }
    }

    /// The API's own words, where there are any.
    fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Client(error) => error.problem(),
            Self::Operation { operation } => operation.problem.as_ref(),
            Self::Credentials(_)
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Start { .. }
            | Self::Output(_)
            | Self::Json(_)
            | Self::Runtime(_) => None,
        }
    }

    fn message(&self) -> String {
        match (self, self.problem()) {
            (Self::Operation { .. }, Some(problem)) => format!("{self}: {}", problem.message),
            (_, Some(problem)) => problem.message.clone(),
            (_, None) => self.to_string(),
        }
    }

    /// The problem's detail, else the chain of causes.
    fn detail(&self) -> String {
        if let Some(problem) = self.problem() {
            return problem.detail.clone();
        }
        let mut causes = Vec::new();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            causes.push(error.to_string());
            source = error.source();
        }
        causes.join(": ")
    }

    fn hint(&self) -> &str {
        match self {
            Self::NotFound { hint, .. } | Self::Refused { hint, .. } | Self::TimedOut { hint, .. } | Self::Start { hint, .. } => hint,
            Self::Client(ClientError::Unreachable { .. }) => "Is the local stack running? `kiven dev status` says so, `kiven dev` starts it.",
            Self::Credentials(CredentialsError::Missing(_)) => "Run `kiven dev` for a local stack.",
            _ => self.problem().map_or("", |problem| problem.hint.as_str()),
        }
    }

    fn code(&self) -> Option<Code> {
        self.problem().map(|problem| problem.code)
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        let mut text = format!("error: {}", self.message());
        let mut line = |label: &str, words: &str| {
            if !words.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(text, "\n{label:>8}: {words}");
            }
        };
        line("detail", &self.detail());
        for violation in self.problem().map(|problem| problem.violations.as_slice()).unwrap_or_default().iter().skip(1) {
            line("also", &format!("{}: {} ({}) {}", violation.field, violation.message, violation.code, violation.hint));
        }
        line("hint", self.hint());
        if let Some(code) = self.code() {
            line("code", &format!("{code}, see docs/errors/{code}.md"));
        }
        if let Some(id) = self.problem().and_then(|problem| problem.operation_id.as_ref()) {
            line("watch", &format!("kiven operations watch {id}"));
        }
        text
    }

    /// For machines: always an object with `error`.
    pub(crate) fn to_json(&self) -> String {
        let problem = self.problem();
        serde_json::json!({ "error": {
            "message": self.message(),
            "detail": self.detail(),
            "hint": self.hint(),
            "code": self.code().map(|code| code.to_string()),
            "violations": problem.map(|problem| &problem.violations),
            "operation_id": problem.and_then(|problem| problem.operation_id.as_ref()),
        }})
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::{OperationId, Violation};

    fn refused(status: u16, problem: Problem) -> Fail {
        Fail::Client(ClientError::Refused { status, problem: Box::new(problem) })
    }

    #[test]
    fn a_problem_is_told_whole() {
        let problem = Problem::new(Code::OPERATION_RUNNING, "database `shop` is pausing")
            .detail("since 10 s")
            .hint("Wait.")
            .operation(OperationId::from_random([0; 16]));
        let text = refused(409, problem).to_text();
        expect_test::expect![[r#"
            error: database `shop` is pausing
              detail: since 10 s
                hint: Wait.
                code: KV-205, see docs/errors/KV-205.md
               watch: kiven operations watch op_00000000000000000000"#]]
        .assert_eq(&text);
    }

    #[test]
    fn every_violation_is_told_once() {
        let violations = vec![
            Violation::new(Code::NAME_INVALID, "name", "is bad", "Use another."),
            Violation::new(Code::PLAN_UNKNOWN, "plan", "is unknown", "Choose one."),
        ];
        let text = refused(400, violations.into()).to_text();
        assert!(text.contains("name: is bad (and 1 more)") && text.contains("also: plan: is unknown (KV-102) Choose one."), "{text}");
    }

    #[test]
    fn exit_codes_are_those_of_the_help() {
        let none = || std::io::Error::from(std::io::ErrorKind::NotFound);
        for (fail, code) in [
            (refused(404, Problem::new(Code::NOT_FOUND, "none")), 3),
            (refused(503, Problem::new(Code::UNAVAILABLE, "not now")), 4),
            (refused(409, Problem::new(Code::NAME_TAKEN, "taken")), 1),
            (Fail::Credentials(CredentialsError::NoEndpoint), 4),
            (Fail::not_found("none", ""), 3),
            (Fail::Start { program: "psql".to_owned(), hint: String::new(), source: none() }, 1),
        ] {
            assert_eq!(fail.exit_code(), code, "{fail}");
            assert!(serde_json::from_str::<serde_json::Value>(&fail.to_json()).unwrap()["error"]["message"].is_string());
        }
    }
}
