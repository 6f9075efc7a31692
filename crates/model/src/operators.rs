//! The releases of the database operator and of its backup plugin that Kiven installs: manifests and images by digest. Pure.
//!
//! This is the one place where versions, addresses and digests stand. The installer applies nothing else, and the agent moves
//! nothing to an image that is not here.
use jiff::civil::{Date, date};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is installed in the cluster beside the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Component {
    /// CloudNativePG.
    Operator,
    /// The Barman Cloud plugin.
    Plugin,
}

impl Component {
    /// Both, in the order of their installation.
    pub const ALL: [Self; 2] = [Self::Operator, Self::Plugin];

    /// Its name for people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "CloudNativePG",
            Self::Plugin => "Barman Cloud plugin",
        }
    }
    /// The Deployment in which it runs, as its manifest names it.
    #[must_use]
    pub fn deployment(self) -> &'static str {
        match self {
            Self::Operator => "cnpg-controller-manager",
            Self::Plugin => "barman-cloud",
        }
    }
    /// The last part of its image's repository, wherever it is mirrored.
    #[must_use]
    pub fn image(self) -> &'static str {
        match self {
            Self::Operator => "cloudnative-pg",
            Self::Plugin => "plugin-barman-cloud",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An image as it is run: tag for people, digest for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// What the manifest calls it, without its tag.
    pub named: &'static str,
    /// Its repository within a registry.
    pub repository: &'static str,
    /// Its tag.
    pub tag: &'static str,
    /// Of the index over all architectures: `sha256:` and 64 digits.
    pub digest: &'static str,
}

/// The registry of all images, unless another one mirrors them.
pub const REGISTRY: &str = "ghcr.io";

impl Image {
    /// The whole reference, from a registry of the same repositories where one is named.
    #[must_use]
    pub fn reference(&self, registry: Option<&str>) -> String {
        let registry = registry.map_or(REGISTRY, |named| named.trim_end_matches('/'));
        format!("{registry}/{}:{}@{}", self.repository, self.tag, self.digest)
    }
}

/// A release that may be installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Of what.
    pub component: Component,
    /// Its version, without `v`.
    pub version: &'static str,
    /// Where its manifest is.
    pub url: &'static str,
    /// The manifest's name on a mirror.
    pub file: &'static str,
    /// SHA-256 of the manifest, in hexadecimal digits.
    pub sha256: &'static str,
    /// Every image that the manifest names.
    pub images: &'static [Image],
    /// The day on which it was listed: the rings count from it.
    pub listed_on: Date,
}

impl Release {
    /// Where its manifest is: at its origin, or under its file name on a mirror.
    #[must_use]
    pub fn url_on(&self, mirror: Option<&str>) -> String {
        mirror.map_or_else(|| self.url.to_owned(), |base| format!("{}/{}", base.trim_end_matches('/'), self.file))
    }
    /// The image in which the component itself runs.
    #[must_use]
    pub fn main_image(&self) -> Option<&'static Image> {
        self.images.iter().find(|image| image.repository.rsplit('/').next() == Some(self.component.image()))
    }
}

/// Listed releases, in the order of their versions within each component.
pub const RELEASES: &[Release] = &[
    Release {
        component: Component::Operator,
        version: "1.29.1",
        url: "https://raw.githubusercontent.com/cloudnative-pg/cloudnative-pg/v1.29.1/releases/cnpg-1.29.1.yaml",
        file: "cnpg-1.29.1.yaml",
        sha256: "e0c5ff41bf5b01c0775bf225929b8423d543cd23e9742e4274fe7de8499cf93a",
        listed_on: date(2026, 11, 23),
        images: &[Image {
            named: "ghcr.io/cloudnative-pg/cloudnative-pg",
            repository: "cloudnative-pg/cloudnative-pg",
            tag: "1.29.1",
            digest: "sha256:0dfff19ba7b52ca25851a1010028b6940fff2e233290465af1cfb08a5f3f4661",
        }],
    },
    // Corrects CVE-2026-55765 and CVE-2026-55769 of 1.29.1.
    Release {
        component: Component::Operator,
        version: "1.29.2",
        url: "https://raw.githubusercontent.com/cloudnative-pg/cloudnative-pg/v1.29.2/releases/cnpg-1.29.2.yaml",
        file: "cnpg-1.29.2.yaml",
        sha256: "856312bb13e64c5b03861092eac9045e45f7b7d601aafe75a9016260a762ac8a",
        listed_on: date(2026, 11, 23),
        images: &[Image {
            named: "ghcr.io/cloudnative-pg/cloudnative-pg",
            repository: "cloudnative-pg/cloudnative-pg",
            tag: "1.29.2",
            digest: "sha256:4710b10a4897a4f888cbe80bce8b279475315590fb9f2cb0ebb516f2f40ebf06",
        }],
    },
    Release {
        component: Component::Plugin,
        version: "0.14.0",
        url: "https://raw.githubusercontent.com/cloudnative-pg/plugin-barman-cloud/v0.14.0/manifest.yaml",
        file: "plugin-barman-cloud-v0.14.0.yaml",
        sha256: "691e598b4591e83e23586d3394a8fedef429586a01d1a1b56ab8b80e9fa6ccb0",
        listed_on: date(2026, 11, 23),
        // The manifest at the tag names images of a test build; the release's own are run.
        images: &[
            Image {
                named: "ghcr.io/cloudnative-pg/plugin-barman-cloud-testing",
                repository: "cloudnative-pg/plugin-barman-cloud",
                tag: "v0.14.0",
                digest: "sha256:823a8893690980ba5830bbbb11196a35f695b0488db7d846abc33baebf32417c",
            },
            Image {
                named: "ghcr.io/cloudnative-pg/plugin-barman-cloud-sidecar-testing",
                repository: "cloudnative-pg/plugin-barman-cloud-sidecar",
                tag: "v0.14.0",
                digest: "sha256:9880817c285c7afa4d195da2145064d21907405489ed6ec39abe59b1feb558a4",
            },
        ],
    },
];

