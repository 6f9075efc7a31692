//! The customer's side of the stack: its own cluster with an operator on this machine, or a cluster that is given.
use super::folder::Folder;
use super::given::Kubectl;
use super::keys::Keys;
use super::reach::Reach;
use super::{Options, cluster, nodes, passwords, pool};
use crate::aws::Endpoints;
use crate::operator::{self, Postgres, Running, User, find_pgbouncer};
use anyhow::{Context, ensure};
use kiven_fake_kube::Handle;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The customer's cluster.
pub(crate) struct Side {
    pub(crate) reach: Reach,
    /// Its API server.
    pub(crate) url: String,
    /// Its token issuer.
    pub(crate) issuer: String,
    /// Subnets by zone.
    pub(crate) subnets: BTreeMap<String, String>,
    pub(crate) own: Option<Own>,
}

/// What only the stack's own cluster has.
pub(crate) struct Own {
    kube: Handle,
    pub(crate) postgres: Postgres,
}

/// What runs for the cluster.
pub(crate) struct Started {
    tasks: Vec<JoinHandle<()>>,
    own: Option<(Running, Handle)>,
}

impl Side {
    /// Starts the stack's own cluster, or opens the one that is given.
    pub(crate) async fn open(folder: &Folder, keys: &Keys, options: &Options) -> anyhow::Result<Self> {
        let Some(kubeconfig) = &options.kubeconfig else {
            let postgres = Postgres::find(options.pg_bin_dir.as_deref(), &options.path, User::to_run_as("postgres")?).await?;
            let kube = cluster::start(folder, keys, postgres.major).await?;
            let (reach, url) = (Reach::Own(kube.clone()), kube.url());
            return Ok(Self { reach, issuer: url.clone(), url, subnets: super::subnets().into(), own: Some(Own { kube, postgres }) });
        };
        ensure!(options.clock_environment.is_empty(), "a given cluster has its own clock: leave --clock away");
        let kubectl = Kubectl::open(kubeconfig).await?;
        let url = kubectl.cluster().await?["server"].as_str().context("the kubeconfig names no API server")?.to_owned();
        let (issuer, subnets) = (kubectl.issuer().await?, pool::subnets(&kubectl).await?);
        Ok(Self { reach: Reach::Given(kubectl), url, issuer, subnets, own: None })
    }

    /// Starts what keeps nodes as their groups ask, and the operator where the cluster is the stack's own.
    pub(crate) fn start(self, folder: &Folder, endpoints: &Arc<Endpoints>, options: &Options) -> anyhow::Result<Started> {
        if let Reach::Given(kubectl) = self.reach {
            let tasks = vec![tokio::spawn(pool::look_after(kubectl, Arc::clone(endpoints), self.subnets))];
            return Ok(Started { tasks, own: None });
        }
        let Own { kube, postgres } = self.own.context("the stack's own cluster has no PostgreSQL")?;
        let operator = operator::start(operator::Config {
            kube: kube.clone(),
            postgres,
            state_dir: folder.root.join("cluster"),
            s3_endpoint: endpoints.s3.clone(),
            archive_program: std::env::current_exe()?,
            pgbouncer: find_pgbouncer(&options.path),
            clock: kiven_fake_kube::system_clock(),
        })?;
        let tasks = vec![
            tokio::spawn(nodes::look_after(kube.clone(), Arc::clone(endpoints), self.subnets.into_iter().collect())),
            tokio::spawn(passwords::look_after(folder.clone(), kube.clone())),
        ];
        Ok(Started { tasks, own: Some((operator, kube)) })
    }
}

impl Started {
    /// Ends what it runs; PostgreSQL goes on.
    pub(crate) async fn stop(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        if let Some((operator, kube)) = self.own {
            operator.stop().await;
            kube.stop().await;
        }
    }
}
