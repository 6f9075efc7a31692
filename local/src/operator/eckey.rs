//! Authorities' keys as the operator reads and writes them: `EC PRIVATE KEY` (RFC 5915) on P-256, and nothing else, as the real one.
use super::error::OperatorError;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::KeyPair;

const BEGIN: &str = "-----BEGIN EC PRIVATE KEY-----";
const END: &str = "-----END EC PRIVATE KEY-----";
/// DER of an `ECPrivateKey` on P-256: before its 32 secret bytes, then its curve and what stands before the 65 of its public point.
const HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
const MIDDLE: [u8; 17] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0xa1, 0x44, 0x03, 0x42, 0x00];
/// DER of the same key in PKCS#8 up to its secret bytes, and what stands before its public point there.
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d,
    0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,
];
const PKCS8_MIDDLE: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];

/// Reads a key.
pub(crate) fn read(pem: &str) -> Result<KeyPair, OperatorError> {
    let wrong = || OperatorError::Missing("an authority's key in a PEM block of the type EC PRIVATE KEY".to_owned());
    let body = pem.trim().strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(wrong)?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| wrong())?;
    let (secret, rest) = der.strip_prefix(&HEAD).and_then(|rest| rest.split_at_checked(32)).ok_or_else(wrong)?;
    let point = rest.strip_prefix(&MIDDLE).ok_or_else(wrong)?;
    let pkcs8 = [&PKCS8_HEAD, secret, &PKCS8_MIDDLE, point].concat();
    Ok(KeyPair::try_from(pkcs8.as_slice())?)
}

/// Writes a key; none when it is of another curve.
#[must_use]
pub fn written(key: &KeyPair) -> Option<String> {
    let whole = key.serialize_der();
    let (secret, _) = whole.strip_prefix(&PKCS8_HEAD)?.split_at_checked(32)?;
    let text = STANDARD.encode([&HEAD, secret, &MIDDLE, key.public_key_raw()].concat());
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Some(format!("{BEGIN}\n{}\n{END}\n", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_in_no_other_form() {
        let key = KeyPair::generate().unwrap();
        let again = read(&written(&key).unwrap()).unwrap();
        assert_eq!(again.serialize_der(), key.serialize_der());
        assert!(read(&key.serialize_pem()).is_err(), "PKCS#8 is refused");
    }
}
