//! The local endpoints through the real SDK: S3 objects, STS limits, expired sessions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test stops where it fails")]

mod support;

use support::{CUSTOMER, Local, REGION};

async fn start() -> (tempfile::TempDir, Local) {
    let folder = tempfile::tempdir().unwrap();
    let local = Local::start(folder.path().to_owned()).await;
    (folder, local)
}

#[tokio::test]
async fn objects_are_written_ranged_listed_and_deleted() {
    let (_folder, local) = start().await;
    let sdk = local.sdk("CUSTOMER");
    kiven_aws::store::bucket_ensure(&sdk, "wal-archive", REGION).await.unwrap();
    let s3 = sdk.s3();
    for key in ["db-1/wals/0001", "db-1/wals/0002", "db-1/base/20260101/data.tar", "other"] {
        let body = key.as_bytes().repeat(10_000);
        s3.put_object().bucket("wal-archive").key(key).body(body.into()).send().await.unwrap();
    }
    let put = s3.put_object().bucket("wal-archive").key("other").if_none_match("*").body(b"x".to_vec().into());
    let refused = put.send().await.unwrap_err();
    assert_eq!(refused.raw_response().map(|response| response.status().as_u16()), Some(412));

    let get = s3.get_object().bucket("wal-archive").key("other").range("bytes=5-9").send().await.unwrap();
    assert_eq!(get.body.collect().await.unwrap().to_vec(), b"other");
    let head = s3.head_object().bucket("wal-archive").key("other").send().await.unwrap();
    assert_eq!(head.content_length(), Some(50_000));

    let list = s3.list_objects_v2().bucket("wal-archive").prefix("db-1/").delimiter("/").send().await.unwrap();
    let common: Vec<&str> = list.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).collect();
    assert_eq!(common, ["db-1/base/", "db-1/wals/"]);
    let first = s3.list_objects_v2().bucket("wal-archive").max_keys(3).send().await.unwrap();
    assert_eq!((first.contents().len(), first.is_truncated()), (3, Some(true)));
    let token = first.next_continuation_token().unwrap();
    let rest = s3.list_objects_v2().bucket("wal-archive").continuation_token(token).send().await.unwrap();
    assert_eq!(rest.contents()[0].key(), Some("other"));

    s3.delete_object().bucket("wal-archive").key("other").send().await.unwrap();
    let gone = s3.get_object().bucket("wal-archive").key("other").send().await.unwrap_err();
    assert!(gone.as_service_error().unwrap().is_no_such_key());
    assert!(s3.delete_bucket().bucket("wal-archive").send().await.is_err(), "not while it holds objects");
}

#[tokio::test]
async fn sessions_have_limits_and_an_end() {
    let (_folder, local) = start().await;
    let root = local.sdk("CUSTOMER");
    let trust = format!(r#"{{"Statement":{{"Effect":"Allow","Principal":{{"AWS":"{CUSTOMER}"}},"Action":"sts:AssumeRole"}}}}"#);
    root.iam().create_role().role_name("reader").assume_role_policy_document(trust).send().await.unwrap();
    let assume = || {
        let arn = format!("arn:aws:iam::{CUSTOMER}:role/reader");
        root.sts().assume_role().role_arn(arn).role_session_name("test").duration_seconds(900)
    };
    for refused in [
        assume().duration_seconds(899),
        assume().duration_seconds(3_601),
        assume().role_session_name("two words"),
        assume().policy("{}"),
        assume().policy("x".repeat(2_049)),
    ] {
        assert!(refused.send().await.is_err());
    }
    let given = assume().send().await.unwrap().credentials.unwrap();
    let session = local.sdk(given.access_key_id());
    let who = session.sts().get_caller_identity().send().await.unwrap();
    assert_eq!(who.arn(), Some("arn:aws:sts::111122223333:assumed-role/reader/test"));
    let read = session.iam().get_role().role_name("reader").send().await.unwrap_err();
    assert_eq!(read.as_service_error().and_then(|error| error.meta().code()), Some("AccessDenied"), "a role without a policy");
    local.advance(901_000);
    let late = session.sts().get_caller_identity().send().await.unwrap_err();
    assert_eq!(late.as_service_error().and_then(|error| error.meta().code()), Some("ExpiredToken"));
    let unknown = local.sdk("NOBODY").sts().get_caller_identity().send().await.unwrap_err();
    assert_eq!(unknown.as_service_error().and_then(|error| error.meta().code()), Some("InvalidClientTokenId"));
}
