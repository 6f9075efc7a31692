//! The first organization of an installation and its owner's key: the entry for `deploy/`, which knows a digest of the key only.
use anyhow::{Result, ensure};
use kiven_model::OrganizationId;
use kiven_model::ids::ApiKeyId;
use kiven_model::organization::api_key_text;
use sha2::{Digest, Sha256};

/// Longest name.
const NAME_CHARACTERS_MAX: usize = 64;

/// What is made.
struct Founded {
    /// For the module's `organizations`.
    entry: String,
    /// For its owner.
    key: String,
}

/// Prints the entry on standard output, and the key, once and nowhere else, on standard error: an entry that is redirected into a
/// file does not take the key with it.
pub(crate) fn run(name: &str) -> Result<()> {
    let mut random = || -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
        Ok(bytes)
    };
    let founded = found(name, &mut random)?;
    println!("{}", founded.entry);
    eprintln!("The key of its owner, shown this once; nothing has kept it:\n{}", founded.key);
    Ok(())
}

fn found(name: &str, random: &mut impl FnMut() -> Result<[u8; 16]>) -> Result<Founded> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_' | '.');
    ensure!(
        !name.is_empty() && name.len() <= NAME_CHARACTERS_MAX && name.chars().all(plain),
        "a name has 1 to {NAME_CHARACTERS_MAX} letters, digits, spaces, dashes, underscores and dots"
    );
    let (organization, id) = (OrganizationId::from_random(random()?), ApiKeyId::from_random(random()?));
    let key = api_key_text(&id, &crate::package::hex(&[random()?, random()?].concat()));
    let digest = crate::package::hex(&Sha256::digest(key.as_bytes()));
    let entry = format!("{organization} = {{ name = \"{name}\", api_key_id = \"{id}\", api_key_sha256 = \"{digest}\" }}");
    Ok(Founded { entry, key })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiven_model::organization::api_key_id;

    #[test]
    fn the_entry_has_the_keys_digest_and_never_the_key() {
        let mut number = 0;
        let mut random = || {
            number += 1;
            Ok([number; 16])
        };
        let founded = found("Example Ltd", &mut random).unwrap();
        let id = api_key_id(&founded.key).unwrap();
        let digest = crate::package::hex(&Sha256::digest(founded.key.as_bytes()));
        assert!(founded.entry.contains(&format!("api_key_id = \"{id}\", api_key_sha256 = \"{digest}\"")), "{}", founded.entry);
        let (_, secret) = founded.key.rsplit_once('_').unwrap();
        assert!(secret.len() == 64 && !founded.entry.contains(secret));
        assert!(found("\"}", &mut random).is_err() && found("", &mut random).is_err());
    }
}
