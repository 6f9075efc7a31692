//! The ports' contract suites on the emulation.
use crate::account::{Customer, WORKER, adapter, principal, saas};
use crate::onboarding::{self, CLUSTER, Names, ROLE};
use crate::{begin, emulation};
use kiven_aws::authority::KmsKey;
use kiven_aws::invoke::function_invoke;
use kiven_aws::store::{Queue, S3Blobs, S3Packs, SqsDoorbell, Store, StoreConfig, bucket_ensure, table_ensure};
use kiven_model::{Code, EnvironmentId, OperationId, OrganizationId};
use kiven_ports::account::Access;
use kiven_ports::{Doorbell, PortError, contract};
use kiven_tests::dynamodb::{self, DynamoDbLocal};
use kiven_tests::ministack::{Keys, MiniStack, REGION};
use serde_json::{Value, json};
use std::time::Duration;

/// Kiven's own account: the store's owner.
const OWN: &str = "999988887777";

pub(crate) fn prepared(customer: &Customer, environment_id: EnvironmentId) -> (contract::Prepared, Names) {
    let access = Access {
        role_arn: format!("arn:aws:iam::{}:role/{ROLE}", customer.account),
        external_id: "0123456789abcdef0123456789abcdef".to_owned(),
        account_id: customer.account.clone(),
        region: REGION.to_owned(),
        organization_id: OrganizationId::from_random([1; 16]),
        environment_id,
        operation_id: OperationId::from_random([3; 16]),
    };
    let names = Names {
        account: customer.account.clone(),
        region: REGION.to_owned(),
        principal: principal(WORKER),
        external_id: access.external_id.clone(),
        environment: access.environment_id.to_string(),
        oidc_host: customer.oidc_host.clone(),
        launch_template: customer.launch_template.clone(),
    };
    let prepared = contract::Prepared {
        cluster: CLUSTER.to_owned(),
        subnet: customer.subnets.values().next().cloned().unwrap(),
        launch_template: customer.launch_template.clone(),
        node_role_arn: format!("arn:aws:iam::{}:role/kiven-node", customer.account),
        kms_key_arn: None,
        access,
    };
    (prepared, names)
}

#[tokio::test]
async fn the_account_keeps_its_contract() {
    let Some(world) = begin("contracts::the_account_keeps_its_contract").await else { return };
    let (prepared, names) = prepared(&world.customer, EnvironmentId::from_random([2; 16]));
    world.customer.onboard(&world.aws, &world.documents, &names).await.unwrap();
    contract::account(&world.account, &prepared, async || {}).await.unwrap();
}

#[tokio::test]
async fn the_store_keeps_its_contracts() {
    let Some(aws) = emulation("contracts::the_store_keeps_its_contracts").await else { return };
    let sdk = aws.sdk(&MiniStack::root(OWN));
    for _ in 0..2 {
        table_ensure(&sdk, "kiven").await.unwrap();
        bucket_ensure(&sdk, "kiven-payloads", REGION).await.unwrap();
    }
    let store = Store::new(&sdk, &StoreConfig { table: "kiven".to_owned(), bucket: "kiven-payloads".to_owned(), due_shards: 64 });
    contract::records(&store).await.unwrap();
    contract::agents(&store).await.unwrap();
    contract::blobs(&S3Blobs::new(&sdk, "kiven-payloads")).await.unwrap();
    bucket_ensure(&sdk, "kiven-metrics", REGION).await.unwrap();
    contract::statistics(&S3Packs::new(&sdk, "kiven-metrics")).await.unwrap();
}

/// Amazon's own emulation is the most exact about tokens, conditions and sizes.
#[tokio::test]
async fn the_store_keeps_its_contracts_on_dynamodb_local() {
    let Some(folder) = dynamodb::find("aws: the store on DynamoDB Local") else { return };
    let Some(aws) = emulation("contracts::the_store_keeps_its_contracts_on_dynamodb_local").await else { return };
    let oracle = DynamoDbLocal::start(&folder).await.unwrap();
    let sdk = aws.sdk_with(&MiniStack::root(OWN), &oracle.url);
    for _ in 0..2 {
        table_ensure(&sdk, "kiven").await.unwrap();
    }
    bucket_ensure(&sdk, "kiven-payloads", REGION).await.unwrap();
    let store = Store::new(&sdk, &StoreConfig { table: "kiven".to_owned(), bucket: "kiven-payloads".to_owned(), due_shards: 64 });
    contract::records(&store).await.unwrap();
    contract::agents(&store).await.unwrap();
}

