//! The state folder: one place for everything, and ports that stay the same over restarts.
use crate::aws::Ports;
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Loopback ports, chosen once.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct StackPorts {
    pub(crate) api: u16,
    pub(crate) enrol: u16,
    pub(crate) relay: u16,
    pub(crate) kube: u16,
    dynamodb: u16,
    sqs: u16,
    s3: u16,
    sts: u16,
    iam: u16,
    eks: u16,
}

impl StackPorts {
    fn choose(api: u16) -> std::io::Result<Self> {
        // All are held open until all are chosen, so that none is chosen twice.
        let held = (0..10).map(|_| crate::ports::free()).collect::<Result<Vec<_>, _>>()?;
        let mut free = held.iter().map(|listener| listener.local_addr().map(|address| address.port()));
        let mut next = || free.next().unwrap_or(Ok(0));
        let first = next()?;
        Ok(Self {
            api: if api == 0 { first } else { api },
            enrol: next()?,
            relay: next()?,
            kube: next()?,
            dynamodb: next()?,
            sqs: next()?,
            s3: next()?,
            sts: next()?,
            iam: next()?,
            eks: next()?,
        })
    }

    pub(crate) fn aws(&self) -> Ports {
        Ports { dynamodb: self.dynamodb, sqs: self.sqs, s3: self.s3, sts: self.sts, iam: self.iam, eks: self.eks }
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) ports: StackPorts,
}

impl Folder {
    /// Makes or opens it. `port` moves the API.
    pub(crate) fn open(root: &Path, port: u16) -> anyhow::Result<Self> {
        std::fs::create_dir_all(root).with_context(|| format!("cannot make the state folder {}", root.display()))?;
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755))?;
        let root = std::fs::canonicalize(root)?;
        for (name, mode) in [("secrets", 0o700), ("run", 0o700), ("logs", 0o755), ("ca", 0o755)] {
            std::fs::create_dir_all(root.join(name))?;
            std::fs::set_permissions(root.join(name), std::fs::Permissions::from_mode(mode))?;
        }
        let known = std::fs::read_to_string(root.join("ports.json")).ok().and_then(|text| serde_json::from_str::<StackPorts>(&text).ok());
        let ports = match known {
            Some(known) if port == 0 || known.api == port => known,
            Some(known) => StackPorts { api: port, ..known },
            None => StackPorts::choose(port)?,
        };
        let folder = Self { root, ports };
        folder.write("ports.json", &serde_json::to_string(&ports)?, 0o644)?;
        Ok(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Reads a file of the folder, if it is there.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path(name)).ok()
    }

    /// Writes a file whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
        write_whole(&self.path(name), text, mode)
    }

    pub(crate) fn remove(&self, name: &str) {
        if let Err(error) = std::fs::remove_file(self.path(name)) {
            tracing::debug!(%error, name, "nothing to remove");
        }
    }
}

/// Writes a file beside and moves it into place.
pub(crate) fn write_whole(path: &Path, text: &str, mode: u32) -> anyhow::Result<()> {
    let draft = path.with_extension("draft");
    let failed = || format!("cannot write {}", path.display());
    if draft.exists() {
        std::fs::remove_file(&draft).with_context(failed)?;
    }
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&draft).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    std::fs::rename(&draft, path).with_context(failed)
}
