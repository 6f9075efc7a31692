//! The service as it is deployed: the module `deploy/` applied by Terraform to an emulated AWS that enforces IAM, its functions from
//! the real zips. A customer's account there is connected through the deployed API, a database is provisioned by the deployed
//! worker on real PostgreSQL, deleted, and everything is destroyed: nothing is left.
//!
//! What the emulation does not run is played by the same programs: the relay's task by the real relay, with the module's outputs as
//! its configuration and the rights of its role; the customer's cluster by the local API server and operator. Names resolve through
//! the file that `cargo xtask test deploy` puts over /etc/hosts in a mount namespace of its own.
#[path = "../aws/onboarding.rs"]
#[expect(dead_code, reason = "the other suite removes permissions")]
#[expect(clippy::unwrap_used, reason = "a suite without the documents cannot go on")]
mod onboarding;
mod service;
mod world;

use anyhow::{Context, ensure};
use kiven_aws::authority::KmsKey;
use kiven_client::{Client, ClientError, Followed};
use kiven_model::api::{ConnectionRequest, EnvironmentRequest};
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::operation::OperationStatus;
use kiven_model::{DatabaseId, EnvironmentId, OperationId};
use kiven_ports::PortError;
use kiven_tests::customer::{database_request, story};
use kiven_tests::ministack::{self, MiniStack, REGION};
use kiven_tests::{random, terraform, variable, within};
use onboarding::CLUSTER;
use service::{SAAS, Service};
use std::path::PathBuf;
use std::time::Duration;
use world::{CUSTOMER, Customer, Processes};

/// How long an operation may take: the emulation runs one process for each call of a function.
const OPERATION_MAX: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deployed_service_provisions_a_database_and_leaves_nothing() {
    let Some(wanted) = Wanted::find() else { return };
    run(&wanted).await.unwrap_or_else(|error| panic!("{error:#}"));
}

/// What the suite cannot do without.
struct Wanted {
    python: PathBuf,
    terraform: PathBuf,
    packages: PathBuf,
    hosts: PathBuf,
    mirror: PathBuf,
}

impl Wanted {
    fn find() -> Option<Self> {
        let (python, terraform) = (ministack::find("deploy")?, terraform::find("deploy")?);
        let given = |name: &str, what: &str| {
            let found = variable(name).map(PathBuf::from).filter(|path| path.exists());
            if found.is_none() {
                println!("skipped: deploy: {what} (run `cargo xtask test deploy`, which sets {name})");
            }
            found
        };
        let packages = given("KIVEN_PACKAGES", "there are no zips of functions")?;
        let hosts = given("KIVEN_HOSTS", "names cannot be resolved to this machine")?;
        let mirror = given("KIVEN_PROVIDER_MIRROR", "no mirror has hashicorp/aws")?;
        Some(Self { python, terraform, packages, hosts, mirror })
    }
}

async fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let aws = MiniStack::start(&wanted.python).await?;
    let before = service::census(&aws).await?;
    let service = Service::apply(wanted, &aws).await?;
    let made = service::census(&aws).await?;
    println!("applied in {:?}: {} things in the account", service.applied_in, made.len() - before.len());
    let ended = live(wanted, &aws, &service).await;
    if let Err(error) = &ended {
        println!("{error:#}\n{}", service.logs(&aws).await?);
    }
    service.destroy().await?;
    ended?;
    let left: Vec<String> = service::census(&aws).await?.into_iter().filter(|one| !before.contains(one)).collect();
    ensure!(left.is_empty(), "left after destroy: {left:#?}");
    println!("destroyed: nothing is left of {} kinds", service::kinds(&made));
    Ok(())
}

