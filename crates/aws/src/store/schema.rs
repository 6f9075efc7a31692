//! The table and the bucket, for the local stack and tests; in the cloud Terraform makes them.

use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType, ScalarAttributeType,
};
use aws_sdk_s3::types::{BucketLocationConstraint, CreateBucketConfiguration};
use kiven_ports::PortError;

use crate::Sdk;
use crate::error::{is, port_error};

/// The index of an organization's lists.
pub(super) const OWNED: &str = "owned";
/// The index of what is due.
pub(super) const DUE: &str = "due";

/// Makes the table unless it is there.
///
/// # Errors
/// When DynamoDB refuses.
pub async fn table_ensure(sdk: &Sdk, table: &str) -> Result<(), PortError> {
    let client = sdk.dynamodb();
    let built = |error: BuildError| PortError::retry("dynamodb:CreateTable", error.to_string());
    let mut create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for name in ["pk", "sk", "owned_pk", "owned_sk", "due_pk", "due_sk"] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(attribute.build().map_err(built)?);
    }
    for element in keys("pk", "sk").map_err(built)? {
        create = create.key_schema(element);
    }
    for (index, projection) in [(OWNED, ProjectionType::All), (DUE, ProjectionType::KeysOnly)] {
        let index = GlobalSecondaryIndex::builder()
            .index_name(index)
            .set_key_schema(Some(keys(&format!("{index}_pk"), &format!("{index}_sk")).map_err(built)?.into()))
            .projection(Projection::builder().projection_type(projection).build());
        create = create.global_secondary_indexes(index.build().map_err(built)?);
    }
    match create.send().await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, &["ResourceInUseException"]) => Ok(()),
        Err(error) => Err(port_error("dynamodb:CreateTable", error)),
    }
}

fn keys(hash: &str, range: &str) -> Result<[KeySchemaElement; 2], BuildError> {
    let element = |name: &str, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
    Ok([element(hash, KeyType::Hash)?, element(range, KeyType::Range)?])
}

/// Makes the bucket of payloads unless it is there.
///
/// # Errors
/// When S3 refuses.
pub async fn bucket_ensure(sdk: &Sdk, bucket: &str, region: &str) -> Result<(), PortError> {
    let place = CreateBucketConfiguration::builder().location_constraint(BucketLocationConstraint::from(region)).build();
    match sdk.s3().create_bucket().bucket(bucket).create_bucket_configuration(place).send().await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, &["BucketAlreadyOwnedByYou"]) => Ok(()),
        Err(error) => Err(port_error("s3:CreateBucket", error)),
    }
}
