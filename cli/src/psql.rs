//! `kiven psql`: a connection string that psql opens as it is, with files for password and authority, and psql itself.
use crate::fail::Fail;
use kiven_model::api::DatabaseView;
use kiven_model::lifecycle::DatabaseStatus;
use kiven_model::names::DATABASE_NAMESPACE;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What stays readable in a parameter of a connection string.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// The API's connection string with the local stack's password file and the database's authority. No password is in it.
pub(crate) fn connection_string(database: &DatabaseView, state: Option<&Path>) -> Result<String, Fail> {
    let name = database.spec.name.as_str();
    match database.status {
        DatabaseStatus::Paused | DatabaseStatus::Pausing => {
            return Err(Fail::refused(format!("database `{name}` is {}", database.status), format!("Power it on: `kiven databases resume {name}`.")));
        }
        status if status.name_free() || status == DatabaseStatus::Deleting => {
            return Err(Fail::refused(format!("database `{name}` is {status}"), "List the others with `kiven databases list`."));
        }
        _ => {}
    }
    let Some(uri) = &database.connection_uri else {
        let hint = format!("Follow it with `kiven operations watch {name}`.");
        return Err(Fail::refused(format!("database `{name}` is {} and does not answer yet", database.status), hint));
    };
    let Some(state) = state else {
        let hint = format!(
            "In your own cluster the password is in the Secret `{}` of namespace {DATABASE_NAMESPACE}; connect from a pod to {uri}",
            database.password_secret
        );
        return Err(Fail::refused("`kiven psql` works with the local stack only", hint));
    };
    let encoded = |path: &Path| utf8_percent_encode(&path.to_string_lossy(), KEPT).to_string();
    let passfile = encoded(&state.join("pgpass"));
    let authority = encoded(&state.join("ca").join(format!("{name}.crt")));
    let joint = if uri.contains('?') { '&' } else { '?' };
    Ok(format!("{uri}{joint}passfile={passfile}&sslrootcert={authority}"))
}

/// Becomes psql. Returns only when that cannot be started.
pub(crate) fn replace_process(connection: &str, arguments: &[OsString]) -> Fail {
    let source = Command::new("psql").arg("-d").arg(connection).args(arguments).exec();
    let hint = "Install PostgreSQL's client (Debian: postgresql-client), or open the string that `kiven psql NAME --print` prints with another one.";
    Fail::Start { program: "psql".to_owned(), hint: hint.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::tests::database;

    #[test]
    fn files_are_named_and_encoded() {
        let string = connection_string(&database("shop", "available"), Some(Path::new("/var/lib/my kiven"))).unwrap();
        expect_test::expect![[r#"postgresql://shop@shop-rw.kiven-databases.svc:15432/shop?sslmode=verify-full&hostaddr=127.0.0.1&passfile=/var/lib/my%20kiven/pgpass&sslrootcert=/var/lib/my%20kiven/ca/shop.crt"#]].assert_eq(&string);
    }

    #[test]
    fn what_does_not_answer_says_what_to_do() {
        for (status, words) in [("paused", "databases resume shop"), ("grace", "databases list")] {
            let text = connection_string(&database("shop", status), Some(Path::new("/s"))).unwrap_err().to_text();
            assert!(text.contains(words), "{text}");
        }
        let elsewhere = connection_string(&database("shop", "available"), None).unwrap_err().to_text();
        assert!(elsewhere.contains("the Secret `shop-"), "{elsewhere}");
    }
}