#[tokio::test]
async fn the_doorbell_rings_for_an_operation_and_for_schedules() {
    let Some(aws) = emulation("contracts::the_doorbell_rings_for_an_operation_and_for_schedules").await else { return };
    let sdk = aws.sdk(&MiniStack::root(OWN));
    let made = sdk.sqs().create_queue().queue_name("doorbell").send().await.unwrap();
    let bell = SqsDoorbell::new(Queue::new(&sdk, made.queue_url().unwrap()));
    let (id, database) = (OperationId::from_random([1; 16]), kiven_model::DatabaseId::from_random([2; 16]));
    bell.doorbell_ring(&id, Duration::ZERO).await.unwrap();
    bell.doorbell_ring(&id, Duration::from_secs(5_000)).await.unwrap();
    bell.doorbell_tick(std::slice::from_ref(&database)).await.unwrap();
    let got = sdk.sqs().receive_message().queue_url(made.queue_url().unwrap()).max_number_of_messages(10).send().await.unwrap();
    let bodies: Vec<&str> = got.messages().iter().filter_map(|message| message.body()).collect();
    assert!(bodies.len() == 2 && bodies.contains(&id.as_str()) && bodies.iter().any(|body| body.contains(database.as_str())), "{bodies:?}");
}

#[tokio::test]
async fn another_account_of_the_same_emulation_is_another_world() {
    let Some(aws) = emulation("contracts::another_account").await else { return };
    let Some(documents) = onboarding::documents() else { return };
    let account = adapter(&aws).await.unwrap();
    for (number, seed) in [("111111111111", 2), ("222222222222", 5)] {
        let customer = Customer::new(&aws, number).await.unwrap();
        let (prepared, names) = prepared(&customer, EnvironmentId::from_random([seed; 16]));
        customer.onboard(&aws, &documents, &names).await.unwrap();
        contract::account(&account, &prepared, async || {}).await.unwrap();
    }
}

#[tokio::test]
async fn a_function_is_asked_and_only_by_whoever_may() {
    let Some(aws) = emulation("contracts::a_function_is_asked_and_only_by_whoever_may").await else { return };
    let code = "def handle(event, context):\n    if event.get('fail'):\n        raise ValueError('no')\n    return {'heard': event['word']}\n";
    let function = json!({"account": OWN, "region": REGION, "name": "enrol", "code": code});
    aws.switch("function", &function).await.unwrap();
    let ask = async |keys: &Keys, event: Value| function_invoke::<Value, Value>(&aws.sdk(keys), "enrol", &event).await;
    // Kiven's principal may assume roles, and this it may not.
    let relay = saas(&aws, "kiven-relay").await.unwrap();
    match ask(&relay, json!({"word": "hello"})).await {
        Err(PortError::Refused(problem)) => assert_eq!(problem.code, Code::ACCESS_DENIED),
        other => panic!("{other:?}"),
    }
    let may = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": format!("arn:aws:lambda:{REGION}:{OWN}:function:enrol")}]});
    let iam = aws.sdk(&MiniStack::root(OWN)).iam();
    iam.put_role_policy().role_name("kiven-relay").policy_name("ask").policy_document(may.to_string()).send().await.unwrap();
    assert_eq!(ask(&relay, json!({"word": "hello"})).await.unwrap(), json!({"heard": "hello"}));
    let failed = ask(&relay, json!({"fail": true})).await;
    assert!(matches!(failed, Err(PortError::Retry { .. })), "a function that fails may answer later: {failed:?}");
}

#[tokio::test]
async fn the_authority_signs_in_kms_what_its_public_key_verifies() {
    let Some(aws) = emulation("contracts::the_authority_signs_in_kms_what_its_public_key_verifies").await else { return };
    let sdk = aws.sdk(&MiniStack::root(OWN));
    let made = sdk.kms().create_key().key_spec("ECC_NIST_P256".into()).key_usage("SIGN_VERIFY".into()).send().await.unwrap();
    let id = made.key_metadata.unwrap().key_id;
    let key = KmsKey::new(&sdk, &id);
    let (public, signature) = (key.public_key().await.unwrap(), key.sign(b"a certificate").await.unwrap());
    // The end of a SubjectPublicKeyInfo of this curve is the point, uncompressed (RFC 5480).
    let point = &public[public.len() - 65..];
    let verifies = |message: &[u8]| {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
        algorithms.iter().any(|algorithm| algorithm.verify_signature(point, message, &signature).is_ok())
    };
    assert!(verifies(b"a certificate"));
    assert!(!verifies(b"another certificate"));
    assert!(KmsKey::new(&sdk, "00000000-0000-0000-0000-000000000000").public_key().await.is_err());
}
