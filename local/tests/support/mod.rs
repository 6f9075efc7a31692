//! A local AWS for one test: its own folder, its own clock, and clients for each party.
#![allow(dead_code, reason = "each suite uses its part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use kiven_aws::{Credentials, Sdk};
use kiven_local::aws::{AccessKey, Cluster, Config, Delays, Endpoints, NowMs, Ports};

/// The customer's account.
pub(crate) const CUSTOMER: &str = "111122223333";
/// Kiven's account.
pub(crate) const SAAS: &str = "000000000000";
/// The one region.
pub(crate) const REGION: &str = "eu-west-1";
/// How long a node group takes in these tests.
pub(crate) const DELAY_MS: i64 = 1_000;
const START_MS: i64 = 1_800_000_000_000;

/// The stack and its clock.
pub(crate) struct Local {
    pub(crate) endpoints: Endpoints,
    pub(crate) now: Arc<AtomicI64>,
}

impl Local {
    /// Starts on a folder; the same folder again is a restart.
    pub(crate) async fn start(folder: PathBuf) -> Self {
        let now = Arc::new(AtomicI64::new(START_MS));
        let clock = now.clone();
        let now_ms: NowMs = Arc::new(move || clock.load(Ordering::SeqCst));
        let key = |id: &str, principal_arn: String| AccessKey { id: id.to_owned(), principal_arn };
        let config = Config {
            blobs: folder.join("blobs"),
            folder: Some(folder),
            region: REGION.to_owned(),
            saas_account: SAAS.to_owned(),
            customer_account: CUSTOMER.to_owned(),
            keys: vec![
                key("KIVEN", format!("arn:aws:iam::{SAAS}:role/kiven-worker")),
                key("STRANGER", format!("arn:aws:iam::{SAAS}:role/stranger")),
                key("CUSTOMER", format!("arn:aws:iam::{CUSTOMER}:root")),
            ],
            clusters: vec![Cluster {
                name: "local".into(),
                version: "1.34".into(),
                endpoint: "https://127.0.0.1:1".into(),
                ca_data: "Y2E=".into(),
                oidc_issuer: "https://oidc.local/id/1".into(),
                subnets: BTreeMap::from([("eu-west-1a".to_owned(), "subnet-a".to_owned())]),
            }],
            ports: Ports::default(),
            delays: Delays::all(DELAY_MS),
            now_ms,
        };
        Self { endpoints: Endpoints::start(config).await.unwrap(), now }
    }

    /// Moves the clock.
    pub(crate) fn advance(&self, milliseconds: i64) {
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Clients of the holder of a key.
    pub(crate) fn sdk(&self, access_key_id: &str) -> Sdk {
        let of = |url: &String| Some(url.clone());
        Sdk::new(&kiven_aws::Config {
            region: REGION.to_owned(),
            credentials: Credentials::Static { access_key_id: access_key_id.to_owned(), secret_access_key: "local".to_owned(), session_token: None },
            endpoints: kiven_aws::Endpoints {
                dynamodb: of(&self.endpoints.dynamodb),
                sqs: of(&self.endpoints.sqs),
                s3: of(&self.endpoints.s3),
                sts: of(&self.endpoints.sts),
                iam: of(&self.endpoints.iam),
                eks: of(&self.endpoints.eks),
                ..kiven_aws::Endpoints::default()
            },
        })
    }
}