/// Versions that hurt databases: never installed, never moved to. Where one runs it is left for the next newer release that is listed; where
/// there is none it stays, for nothing is ever taken back, and the installer refuses to go on.
pub const KNOWN_BAD: &[(Component, &str, &str)] = &[(
    Component::Operator,
    "1.30.0",
    "on EKS a node is drained without a switchover (cloudnative-pg issue 11202), and a failover may be reverted silently (issue 11346)",
)];

/// A version in its order: `1.29.2`, `v0.14.0`. What comes after the third number is left aside.
#[must_use]
pub fn order(version: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = version.trim_start_matches('v').splitn(3, '.');
    let mut number = || {
        let digits: String = numbers.next()?.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    Some((number()?, number()?, number()?))
}

/// What a version is to Kiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be installed.
    Listed(&'static Release),
    /// It hurts databases; the reason.
    KnownBad(&'static str),
    /// Nobody has tried it with Kiven.
    Unlisted,
}

/// What a version is to Kiven. Known bad wins over listed.
#[must_use]
pub fn standing(component: Component, version: &str) -> Standing {
    let version = version.trim_start_matches('v');
    if let Some((.., why)) = KNOWN_BAD.iter().find(|(of, bad, _)| *of == component && *bad == version) {
        return Standing::KnownBad(why);
    }
    RELEASES.iter().find(|release| release.component == component && release.version == version).map_or(Standing::Unlisted, Standing::Listed)
}

/// The release that is installed where there is none: the newest that is not known to be bad.
#[must_use]
pub fn newest(component: Component) -> Option<&'static Release> {
    let good = |release: &&Release| release.component == component && matches!(standing(component, release.version), Standing::Listed(_));
    RELEASES.iter().filter(good).max_by_key(|release| order(release.version))
}

/// The version in an image's reference: its tag, or that of the listed release whose digest it is.
#[must_use]
pub fn version_of_image(component: Component, reference: &str) -> Option<String> {
    let (name, digest) = reference.split_once('@').map_or((reference, None), |(name, digest)| (name, Some(digest)));
    let by_digest = RELEASES
        .iter()
        .find(|release| release.component == component && digest.is_some_and(|digest| release.images.iter().any(|image| image.digest == digest)));
    if let Some(release) = by_digest {
        return Some(release.version.to_owned());
    }
    let (repository, tag) = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
    (repository.rsplit('/').next() == Some(component.image())).then(|| tag.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_pinned_whole() {
        let hexadecimal = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        for release in RELEASES {
            assert!(hexadecimal(release.sha256), "{}", release.file);
            assert!(order(release.version).is_some() && release.url.starts_with("https://") && release.file.contains(release.version));
            assert!(release.main_image().is_some(), "{}", release.file);
            for image in release.images {
                assert!(image.digest.strip_prefix("sha256:").is_some_and(hexadecimal), "{}", image.repository);
                assert_eq!(image.tag.trim_start_matches('v'), release.version);
            }
        }
        assert_eq!(Component::ALL.map(|component| newest(component).map(|release| release.version)), [Some("1.29.2"), Some("0.14.0")]);
    }

    #[test]
    fn a_known_bad_version_is_never_listed() {
        for (component, version, why) in KNOWN_BAD {
            assert_eq!(standing(*component, version), Standing::KnownBad(why));
            assert_eq!(standing(*component, &format!("v{version}")), Standing::KnownBad(why));
        }
        assert_eq!(standing(Component::Operator, "1.28.0"), Standing::Unlisted);
        assert!(matches!(standing(Component::Plugin, "v0.14.0"), Standing::Listed(release) if release.version == "0.14.0"));
    }

    #[test]
    fn versions_are_read_from_images() {
        let digest = RELEASES[1].images[0].digest;
        let table = [
            ("ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0", Some("1.30.0")),
            ("registry.example:5000/pg/cloudnative-pg:1.29.1@sha256:00", Some("1.29.1")),
            (&format!("mirror.example/anything@{digest}"), Some("1.29.2")),
            ("registry.example:5000/cloudnative-pg", None),
            ("ghcr.io/cloudnative-pg/postgresql:17", None),
        ];
        for (reference, version) in table {
            assert_eq!(version_of_image(Component::Operator, reference).as_deref(), version, "{reference}");
        }
        assert_eq!([order("v1.30.0-rc1"), order("1.29"), order("x.1.2")], [Some((1, 30, 0)), None, None]);
    }

    #[test]
    fn mirrors_replace_addresses_and_never_digests() {
        let release = &RELEASES[0];
        assert_eq!(release.url_on(Some("https://mirror.example/kiven/")), "https://mirror.example/kiven/cnpg-1.29.1.yaml");
        assert_eq!(release.url_on(None), release.url);
        let image = &release.images[0];
        let expected = format!("registry.example/pg/cloudnative-pg/cloudnative-pg:1.29.1@{}", image.digest);
        assert_eq!(image.reference(Some("registry.example/pg/")), expected);
    }
}
