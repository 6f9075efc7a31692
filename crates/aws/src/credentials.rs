//! Credentials that renew themselves: a container's role, and a role that is assumed with other credentials.

use std::time::SystemTime;

use aws_credential_types::Credentials as Keys;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{Credentials, Sdk};

/// Where a container on Fargate asks for its role's credentials.
const CONTAINER_HOST: &str = "http://169.254.170.2";

/// A container's role.
#[derive(Debug)]
struct Container {
    url: String,
    http: reqwest::Client,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    access_key_id: String,
    secret_access_key: String,
    token: String,
    expiration: Timestamp,
}

impl Credentials {
    /// Those of the container's role, by what ECS says in `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI`.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn container(relative_uri: &str) -> Result<Self, reqwest::Error> {
        Self::container_at(format!("{CONTAINER_HOST}{relative_uri}"))
    }

    fn container_at(url: String) -> Result<Self, reqwest::Error> {
        let http = crate::http::client()?;
        Ok(Self::Provider(SharedCredentialsProvider::new(Container { url, http })))
    }
}

impl ProvideCredentials for Container {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let asked = async { self.http.get(&self.url).send().await?.error_for_status()?.json::<Answer>().await };
            let answer = asked.await.map_err(CredentialsError::provider_error)?;
            Ok(Keys::new(answer.access_key_id, answer.secret_access_key, Some(answer.token), Some(answer.expiration.into()), "container"))
        })
    }
}

/// A role assumed with other credentials.
#[cfg(feature = "account")]
#[derive(Debug)]
struct AssumedRole {
    sts: aws_sdk_sts::Client,
    role_arn: String,
    session: String,
}

#[cfg(feature = "account")]
impl Sdk {
    /// The same connections as a role that these credentials may assume; renewed before its hour is over.
    #[must_use]
    pub fn assuming(&self, role_arn: &str, session: &str) -> Self {
        let role = AssumedRole { sts: self.sts(), role_arn: role_arn.to_owned(), session: session.to_owned() };
        self.with(Credentials::Provider(SharedCredentialsProvider::new(role)), self.region())
    }
}

#[cfg(feature = "account")]
impl ProvideCredentials for AssumedRole {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let assumed = self.sts.assume_role().role_arn(&self.role_arn).role_session_name(&self.session).send().await;
            let given = assumed.map_err(CredentialsError::provider_error)?.credentials;
            let given = given.ok_or_else(|| CredentialsError::provider_error("the answer has no credentials"))?;
            let ends = SystemTime::try_from(*given.expiration()).map_err(CredentialsError::provider_error)?;
            let token = Some(given.session_token().to_owned());
            Ok(Keys::new(given.access_key_id(), given.secret_access_key(), token, Some(ends), "assumed"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[tokio::test]
    async fn a_container_gets_its_roles_credentials_with_their_end() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v2/credentials/1", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let read = stream.read(&mut [0; 4096]).unwrap();
            let body = r#"{"RoleArn":"r","AccessKeyId":"ASIA1","SecretAccessKey":"s","Token":"t","Expiration":"2026-11-23T18:00:00Z"}"#;
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            read
        });
        let Credentials::Provider(provider) = Credentials::container_at(url).unwrap() else { panic!("not a provider") };
        let keys = provider.provide_credentials().await.unwrap();
        assert!(server.join().unwrap() > 0);
        assert_eq!((keys.access_key_id(), keys.session_token()), ("ASIA1", Some("t")));
        let ends: Timestamp = "2026-11-23T18:00:00Z".parse().unwrap();
        assert_eq!(keys.expiry(), Some(ends.into()));
    }
}
