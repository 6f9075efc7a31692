//! Data directories: initdb, base backup, rewind, and their configuration. A directory appears whole, by a rename.
use super::cluster::{APPLYING, Turn};
use super::error::OperatorError;
use super::instance::Instance;
use super::process::Server;
use super::settings::{self, Place};
use super::sql::Session;
use std::fs;
use std::path::{Path, PathBuf};
use tokio::time::Instant;

fn remove_folder(path: &Path) -> Result<(), OperatorError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// A folder beside the data directory in which a new one grows.
fn draft(instance: &Instance) -> Result<PathBuf, OperatorError> {
    let draft = instance.base.join("pgdata.new");
    remove_folder(&draft)?;
    Ok(draft)
}

impl Turn<'_> {
    pub(crate) async fn initdb(&self, instance: &Instance) -> Result<(), OperatorError> {
        let began = Instant::now();
        let draft = draft(instance)?;
        let folder = draft.display().to_string();
        let args = [
            "--no-sync",
            "--no-instructions",
            "-k",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--locale=C",
            "-A",
            "scram-sha-256",
            "--auth-local=trust",
            "-D",
            &folder,
        ];
        self.op.postgres.run("initdb", &args).await?;
        fs::rename(&draft, instance.data())?;
        tracing::info!(cluster = self.spec.name, instance = instance.name, elapsed_ms = began.elapsed().as_millis(), "initdb done");
        Ok(())
    }

    /// Brings a standby to a running server that follows the primary.
    pub(crate) async fn settle_standby(&self, instance: &Instance, primary: &Instance) -> Result<(), OperatorError> {
        self.op.folders(instance)?;
        if instance.has_data() && !instance.is_standby() {
            self.rejoin(instance, primary).await?;
        }
        if !instance.has_data() {
            self.base_backup(instance, primary).await?;
        }
        if self.configure(instance, primary, &[]).await? {
            return self.restart(instance).await;
        }
        self.op.processes.start(&self.op.postgres, &instance.data(), &instance.log()).await?;
        Ok(())
    }

    async fn base_backup(&self, instance: &Instance, primary: &Instance) -> Result<(), OperatorError> {
        let began = Instant::now();
        let draft = draft(instance)?;
        let (folder, source, slot) = (draft.display().to_string(), settings::socket(primary, "streaming_replica"), instance.slot());
        let args = ["-D", &folder, "-d", &source, "-X", "stream", "-S", &slot, "-c", "fast", "--no-sync"];
        self.op.postgres.run("pg_basebackup", &args).await?;
        self.op.postgres.write(&draft.join("standby.signal"), "\n")?;
        fs::rename(&draft, instance.data())?;
        tracing::info!(cluster = self.spec.name, instance = instance.name, elapsed_ms = began.elapsed().as_millis(), "base backup done");
        Ok(())
    }

    /// Turns a former primary into a standby: rewound to where the histories part, or emptied to be copied again.
    async fn rejoin(&self, instance: &Instance, primary: &Instance) -> Result<(), OperatorError> {
        let began = Instant::now();
        let (op, data) = (self.op, instance.data());
        op.processes.stop(&op.postgres, &data, "fast").await?;
        // pg_rewind reads the time line from the control file, which a promotion updates only at its next checkpoint.
        Session::open(primary, "postgres").await?.run("CHECKPOINT").await?;
        let (folder, source) = (data.display().to_string(), settings::socket(primary, "postgres"));
        let rewound = op.postgres.run("pg_rewind", &["-D", &folder, "--source-server", &source, "--no-sync"]).await;
        if let Err(error) = rewound {
            tracing::warn!(cluster = self.spec.name, instance = instance.name, error = error.chain(), "rewind failed, copying again");
            return remove_folder(&data);
        }
        for slot in fs::read_dir(data.join("pg_replslot"))?.flatten() {
            remove_folder(&slot.path())?;
        }
        op.postgres.write(&data.join("standby.signal"), "\n")?;
        tracing::info!(cluster = self.spec.name, instance = instance.name, elapsed_ms = began.elapsed().as_millis(), "rewound");
        Ok(())
    }

    /// Writes an instance's configuration, which a running server reloads. Answers whether it must start again for some of it.
    pub(crate) async fn configure(&self, instance: &Instance, primary: &Instance, standbys: &[String]) -> Result<bool, OperatorError> {
        let (op, data) = (self.op, instance.data());
        let libraries = op.postgres.bin.join("../lib");
        let bucket = self.bucket.as_ref();
        let place = Place { instance, primary, standbys, bucket, archive_program: &op.archive_program, libraries: &libraries };
        let mut changed = false;
        for (path, text) in [
            (data.join("postgresql.conf"), &settings::postgresql_conf(self.spec, &place)),
            (data.join("pg_hba.conf"), &settings::pg_hba(self.spec)),
            (instance.base.join("tls/server.crt"), &self.tls.certificate),
            (instance.base.join("tls/server.key"), &self.tls.key),
            (instance.base.join("tls/ca.crt"), &self.tls.ca),
        ] {
            changed |= op.postgres.write(&path, text)?;
        }
        if instance.server() == Server::Down {
            instance.shape_put(&op.postgres, &self.spec.shape)?;
            return Ok(false);
        }
        if changed {
            op.processes.start(&op.postgres, &data, &instance.log()).await?;
            Session::open(instance, "postgres").await?.run("SELECT pg_reload_conf()").await?;
        }
        if instance.shape() != Some(self.spec.shape.clone()) {
            return Ok(true);
        }
        // A new session sees the reloaded values; an old one may answer before its process has read them.
        let pending = Session::open(instance, "postgres").await?.rows("SELECT name FROM pg_settings WHERE pending_restart").await?;
        Ok(!pending.is_empty())
    }

    /// Starts a server again, with everything that waits for that.
    pub(crate) async fn restart(&self, instance: &Instance) -> Result<(), OperatorError> {
        let (op, data) = (self.op, instance.data());
        tracing::info!(cluster = self.spec.name, instance = instance.name, "restarting for what was changed");
        op.phase(self.spec, APPLYING, "what was changed needs a restart")?;
        Session::open(instance, "postgres").await?.run("CHECKPOINT").await?;
        op.processes.stop(&op.postgres, &data, "fast").await?;
        instance.shape_put(&op.postgres, &self.spec.shape)?;
        op.processes.start(&op.postgres, &data, &instance.log()).await?;
        Ok(())
    }
}
