//! Connection strings of PostgreSQL, in the form that libpq and most drivers read. A password is never part of one.
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::BTreeMap;

/// What stays as it is in every part; RFC 3986 calls these unreserved.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// How a client verifies the server when nothing else is said: its certificate and its name.
pub const SSLMODE_DEFAULT: &str = "verify-full";
/// The ways in which libpq can use TLS.
pub const SSLMODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Where to and as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'a> {
    /// A host name or an address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: &'a str,
    /// The role.
    pub username: &'a str,
}

/// The connection string, with `sslmode` first and the other parameters by name.
#[must_use]
pub fn connection_uri(target: &Target<'_>, parameters: &BTreeMap<String, String>) -> String {
    let Target { host, port, database, username } = *target;
    let encoded = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let sslmode = parameters.get("sslmode").map_or(SSLMODE_DEFAULT, String::as_str);
    let mut uri = format!("postgresql://{}@{host}:{port}/{}?sslmode={}", encoded(username), encoded(database), encoded(sslmode));
    for (name, value) in parameters.iter().filter(|(name, _)| *name != "sslmode") {
        uri.push_str(&format!("&{}={}", encoded(name), encoded(value)));
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_would_misread_is_encoded() {
        let check = |target: Target<'_>, parameters: &[(&str, &str)], expected: &str| {
            let parameters = parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            assert_eq!(connection_uri(&target, &parameters), expected);
        };
        let shop = Target { host: "shop-rw.kiven-databases.svc", port: 5432, database: "shop", username: "shop" };
        check(shop, &[], "postgresql://shop@shop-rw.kiven-databases.svc:5432/shop?sslmode=verify-full");
        check(
            Target { username: "o'neil@eu", database: "a/b", ..shop },
            &[("sslmode", "require"), ("application_name", "web & worker"), ("hostaddr", "127.0.0.1")],
            "postgresql://o%27neil%40eu@shop-rw.kiven-databases.svc:5432/a%2Fb?sslmode=require&application_name=web%20%26%20worker&hostaddr=127.0.0.1",
        );
        check(Target { host: "::1", ..shop }, &[], "postgresql://shop@[::1]:5432/shop?sslmode=verify-full");
    }
}