/// A customer's day against the deployed service.
async fn live(wanted: &Wanted, aws: &MiniStack, service: &Service) -> anyhow::Result<()> {
    service.resolve(&wanted.hosts)?;
    let client = service.client()?;
    wrong_keys_open_nothing(service).await?;
    let mut processes = Processes::new()?;
    let customer = Customer::new(aws, &mut processes).await?;
    processes.relay(aws, service).await?;
    // The relay has its certificate by now: `enrol` signs.
    nobody_else_signs(aws, service).await?;

    let asked = EnvironmentRequest {
        name: "deploy".to_owned(),
        aws_account_id: CUSTOMER.to_owned(),
        aws_region: REGION.to_owned(),
        eks_cluster_name: CLUSTER.to_owned(),
        agent_enrolment: None,
    };
    let environment = client.environment_put(&EnvironmentId::from_random(random()?), &asked).await?;
    ensure!(environment.principal_arn == service.text("principal_arn")?, "the API names another principal: {}", environment.principal_arn);
    let documents = onboarding::documents().context("no Terraform")?;
    customer.onboard(aws, &documents, &environment).await?;
    let connection = ConnectionRequest {
        role_arn: customer.role_arn(),
        subnets: customer.subnets.clone(),
        launch_template: customer.launch_template.clone(),
        backup_kms_key_arn: None,
        node_group_quota: None,
    };
    let connected = client.connection_put(&environment.id, &connection).await?;
    processes.agent(service, &environment.id)?;
    succeed(&client, &connected.operation_id.context("connecting has no operation")?).await?;

    let view = client.database_put(&DatabaseId::from_random(random()?), &database_request(&environment.id, "shop", 1)).await?;
    let provisioned = succeed(&client, &view.operation_id.clone().context("the database has no operation")?).await?;
    let view = client.database_get(&view.id).await?;
    ensure!(view.status == DatabaseStatus::Available, "the database is {}", view.status);
    println!("provisioned by the deployed worker in {provisioned:?}");
    customer.holds(aws, 1).await?;
    client.database_delete(&view.id).await?;
    let gone = within(OPERATION_MAX, async || client.database_get(&view.id).await.is_ok_and(|view| view.status == DatabaseStatus::Deleted)).await;
    ensure!(gone, "the database is {} and not deleted", client.database_get(&view.id).await?.status);
    customer.holds(aws, 0).await?;
    service.told_of(aws, "provision").await?;
    service.nothing_died(aws).await?;
    processes.end();
    Ok(())
}

/// Follows an operation to its success and answers how long it took.
async fn succeed(client: &Client, id: &OperationId) -> anyhow::Result<Duration> {
    let began = std::time::Instant::now();
    match client.operation_follow(id, OPERATION_MAX, |_| ()).await? {
        Followed::Over(view) if view.status == OperationStatus::Succeeded => Ok(began.elapsed()),
        _ => {
            let view = client.operation_get(id).await?;
            anyhow::bail!("the {} is {} after {OPERATION_MAX:?}: {:?}\n{}", view.kind.as_str(), view.status.as_str(), view.problem, story(&view))
        }
    }
}

/// Neither a key that nobody has nor the right key's id with another secret opens the API.
async fn wrong_keys_open_nothing(service: &Service) -> anyhow::Result<()> {
    for key in ["kiven_00000000000000000000_wrong".to_owned(), service.key_with_another_secret()] {
        let answer = Client::new(service.credentials(&key), "tests")?.database_list(None).await;
        ensure!(matches!(answer, Err(ClientError::Refused { status: 401, .. })), "a wrong key is answered by {answer:?}");
    }
    Ok(())
}

/// The authority's key signs for `enrol` alone: neither the account's root nor an administrator may use it.
async fn nobody_else_signs(aws: &MiniStack, service: &Service) -> anyhow::Result<()> {
    let administrator = service::administrator(aws).await?;
    for (who, keys) in [("the account's root", MiniStack::root(SAAS)), ("an administrator", administrator)] {
        let key = KmsKey::new(&aws.sdk(&keys), &service.text("authority_key_arn")?);
        let answer = key.sign(b"a certificate").await;
        let Err(PortError::Refused(problem)) = answer else { anyhow::bail!("{who} is answered by {answer:?}") };
        ensure!(problem.to_string().contains("kms:Sign"), "{who} is refused for another reason: {problem}");
    }
    Ok(())
}
