//! The table and the bucket, for the local stack and tests; in the cloud Terraform makes them.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
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
    let create = creation(&sdk.dynamodb(), table).map_err(|error| PortError::retry("dynamodb:CreateTable", error.to_string()))?;
    match create.send().await {
        Ok(_) => Ok(()),
        Err(error) if is(&error, &["ResourceInUseException"]) => Ok(()),
        Err(error) => Err(port_error("dynamodb:CreateTable", error)),
    }
}

/// The table with its keys and indexes; `deploy/table.tf` makes the same.
fn creation(client: &Client, table: &str) -> Result<CreateTableFluentBuilder, BuildError> {
    let mut create = client.create_table().table_name(table).billing_mode(BillingMode::PayPerRequest);
    for name in ["pk", "sk", "owned_pk", "owned_sk", "due_pk", "due_sk"] {
        let attribute = AttributeDefinition::builder().attribute_name(name).attribute_type(ScalarAttributeType::S);
        create = create.attribute_definitions(attribute.build()?);
    }
    for element in keys("pk", "sk")? {
        create = create.key_schema(element);
    }
    for (index, projection) in [(OWNED, ProjectionType::All), (DUE, ProjectionType::KeysOnly)] {
        let index = GlobalSecondaryIndex::builder()
            .index_name(index)
            .set_key_schema(Some(keys(&format!("{index}_pk"), &format!("{index}_sk"))?.into()))
            .projection(Projection::builder().projection_type(projection).build());
        create = create.global_secondary_indexes(index.build()?);
    }
    Ok(create)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::item::EXPIRES_AT;
    use crate::{Config, Credentials, Endpoints};

    /// The table as this crate makes it, in the words of Terraform.
    fn ours() -> Vec<String> {
        let credentials = Credentials::Static { access_key_id: "id".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
        let sdk = Sdk::new(&Config { region: "eu-west-1".to_owned(), credentials, endpoints: Endpoints::default() });
        let create = creation(&sdk.dynamodb(), "kiven").unwrap();
        let input = create.as_input();
        let mut lines = vec![format!("billing_mode = \"{}\"", input.get_billing_mode().as_ref().unwrap().as_str())];
        let key_lines = |keys: &[KeySchemaElement]| -> Vec<String> {
            let word = |kind: &KeyType| if *kind == KeyType::Hash { "hash_key" } else { "range_key" };
            keys.iter().map(|key| format!("{} = \"{}\"", word(key.key_type()), key.attribute_name())).collect()
        };
        lines.extend(key_lines(input.get_key_schema().as_ref().unwrap()));
        let attributes = input.get_attribute_definitions().as_ref().unwrap();
        assert!(attributes.iter().all(|attribute| *attribute.attribute_type() == ScalarAttributeType::S));
        let names: Vec<String> = attributes.iter().map(|attribute| format!("\"{}\"", attribute.attribute_name())).collect();
        lines.push(format!("for_each = [{}]", names.join(", ")));
        lines.push("type = \"S\"".to_owned());
        for index in input.get_global_secondary_indexes().as_ref().unwrap() {
            lines.push("global_secondary_index {".to_owned());
            lines.push(format!("name = \"{}\"", index.index_name()));
            lines.extend(key_lines(index.key_schema()));
            let projection = index.projection().unwrap().projection_type().unwrap();
            lines.push(format!("projection_type = \"{}\"", projection.as_str()));
        }
        lines.push(format!("attribute_name = \"{EXPIRES_AT}\""));
        lines
    }

    #[test]
    fn terraform_makes_the_same_table() {
        let text = include_str!("../../../../deploy/table.tf");
        let (_, rest) = text.split_once("resource \"aws_dynamodb_table\" \"this\" {").unwrap();
        let (block, _) = rest.split_once("\n}\n").unwrap();
        let said = [
            "billing_mode",
            "hash_key",
            "range_key",
            "for_each",
            "type",
            "global_secondary_index",
            "local_secondary_index",
            "name",
            "projection_type",
            "non_key_attributes",
            "attribute_name",
        ];
        let lines = block.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        // The table's own name and an attribute's are variables.
        let lines = lines.filter(|line| !["name = var.name", "name = attribute.value"].contains(&line.as_str()));
        let theirs: Vec<String> = lines.filter(|line| line.split(' ').next().is_some_and(|word| said.contains(&word))).collect();
        assert_eq!(theirs, ours());
    }
}
