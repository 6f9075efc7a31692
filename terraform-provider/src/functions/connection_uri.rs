//! `connection_uri(host, port, database, username, parameters...)`: the string that drivers open.
use super::{text, whole};
use kiven_model::uri::{SSLMODE_DEFAULT, SSLMODES, Target, connection_uri};
use kiven_tfplugin::{Function, FunctionError, Parameter, Signature, Type, Value};
use std::collections::BTreeMap;

/// The position of the parameters.
const PARAMETERS: usize = 4;
/// Parameters that would put a secret into a state.
const SECRET: [&str; 3] = ["password", "sslpassword", "oauth_client_secret"];

/// The function.
pub(crate) struct ConnectionUri;

impl Function for ConnectionUri {
    fn signature(&self) -> Signature {
        Signature::new(Type::String)
            .describe(
                "The connection string of a database",
                "Puts together what PostgreSQL's drivers open, with every part encoded. `sslmode` is `verify-full` unless the parameters say \
                 otherwise. There is no way to put a password into it, as it would be in the state: drivers take it from `PGPASSWORD`, or from the \
                 Secret that the database has in your cluster.",
            )
            .parameter(Parameter::new("host", Type::String).describe("A host name or an address, such as `pooler_host` of a `kiven_database`."))
            .parameter(Parameter::new("port", Type::Number).describe("The port."))
            .parameter(Parameter::new("database", Type::String).describe("The database's name."))
            .parameter(Parameter::new("username", Type::String).describe("The role's name."))
            .variadic(Parameter::new("parameters", Type::Map(Box::new(Type::String))).describe(
                "Parameters of the connection, such as `{ sslmode = \"require\", application_name = \"web\" }`. Later maps go before earlier ones.",
            ))
    }

    fn call(&self, arguments: &[Value]) -> Result<Value, FunctionError> {
        let host = text(arguments, 0);
        if host.is_empty() || host.contains(|letter: char| letter.is_whitespace() || "/@?#[],".contains(letter)) {
            return Err(FunctionError::of_argument(0, "host must be one host name or address, without scheme, port or brackets"));
        }
        let port = whole(arguments, 1, "port", 1..=u32::from(u16::MAX))?;
        for (position, what) in [(2, "database"), (3, "username")] {
            if text(arguments, position).is_empty() {
                return Err(FunctionError::of_argument(position, format!("{what} must not be empty")));
            }
        }
        let mut parameters = BTreeMap::new();
        for (position, map) in arguments.iter().enumerate().skip(PARAMETERS) {
            for (name, value) in map.as_members().into_iter().flatten() {
                let value = value.as_str().ok_or_else(|| FunctionError::of_argument(position, format!("`{name}` must not be null")))?;
                check(name, value).map_err(|why| FunctionError::of_argument(position, why))?;
                parameters.insert(name.clone(), value.to_owned());
            }
        }
        let target = Target { host, port: u16::try_from(port).unwrap_or(u16::MAX), database: text(arguments, 2), username: text(arguments, 3) };
        Ok(connection_uri(&target, &parameters).into())
    }
}

/// What is wrong with a parameter.
fn check(name: &str, value: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        return Err(format!("`{name}` is no parameter's name"));
    }
    if SECRET.contains(&name) {
        return Err(format!("`{name}` would be in the state; give it to the driver by its environment"));
    }
    if name == "sslmode" && !SSLMODES.contains(&value) {
        return Err(format!("`sslmode` must be one of {}; without it, it is {SSLMODE_DEFAULT}", SSLMODES.join(", ")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::functions::tests::called;

    #[test]
    fn a_string_or_the_argument_that_is_wrong() {
        let check = |host: &str, port: i64, database: &str, parameters: &[&[(&str, &str)]], expected: Result<&str, &str>| {
            let mut arguments = vec![host.into(), port.into(), database.into(), "o'neil".into()];
            let map = |all: &&[(&str, &str)]| Value::Map(all.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect());
            arguments.extend(parameters.iter().map(map));
            let found = called(&ConnectionUri, &arguments);
            assert_eq!(found.as_ref().map(|uri| uri.as_str().unwrap()).map_err(|why| why.split(';').next().unwrap()), expected);
        };
        check("db", 5432, "shop", &[], Ok("postgresql://o%27neil@db:5432/shop?sslmode=verify-full"));
        check(
            "db",
            5432,
            "shop",
            &[&[("sslmode", "require"), ("application_name", "a b")], &[("sslmode", "verify-ca")]],
            Ok("postgresql://o%27neil@db:5432/shop?sslmode=verify-ca&application_name=a%20b"),
        );
        check("postgresql://db", 5432, "shop", &[], Err("0: host must be one host name or address, without scheme, port or brackets"));
        check("db", 70_000, "shop", &[], Err("1: port must be a whole number from 1 to 65535"));
        check("db", 5432, "", &[], Err("2: database must not be empty"));
        check(
            "db",
            5432,
            "shop",
            &[&[("sslmode", "yes")]],
            Err("4: `sslmode` must be one of disable, allow, prefer, require, verify-ca, verify-full"),
        );
        check("db", 5432, "shop", &[&[], &[("password", "x")]], Err("5: `password` would be in the state"));
        check("db", 5432, "shop", &[&[("a b", "x")]], Err("4: `a b` is no parameter's name"));
    }
}
